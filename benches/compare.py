#!/usr/bin/env python3
"""Measures maflow beside the scripts it should be faster than, on this machine and in one run, and prints one table."""
import argparse
import datetime
import os
import pathlib
import statistics
import subprocess
import sys

import programs

MODELS = ["mnist", "ising", "ising-32", "mnist-fast", "mnist-conv"]
PEERS = pathlib.Path(__file__).parent / "peers"
BACKENDS = ["ndarray", "tch-cpu"]
ON_CUDA = ["tch-cuda"]
QUESTIONS = ["training-step", "likelihood", "sampling"]
LARGE_PRODUCT = """
import statistics, time, torch
torch.set_num_threads(%d)
a, b, c = torch.full((2048, 2048), 0.5), torch.full((2048, 2048), 0.25), torch.empty(2048, 2048)
seconds = []
for _ in range(11):
    start = time.perf_counter()
    torch.mm(a, b, out=c)
    seconds.append(time.perf_counter() - start)
print("libtorch large product step_s", statistics.median(seconds[1:]))
"""
LARGE_PRODUCT_ON_CUDA = """
import statistics, torch
a, b, c = (torch.randn(8192, 8192, device="cuda") for _ in range(3))
events, seconds = [torch.cuda.Event(enable_timing=True) for _ in range(2)], []
for _ in range(6):
    events[0].record()
    torch.mm(a, b, out=c)
    events[1].record()
    torch.cuda.synchronize()
    seconds.append(events[0].elapsed_time(events[1]) / 1000)
print("device step_s", statistics.median(seconds[1:]))
"""


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""Every figure comes from a process of its own: median seconds after one repetition that does not count,
        and the peak resident memory of the process. `mnist` and `ising` are the paper's models, the others recipes; the
        scripts in benches/peers do the same in PyTorch and JAX. The products of the paper's models are counted in the
        coordinates that maflow takes; the fraction is their count, divided by the seconds and by the rate of a product
        of two square matrices of 2048 rows, the better median of libtorch and the crate gemm, measured at the beginning
        and at the end of the same run. With --cuda, maflow's CUDA backend and the other programs on the first CUDA
        device, the large product of 8192 rows in 32 bits, and no memory, which each counts differently. Example:
        benches/compare.py --python ~/torch-and-jax/bin/python""",
    )
    parser.add_argument("--python", default=sys.executable, help="a python with torch and jax (default: this one)")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of every figure (default: 5)")
    parser.add_argument("--rounds", type=int, default=1, help="times that all is measured; medians are taken (default: 1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: one per core)")
    parser.add_argument("--model", choices=MODELS, action="append", help="only this model (may be repeated)")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="only this backend (may be repeated)")
    parser.add_argument("--cuda", action="store_true", help="measure a CUDA device in place of the processor")
    parser.add_argument("--program", type=pathlib.Path, help="the measuring program, where it is built already")
    parser.add_argument("--training-only", action="store_true", help="leave out likelihood and sampling")
    parser.add_argument("--ours-only", action="store_true", help="leave out the other programs")
    options = parser.parse_args()
    if options.cuda and options.backend:
        parser.error("--cuda has one backend, so that there is nothing to choose with --backend")
    options.backend = ON_CUDA if options.cuda else options.backend or BACKENDS
    return options


def ask(command, environment=None):
    """The numbers of the line that a measuring program prints, by name; None, with the reason on stderr, where it
    fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except OSError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"left out: {' '.join(map(str, command[:4]))[:100]}: {reason}", file=sys.stderr)
        return None
    words = done.stdout.strip().splitlines()[-1].split()
    return {name: float(value) for name, value in zip(words, words[1:]) if name in ("step_s", "peak_mib", "gflop")}


class Measured:
    """Figures of several rounds, by what they are of."""

    def __init__(self):
        self.figures = {}

    def add(self, key, figures):
        if figures:
            self.figures.setdefault(key, []).append(figures)

    def median(self, key, name):
        of = [figures[name] for figures in self.figures.get(key, []) if name in figures]
        return statistics.median(of) if of else None


def large_product(measured, options, program):
    if options.cuda:
        measured.add("product device", ask([options.python, "-c", LARGE_PRODUCT_ON_CUDA]))
        return
    threads = ["--threads", str(options.threads)]
    gemm = ask([program, "ndarray", "mnist", "product", *threads, "--repeats", "10"])
    measured.add("product gemm", gemm)
    measured.add("product libtorch", ask([options.python, "-c", LARGE_PRODUCT % options.threads]))


def measure(options, program):
    measured = Measured()
    threads = str(options.threads)
    if not options.cuda and options.threads < (os.cpu_count() or 1):
        # JAX has no option for it: every program gets so many cores.
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.threads]))
    for_peers = dict(os.environ, OMP_NUM_THREADS=threads)
    peers = {"in_pytorch": ["--device", "cuda"] if options.cuda else ["--threads", threads], "in_jax": []}
    if options.ours_only:
        peers = {}
    for _ in range(options.rounds):
        large_product(measured, options, program)
        for model in options.model or MODELS:
            for question in QUESTIONS[:1] if options.training_only else QUESTIONS:
                for backend in options.backend:
                    command = [program, backend, model, question, "--repeats", str(options.repeats), "--threads", threads]
                    measured.add((backend, model, question), ask(command))
                for peer, more in peers.items():
                    script = [options.python, PEERS / f"{peer}.py", model, question]
                    command = [*script, "--repeats", str(options.repeats), *more]
                    measured.add((peer, model, question), ask(command, for_peers))
        large_product(measured, options, program)
    return measured, list(peers)


def table(measured, peers, options):
    size = 2 * (8192 if options.cuda else 2048) ** 3 / 1e9
    rates = {name: measured.median(f"product {name}", "step_s") for name in ("libtorch", "gemm", "device")}
    rates = {name: size / seconds for name, seconds in rates.items() if seconds}
    rate = max(rates.values(), default=None)
    said = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
    lines = [f"large product{'' if options.cuda else f' on {options.threads} threads'}: {said}", ""]
    heads = ["model", "question", "who", "seconds", *(f"{peer} / it" for peer in peers)]
    heads += ["of the large product"] if options.cuda else ["peak MiB", "of the large product"]
    rows = []
    for model in options.model or MODELS:
        for question in QUESTIONS:
            for who in [*options.backend, *peers]:
                key = (who, model, question)
                seconds = measured.median(key, "step_s")
                if seconds is None:
                    continue
                of_peers = (measured.median((peer, model, question), "step_s") for peer in peers)
                ratios = [f"{of_peer / seconds:.2f}" if of_peer else "" for of_peer in of_peers]
                operations = measured.median(key, "gflop")
                fraction = f"{operations / seconds / rate:.0%}" if operations and rate else ""
                memory = [] if options.cuda else [f"{measured.median(key, 'peak_mib'):.0f}"]
                digits = 5 if options.cuda else 3
                rows.append([model, question, who, f"{seconds:.{digits}f}", *ratios, *memory, fraction])
    lines.append("| " + " | ".join(heads) + " |")
    lines.append("|" + "---|" * len(heads))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return f"{name}, {'AVX-512' if 'avx512f' in flags else 'AVX2' if 'avx2' in flags else 'no AVX2'}"


def device():
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown device"
    except OSError:
        return "unknown device"


def main():
    options = arguments()
    program = options.program.resolve() if options.program else programs.built("benches", "measure")
    measured, peers = measure(options, program)
    where = device() if options.cuda else processor()
    print(f"{datetime.date.today()}, {where}, {os.cpu_count()} cores, 32 bits")
    print(table(measured, peers, options))


if __name__ == "__main__":
    main()
