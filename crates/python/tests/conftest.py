"""What several tests use: a small table, a flow that was fitted to it, and an energy."""

import numpy as np
import pytest
from numpy.typing import NDArray

import maflow

Array = NDArray[np.float64]


def rows(count: int = 400, seed: int = 0) -> Array:
    """A crescent in units far from 1."""
    z = np.random.default_rng(seed).normal(size=(count, 2))
    return np.stack([50.0 + 4.0 * z[:, 0], 0.1 * (z[:, 0] ** 2 + 0.5 * z[:, 1])], axis=1)


def double_well(x: Array) -> tuple[Array, Array]:
    """Two wells along the first coordinate, springs along the others."""
    well = x[:, 0] ** 2 - 1.0
    energies = well**2 + 0.5 * np.sum(x[:, 1:] ** 2, axis=1)
    return energies, np.concatenate([4.0 * (x[:, 0] * well)[:, None], x[:, 1:]], axis=1)


@pytest.fixture(scope="session")
def x() -> Array:
    return rows()


@pytest.fixture(scope="session")
def flow(x: Array) -> maflow.Flow:
    return maflow.Flow.fit(x, steps=60, progress=False)
