"""The program that comes with the wheel: the same bits, and runs that both read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Array, double_well

import maflow
from maflow.__main__ import main


def program(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "maflow", *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_it_runs() -> None:
    assert f"maflow {maflow.__version__}" in program("--version")
    assert "there is no recipe" in program("train", "isng-16", code=2)
    assert list(maflow.recipes())[0] in program("recipes")


def test_threads_of_openmp_sleep_unless_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maflow._native.program", lambda words: 0)
    monkeypatch.setattr("signal.signal", lambda *of: None)

    def policy() -> str | None:
        with pytest.raises(SystemExit):
            main()
        return os.environ.get("OMP_WAIT_POLICY")

    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert policy() == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    assert policy() is None
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert policy() == "PASSIVE"


@pytest.mark.skipif(shutil.which("readelf") is None, reason="there is no readelf")
def test_the_extension_leaves_thread_local_memory_to_libraries_loaded_later() -> None:
    # Little is set apart for it, and PyTorch's OpenMP among others cannot do without.
    told = subprocess.run(["readelf", "-dW", maflow._native.__file__], capture_output=True, text=True, check=True)
    assert "FLAGS" in told.stdout and "STATIC_TLS" not in told.stdout


@pytest.mark.parametrize("recipe", ["rings", "energy-1"])
def test_a_recipe_is_trained_to_the_same_bits(recipe: str, tmp_path: Path) -> None:
    changes = {
        "train.steps": 12, "train.schedule": "constant", "train.seed": 3, "train.batch": 32, "evaluate.samples": 200,
        "potential.hidden": 8, "flow.steps": 4,
    }  # fmt: skip
    flow = maflow.train(recipe, set=changes, out=tmp_path / "here", progress=False)
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    program("train", recipe, *words, "--out", tmp_path / "there")
    names = sorted(file.name for file in (tmp_path / "there" / "checkpoints").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "here" / "checkpoints").iterdir())
    weights = maflow.Flow.load(tmp_path / "there")
    assert np.array_equal(flow.sample(100), weights.sample(100))
    figures = json.loads(program("evaluate", tmp_path / "here", "--json"))
    assert figures == flow.evaluate()
    assert {**figures, "checkpoint": 0} == {**weights.evaluate(), "checkpoint": 0}


def test_a_fit_is_read_by_the_program(flow: maflow.Flow, x: Array, tmp_path: Path) -> None:
    flow.evaluate()
    run = flow.save(tmp_path / "run")
    np.save(tmp_path / "x.npy", x)
    program("score", run, tmp_path / "x.npy", "--out", tmp_path / "scores.npy")
    values, errors = flow.log_prob(x, with_error=True)
    assert np.array_equal(np.load(tmp_path / "scores.npy"), np.stack([values, errors], axis=1))
    program("sample", run, "--count", 30, "--out", tmp_path / "samples.npy")
    assert np.array_equal(np.load(tmp_path / "samples.npy"), flow.sample(30))
    figures = json.loads(program("evaluate", run, "--json"))
    assert {**figures, "checkpoint": 0} == {**flow.evaluate(), "checkpoint": 0}


def test_a_fit_of_the_program_is_read(x: Array, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", header="a,b", comments="")
    program("fit", tmp_path / "x.csv", "--minutes", 0.001, "--out", tmp_path / "run")
    flow = maflow.Flow.load(tmp_path / "run")
    assert flow.names == ["a", "b"]
    assert flow.evaluate() == json.loads(program("evaluate", tmp_path / "run", "--json"))


def test_a_fit_has_the_bits_of_the_program(x: Array, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", x)
    program("fit", tmp_path / "x.npy", "--minutes", 0.001, "--out", tmp_path / "there")
    there = maflow.Flow.load(tmp_path / "there")
    here = maflow.Flow.fit(x, steps=there.recipe["train"]["steps"], progress=False)
    assert np.array_equal(here.log_prob(x), there.log_prob(x))


def test_a_run_of_an_energy_is_sampled_and_scored_by_the_program(tmp_path: Path) -> None:
    flow = maflow.Flow.fit_energy(
        double_well, 2, scale=2.0, steps=10, recipe={"train.batch": 32}, progress=False, out=tmp_path / "run"
    )
    program("sample", tmp_path / "run", "--count", 20, "--out", tmp_path / "samples.npy")
    samples = np.load(tmp_path / "samples.npy")
    assert np.array_equal(samples, flow.sample(20).astype(samples.dtype))
    program("score", tmp_path / "run", tmp_path / "samples.npy", "--out", tmp_path / "scores.npy")
    assert np.array_equal(np.load(tmp_path / "scores.npy")[:, 0], flow.log_prob(samples))
    assert "hands to the library" in program("evaluate", tmp_path / "run", code=2)
