#!/usr/bin/env python3
"""Draws figures against seconds: of the race, and of all models that `results/` has metrics of."""
import argparse
import csv
import pathlib
import tomllib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "results"
# Runs whose metrics are drawn together, and what was published, in nats.
DIGITS = "mnist-made mnist-real-nvp mnist-maf mnist-maf-mixture mnist mnist-fast mnist-deep mnist-conv".split()
# arXiv:1809.10188: Table 1, and figure 4 with what it sets beside.
DIGITS_PUBLISHED = [("MADE", 1380.8), ("Real NVP", 1323.2), ("MAF", 1300.5), ("Monge-Ampère flow", 1255.5)]
ISING = ["ising-16-neural-rg", "ising-16-paper", "ising-16"]
ISING_PUBLISHED = [("Monge-Ampère flow", 5.6), ("neural RG and its family", (1.9, 2.4))]
ISING_EXACT = -2.315920858818682
# A divergence is that of so many batches.
BLOCK = 25


def metrics(run):
    with open(RESULTS / run / "metrics.csv") as file:
        return list(csv.DictReader(file))


def validations(run):
    rows = [row for row in metrics(run) if row["validation"]]
    return [float(row["seconds"]) for row in rows], [float(row["validation"]) for row in rows]


def divergences(run):
    """Means of the training loss over blocks of steps, as far as it is a free energy, over the exact value."""
    recipe = tomllib.loads((RESULTS / run / "config.toml").read_text())
    rows, sites = metrics(run), recipe["target"]["size"] ** 2
    if recipe["train"]["objective"] != "free-energy":
        rows = [row for row in rows if int(row["step"]) > recipe["train"]["steps"]]
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows) - BLOCK + 1, BLOCK)]
    nats = lambda block: sites * (sum(float(row["loss"]) for row in block) / len(block) - ISING_EXACT)
    return [float(block[-1]["seconds"]) for block in blocks], [nats(block) for block in blocks]


def axes(ylabel):
    figure, place = plt.subplots(figsize=(9, 5), layout="constrained")
    place.set(xscale="log", xlabel="seconds of training", ylabel=ylabel)
    place.grid(alpha=0.3, which="both")
    return figure, place


def save(figure, place, path):
    place.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    print(path)


def draw_models(name, runs, published, of, ylabel, limits, **scales):
    figure, place = axes(ylabel)
    with open(RESULTS / "compared" / "models.csv") as file:
        tested = {row["model"]: (float(row["seconds"]), float(row["nats"])) for row in csv.DictReader(file)}
    for index, run in enumerate(runs):
        place.plot(*of(run), label=run, marker="." if of is validations else None, color=f"C{index}")
        place.plot(*tested[run], marker="o", color=f"C{index}", markersize=8, markeredgecolor="black")
    for (label, nats), style in zip(published, ["--", "-.", ":", (0, (8, 4))]):
        if isinstance(nats, tuple):
            place.axhspan(*nats, color="grey", alpha=0.3, label=f"{label}, published")
        else:
            place.axhline(nats, color="grey", linestyle=style, linewidth=1, label=f"{label}, published")
    place.set(ylim=limits, **scales)
    save(figure, place, RESULTS / "compared" / f"{name}.png")


def draw_race(path):
    with open(path) as file:
        rows = list(csv.DictReader(file))
    problem = rows[0]["problem"]
    what = {"ising": "KL divergence, nats", "phi4": "free energy, nats"}.get(problem, "negative log-likelihood, nats")
    figure, place = axes(what)
    for index, name in enumerate(dict.fromkeys(row["model"] for row in rows)):
        of = lambda *kinds: [row for row in rows if row["model"] == name and row["rows"] in kinds]
        points = lambda rows: ([float(row["seconds"]) for row in rows], [float(row["nats"]) for row in rows])
        style = {"color": f"C{index}", "linewidth": 2 if name.startswith("maflow") else 1}
        # Without negative numbers on a logarithmic axis.
        place.plot(*points(of("validation", "training")), label=name, **style)
        place.plot(*points(of("test")), marker="o", **style)
    if problem == "ising":
        place.set(yscale="log")
    else:
        # The first figures of a training would hide what follows.
        last = [float(row["nats"]) for row in rows if row["rows"] == "test"]
        spread = max(last) - min(last)
        place.set(ylim=(min(last) - 0.1 * spread, max(last) + spread))
    lines = "validation" if all(row["rows"] != "training" for row in rows) else "validation, of maflow training batches"
    place.set_title(f"{problem}: {lines} (lines), and test (points)", fontsize="medium")
    save(figure, place, path.with_suffix(".png"))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""Without a file: results/compared/mnist.png and ising.png, of the metrics in results/ and the table
        results/compared/models.csv. With files that benches/race wrote by --out: a picture beside each. Needs
        matplotlib.""",
    )
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="CSV files of the race")
    files = parser.parse_args().files
    for path in files:
        draw_race(path)
    if not files:
        label = "negative log-likelihood in nats: validation, and test (circles)"
        draw_models("mnist", DIGITS, DIGITS_PUBLISHED, validations, label, (900, 1600))
        label = "KL divergence in nats: batches, and fresh samples (circles)"
        draw_models("ising", ISING, ISING_PUBLISHED, divergences, label, (0.02, 200), yscale="log")


if __name__ == "__main__":
    main()
