#!/usr/bin/env python3
"""What several processes gain: seconds per step at processes and threads, and the time on 1 to 1024 processes by a
model.

    benches/cluster.py ranks [--data DIR]
        ising-32, mnist and mnist-fast by 1 process of 1 thread, 1 of 2, and 2 of 1
    benches/cluster.py model [--data DIR]
        latency and bandwidth of the program's own exchanges, the model's seconds beside measured ones at 1, 2 and 4
        processes, and for up to 1024

Needs mpirun and scripts/setup-mpi.sh. MNIST is left out without --data. Every figure is the median over the steps of
a training by the program itself, from metrics.csv; the configurations take turns. Measure on a machine that does
nothing else.

The model, for P processes of one thread and a batch of b rows in P blocks:

    seconds(P, b) = serial + row * b / P + CALLS * latency * log2 P + bytes(P) / bandwidth
    bytes(P) = 2 (P - 1) / P * bytes

with `bytes` those of the gradient. `serial` and `row` come from two batches at one process, `bytes` from a training by
two, the latency from the exchange of one number and the bandwidth from the sum of a million, both by two processes. For
another network give --latency and --bandwidth of that: its time is added to that of this machine's memory, where the
numbers come from.
"""

import argparse
import csv
import itertools
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import programs

# Calls of MPI in a step: two to ask whether all go on, three to agree on batch, losses and state, the gathers of losses
# and factors (two each), and the sum of the shares (three).
CALLS = 12
RANKS = [2**k for k in range(11)]
# Blocks of a batch where one, two and four processes are measured.
BLOCKS = 4
# Doubling the processes pays while it saves a fifth of the time.
PAYS = 0.8
# Open MPI wants to be told that root is meant, and that processes may be more than cores.
MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
# Name, recipe, settings, and the batches that are measured and predicted. A pool of few samples is drawn soon.
ISING = ["--set=fine_tune.steps=0", "--set=train.pool=256", "--set=train.watch_every=0"]
MODELS = [
    ("ising 64x64, flow matching", "ising-64", ISING, [128, 256], [128, 512, 2048]),
    ("ising 128x128, flow matching", "ising-64", [*ISING, "--set=target.size=128"], [128, 256], [128, 512, 2048]),
    ("mnist, the paper's", "mnist", ["--set=train.watch_every=0"], [100, 200], [100, 400, 1600, 6400]),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=["ranks", "model"])
    parser.add_argument("--data", type=pathlib.Path, metavar="DIR", help="folder with the files of MNIST")
    parser.add_argument("--program", type=pathlib.Path, help="maflow, where it is built already")
    parser.add_argument("--exchange", type=pathlib.Path, help="the example `exchange` of maflow-mpi, likewise")
    parser.add_argument("--mpirun", default="mpirun", help="the launcher (default: mpirun)")
    parser.add_argument("--steps", type=int, default=20, help="steps of a training, of which the first two do not count")
    parser.add_argument("--rounds", type=int, default=3, help="times that all is measured; medians are taken (default: 3)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds of a message of another network")
    parser.add_argument("--bandwidth", type=float, default=math.inf, help="bytes per second of another network")
    options = parser.parse_args()
    if options.steps < 4:
        parser.error("--steps must be at least 4")
    return options


def words_of(options, ranks, command):
    """A command as so many processes."""
    return [*([options.mpirun, "-n", str(ranks)] if ranks > 1 else []), *map(str, command)]


def failed(words, told):
    sys.exit(f"error: {' '.join(words)}: {(told.strip().splitlines() or ['no reason'])[-1]}")


def train(options, recipe, settings, ranks=1, threads=1):
    """Median seconds of a step, and of the exchanges in it, and the bytes that came to the first process. The training
    is stopped after its steps, before any figure."""
    longer = ["train.steps=1000000", "train.schedule=constant", "train.checkpoint_every=1000000"]
    data = ["--data", options.data.resolve()] if recipe.startswith("mnist") else []
    with tempfile.TemporaryDirectory() as folder:
        metrics = pathlib.Path(folder) / "run" / "metrics.csv"
        words = [options.program, "--threads", threads, "train", recipe, "--out", metrics.parent, *settings, *data]
        words = words_of(options, ranks, [*words, *(f"--set={word}" for word in longer)])
        with tempfile.TemporaryFile("w+") as told:
            process = subprocess.Popen(words, env={**os.environ, **MPI}, stdout=subprocess.DEVNULL, stderr=told)
            while not metrics.exists() or len(metrics.read_text().splitlines()) <= options.steps:
                if process.poll() is not None:
                    told.seek(0)
                    failed(words, told.read())
                time.sleep(0.1)
            process.terminate()
            process.wait()
        with open(metrics, newline="") as file:
            rows = list(csv.DictReader(file))[1 : options.steps]
    seconds = [float(row["seconds"]) for row in rows]
    steps = [after - before for before, after in zip(seconds, seconds[1:])]
    exchanges = [[float(row[f"communication_{what}"] or 0) for row in rows[1:]] for what in ["seconds", "bytes"]]
    return [statistics.median(of) for of in [steps, *exchanges]]


def median(options, *what, **how):
    """The medians of all rounds of a training."""
    return [statistics.median(of) for of in zip(*(train(options, *what, **how) for _ in range(options.rounds)))]


def line(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def header(*names):
    line(*names)
    line(*("---" for _ in names))


def ranks(options):
    """Processes and threads, which take turns."""
    recipes = [("ising-32", ISING), ("mnist", []), ("mnist-fast", [])]
    places = [(1, 1), (1, 2), (2, 1)]
    header("recipe", "processes x threads", "seconds per step", "of these on exchanges", "bytes received", "gain")
    for recipe, settings in recipes:
        if recipe.startswith("mnist") and options.data is None:
            continue
        found = {place: [] for place in places}
        for _ in range(options.rounds):
            for place in places:
                found[place].append(train(options, recipe, settings, *place))
        medians = {place: [statistics.median(of) for of in zip(*found[place])] for place in places}
        for (size, threads), (seconds, exchanged, received) in medians.items():
            gain = medians[(1, 1)][0] / seconds
            line(recipe, f"{size} x {threads}", f"{seconds:.4g}", f"{exchanged:.2g}", f"{received:.3g}", f"{gain:.2f}")


def exchanges(options):
    """Latency and bandwidth between two processes; those of four for comparison."""
    found = {}
    header("processes", "a number of each", "sum of 1e3", "1e4", "1e5", "1e6 numbers of 32 bits", "GB/s")
    for size in [2, 4]:
        command = words_of(options, size, [options.exchange])
        done = subprocess.run(command, env={**os.environ, **MPI}, capture_output=True, text=True)
        if done.returncode != 0:
            failed(command, done.stderr)
        lines = [words.split() for words in done.stdout.splitlines() if words.startswith("ranks ")]
        seconds = {(words[2], int(words[3])): float(words[5]) for words in lines}
        latency, sums = seconds.pop(("of-each", 1)), list(seconds.values())
        bandwidth = 2 * (size - 1) / size * 4e6 / sums[-1]
        found[size] = latency, bandwidth
        line(size, *(f"{1e6 * s:.0f} us" for s in [latency, *sums]), f"{bandwidth / 1e9:.2f}")
    print(f"\n{os.cpu_count()} cores; one process exchanges nothing\n")
    return found[2]


class Model:
    """Seconds of a step, from those of two batches and the bytes of two processes."""

    def __init__(self, options, latency, bandwidth, recipe, settings, batches):
        def at(batch, size):
            return median(options, recipe, [*settings, f"--set=train.batch={batch}", f"--set=train.blocks={BLOCKS}"], size)

        small, large = batches
        self.measured, (few, _, _), (many, _, _) = {}, at(small, 1), at(large, 1)
        self.row = max(0.0, (many - few) / (large - small))
        self.serial = max(0.0, few - self.row * small)
        self.measured[1] = few
        for size in [2, 4]:
            self.measured[size], _, received = at(small, size)
            if size == 2:
                self.bytes = received / self.share(2, BLOCKS // 2)
        self.latency, self.per_byte = latency + options.latency, 1 / bandwidth + 1 / options.bandwidth

    @staticmethod
    def share(size, blocks):
        """What comes to a process that has so many blocks, in sizes of the gradient."""
        return (size - 1) / size * (blocks + 1)

    def seconds(self, size, batch, blocks=1, cores=math.inf):
        """More processes than cores take turns."""
        work = max(1.0, size / cores) * (self.serial + self.row * batch / size)
        return work + CALLS * self.latency * math.log2(size) + self.bytes * self.share(size, blocks) * self.per_byte


def model(options):
    latency, bandwidth = exchanges(options)
    models = []
    for name, recipe, settings, measured, predicted in MODELS:
        if recipe == "mnist" and options.data is None:
            continue
        models.append((name, Model(options, latency, bandwidth, recipe, settings, measured), measured[0], predicted))
    cores = os.cpu_count()
    header("model", "batch", "processes", "seconds measured", "by the model", "difference")
    for name, of, batch, _ in models:
        for size, seconds in of.measured.items():
            found = of.seconds(size, batch, BLOCKS // size, cores)
            line(name, batch, size, f"{seconds:.4g}", f"{found:.4g}", f"{100 * (found / seconds - 1):+.0f}%")
    print()
    header("model", "batch", *(f"P = {size}" for size in RANKS), "pays up to")
    for name, of, _, batches in models:
        for batch in batches:
            found = [of.seconds(size, batch) for size in RANKS if size <= batch]
            gains = (after <= PAYS * before for before, after in zip(found, found[1:]))
            most = RANKS[sum(1 for _ in itertools.takewhile(bool, gains))]
            cells = [f"{seconds:.3g}" for seconds in found] + [""] * (len(RANKS) - len(found))
            line(name, batch, *cells, most)


def main():
    options = arguments()
    if shutil.which(options.mpirun) is None:
        sys.exit(f"error: there is no {options.mpirun}")
    options.program = options.program or programs.built("cli")
    if options.question == "ranks":
        return ranks(options)
    options.exchange = options.exchange or programs.built("maflow-mpi", "exchange")
    return model(options)


if __name__ == "__main__":
    main()
