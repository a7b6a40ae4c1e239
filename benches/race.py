#!/usr/bin/env python3
"""Races maflow against models of other libraries on the same rows, and prints one table of figures against seconds."""
import argparse
import copy
import csv
import gzip
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import zuko

# What trains on a problem: contestants of this script, and commands of maflow.
RIVALS = ["zuko-maf", "zuko-nsf", "flow-matching"]
FITTED = ["flow", "maf"]
RECIPES = ["mnist-fast", "mnist-maf"]
# Learning rates that rivals choose from, each by a tenth of the time and the validation rows.
RATES = [3e-4, 1e-3, 3e-3]
LAMBDA = 1e-6
PROGRAM = pathlib.Path("target/release/maflow")
COLUMNS = ["problem", "model", "parameters", "seconds", "test nats", "standard error", "integration error"]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""Every rival standardises its rows, trains by Adam for the given minutes at the learning rate with the best
        validation figure after a tenth of the time, and is judged by its best weights on validation. maflow fits tables for the
        same minutes; a recipe of MNIST is trained as it is. Seconds are those of the training that the figure is of. Figures
        are mean negative log-likelihoods of test rows in the units of the data, of MNIST in logit space; noise of pictures is
        drawn anew by each program. Needs torch, zuko and a built maflow. Example: benches/race.py --problem two-moons --minutes
        2 --out race.csv""",
    )
    parser.add_argument("--problem", choices=["two-moons", "mnist", "table"], action="append", help="only this (may be repeated)")
    parser.add_argument("--table", type=pathlib.Path, metavar="FILE", help="a table, .npy or .csv with a line of names")
    parser.add_argument("--data", type=pathlib.Path, metavar="DIR", help="folder with the files of MNIST")
    parser.add_argument("--minutes", type=float, default=2.0, help="minutes of each training (default: 2)")
    parser.add_argument("--maflow", type=pathlib.Path, default=PROGRAM, help=f"the program (default: {PROGRAM})")
    parser.add_argument("--recipe", action="append", help=f"recipes of MNIST to train (default: {', '.join(RECIPES)})")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: one per core)")
    parser.add_argument("--seed", type=int, default=0, help="seed of rows and weights (default: 0)")
    parser.add_argument("--out", type=pathlib.Path, help="a CSV file for all validation and test figures against seconds")
    parser.add_argument("--quick", action="store_true", help="a smoke run: seconds of training, few rows")
    options = parser.parse_args()
    if options.problem is None:
        given = {"two-moons": True, "mnist": options.data, "table": options.table}
        options.problem = [problem for problem, there in given.items() if there]
    for problem, needed in [("mnist", options.data), ("table", options.table)]:
        if problem in options.problem and needed is None:
            parser.error(f"--problem {problem} needs --{'data DIR' if problem == 'mnist' else 'table FILE'}")
    if not options.maflow.is_file():
        parser.error(f"there is no {options.maflow}; build it with cargo build --release, or name another with --maflow")
    options.recipe = options.recipe or RECIPES
    options.maflow = options.maflow.resolve()
    if options.quick:
        options.minutes = min(options.minutes, 0.05)
    return options


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

    def log_jacobian(self):
        return -np.log(self.scale).sum()


def two_moons(options):
    generator = np.random.default_rng(options.seed)

    def rows(count):
        angle, upper = generator.random(count) * math.pi, generator.integers(0, 2, count)
        x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
        y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
        return np.stack([x, y], 1) + 0.1 * generator.normal(size=(count, 2))

    count = 2000 if options.quick else 20000
    few = count // 10
    return Rows({"train": rows(count), "validation": rows(few), "test": rows(few if options.quick else count // 2)})


def table(options):
    if options.table.suffix == ".npy":
        rows = np.load(options.table)
    else:
        rows = np.genfromtxt(options.table, delimiter=",", skip_header=1)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        sys.exit(f"{options.table} is no table of finite numbers with a line of names: save it as .npy, rows × columns")
    rows = np.random.default_rng(options.seed).permutation(rows)
    tenth = len(rows) // 10
    return Rows({"train": rows[2 * tenth :], "validation": rows[:tenth], "test": rows[tenth : 2 * tenth]})


def mnist(options):
    def pictures(name):
        plain = [options.data / name, options.data / f"{name}.gz"]
        path = next((path for path in plain if path.is_file()), None)
        if path is None:
            sys.exit(f"{options.data} has neither {name} nor {name}.gz")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)

    training = np.random.default_rng(options.seed).permutation(pictures("train-images-idx3-ubyte"))
    test = pictures("t10k-images-idx3-ubyte")
    if options.quick:
        training, test = training[:3000], test[:200]
    part = len(training) // 6
    return Rows({"train": training[part:], "validation": training[:part][:2000], "test": test}, pictures=True)


class FlowMatching(torch.nn.Module):
    """A velocity by a plain network of three hidden layers, learned on straight paths; ln p by fixed steps of
    Runge-Kutta."""

    def __init__(self, dim, hidden):
        super().__init__()
        sizes = [dim + 1, hidden, hidden, hidden]
        layers = [part for a, b in zip(sizes, sizes[1:]) for part in (torch.nn.Linear(a, b), torch.nn.SiLU())]
        self.net, self.dim = torch.nn.Sequential(*layers, torch.nn.Linear(hidden, dim)), dim

    def velocity(self, x, t):
        return self.net(torch.cat([x, torch.as_tensor(t, dtype=x.dtype).expand(len(x), 1)], 1))

    def loss(self, x):
        noise, t = torch.randn_like(x), torch.rand(len(x), 1)
        return ((self.velocity(t * x + (1 - t) * noise, t) - (x - noise)) ** 2).sum(1).mean()

    def rates(self, x, t, probe):
        """The velocity, and its divergence: exact up to 16 coordinates, by one probe beyond."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            v = self.velocity(x, t)
            if probe is not None:
                return v.detach(), (torch.autograd.grad((v * probe).sum(), x)[0] * probe).sum(1)
            of = lambda i: torch.autograd.grad(v[:, i].sum(), x, retain_graph=i + 1 < self.dim)[0][:, i]
            return v.detach(), sum(of(i) for i in range(self.dim))

    def log_prob(self, x, steps=32):
        # The same probes at every number of steps.
        generator = torch.Generator().manual_seed(7)
        probe = None if self.dim <= 16 else torch.randint(0, 2, x.shape, generator=generator).float() * 2 - 1
        divergence, h = torch.zeros(len(x)), -1.0 / steps
        for k in range(steps):
            t = 1 + k * h
            k1, d1 = self.rates(x, t, probe)
            k2, d2 = self.rates(x + h / 2 * k1, t + h / 2, probe)
            k3, d3 = self.rates(x + h / 2 * k2, t + h / 2, probe)
            k4, d4 = self.rates(x + h * k3, t + h, probe)
            x, divergence = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), divergence + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        return -0.5 * (x**2).sum(1) - 0.5 * self.dim * math.log(2 * math.pi) + divergence


class Zuko(torch.nn.Module):
    """A flow of zuko, by maximum likelihood."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def loss(self, x):
        return -self.flow().log_prob(x).mean()

    def log_prob(self, x):
        return self.flow().log_prob(x)


def rival(name, dim, options):
    hidden = 1024 if dim > 256 else 512 if dim > 10 else 128
    torch.manual_seed(options.seed)
    if name == "flow-matching":
        return FlowMatching(dim, 2 * hidden)
    kind = zuko.flows.MAF if name == "zuko-maf" else zuko.flows.NSF
    return Zuko(kind(dim, transforms=5, hidden_features=(hidden, hidden)))


def log_likelihoods(model, x, **how):
    with torch.no_grad():
        return torch.cat([model.log_prob(part, **how) for part in x.split(500)]).double().numpy()


def train(model, rows, rate, seconds, validations, validation, told):
    """Trains for so many seconds, with so many validations. Returns the best, at which the model is left, and its
    seconds."""
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    generator, batch = np.random.default_rng(2), min(256, len(rows.parts["train"]))
    best, state, reached = math.inf, copy.deepcopy(model.state_dict()), 0.0
    spent, interval = 0.0, seconds / validations
    due = interval
    while spent < seconds:
        start = time.perf_counter()
        index = generator.integers(0, len(rows.parts["train"]), batch)
        loss = model.loss(rows.standardised("train", index=index))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimiser.step()
        spent += time.perf_counter() - start
        if spent >= min(due, seconds):
            due += interval
            found = -log_likelihoods(model, validation).mean() - rows.log_jacobian()
            told(spent, found)
            if found < best:
                best, state, reached = found, copy.deepcopy(model.state_dict()), spent
    model.load_state_dict(state)
    return best, reached


def race_rival(problem, name, rows, options, curve):
    dim, seconds = rows.part("train", 1).shape[1], 60 * options.minutes
    validation = rows.standardised("validation", 50 if options.quick else 500)
    after = lambda rate: train(rival(name, dim, options), rows, rate, seconds / 10, 1, validation, lambda *_: None)[0]
    rate = min(RATES, key=after)
    model = rival(name, dim, options)
    told = lambda spent, found: curve.append([problem, name, spent, "validation", found])
    _, reached = train(model, rows, rate, seconds, 2 if options.quick else 10, validation, told)
    test = rows.standardised("test")
    losses = -log_likelihoods(model, test) - rows.log_jacobian()
    error = 0.0
    if name == "flow-matching":
        some = test[:500]
        error = abs(log_likelihoods(model, some).mean() - log_likelihoods(model, some, steps=16).mean())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    curve.append([problem, name, reached, "test", losses.mean()])
    return [problem, f"{name}, rate {rate:g}", parameters, reached, losses.mean(), losses.std() / len(losses) ** 0.5, error]


def maflow(options, *words):
    command = [options.maflow, "--threads", options.threads, "--seed", options.seed, *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def judged(problem, name, run, options, curve, *words):
    """The figures of a run, and its validations against seconds."""
    figures = json.loads(maflow(options, "evaluate", run, "--json", *words))
    with open(run / "metrics.csv") as file:
        metrics = list(csv.DictReader(file))
    validated = [row for row in metrics if row["validation"]]
    curve += [[problem, name, float(row["seconds"]), "validation", float(row["validation"])] for row in validated]
    seconds, nats = float(metrics[-1]["seconds"]), figures["nll_nats"]
    curve.append([problem, name, seconds, "test", nats])
    weights = run / "weights.safetensors"
    maflow(options, "export", run, "--out", weights)
    return [problem, name, numbers_of(weights), seconds, nats, figures["standard_error"], figures["integration_error"]]


def numbers_of(path):
    """Numbers in a safetensors file, but for those of the standardisation of its data."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = [tensor["shape"] for name, tensor in header.items() if not name.startswith(("__", "standardisation."))]
    return sum(math.prod(shape) for shape in shapes)


def race_fit(problem, model, rows, folder, options, curve):
    files = {name: folder / f"{problem}-{name}.npy" for name in rows.parts}
    for name, file in files.items():
        np.save(file, rows.parts[name])
    run = folder / f"{problem}-{model}"
    words = ["fit", files["train"], "--validation", files["validation"], "--test", files["test"]]
    maflow(options, *words, "--model", model, "--minutes", options.minutes, "--out", run)
    return judged(problem, f"maflow {model}", run, options, curve)


def race_recipe(problem, recipe, folder, options, curve):
    run, quick = folder / f"{problem}-{recipe}", []
    if options.quick:
        settings = ["train.steps=5", "train.schedule=constant", "train.validate_every=5", "evaluate.samples=200"]
        settings.append("train.validation_samples=200")
        quick = [word for setting in settings for word in ("--set", setting)]
    listed = maflow(options, "recipes", recipe)
    backend = ["--backend", "tch-cpu"] if "[model]" in listed or "convolutional" in listed else []
    maflow(options, *backend, "train", recipe, "--data", options.data, "--out", run, *quick)
    return judged(problem, f"maflow {recipe}", run, options, curve, "--data", options.data)


def tell(problem, name, parameters, seconds, nats, error, integration):
    """A line of the table."""
    numbers = [f"{seconds:.1f}", f"{nats:.4f}", f"{error:.2g}", f"{integration:.1g}"]
    print("| " + " | ".join([problem, name, str(parameters), *numbers]) + " |", flush=True)


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    problems = {"two-moons": two_moons, "mnist": mnist, "table": table}
    curve = []
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for problem in options.problem:
            rows = problems[problem](options)
            for name in RIVALS:
                tell(*race_rival(problem, name, rows, options, curve))
            for name in options.recipe if problem == "mnist" else []:
                tell(*race_recipe(problem, name, folder, options, curve))
            for name in FITTED if problem != "mnist" else []:
                tell(*race_fit(problem, name, rows, folder, options, curve))
    if options.out:
        with open(options.out, "w", newline="") as file:
            csv.writer(file).writerows([["problem", "model", "seconds", "rows", "nats"], *curve])


if __name__ == "__main__":
    main()
