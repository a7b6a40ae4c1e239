"""maflow's own trainings in the race: rows fitted, and recipes as they are."""
import csv
import json
import math
import resource
import subprocess
import sys
import tomllib

import numpy as np
from contest import Figure, Line
from rows import TESTED

# Commands of maflow on rows, and its recipes of pictures.
FITTED = ["flow", "maf"]
RECIPES = ["mnist-fast", "mnist-maf"]
# Training losses of energies are told as means of so many steps.
BLOCK = 50
# Samples that their figures are of.
SAMPLES = 4000


def maflow(options, *words):
    command = [options.maflow, "--threads", options.threads, "--seed", options.seed, *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def trained(options, run, *words):
    """Trains, and returns the rows of metrics. Their seconds are those of the clock; where other programs took a part of
    the processor, they are scaled to what the whole command had of it."""
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    start = spent()
    maflow(options, *words, "--out", run)
    processor = (spent() - start) / options.threads
    with open(run / "metrics.csv") as file:
        metrics = list(csv.DictReader(file))
    scale = min(1.0, processor / float(metrics[-1]["seconds"]))
    return [{**row, "seconds": scale * float(row["seconds"])} for row in metrics]


def numbers_of(run, options):
    """Numbers in the weights of a run, but for those of the standardisation of its data."""
    path = run / "weights.safetensors"
    maflow(options, "export", run, "--out", path)
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = [tensor["shape"] for name, tensor in header.items() if not name.startswith(("__", "standardisation."))]
    return sum(math.prod(shape) for shape in shapes)


def density(problem, name, run, metrics, options, curve, *words):
    """The figures of a run of rows, and its validations against seconds."""
    found = json.loads(maflow(options, "evaluate", run, "--json", *words))
    validated = [row for row in metrics if row["validation"]]
    curve += [[problem, name, row["seconds"], "validation", float(row["validation"])] for row in validated]
    seconds, nats = metrics[-1]["seconds"], found["nll_nats"]
    curve.append([problem, name, seconds, "test", nats])
    figure = Figure(nats, found["standard_error"], found["integration_error"])
    return Line(problem, name, numbers_of(run, options), seconds, figure)


def energy(problem, name, run, metrics, options, curve, *words):
    """The figures of a run of a lattice, and its training losses against seconds, as far as they are free energies."""
    found = json.loads(maflow(options, "evaluate", run, "--json", *words))
    recipe = tomllib.loads((run / "config.toml").read_text())
    sites = recipe["target"]["size"] ** 2
    exact = found.get("exact_free_energy_per_site")
    nats = lambda per_site: sites * (per_site - (exact or 0.0))
    if recipe["train"]["objective"] != "free-energy":
        metrics = metrics[recipe["train"]["steps"] :]
    for start in range(0, len(metrics), BLOCK):
        rows = metrics[start : start + BLOCK]
        loss = np.mean([float(row["loss"]) for row in rows])
        curve.append([problem, name, rows[-1]["seconds"], "training", nats(loss)])
    seconds, figure = metrics[-1]["seconds"], nats(found["free_energy_per_site"])
    curve.append([problem, name, seconds, "test", figure])
    log_z = [found[key] for key in ("ess", "log_z_importance", "log_z_importance_error")]
    errors = sites * found["standard_error"], found["integration_error"]
    return Line(problem, name, numbers_of(run, options), seconds, Figure(figure, *errors, *log_z))


def race_fit(problem, model, rows, folder, options, curve):
    files = {name: folder / f"{problem}-{name}.npy" for name in rows.parts}
    for name, file in files.items():
        np.save(file, rows.parts[name])
    run = folder / f"{problem}-{model}"
    words = ["fit", files["train"], "--validation", files["validation"], "--test", files["test"]]
    metrics = trained(options, run, *words, "--model", model, "--minutes", options.minutes)
    return density(problem, f"maflow {model}", run, metrics, options, curve)


def race_recipe(problem, recipe, folder, options, curve):
    run = folder / f"{problem}-{recipe}"
    listed = maflow(options, "recipes", recipe)
    data = ["--data", options.data] if problem == "mnist" else []
    settings = list(options.set) if recipe in options.recipe else []
    if options.quick:
        settings += ["train.steps=5", "train.schedule=constant"]
        if "[fine_tune]" in listed:
            settings.append("fine_tune.steps=5")
        if data:
            settings += ["train.validate_every=5", "train.validation_samples=200"]
    # Those at the end of the training: the figures are made by `evaluate`.
    settings.append("evaluate.samples=100")
    words = [word for setting in settings for word in ("--set", setting)]
    backend = ["--backend", "tch-cpu"] if "[model]" in listed or "convolutional" in listed else []
    metrics = trained(options, run, *backend, "train", recipe, *data, *words)
    of, samples = (density, TESTED) if data else (energy, SAMPLES)
    tested = ["--samples", 200 if options.quick else samples]
    return of(problem, f"maflow {recipe}", run, metrics, options, curve, *data, *tested)
