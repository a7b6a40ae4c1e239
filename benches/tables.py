#!/usr/bin/env python3
"""What `maflow fit` reaches on tables, beside what others reach: real sets in a folder, or densities whose entropy is
known.

    benches/tables.py real DIR          one row for each set in DIR, a folder with train, validation and test (.csv.gz)
    benches/tables.py exact             a Gaussian, a mixture and a rotated banana in 2, 10 and 50 dimensions
    benches/tables.py given             eight Gaussians, each given its number
    benches/tables.py formats           the same numbers as csv, npy and parquet; other units; another order of columns

No flag of `maflow fit` is given but the files. The yardsticks are a Gaussian of full covariance, the best mixture of 5,
15 or 40 Gaussians and a kernel density of 4000 rows, on standardised columns, chosen on the validation rows and fitted
to the training rows. Needs numpy and, for `real`, scikit-learn; for `formats` pyarrow and a program built with the
feature parquet. Figures are negative log-likelihoods in nats per row, in the units of the files.
"""

import argparse
import csv
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent


def maflow(program, *words):
    """Standard output of the program, seconds and MiB that it took."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen([program, *map(str, words)], stdout=subprocess.PIPE, stderr=told, text=True)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            told.seek(0)
            raise RuntimeError(told.read().strip().splitlines()[-1])
    return out, time.monotonic() - begin, usage.ru_maxrss / 1024


def fit(program, folder, train, **files):
    """Figures of a fit, its seconds and MiB."""
    run = pathlib.Path(folder) / f"run-{len(list(pathlib.Path(folder).iterdir()))}"
    named = [word for name, path in files.items() for word in (f"--{name}", path)]
    _, seconds, memory = maflow(program, "fit", train, *named, "--out", run)
    figures = json.loads(maflow(program, "evaluate", run, "--json")[0])
    return run, figures, seconds, memory


def line(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def with_error(figures):
    return f"{figures['nll_nats']:.3f} ± {figures['standard_error']:.3f}"


# Real sets


def read(path):
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))
    return np.array(rows[1:], dtype=float)


def yardsticks(parts):
    """Test figures of the Gaussian, the best mixture and the best kernel density; each with its noise on integers."""
    from sklearn.mixture import GaussianMixture
    from sklearn.neighbors import KernelDensity

    draw = np.random.default_rng(0)
    whole = np.all(parts[0] == np.round(parts[0]), axis=0)
    train, validation, test = (rows + whole * draw.random(rows.shape) for rows in parts)
    mean, scale = train.mean(0), train.std(0)
    train, validation, test = ((rows - mean) / scale for rows in (train, validation, test))
    jacobian = np.log(scale).sum()

    def best(models):
        return jacobian - max(models, key=lambda model: model.score_samples(validation).mean()).score_samples(test).mean()

    gaussian = best([GaussianMixture(1, random_state=0).fit(train)])
    mixture = best([GaussianMixture(k, random_state=0, reg_covar=1e-6).fit(train) for k in (5, 15, 40)])
    some = train[:4000]
    kernel = best([KernelDensity(bandwidth=width).fit(some) for width in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)])
    return gaussian, mixture, kernel


def real(program, folder, sets):
    line("set", "rows × columns", "maflow fit", "integration error", "Gaussian", "best mixture", "kernel density", "seconds", "MiB")
    line(*["---"] * 9)
    for place in sorted(path for path in pathlib.Path(folder).iterdir() if path.is_dir()):
        if sets and place.name not in sets:
            continue
        files = {part: place / f"{part}.csv.gz" for part in ("train", "validation", "test")}
        with tempfile.TemporaryDirectory() as runs:
            try:
                _, figures, seconds, memory = fit(
                    program, runs, files["train"], validation=files["validation"], test=files["test"]
                )
            except RuntimeError as refused:
                line(place.name, "", f"refused: {refused}", *[""] * 6)
                continue
        parts = [read(files[part]) for part in ("train", "validation", "test")]
        shape = f"{sum(map(len, parts))} × {parts[0].shape[1]}"
        ours = (with_error(figures), f"{figures['integration_error']:.1e}")
        others = (f"{figure:.3f}" for figure in yardsticks(parts))
        line(place.name, shape, *ours, *others, f"{seconds:.0f}", f"{memory:.0f}")


# Densities of known entropy


def rotation(n):
    return np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0]


class Gaussian:
    """Correlated, with scales from 0.1 to 10."""

    name = "Gaussian"

    def __init__(self, n):
        self.factor = rotation(n) * np.geomspace(0.1, 10, n)

    def draw(self, rows, random):
        z = random.normal(size=(rows, len(self.factor)))
        return z @ self.factor.T

    def log_density(self, x):
        z = np.linalg.solve(self.factor, x.T).T
        return -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * np.log(2 * np.pi) - np.linalg.slogdet(self.factor)[1]


class Mixture:
    """Four round Gaussians of unequal weight, three widths from the origin, and more from 10 dimensions on."""

    name = "mixture of four"

    def __init__(self, n):
        directions = np.random.default_rng(n + 1).normal(size=(4, n))
        self.centres = 3 * directions / np.linalg.norm(directions, axis=1, keepdims=True) * max(1, (n / 10) ** 0.5)
        self.weights = np.array([0.4, 0.3, 0.2, 0.1])

    def draw(self, rows, random):
        which = random.choice(4, size=rows, p=self.weights)
        return self.centres[which] + random.normal(size=(rows, self.centres.shape[1]))

    def log_density(self, x):
        squares = ((x[:, None] - self.centres) ** 2).sum(2)
        terms = np.log(self.weights) - 0.5 * squares - 0.5 * x.shape[1] * np.log(2 * np.pi)
        most = terms.max(1, keepdims=True)
        return (most + np.log(np.exp(terms - most).sum(1, keepdims=True)))[:, 0]


class Banana:
    """Pairs (u, v + u²) of normal u and v of width ½, all turned together."""

    name = "rotated banana"

    def __init__(self, n):
        self.turn = rotation(n)

    def draw(self, rows, random):
        z = random.normal(size=(rows, len(self.turn)))
        z[:, 1::2] = 0.5 * z[:, 1::2] + z[:, ::2] ** 2
        return z @ self.turn.T

    def log_density(self, x):
        z = x @ self.turn
        z[:, 1::2] = (z[:, 1::2] - z[:, ::2] ** 2) / 0.5
        n = z.shape[1]
        return -0.5 * (z**2).sum(1) - 0.5 * n * np.log(2 * np.pi) - n // 2 * np.log(0.5)


def write(path, rows, names=None):
    names = names or [f"x{i}" for i in range(rows.shape[1])]
    np.savetxt(path, rows, delimiter=",", header=",".join(names), comments="", fmt="%.17g")
    return path


def exact(program, dimensions):
    line("density", "dimensions", "maflow fit", "exact, same rows", "gap", "mean of score", "greatest error of a moment", "seconds")
    line(*["---"] * 8)
    for n in dimensions:
        for density in (Gaussian(n), Mixture(n), Banana(n)):
            with tempfile.TemporaryDirectory() as folder:
                random = np.random.default_rng(1)
                train, test = density.draw(20000, random), density.draw(5000, random)
                folder = pathlib.Path(folder)
                files = {"test": write(folder / "test.csv", test)}
                run, figures, seconds, _ = fit(program, folder, write(folder / "train.csv", train), **files)
                scores = folder / "scores.csv"
                maflow(program, "score", run, files["test"], "--out", scores)
                scored = np.loadtxt(scores, delimiter=",", skiprows=1)[:, 0]
                samples = folder / "samples.csv"
                maflow(program, "sample", run, "--count", 20000, "--out", samples)
                drawn = np.loadtxt(samples, delimiter=",", skiprows=1)
            known = -density.log_density(test)
            difference = -scored - known
            # Of the first and second moments, in standard errors of the samples'.
            moments = [np.concatenate([x, x**2], axis=1) for x in (drawn, density.draw(200000, random))]
            error = (moments[0].mean(0) - moments[1].mean(0)) / (moments[0].std(0) / len(drawn) ** 0.5)
            gap = f"{difference.mean():.3f} ± {difference.std() / len(test) ** 0.5:.3f}"
            line(
                density.name, n, with_error(figures), f"{known.mean():.3f}", gap, f"{-scored.mean():.3f}",
                f"{np.abs(error).max():.1f} σ", f"{seconds:.0f}",
            )


# Given something


def given(program):
    random = np.random.default_rng(2)

    def rows(count):
        which = random.integers(8, size=count)
        angle = which * np.pi / 4
        x = 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.3 * random.normal(size=(count, 2))
        return np.column_stack([x, which])

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        files = [write(folder / f"{part}.csv", rows(count), ["x", "y", "which"]) for part, count in (("train", 10000), ("test", 5000))]
        run = folder / "run"
        _, seconds, _ = maflow(program, "fit", files[0], "--test", files[1], "--given", "which", "--out", run)
        figures = json.loads(maflow(program, "evaluate", run, "--json")[0])
    known = 1 + np.log(2 * np.pi * 0.3**2)
    line("density", "maflow fit", "exact", "seconds")
    line(*["---"] * 4)
    line("eight Gaussians, given which", with_error(figures), f"{known:.3f}", f"{seconds:.0f}")


# Formats


def formats(program):
    import pyarrow
    import pyarrow.parquet

    random = np.random.default_rng(3)
    rows = Banana(4).draw(2000, random)
    names = [f"x{i}" for i in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write(folder / "data.csv", rows)
        np.save(folder / "data.npy", rows)
        pyarrow.parquet.write_table(pyarrow.table(dict(zip(names, rows.T))), folder / "data.parquet")
        scale = np.array([1e3, 1e-3, 60.0, 2.54])
        write(folder / "units.csv", rows * scale)
        write(folder / "order.csv", rows[:, ::-1], names[::-1])
        first, figures, _, _ = fit(program, folder, folder / "data.csv")
        recipe = (first / "config.toml").read_text()
        for kind in ("npy", "parquet"):
            mine = folder / f"{kind}.toml"
            mine.write_text(recipe.replace("data.csv", f"data.{kind}"))
            maflow(program, "train", mine, "--out", folder / kind)
            again = json.loads(maflow(program, "evaluate", folder / kind, "--json")[0])
            same = {key: value for key, value in again.items() if key != "checkpoint" and figures[key] != value}
            print(f"{kind}: {'the same bits' if not same else f'other figures: {same}'}")
        for name, jacobian in (("units", np.log(scale).sum()), ("order", 0.0)):
            other = fit(program, folder, folder / f"{name}.csv")[1]
            change = other["nll_nats"] - jacobian - figures["nll_nats"]
            print(f"{name}: {change:+.4f} nats, both ± {figures['standard_error']:.3f} on the same rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["real", "exact", "given", "formats"])
    parser.add_argument("folder", nargs="?", help="of the real sets")
    parser.add_argument("--program", default=ROOT / "target/release/maflow", help="default: the release build here")
    parser.add_argument("--sets", nargs="+", help="only these of the real sets")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 10, 50], help="of the exact densities")
    words = parser.parse_args()
    if words.what == "real":
        if words.folder is None:
            parser.error("real needs the folder of the sets")
        real(words.program, words.folder, words.sets)
    elif words.what == "exact":
        exact(words.program, words.dimensions)
    else:
        {"given": given, "formats": formats}[words.what](words.program)


if __name__ == "__main__":
    sys.exit(main())
