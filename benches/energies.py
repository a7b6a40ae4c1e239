#!/usr/bin/env python3
"""What a point costs by each kind of energy that Python can hand over: microseconds, medians of one run.

Every kind is the same energy, ½ |x|² with its gradient x, which is nearly nothing to compute: what is left is the way
there and back. The recipe's energy, part of the library in Rust, is another (the lattice φ⁴), and computes more. All go
through `maflow.energy.evaluate`, whose own part is in every row; kinds take turns, so that a slow minute slows all.

    benches/energies.py
    benches/energies.py --rows 64 --dim 256 --repeats 300

Needs maflow, and a C compiler; numba, torch and jax are left out where they are missing, and it says so.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import maflow
from maflow.energy import evaluate, from_cfunc, from_jax, from_torch, of_recipe

C_SOURCE = """
#include <stddef.h>
int maflow_energy(size_t rows, size_t dim, const double *x, double *energy, double *gradient, void *user) {
    (void)user;
    for (size_t r = 0; r < rows; r++, x += dim, gradient += dim) {
        energy[r] = 0.0;
        for (size_t i = 0; i < dim; i++) {
            energy[r] += 0.5 * x[i] * x[i];
            gradient[i] = x[i];
        }
    }
    return 0;
}
"""
POINTS = ctypes.POINTER(ctypes.c_double)
SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t, POINTS, POINTS, POINTS, ctypes.c_void_p)


def in_rust(dim: int) -> Any:
    """The energy of a recipe: φ⁴ on the lattice with so many sites, or a double well in the plane."""
    if dim == 2:
        return of_recipe("energy-1")
    size = math.isqrt(dim)
    if size * size != dim:
        raise ImportError(f"{dim} is no square, and the lattices of recipes are")
    return of_recipe("phi4-16", set={"target.size": size})


def in_c(dim: int) -> Any:
    """A C library by its address, as `maflow train` loads one."""
    folder = tempfile.mkdtemp(prefix="maflow-")
    source, library = Path(folder) / "springs.c", Path(folder) / "springs.so"
    source.write_text(C_SOURCE, encoding="utf-8")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return from_cfunc(ctypes.CDLL(str(library)).maflow_energy)


def in_numba(dim: int) -> Any:
    """A function that numba compiles."""
    import numba

    types = numba.types
    pointer = types.CPointer(types.float64)

    @numba.cfunc(types.intc(types.uintp, types.uintp, pointer, pointer, pointer, types.voidptr))  # type: ignore
    def springs(rows, dim, x, energy, gradient, user):  # type: ignore[no-untyped-def]
        for r in range(rows):
            energy[r] = 0.0
            for i in range(dim):
                energy[r] += 0.5 * x[r * dim + i] ** 2
                gradient[r * dim + i] = x[r * dim + i]
        return 0

    return from_cfunc(springs)


def in_ctypes(dim: int) -> Any:
    """A function of Python behind a pointer of ctypes, with NumPy inside."""

    def springs(rows: int, dim: int, x: Any, energy: Any, gradient: Any, user: Any) -> int:
        points = np.ctypeslib.as_array(x, shape=(rows, dim))
        np.ctypeslib.as_array(energy, shape=(rows,))[:] = 0.5 * np.sum(points**2, axis=1)
        np.ctypeslib.as_array(gradient, shape=(rows, dim))[:] = points
        return 0

    return from_cfunc(SIGNATURE(springs))


def in_numpy(dim: int) -> Any:
    """A callable of NumPy."""
    return lambda x: (0.5 * np.sum(x**2, axis=1), x)


def in_torch(dim: int) -> Any:
    """A function of PyTorch, by its autograd."""
    return from_torch(lambda x: 0.5 * (x**2).sum(dim=1))


def in_jax(dim: int) -> Any:
    """A function of JAX, compiled, in JAX's own 32 bits."""
    import jax.numpy as jnp

    return from_jax(lambda x: 0.5 * jnp.sum(x**2, axis=1))


KINDS: dict[str, Callable[[int], Any]] = {
    "recipe, in Rust": in_rust,
    "C library": in_c,
    "numba.cfunc": in_numba,
    "ctypes over NumPy": in_ctypes,
    "NumPy": in_numpy,
    "PyTorch": in_torch,
    "JAX": in_jax,
}


def measure(rows: int, dim: int, repeats: int) -> dict[str, list[float]]:
    """Microseconds per point of every kind, each time it was asked."""
    x = np.random.default_rng(0).normal(size=(rows, dim))
    energies = {}
    for name, make in KINDS.items():
        try:
            energies[name] = make(dim)
        except ImportError as error:
            print(f"left out: {name} ({error})")
            continue
        for _ in range(5):
            evaluate(energies[name], x)
    seconds: dict[str, list[float]] = {name: [] for name in energies}
    for _ in range(repeats):
        for name, energy in energies.items():
            start = time.perf_counter()
            evaluate(energy, x)
            seconds[name].append(time.perf_counter() - start)
    return {name: [1e6 * each / rows for each in of_kind] for name, of_kind in seconds.items()}


def main() -> None:
    """Print one table for every number of coordinates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--dim", type=int, nargs="+", default=[256, 2])
    parser.add_argument("--repeats", type=int, default=300)
    words = parser.parse_args()
    print(f"maflow {maflow.__version__}, NumPy {np.__version__}, Python {platform.python_version()}, {platform.machine()}")
    for dim in words.dim:
        print(f"\n| {words.rows} × {dim} | µs per point | quartiles |\n|---|---|---|")
        for name, micro in measure(words.rows, dim, words.repeats).items():
            low, middle, high = statistics.quantiles(micro, n=4)
            print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()
