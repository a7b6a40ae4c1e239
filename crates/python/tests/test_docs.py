"""The examples of the docstrings, run."""

import doctest
import importlib
from types import ModuleType

import pytest

MODULES = ["maflow", "maflow._flow", "maflow.energy", "maflow.ising_exact", "maflow.sklearn"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    if name == "maflow.sklearn":
        pytest.importorskip("sklearn")
    module: ModuleType = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
