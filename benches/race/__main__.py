"""Races maflow against models of other libraries on the same problems, and prints tables of figures against seconds."""
import argparse
import csv
import importlib
import importlib.util
import os
import pathlib
import tempfile

PROGRAM = pathlib.Path("target/release/maflow")
DENSITIES = ["two-moons", "mnist", "table"]
ENERGIES = ["phi4", "ising"]
COLUMNS = ["problem", "model", "parameters", "seconds", "nats", "standard error", "integration error"]
WEIGHED = ["effective sample size", "ln Z by importance"]


def arguments():
    parser = argparse.ArgumentParser(
        prog="benches/race",
        description=__doc__,
        epilog="""Every rival trains by Adam for the given minutes at the learning rate with the best validation figure after a
        tenth of the time, and is judged by its best weights on validation, once. Rows are standardised for it. maflow fits
        rows for the same minutes; a recipe is trained as it is. Seconds are those of the training that the figure is of, per
        thread: of rivals those of the processor without validations and compilations, of maflow those of the clock with
        validations, or of the processor where these are less. Figures of two-moons, mnist and table are
        mean negative log-likelihoods of test rows in the units of the data, of MNIST in logit space (noise of pictures is
        drawn anew by each program); of ising the divergence from the target by the exact ln Z; of phi4 the free energy, a
        bound of -ln Z. Needs torch, zuko, for phi4 bijx, and a built maflow. Example: benches/race --problem two-moons
        --minutes 2 --out race.csv""",
    )
    parser.add_argument(
        "--problem", choices=DENSITIES + ENERGIES, action="append", help="only this (may be repeated)"
    )
    parser.add_argument(
        "--table",
        type=pathlib.Path,
        metavar="PATH",
        help="a table, .npy or .csv with a line of names, or a folder with {train,validation,test}.csv.gz",
    )
    parser.add_argument("--data", type=pathlib.Path, metavar="DIR", help="folder with the files of MNIST")
    parser.add_argument("--minutes", type=float, default=2.0, help="minutes of each training (default: 2)")
    parser.add_argument("--maflow", type=pathlib.Path, default=PROGRAM, help=f"the program (default: {PROGRAM})")
    parser.add_argument("--recipe", action="append", help="recipes of MNIST or a lattice, in place of the usual ones")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of these recipes", default=[])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: one per core)")
    parser.add_argument("--seed", type=int, default=0, help="seed of rows and weights (default: 0)")
    parser.add_argument("--out", type=pathlib.Path, help="a CSV file for all validation and test figures against seconds")
    parser.add_argument("--quick", action="store_true", help="a smoke run: seconds of training, few rows")
    options = parser.parse_args()
    if options.problem is None:
        given = {"two-moons": True, "mnist": options.data, "table": options.table, "ising": True}
        given["phi4"] = importlib.util.find_spec("bijx")
        options.problem = [problem for problem in DENSITIES + ENERGIES if given[problem]]
    for problem, needed in [("mnist", options.data), ("table", options.table)]:
        if problem in options.problem and needed is None:
            parser.error(f"--problem {problem} needs --{'data DIR' if problem == 'mnist' else 'table PATH'}")
    if not options.maflow.is_file():
        parser.error(f"there is no {options.maflow}; build it with cargo build --release, or name another with --maflow")
    options.recipe = options.recipe or []
    options.maflow = options.maflow.resolve()
    if options.quick:
        options.minutes = min(options.minutes, 0.05)
    return options


def heading(columns):
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


def tell(line):
    """A line of the table."""
    figure = line.figure
    cells = [line.problem, line.name, str(line.parameters), f"{line.seconds:.1f}", f"{figure.nats:.4f}"]
    cells += [f"{figure.error:.2g}", f"{figure.integration_error:.1g}"]
    if figure.ess is not None:
        error = "" if figure.log_z_error is None else f" ± {figure.log_z_error:.2g}"
        cells += [f"{100 * figure.ess:.2g} %", f"{figure.log_z:.4f}{error}"]
    print("| " + " | ".join(cells) + " |", flush=True)


def race_density(problem, folder, options, curve):
    import contest
    import densities
    import program
    import rows

    drawn = {"two-moons": rows.two_moons, "mnist": rows.mnist, "table": rows.table}[problem](options)
    for name in densities.RIVALS:
        make = lambda rate, name=name: densities.DensityRival(name, drawn, options, rate)
        yield contest.race(problem, name, make, options, curve)
    for name in (options.recipe or program.RECIPES) if problem == "mnist" else []:
        yield program.race_recipe(problem, name, folder, options, curve)
    for name in program.FITTED if problem != "mnist" else []:
        yield program.race_fit(problem, name, drawn, folder, options, curve)


def race_energy(problem, folder, options, curve):
    import contest
    import program

    rivals = importlib.import_module(problem)
    rates = getattr(rivals, "RATES", contest.RATES)
    for name, make in rivals.makers(options).items():
        yield contest.race(problem, name, make, options, curve, rates)
    for name in options.recipe or [rivals.RECIPE]:
        yield program.race_recipe(problem, name, folder, options, curve)


def write(path, curve):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["problem", "model", "seconds", "rows", "nats"], *curve])


def main():
    options = arguments()
    # Before any library starts its threads.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import torch

    torch.set_num_threads(options.threads)
    curve = []
    with tempfile.TemporaryDirectory() as folder:
        for group, race, columns in [(DENSITIES, race_density, COLUMNS), (ENERGIES, race_energy, COLUMNS + WEIGHED)]:
            problems = [problem for problem in options.problem if problem in group]
            if problems:
                heading(columns)
            for problem in problems:
                for line in race(problem, pathlib.Path(folder), options, curve):
                    tell(line)
                    if options.out:
                        write(options.out, curve)


if __name__ == "__main__":
    main()
