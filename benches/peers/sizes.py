"""The models that maflow is measured beside: the paper's two, and those of three recipes."""
import argparse
import resource
import statistics
import time

# Numbers of a row, of rows in a batch, of integration steps, and the duration of the flow; `terms` functions of time,
# where there are any, and `times` of a batch of flow matching.
MODELS = {
    "mnist": dict(dim=784, batch=100, steps=100, duration=10.0, hidden=1024, loss="likelihood"),
    "ising": dict(dim=256, batch=64, steps=50, duration=5.0, hidden=512, side=16, loss="free energy"),
    "ising-32": dict(dim=1024, batch=256, steps=10, duration=1.0, kernels=32, side=32, terms=5, times=8, loss="matching"),
    "mnist-fast": dict(dim=784, batch=256, steps=8, duration=1.0, hidden=[1024, 512], terms=4, times=8, loss="matching"),
    "mnist-conv": dict(dim=784, batch=256, steps=10, duration=1.0, channels=[32, 64], hidden=400, terms=5, times=4, loss="matching"),
}
QUESTIONS = ["training-step", "likelihood", "sampling"]
# Of the separable term: centres, and the gain that makes bumps of half their spacing.
CENTRES, FIRST, LAST, SHARPNESS = 16, -3.0, 3.0, 2.0
GAIN = SHARPNESS * (CENTRES - 1) / (LAST - FIRST)
# Of flow matching: more of the times are near the data.
FOCUS = 0.1


def arguments(description):
    parser = argparse.ArgumentParser(
        description=description,
        epilog="""Prints median seconds after one repetition that does not count, and the peak resident memory of the process. A training
        step is loss, gradient and a step of Adam for one batch; likelihood is the loss of an integration without gradient, sampling
        the way from the base to the data alone. Batches are normal numbers. --check compares gradient and Laplacian in closed form
        with automatic differentiation in 64 bits.""",
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("question", choices=QUESTIONS, nargs="?", default="training-step")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions after the first (default: 5)")
    parser.add_argument("--threads", type=int, default=0, help="threads, where the library can be told (default: its own choice)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, where the library can be told (default: cpu)")
    parser.add_argument("--check", action="store_true", help="compare the formulas with automatic differentiation, and measure nothing")
    return parser.parse_args()


def measure(who, options, work):
    """Times `work()`, which waits until all is done, and prints one line."""
    seconds = []
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{who} {options.model} {options.question} step_s {statistics.median(seconds[1:]):.5f} peak_mib {peak:.0f}")


def checked(model, differences):
    """Prints the greatest relative differences by name, and fails where one is above round-off."""
    for name, difference in differences.items():
        print(f"{model} {name} {difference:.1e}")
        # PyTorch's softplus is a straight line beyond 20, which leaves out 2e-9.
        if not difference < 1e-8:
            raise SystemExit(f"{name} of {model} is not what differentiation gives")
