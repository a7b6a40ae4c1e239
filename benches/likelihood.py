#!/usr/bin/env python3
"""What the exact likelihood of particles costs: the closed-form Laplacian beside autograd's exact trace in PyTorch.

Both are the term `particles` at the size of the recipe `lj13`, with the same random weights and at the same points, in
32 bits, on as many threads. One evaluation is the velocity and its divergence for all rows, which a likelihood takes
four of in every step of RK4. In PyTorch the velocity is the gradient of the potential by autograd, and the divergence
the sum of n d more backward passes, all rows at a time. That both find the same numbers is checked first.

    benches/likelihood.py
    benches/likelihood.py --rows 1000 --threads 1 --repeats 5

Needs numpy, torch and cargo, which builds the example `particles` of backend-ndarray.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

PARTICLES, SPACE, CENTRES, SUMS, VECTORS, HIDDEN = 13, 3, 24, 16, 16, (64, 64)
INTERVAL, CORE = (0.4, 6.0), 0.3
ROOT = Path(__file__).resolve().parent.parent


def example() -> Path:
    """The example, built."""
    words = ["cargo", "build", "--release", "--locked", "-p", "backend-ndarray", "--example", "particles"]
    subprocess.run(words, cwd=ROOT, check=True)
    words = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    text = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return Path(json.loads(text)["target_directory"]) / "release" / "examples" / "particles"


class Particles:
    """The potential of the term `particles`, for rows of (n, d)."""

    def __init__(self, folder: Path) -> None:
        def read(name: str, *shape: int) -> torch.Tensor:
            return torch.tensor(np.fromfile(folder / f"{name}.f32", dtype=np.float32).reshape(shape))

        features, (h1, h2) = SUMS + VECTORS, HIDDEN
        self.quadratic = read("quadratic", 1)[0]
        self.radial = read("radial", 1 + features, CENTRES)
        self.weight1, self.bias1 = read("layer1.weight", h1, features), read("layer1.bias", h1)
        self.weight2, self.bias2 = read("layer2.weight", h2, h1), read("layer2.bias", h2)
        self.amplitude = read("amplitude", h2)
        low, high = (0.5 * math.log(r * r + CORE**2) for r in INTERVAL)
        self.centres = torch.linspace(low, high, CENTRES)
        self.width = 1.3 * (high - low) / (CENTRES - 1)
        self.i, self.j = torch.triu_indices(PARTICLES, PARTICLES, 1)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """phi of every row."""
        e = x[:, self.i] - x[:, self.j]
        xi = 0.5 * torch.log((e * e).sum(-1) + CORE**2)
        gaussians = torch.exp(-0.5 * ((xi[..., None] - self.centres) / self.width) ** 2)
        radial = gaussians @ self.radial.T
        pair, of_sums, of_vectors = radial.split([1, SUMS, VECTORS], -1)
        sums = x.new_zeros(len(x), PARTICLES, SUMS)
        sums = sums.index_add(1, self.i, of_sums).index_add(1, self.j, of_sums)
        along = of_vectors[..., None, :] * e[..., :, None]
        vectors = x.new_zeros(len(x), PARTICLES, SPACE, VECTORS)
        vectors = vectors.index_add(1, self.i, along).index_add(1, self.j, -along)
        features = torch.cat([sums, (vectors**2).sum(2)], -1)
        softplus = torch.nn.functional.softplus
        hidden = softplus(softplus(features @ self.weight1.T + self.bias1) @ self.weight2.T + self.bias2)
        centred = x - x.mean(1, keepdim=True)
        return 0.5 * self.quadratic * (centred**2).sum((1, 2)) + pair.sum((1, 2)) + (hidden @ self.amplitude).sum(1)

    def velocity_and_divergence(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By autograd: one backward pass for the velocity, and one for each coordinate."""
        x = x.detach().requires_grad_()
        (velocity,) = torch.autograd.grad(self.value(x).sum(), x, create_graph=True)
        flat, divergence = velocity.flatten(1), torch.zeros(len(x))
        for i in range(flat.shape[1]):
            (row,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True)
            divergence += row.flatten(1)[:, i]
        return velocity.detach(), divergence


def main() -> None:
    """Measures, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, help="the example, where it is built already")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    program = args.program or example()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        # In turns, so that a slow minute slows both.
        for turn in range(args.repeats):
            words = [program, str(args.rows), str(args.threads), "1", name]
            ours.append(float(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
            if turn == 0:
                read = lambda what: np.fromfile(Path(name) / f"{what}.f32", dtype=np.float32)  # noqa: E731
                x = torch.tensor(read("x").reshape(args.rows, PARTICLES, SPACE))
                velocity, divergence, potential = read("velocity"), read("divergence"), Particles(Path(name))
                found = potential.velocity_and_divergence(x[:8])
                for what, same, of in zip(("velocity", "divergence"), found, (velocity, divergence)):
                    known = of[: same.numel()]
                    off = np.abs(same.flatten().numpy() - known).max()
                    print(f"{what} of 8 rows: {off:.1e} apart at most, of {np.abs(known).max():.2f}")
                    if off > 1e-3 * np.abs(known).max():
                        raise SystemExit(f"the {what} of PyTorch is another: these are not the same potentials")
            start = time.perf_counter()
            potential.velocity_and_divergence(x)
            theirs.append(time.perf_counter() - start)
    closed, autograd = statistics.median(ours), statistics.median(theirs)
    print(f"velocity and divergence of {args.rows} configurations of LJ13 on {args.threads} threads")
    print(f"  medians of {args.repeats}")
    print(f"  maflow   {closed:8.4f} s  {args.rows / closed:9.0f} rows/s")
    print(f"  PyTorch  {autograd:8.4f} s  {args.rows / autograd:9.0f} rows/s  {autograd / closed:.1f} times as long")


if __name__ == "__main__":
    main()
