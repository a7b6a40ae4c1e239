"""Processes that are forked or started anew: each has threads of its own."""

import multiprocessing
import warnings

import numpy as np
import pytest
from conftest import Array, rows

import maflow


def work(seed: int) -> Array:
    x = rows(100)
    return maflow.Flow.fit(x, steps=5, seed=seed, progress=False).log_prob(x)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_fit_to_the_same_bits(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    expected = work(1)
    with warnings.catch_warnings():
        # Python 3.12 and later warn where any other thread runs, and JAX does where it was imported.
        warnings.simplefilter("ignore")
        with multiprocessing.get_context(method).Pool(2) as pool:
            found = pool.map_async(work, [1, 1]).get(timeout=60)
    assert all(np.array_equal(values, expected) for values in found)


def test_a_fork_leaves_the_folder_of_its_parent(flow: maflow.Flow) -> None:
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process = context.Process(target=flow.sample, args=(3,))
        process.start()
    process.join(30)
    assert process.exitcode == 0
    assert flow.path.is_dir()
