"""Rows of the densities to race on: two-moons, MNIST, a table."""
import gzip
import sys

import numpy as np
import torch

LAMBDA = 1e-6
# Pictures of the test file that figures are of, the first so many.
TESTED = 2000


class Rows:
    """Rows for training, validation and test; those of pictures get fresh noise and their logit whenever they are asked
    for."""

    def __init__(self, parts, pictures=False):
        self.parts, self.pictures = parts, pictures
        self.generator = np.random.default_rng(1)
        sample = self.part("train", 5000)
        self.mean, self.scale = sample.mean(0), sample.std(0)
        if pictures:
            self.scale = np.full_like(self.scale, sample.std())

    def part(self, name, most=None, index=None):
        rows = self.parts[name][index] if index is not None else self.parts[name][:most]
        if not self.pictures:
            return rows.astype(np.float64)
        y = LAMBDA + (1 - 2 * LAMBDA) * (rows + self.generator.random(rows.shape)) / 256
        return np.log(y) - np.log1p(-y)

    def standardised(self, *which, **how):
        return torch.tensor((self.part(*which, **how) - self.mean) / self.scale, dtype=torch.float32)

    def batch(self, generator, most=256):
        index = generator.integers(0, len(self.parts["train"]), min(most, len(self.parts["train"])))
        return self.standardised("train", index=index)

    def log_jacobian(self):
        return -np.log(self.scale).sum()


def two_moons(options):
    generator = np.random.default_rng(options.seed)

    def rows(count):
        angle, upper = generator.random(count) * np.pi, generator.integers(0, 2, count)
        x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
        y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
        return np.stack([x, y], 1) + 0.1 * generator.normal(size=(count, 2))

    count = 2000 if options.quick else 20000
    few = count // 10
    return Rows({"train": rows(count), "validation": rows(few), "test": rows(few if options.quick else count // 2)})


def table(options):
    """A file whose rows are split here, or a folder with the files train, validation and test. Whole numbers get uniform
    noise in [0, 1), the same for all programs."""
    generator = np.random.default_rng(options.seed)
    if options.table.is_dir():
        parts = {name: read(options.table / f"{name}.csv.gz") for name in ["train", "validation", "test"]}
    else:
        rows = generator.permutation(read(options.table))
        tenth = len(rows) // 10
        parts = {"train": rows[2 * tenth :], "validation": rows[:tenth], "test": rows[tenth : 2 * tenth]}
    whole = np.all([np.all(rows == np.round(rows), axis=0) for rows in parts.values()], axis=0)
    return Rows({name: rows + whole * generator.random(rows.shape) for name, rows in parts.items()})


def read(path):
    rows = np.load(path) if path.suffix == ".npy" else np.genfromtxt(path, delimiter=",", skip_header=1)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        sys.exit(f"{path} is no table of finite numbers with a line of names: save it as .npy, rows × columns")
    return rows


def mnist(options):
    def pictures(name):
        plain = [options.data / name, options.data / f"{name}.gz"]
        path = next((path for path in plain if path.is_file()), None)
        if path is None:
            sys.exit(f"{options.data} has neither {name} nor {name}.gz")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)

    training = np.random.default_rng(options.seed).permutation(pictures("train-images-idx3-ubyte"))
    test = pictures("t10k-images-idx3-ubyte")[:TESTED]
    if options.quick:
        training, test = training[:3000], test[:200]
    part = len(training) // 6
    return Rows({"train": training[part:], "validation": training[:part][:2000], "test": test}, pictures=True)
