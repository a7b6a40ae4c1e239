#!/usr/bin/env python3
"""Readers given input that nobody has made on purpose, by libFuzzer, on stable Rust. Prints a table of inputs and
findings."""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"
# What cargo-fuzz gives the compiler, but for the sanitizers, which stable Rust lacks: counters that tell which code an
# input has reached, and comparisons that tell what would have reached more.
COVERAGE = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
]
READERS = """csv tsv gz npy npz safetensors idx parquet mnist recipe set config metrics columns checkpoint import""".split()


def build(folder):
    """The program, with checks of overflow, for its own target, since build scripts cannot have counters."""
    words = ["cargo", "build", "--locked", "-p", "maflow-fuzz", "--features", "libfuzzer,parquet", "--target", TARGET]
    flags = {"RUSTFLAGS": " ".join(COVERAGE), "CARGO_TARGET_DIR": str(folder), "CARGO_INCREMENTAL": "0"}
    subprocess.run(words, cwd=ROOT, env=os.environ | flags, check=True)
    return folder / TARGET / "debug" / "fuzz"


def fuzz(program, reader, corpus, seconds):
    """Inputs tried, seconds, and what was found: files of inputs that ended the program."""
    corpus.mkdir(parents=True, exist_ok=True)
    findings = corpus.parent / "findings"
    findings.mkdir(exist_ok=True)
    before = set(findings.glob(f"{reader}-*"))
    # Files of an input are written to memory where there is a folder for that.
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        variables = {"MAFLOW_FUZZ": reader, "MAFLOW_FUZZ_SEEDS": str(corpus), "TMPDIR": scratch, "RUST_BACKTRACE": "1"}
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"]
        where = [f"-artifact_prefix={findings}/{reader}-", "-print_final_stats=1", str(corpus)]
        done = subprocess.run([program, *limits, *where], env=os.environ | variables, capture_output=True, text=True)
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    took = re.search(r"Done \d+ runs in (\d+) second", done.stderr)
    found = sorted(set(findings.glob(f"{reader}-*")) - before)
    if done.returncode != 0:
        print(done.stderr[-6000:], file=sys.stderr)
    return int(inputs[1]) if inputs else 0, int(took[1]) if took else None, found or ([done.returncode] if done.returncode else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(READERS)}; all where none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "fuzz", help="of the build and the corpus")
    options = parser.parse_args()
    if unknown := set(options.readers) - set(READERS):
        parser.error(f"no readers: {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
    program = build(options.folder)
    print("| reader | seconds | inputs | findings |\n|---|---|---|---|", flush=True)
    lost = 0
    for reader in options.readers or READERS:
        inputs, took, found = fuzz(program, reader, options.folder / "corpus" / reader, options.seconds)
        lost += len(found)
        print(f"| {reader} | {'-' if took is None else took} | {inputs} | {len(found)} |", flush=True)
        for finding in found:
            print(f"  found: {finding}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
