#!/usr/bin/env python3
"""What a run survives: kills, interrupts, damaged checkpoints, full disks, little memory. Prints a table of what was
lost."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import run_files

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = """
name = "faults"

[target]
kind = "toy"
name = "two-moons"

[potential]
kind = "ridge"
hidden = 4
activation = "softplus"

[flow]
time = 1.0
steps = 5
method = "rk4"

[train]
objective = "nll"
batch = 128
steps = {steps}
learning_rate = 1e-2
optimizer = "adam"
checkpoint_every = 20

[evaluate]
samples = 200
"""
# Nothing of these may reach a user: a panic, an abort of the runtime, a backtrace.
CRASHES = re.compile(r"panicked|stack backtrace|overflowed its stack|core dumped")


class Faults:
    """The program, the folder that all happens in, and what a training that nothing befell ends with."""

    def __init__(self, options, folder):
        self.program, self.backend, self.folder = options.program.resolve(), options.backend, folder
        self.random = random.Random(options.seed)
        self.lines, self.lost = [], 0
        self.recipe = folder / "faults.toml"
        self.recipe.write_text(RECIPE.format(steps=options.steps))
        self.last = f"step-{options.steps:08}.safetensors"
        self.whole = folder / "whole"
        begin = time.monotonic()
        done = self.run("train", self.recipe, "--out", self.whole)
        self.seconds = time.monotonic() - begin
        if done.returncode != 0:
            sys.exit(f"error: the training that nothing befalls fails: {done.stderr}")

    def command(self, *words):
        return [self.program, "--backend", self.backend, "--threads", "1", *map(str, words)]

    def run(self, *words, **how):
        return subprocess.run(self.command(*words), cwd=self.folder, capture_output=True, text=True, **how)

    def start(self, *words):
        return subprocess.Popen(
            self.command(*words), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def tell(self, what, how_often, losses):
        """A line of the table; `losses` are sentences on what was lost."""
        self.lost += len(losses)
        print(f"| {what} | {how_often} | {len(losses)} |", flush=True)
        for loss in losses[:5]:
            print(f"  lost: {loss}", file=sys.stderr)

    def resume(self, run):
        """The training, begun or gone on with until it is done."""
        words = ["--resume", "--out", run] if (run / "config.toml").exists() else [self.recipe, "--out", run]
        return self.run("train", *words)

    def differs(self, run):
        """How a run that is done differs from the one that nothing befell; None where it does not."""
        ours, theirs = (folder / "checkpoints" / self.last for folder in (self.whole, run))
        if not theirs.exists() or content(ours) != content(theirs):
            return f"{run.name}: other tensors after the last step"
        if metrics(self.whole) != metrics(run):
            return f"{run.name}: other metrics"
        left = [path.name for path in run.rglob("*") if "partial" in path.name or path.name.startswith(".tmp")]
        return f"{run.name}: left behind {left}" if left else None

    def ended_badly(self, done, what):
        """What a command that failed did wrong; None where it said one sentence."""
        if done.returncode < 0:
            return f"{what}: ended by signal {-done.returncode}: {done.stderr.strip()[-200:]}"
        if CRASHES.search(done.stderr):
            return f"{what}: {done.stderr.strip()[-200:]}"
        if done.returncode not in (0, 1, 130) or done.returncode == 1 and not done.stderr.strip():
            return f"{what}: exit code {done.returncode} and \"{done.stderr.strip()[-200:]}\""
        return None


def content(path):
    """Metadata and tensors of a safetensors file, without the seconds of the training, and the checksum that they are
    in."""
    said, tensors = run_files.checkpoint(path)
    said.pop("checksum", None)
    if state := said.get("train_state"):
        said["train_state"] = {key: value for key, value in json.loads(state).items() if key != "seconds"}
    return said, tensors


def is_whole(path, read, whole):
    try:
        return read(path) == whole
    except ValueError:
        return False


def metrics(run):
    return run_files.columns(run, {"seconds", "communication_seconds"})


def trainings(faults, count, signals, what):
    """Trainings ended at random moments, each gone on with until it is done."""
    losses, ended, run = [], 0, faults.folder / what.split()[0]
    while ended < count:
        shutil.rmtree(run, ignore_errors=True)
        while ended < count:
            words = ["--resume", "--out", run] if (run / "config.toml").exists() else [faults.recipe, "--out", run]
            process = faults.start("train", *words)
            time.sleep(faults.random.uniform(0, 0.7 * faults.seconds))
            if process.poll() is not None:
                break
            process.send_signal(faults.random.choice(signals))
            told = process.communicate()[1]
            ended += 1
            if CRASHES.search(told):
                losses.append(told.strip()[-200:])
        done = faults.resume(run)
        if done.returncode != 0:
            losses.append(f"resume: {done.stderr.strip()[-200:]}")
        elif loss := faults.differs(run):
            losses.append(loss)
    faults.tell(what, ended, losses)


def other_commands(faults, count):
    """Commands that write a file, killed at random moments: the file is whole or not there."""
    losses = []
    for words, name, read in [
        (["sample", faults.whole, "--count", 200000, "--out"], "samples.csv", pathlib.Path.read_bytes),
        (["export", faults.whole, "--out"], "weights.safetensors", content),
    ]:
        path = faults.folder / name
        begin = time.monotonic()
        faults.run(*words, path)
        seconds, whole = time.monotonic() - begin, read(path)
        for _ in range(count // 2):
            path.unlink(missing_ok=True)
            process = faults.start(*words, path)
            time.sleep(faults.random.uniform(0, seconds))
            process.kill()
            process.communicate()
            if path.exists() and not is_whole(path, read, whole):
                losses.append(f"{name}: half-written")
        left = [path.name for path in faults.folder.iterdir() if "partial" in path.name]
        if left:
            losses.append(f"left behind {left}")
    faults.tell("sample and export killed", 2 * (count // 2), losses)


def damaged(faults):
    """A checkpoint cut at every length of its header and at random ones, and with every bit flipped once."""
    newest = f"checkpoints/{faults.last}"
    whole = (faults.whole / newest).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    cuts = list(range(header + 1)) + faults.random.sample(range(header, len(whole)), 100)
    flips = range(8 * len(whole))

    def flipped(bit):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        return bytes(content)

    workers = os.cpu_count() or 1

    def all_found(contents):
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            folders = []
            for worker in range(workers):
                folder = faults.folder / f"damaged-{worker}"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(faults.whole, folder)
                for older in (folder / "checkpoints").iterdir():
                    if older.name != faults.last:
                        older.unlink()
                folders.append(folder)

            def share(worker):
                losses = []
                for what, damaged in contents[worker::workers]:
                    (folders[worker] / newest).write_bytes(damaged())
                    done = faults.run("export", folders[worker], "--out", folders[worker] / "weights.safetensors")
                    if done.returncode == 0:
                        losses.append(f"{what}: loads without a word")
                    elif loss := faults.ended_badly(done, what):
                        losses.append(loss)
                return losses

            return [loss for losses in pool.map(share, range(workers)) for loss in losses]

    faults.tell("checkpoints cut short", len(cuts), all_found([(f"cut at {n}", lambda n=n: whole[:n]) for n in cuts]))
    faults.tell("checkpoints with a bit flipped", len(flips), all_found([(f"bit {n}", lambda n=n: flipped(n)) for n in flips]))


def fallback(faults, count):
    """A run whose newest checkpoint is damaged goes on from the one before, with a warning, and ends with the same
    bits."""
    losses = []
    for _ in range(count):
        run = faults.folder / "fallback"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(faults.whole, run)
        path = run / "checkpoints" / faults.last
        content = bytearray(path.read_bytes())
        content[faults.random.randrange(len(content))] ^= 1 << faults.random.randrange(8)
        path.write_bytes(content)
        done = faults.run("train", "--resume", "--out", run)
        if done.returncode != 0 or faults.last not in done.stderr:
            losses.append(f"fallback: {done.stderr.strip()[-200:]}")
        elif loss := faults.differs(run):
            losses.append(loss)
    faults.tell("resumed beside a damaged newest checkpoint", count, losses)


def full_disk(faults, count):
    """Files that cannot grow beyond a size: one sentence, and the run goes on where there is room again."""
    losses = []
    for limit in (faults.random.randrange(1, 60_000) for _ in range(count)):
        run = faults.folder / "full"
        shutil.rmtree(run, ignore_errors=True)
        size = lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        done = faults.run("train", faults.recipe, "--out", run, preexec_fn=size)
        if loss := faults.ended_badly(done, f"files up to {limit} bytes"):
            losses.append(loss)
        done = faults.resume(run)
        if done.returncode != 0:
            losses.append(f"resume after files up to {limit} bytes: {done.stderr.strip()[-200:]}")
        elif loss := faults.differs(run):
            losses.append(loss)
    faults.tell("no room for files beyond a size", count, losses)


def little_memory(faults, count):
    """Address spaces from too little to start with to enough."""
    losses, low, high = [], 20 << 20, (4 << 30) if faults.backend == "ndarray" else (16 << 30)
    for i in range(count):
        limit = int(low * (high / low) ** (i / (count - 1)))
        run = faults.folder / "memory"
        shutil.rmtree(run, ignore_errors=True)
        space = lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        begin = time.monotonic()
        done = faults.run("train", faults.recipe, "--out", run, preexec_fn=space)
        # The loader of the system speaks for a program that it cannot load.
        loaded = "error while loading shared libraries" not in done.stderr and done.returncode != 127
        if loaded and (loss := faults.ended_badly(done, f"{limit >> 20} MiB after {time.monotonic() - begin:.1f} s")):
            losses.append(loss)
    faults.tell("address spaces of 20 MiB and more", count, losses)


def shared(faults):
    """Two programs in one run, a folder that nobody may write to, one that goes away."""
    losses, run = [], faults.folder / "shared"
    first = faults.start("train", faults.recipe, "--out", run)
    while not (run / "config.toml").exists() and first.poll() is None:
        time.sleep(0.001)
    second = faults.run("train", "--resume", "--out", run)
    if first.poll() is None and second.returncode == 0:
        losses.append("two programs train in one run")
    if loss := faults.ended_badly(second, "a second program"):
        losses.append(loss)
    first.communicate()
    if loss := faults.differs(run):
        losses.append(loss)
    faults.tell("two programs in one run", 1, losses)

    losses, run = [], faults.folder / "gone"
    process = faults.start("train", faults.recipe, "--out", run)
    while not (run / "config.toml").exists() and process.poll() is None:
        time.sleep(0.001)
    shutil.rmtree(run, ignore_errors=True)
    told = process.communicate()[1]
    if process.returncode < 0 or CRASHES.search(told) or not told.strip():
        losses.append(f"the folder was deleted: exit code {process.returncode}, {told.strip()[-200:]}")
    faults.tell("folder deleted under a training", 1, losses)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""A training of a second or two is ended, damaged and starved again and again; each must end, at last, with the bits of
        the training that nothing befell, and whatever fails must say so in a sentence. Exit codes: 0 nothing was lost, 1 something was.""",
    )
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/maflow", help="default: the release build here")
    parser.add_argument("--backend", choices=["ndarray", "tch-cpu"], default="ndarray", help="default: ndarray")
    parser.add_argument("--count", type=int, default=100, help="kills of trainings; the rest follows it (default: 100)")
    parser.add_argument("--steps", type=int, default=2000, help="steps of the training (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: 0)")
    return parser.parse_args()


def main():
    options = arguments()
    # Only developers ask for backtraces.
    os.environ.pop("RUST_BACKTRACE", None)
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(options, pathlib.Path(folder))
        print(f"{options.backend}, a training of {faults.seconds:.1f} s\n\n| what | how often | lost |\n|---|---|---|", flush=True)
        trainings(faults, options.count, [signal.SIGKILL], "trainings killed")
        trainings(faults, options.count // 2, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], "interrupted trainings")
        other_commands(faults, options.count)
        # Files are read by the same code on every backend, and libtorch takes a second to load.
        if options.backend == "ndarray":
            damaged(faults)
        fallback(faults, max(2, options.count // 5))
        full_disk(faults, max(2, options.count // 3))
        little_memory(faults, max(2, options.count // 2))
        shared(faults)
    return 1 if faults.lost else 0


if __name__ == "__main__":
    sys.exit(main())
