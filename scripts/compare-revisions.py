#!/usr/bin/env python3
"""Trains every recipe for a few steps with an old revision and with a new one, and says where they differ by a bit."""
import argparse
import array
import dataclasses
import json
import math
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import time
import tomllib

import run_files

ROOT = pathlib.Path(__file__).resolve().parent.parent
# In the repository, so that cargo finds its settings (those for libtorch) for other revisions too.
CACHE = ROOT / "target" / "compare-revisions"
# Recipes whose comparison would take minutes at their own sizes.
SMALLER = {
    "mnist": ["flow.steps=10"],
    "ising-16-paper": ["flow.steps=20"],
    "ising-32": ["train.batch=64", "fine_tune.batch=8", "evaluate.samples=50"],
    "ising-64": ["train.batch=16", "train.pool=100", "train.validation_samples=4"]
    + ["fine_tune.batch=2", "fine_tune.steps=4", "evaluate.samples=10"],
    # Not the regression, but the picture of the density takes these steps.
    "two-moons": ["flow.steps=5"],
    "eight-gaussians": ["flow.steps=5"],
}
# Runs that are cut off and resumed: one of two trainings, and one of one.
RESUMED = ["ising-16", "phi4-16"]
# Differences of large numbers, judged by what they are errors of.
ERRORS_OF = {
    "loss_error": ["loss"],
    "validation_error": ["validation"],
    "integration_error": ["loss", "value", "nll_nats", "free_energy_per_site"],
    "standard_error": ["value", "nll_nats", "free_energy_per_site"],
}
# Columns of metrics.csv that no two runs have in common: the seconds, and what processes exchange.
LEFT_OUT = {"seconds", "communication_seconds", "communication_bytes"}
EXAMPLES = """
Both programs train the old revision's recipes, made shorter: fewer steps, samples and validations, and a few steps of
fine-tuning where there is one. Compared are all tensors of all checkpoints, metrics.csv without its seconds, what
`evaluate --json` and, for small lattices, `physics --json` print, and samples. Two runs are then cut off after three
fifths of their steps and resumed by the new program, once its own and once the old one's. They must end as the same
program's run did that was never cut; its own to the bit, whatever the tolerance.

A relative difference is one of the largest number of the tensor, or of the column of metrics.csv; errors are judged by
the figure that they are errors of. Text, shapes, and keys that only one of the programs knows are differences beyond
any tolerance. Chains of `physics` accept or refuse by a comparison: a change in the last bit may change them
altogether.

Exit codes: 0 no difference beyond the tolerance, 1 there are some, 2 nothing could be compared.

Examples:
  scripts/compare-revisions.py HEAD                          uncommitted changes
  scripts/compare-revisions.py v0.1 HEAD --tolerance 1e-5    two revisions, where an order of summation has changed
  scripts/compare-revisions.py HEAD~3 --timing 10 --recipes ising-16,two-moons
"""


class Failed(Exception):
    """Something that ends a comparison, in one sentence."""


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", metavar="OLD", help="the git revision to compare with")
    parser.add_argument("new", metavar="NEW", nargs="?", help="another git revision (default: the working tree)")
    parser.add_argument("--recipes", metavar="A,B", help="only these (default: all that the backend and --data allow)")
    parser.add_argument("--steps", type=int, default=50, help="steps of the first training of each run (default: 50)")
    parser.add_argument(
        "--data", type=pathlib.Path, metavar="DIR", help="MNIST's files; without it its recipes are left out"
    )
    parser.add_argument("--backend", choices=["ndarray", "tch-cpu"], default="ndarray", help="default: ndarray")
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="largest relative difference that passes (default: not a bit)"
    )
    parser.add_argument(
        "--timing", type=int, metavar="N", help="compare seconds per step instead, by N pairs of runs in turn"
    )
    parser.add_argument(
        "--profile", choices=["dev", "release"], help="of cargo (default: dev; release for --timing)"
    )
    args = parser.parse_args()
    if args.steps < 5 or (args.timing is not None and args.timing < 1):
        parser.error("--steps must be at least 5, and --timing at least 1")
    args.profile = args.profile or ("release" if args.timing else "dev")
    return args


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# Building


def git(*words):
    done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"git {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout.strip()


def checked_out(name, revision):
    """A checkout of the revision; one folder for all revisions, so that only what differs is built again."""
    folder, commit = CACHE / name, git("rev-parse", "--verify", f"{revision}^{{commit}}")
    if (folder / ".git").exists():
        git("-C", folder, "checkout", "--quiet", "--force", "--detach", commit)
    else:
        # The folder may have been deleted without git's knowledge.
        git("worktree", "add", "--quiet", "--force", "--force", "--detach", folder, commit)
    return folder


def built(name, revision, profile):
    """Path of the program of a revision, or of the working tree."""
    folder, environment = ROOT, os.environ.copy()
    if revision:
        folder = checked_out(name, revision)
        # Cargo takes files of two checkouts for each other in one target folder.
        environment["CARGO_TARGET_DIR"] = str(CACHE / f"{name}-target")
    say(f"building {name}: {revision or 'the working tree'} ({profile})")
    words = ["cargo", "build", "--quiet", "--package", "cli", "--profile", profile]
    words += ["--message-format", "json-render-diagnostics"]
    done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failed(f"{name} does not build")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    program = next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "maflow")
    # A copy: the working tree may be built again meanwhile.
    copy = CACHE / f"maflow-{name}"
    shutil.copy2(program, copy)
    return copy


# Running


@dataclasses.dataclass
class Program:
    """A revision's program, and what it is called in messages and paths."""

    name: str
    path: pathlib.Path
    args: argparse.Namespace

    def does(self, *words):
        """Standard output of the words; an error when they do not come to a good end."""
        words = [self.path, "--backend", self.args.backend, *words]
        done = subprocess.run(words, cwd=CACHE, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Failed(f"{self.name}: maflow {words[3]} ended with {done.returncode}: {last}")
        return done.stdout

    def data(self, recipe):
        return ["--data", self.args.data.resolve()] if recipe.kind == "mnist" else []

    def trains(self, recipe, out, settings):
        sets = [word for setting in settings for word in ("--set", setting)]
        self.does("train", recipe.file, "--out", out, *self.data(recipe), *sets)

    def resumes(self, recipe, run):
        self.does("train", "--resume", "--out", run, *self.data(recipe))

    def tells(self, recipe, run):
        """What the program says of a run, by name: JSON objects and a file of samples."""
        told = {"figures": json.loads(self.does("evaluate", run, "--json", *self.data(recipe)))}
        size = recipe.table["target"].get("size", math.inf)
        if size <= 16:
            # The tuning of hybrid chains takes long on larger lattices.
            chain = "1" if size <= 8 else "0"
            told["physics"] = json.loads(self.does("physics", run, "--json", "--samples", "100", "--chain", chain))
        self.does("sample", run, "--count", "20", "--out", run / "samples.npy")
        return told


class Recipe:
    """A recipe of the old program."""

    def __init__(self, name, text):
        self.name, self.table = name, tomllib.loads(text)
        self.file = CACHE / "recipes" / f"{name}.toml"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(text)
        self.kind = self.table["target"]["kind"]

    def needs_libtorch(self):
        terms = self.table.get("potential", {}).get("terms", [])
        return "model" in self.table or any(term["kind"] == "convolutional" for term in terms)

    def settings(self, steps):
        """The keys that make a run of so many steps short."""
        train, tune, samples = self.table["train"], self.table.get("fine_tune"), 100 if self.kind == "mnist" else 200
        sets = [f"train.steps={steps}", "train.pool=500", f"evaluate.samples={samples}"]
        # A model in closed form integrates nothing.
        sets += [] if "model" in self.table else ["evaluate.refinements=1"]
        if train.get("schedule", {}).get("kind") == "cosine":
            sets.append(f"train.schedule.warmup={steps // 5}")
        if tune:
            sets.append(f"fine_tune.steps={max(steps // 5, 10)}")
        return sets

    def compared(self, steps):
        """With checkpoints, validations and looks at the integration error within these steps."""
        sets = [f"train.checkpoint_every={steps // 5}", "train.keep=1000", f"train.validate_every={steps // 2}"]
        if self.table["train"].get("watch_every") != 0:
            sets.append(f"train.watch_every={2 * steps // 5}")
        return self.settings(steps) + sets + ["train.validation_samples=50", *SMALLER.get(self.name, [])]

    def timed(self, steps):
        """With steps that do nothing but train, at the recipe's own sizes."""
        never = ["train.checkpoint_every=1000000", "train.validate_every=1000000", "train.watch_every=0"]
        return self.settings(steps) + never


def names(program):
    return [line.split()[0] for line in program.does("recipes").splitlines() if line.strip()]


def recipes(old, args):
    """The recipes to be compared."""
    wanted = args.recipes.split(",") if args.recipes else names(old)
    chosen = []
    for name in wanted:
        recipe = Recipe(name, old.does("recipes", name))
        if recipe.kind == "mnist" and not args.data:
            say(f"{name} is left out: it needs --data")
        elif recipe.needs_libtorch() and args.backend == "ndarray":
            say(f"{name} is left out: it needs --backend tch-cpu")
        else:
            chosen.append(recipe)
    if not chosen:
        raise Failed("there is no recipe to compare")
    return chosen


# Comparing


class Difference:
    """The largest relative difference seen, and where; infinite where two things cannot be compared as numbers."""

    def __init__(self):
        self.same, self.largest, self.where, self.compared = True, 0.0, "", 0

    def differs(self, where, relative=math.inf):
        if self.same or relative > self.largest:
            self.largest, self.where = relative, where
        self.same = False

    def numbers(self, where, old, new, scale):
        """Two numbers of different bits."""
        change = 0.0 if old == new or (math.isnan(old) and math.isnan(new)) else abs(old - new)
        relative = change / scale if change and scale else change
        self.differs(where, math.inf if math.isnan(relative) else relative)

    def names(self, where, old, new):
        """Names that both have; those of one alone are a difference."""
        for name in sorted(set(old) ^ set(new)):
            self.differs(f"{where}: only the {'old' if name in old else 'new'} one has {name}")
        return [name for name in old if name in new]

    def join(self, other):
        self.compared += other.compared
        if not other.same:
            self.differs(other.where, other.largest)

    def beyond(self, tolerance):
        return not self.same if tolerance is None else self.largest > tolerance

    def __str__(self):
        if self.same:
            return "same bits"
        return "other content" if math.isinf(self.largest) else f"{self.largest:.1e}"


def floats(kind, data):
    values = array.array({"F32": "f", "F64": "d"}[kind], data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def compare_arrays(found, where, kind, old, new):
    """Bytes of two arrays of one type and shape."""
    found.compared += 1
    if old == new:
        return
    old, new = floats(kind, old), floats(kind, new)
    scale = max(max(map(abs, old)), max(map(abs, new)))
    largest = max(abs(a - b) for a, b in zip(old, new))
    whole = all(map(math.isfinite, old)) and all(map(math.isfinite, new))
    found.differs(where, (largest / scale if largest else 0.0) if whole else math.inf)


def compare_checkpoints(old, new):
    found = Difference()
    files = [{str(p.relative_to(run)): p for p in run.rglob("*.safetensors")} for run in (old, new)]
    for file in found.names("checkpoints", *files):
        before, after = (run_files.checkpoint(of[file])[1] for of in files)
        for name in found.names(file, before, after):
            (kind, shape, data), (other_kind, other_shape, other_data) = before[name], after[name]
            if (kind, shape) != (other_kind, other_shape):
                found.differs(f"{file} {name}: {kind} {shape} and {other_kind} {other_shape}")
            else:
                compare_arrays(found, f"{file} {name}", kind, data, other_data)
    return found


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def largest_of(column):
    return max((abs(number(cell)) for cell in column if number(cell) is not None), default=0.0)


def compare_metrics(old, new):
    found, old, new = Difference(), run_files.columns(old, LEFT_OUT), run_files.columns(new, LEFT_OUT)
    for name in found.names("metrics.csv", old, new):
        judged_by = next((of for of in ERRORS_OF.get(name, []) if of in old), name)
        scale = largest_of(old[judged_by])
        if len(old[name]) != len(new[name]):
            found.differs(f"metrics.csv: {len(old[name])} and {len(new[name])} rows")
        for row, (a, b) in enumerate(zip(old[name], new[name]), 1):
            found.compared += 1
            if a == b:
                continue
            where = f"metrics.csv {name} in row {row}: {a or 'nothing'} and {b or 'nothing'}"
            if number(a) is None or number(b) is None:
                found.differs(where)
            else:
                found.numbers(where, number(a), number(b), scale)
    return found


def compare_json(where, old, new, scale=None):
    """Two values; objects key by key."""
    found = Difference()
    plain = lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(old, dict) and isinstance(new, dict):
        for key in found.names(where, old, new):
            of = next((old[of] for of in ERRORS_OF.get(key, []) if plain(old.get(of))), None)
            found.join(compare_json(f"{where}.{key}", old[key], new[key], of and abs(of)))
        return found
    found.compared = 1
    if plain(old) and plain(new) and old != new:
        found.numbers(f"{where}: {old} and {new}", old, new, scale or max(abs(old), abs(new)))
    elif type(old) is not type(new) or old != new:
        found.differs(f"{where}: {old} and {new}")
    return found


def compare_samples(old, new):
    """Two files of NumPy's format."""
    found = Difference()
    (head, data), (other_head, other_data) = (npy(run / "samples.npy") for run in (old, new))
    if head != other_head:
        found.differs(f"samples.npy: {head.strip()} and {other_head.strip()}")
    else:
        compare_arrays(found, "samples.npy", "F32" if "<f4" in head else "F64", data, other_data)
    return found


def npy(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<H", content[8:10])
    return content[10 : 10 + length].decode("latin-1"), content[10 + length :]


PARTS = ["checkpoints", "metrics", "figures", "physics", "samples"]


def compare(recipe, programs, args):
    """The differences of both programs' runs, part by part."""
    runs = [run_folder(recipe, program.name) for program in programs]
    told = []
    for program, run in zip(programs, runs):
        start = time.monotonic()
        program.trains(recipe, run, recipe.compared(args.steps))
        told.append(program.tells(recipe, run))
        say(f"{recipe.name}: {program.name} took {time.monotonic() - start:.0f} s")
    found = {"checkpoints": compare_checkpoints(*runs), "metrics": compare_metrics(*runs)}
    for part in told[0]:
        found[part] = compare_json(part, told[0][part], told[1][part])
    return found | {"samples": compare_samples(*runs)}


def run_folder(recipe, name):
    run = CACHE / "runs" / recipe.name / name
    shutil.rmtree(run, ignore_errors=True)
    return run


def compare_resumed(recipe, maker, new, args):
    """The maker's run, cut off and resumed by the new program, against the whole one."""
    whole, cut = CACHE / "runs" / recipe.name / maker.name, run_folder(recipe, f"{maker.name}-resumed")
    shutil.copytree(whole, cut)
    # What a process leaves that was killed after its third checkpoint.
    for file in (cut / "checkpoints").glob("step-*.safetensors"):
        if int(file.stem.removeprefix("step-")) > 3 * (args.steps // 5):
            file.unlink()
    new.resumes(recipe, cut)
    return {"checkpoints": compare_checkpoints(whole, cut), "metrics": compare_metrics(whole, cut)}


def judged(title, found, tolerance):
    """Prints the line of a comparison, and returns its verdict."""
    total = Difference()
    for part in found.values():
        total.join(part)
    counts = ", ".join(f"{part.compared} in {name}" for name, part in found.items())
    where = "" if total.same else f" at {total.where}"
    largest = "" if total.same or math.isinf(total.largest) else "largest relative difference "
    verdict = "FAILED" if total.beyond(tolerance) else "ok"
    print(f"{verdict:6} {title}: {largest}{total}{where} ({counts})", flush=True)
    return verdict


def compare_all(programs, args):
    """Compares every recipe; whether all passed."""
    (old, new), table = programs, []
    chosen, known = recipes(old, args), names(new)
    resumed = [recipe for recipe in chosen if recipe.name in RESUMED] or chosen[:2]
    for recipe in chosen:
        if recipe.name not in known or new.does("recipes", recipe.name) != recipe.file.read_text():
            say(f"{recipe.name}: the new program has none or another of that name, and trains the old one's")
        try:
            comparisons = [(recipe.name, compare(recipe, programs, args), args.tolerance)]
            if recipe in resumed:
                say(f"{recipe.name}: resuming")
                comparisons += [
                    (f"{recipe.name}, resumed", compare_resumed(recipe, new, new, args), None),
                    (f"{recipe.name}, old one resumed", compare_resumed(recipe, old, new, args), args.tolerance),
                ]
        except Failed as failure:
            print(f"FAILED {recipe.name}: {failure}", flush=True)
            table.append([recipe.name, *["?"] * len(PARTS), "FAILED"])
            continue
        for title, found, tolerance in comparisons:
            verdict = judged(title, found, tolerance)
            table.append([title, *(str(found.get(part, "-")) for part in PARTS), verdict])
        if all(part.same for _, found, _ in comparisons for part in found.values()):
            shutil.rmtree(CACHE / "runs" / recipe.name)
    print_table(["recipe", *PARTS, ""], table)
    passed = all(row[-1] == "ok" for row in table)
    if not passed:
        say(f"runs that differ are in {CACHE / 'runs'}")
    return passed


def print_table(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    print()
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


# Timing


def seconds_per_step(run, first):
    """Median seconds per step of the run's trainings: the first of `first` steps, either without its first tenth."""
    seconds = [0.0, *map(float, run_files.columns(run)["seconds"])]
    steps = [after - before for before, after in zip(seconds, seconds[1:])]
    phases = [phase for phase in (steps[:first], steps[first:]) if phase]
    return [statistics.median(phase[max(len(phase) // 10, 2) :]) for phase in phases]


def time_all(programs, args):
    """Prints the seconds per step of every recipe and training."""
    table = []
    for recipe in recipes(programs[0], args):
        pairs = []
        for pair in range(args.timing):
            # In turns: whoever goes first has the cooler processor.
            order, measured = programs if pair % 2 == 0 else programs[::-1], {}
            for program in order:
                run = run_folder(recipe, program.name)
                program.trains(recipe, run, recipe.timed(args.steps))
                measured[program.name] = seconds_per_step(run, args.steps)
            pairs.append([measured[program.name] for program in programs])
            say(f"{recipe.name}: pair {pair + 1} of {args.timing}: old and new {pairs[-1]} s per step")
        for phase in range(len(pairs[0][0])):
            name = recipe.name if phase == 0 else f"{recipe.name}, fine-tuning"
            old, new = ([pair[side][phase] for pair in pairs] for side in (0, 1))
            ratios = [b / a for a, b in zip(old, new)]
            cells = [f"{1e3 * statistics.median(old):.3f}", f"{1e3 * statistics.median(new):.3f}"]
            table.append([name, *cells, f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}"])
        shutil.rmtree(CACHE / "runs" / recipe.name)
    print_table(["recipe", "old ms/step", "new ms/step", "new/old", "of single pairs"], table)


def main():
    args = arguments()
    start = time.monotonic()
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        programs = [Program(name, built(name, getattr(args, name), args.profile), args) for name in ("old", "new")]
        if args.timing:
            time_all(programs, args)
            return 0
        passed = compare_all(programs, args)
    except Failed as failure:
        say(f"error: {failure}")
        return 2
    say(f"done in {time.monotonic() - start:.0f} s")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
