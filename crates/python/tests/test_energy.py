"""Energies of one's own: checked, trained, sampled; their exceptions; compiled ones."""

import copy
import ctypes
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, double_well

import maflow


# Small enough for seconds.
SMALL = {"train.batch": 64, "flow.steps": 4, "potential.terms.1.hidden": [16, 8], "evaluate.samples": 1000}


def fitted(energy: Any = double_well, dim: int = 2, recipe: Any = None, **how: Any) -> maflow.Flow:
    recipe = {**SMALL, **(recipe or {})}
    return maflow.Flow.fit_energy(energy, dim, recipe=recipe, **{"steps": 20, "progress": False, **how})


def test_a_free_energy_bounds_ln_z() -> None:
    flow = fitted(steps=400)
    grid = np.linspace(-4, 4, 20001)
    density = np.exp(-((grid**2 - 1) ** 2))
    log_z = np.log(density.sum() * (grid[1] - grid[0])) + 0.5 * np.log(2 * np.pi)
    figures = flow.evaluate()
    assert figures["free_energy_per_site"] + 5 * figures["standard_error"] > -log_z
    assert figures["log_z_importance"] == pytest.approx(log_z, abs=5 * figures["log_z_importance_error"] + 1e-3)
    assert 0.8 < figures["ess"] <= 1.0
    exact = (density @ np.abs(grid)) / density.sum()
    assert np.abs(flow.sample(2000)[:, 0]).mean() == pytest.approx(exact, abs=0.1)
    physics = flow.physics(samples=2000)
    assert physics["target"] == "energy" and "energy_weighted" in physics


def test_weights_lead_from_the_flow_to_the_target() -> None:
    # With steps so fine that samples at the step of training are those at the step of figures.
    flow = fitted(steps=200, recipe={"flow.steps": 16})
    x, log_weights, errors = flow.sample_weighted(4000, with_error=True)
    assert x.shape == (4000, 2) and log_weights.shape == errors.shape == (4000,)
    np.testing.assert_allclose(x, flow.sample(4000), atol=1e-2)
    energies, _ = double_well(x)
    np.testing.assert_allclose(log_weights, -energies - flow.log_prob(x), atol=1e-2)
    assert 0 < errors.max() < 0.1
    grid = np.linspace(-4, 4, 20001)
    density = np.exp(-((grid**2 - 1) ** 2))
    weights = np.exp(log_weights)
    exact_z = density.sum() * (grid[1] - grid[0]) * np.sqrt(2 * np.pi)
    assert weights.mean() == pytest.approx(exact_z, abs=5 * weights.std() / np.sqrt(4000) + 1e-3)
    exact = (density @ grid**2) / density.sum()
    assert np.average(x[:, 0] ** 2, weights=weights) == pytest.approx(exact, abs=0.1)
    again = flow.sample_weighted(100, seed=5)
    assert len(again) == 2 and not np.array_equal(again[0], x[:100])
    with pytest.raises(ValueError, match="n is 0"):
        flow.sample_weighted(0)
    with pytest.raises(ValueError, match="energy"):
        maflow.Flow.fit(x[:400], steps=20, progress=False).sample_weighted(10)


def test_chains_go_to_arviz() -> None:
    arviz = pytest.importorskip("arviz")
    flow = fitted(steps=200)
    chains = flow.to_arviz(2000, chains=4)
    found = np.asarray(chains["posterior"]["x"])
    assert found.shape == (4, 500, 2)
    # Every state is a sample of the flow, and a chain stays where the target is more probable than the flow has it.
    x, log_weights = flow.sample_weighted(2000)
    assert np.isin(found, x).all()
    stats = chains["sample_stats"]
    accepted, weight = np.asarray(stats["accepted"]), np.asarray(stats["log_weight"])
    assert 0.5 < accepted.mean() < 1.0 and accepted[:, 0].all()
    assert weight.mean() > log_weights.mean()
    assert float(np.max(np.asarray(arviz.rhat(chains)["x"]))) < 1.05
    with pytest.raises(ValueError, match="at least twice chains"):
        flow.to_arviz(7, chains=4)


def test_a_scale_is_the_size_of_the_base() -> None:
    def wide(x: Array) -> tuple[Array, Array]:
        y = x / [100.0, 0.01]
        return 0.5 * np.sum(y**2, axis=1), y / [100.0, 0.01]

    flow = fitted(wide, scale=[80.0, 0.012], steps=60)
    assert flow.sample(2000).std(axis=0) == pytest.approx([100.0, 0.01], rel=0.15)
    assert flow.evaluate()["log_z_importance"] == pytest.approx(np.log(2 * np.pi), abs=0.05)
    with pytest.raises(ValueError, match=r"scale has shape \(3,\)"):
        fitted(wide, scale=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="scale"):
        fitted(wide, scale=-1.0)


def test_samples_are_learned_from_first() -> None:
    z = np.random.default_rng(0).normal(size=(1000, 2))
    samples = np.where(z[:, :1] > 0, 1.0, -1.0) + 0.35 * z[:, ::-1]
    samples[:, 1] = z[:, 1]
    flow = fitted(samples=samples, steps=100, recipe={"fine_tune.steps": 10})
    assert flow.recipe["train"]["objective"] == "flow-matching"
    assert flow.evaluate()["ess"] > 0.05
    with pytest.raises(ValueError, match="samples have 3 columns|samples has 3 columns"):
        fitted(samples=np.random.default_rng(0).normal(size=(50, 3)))


def test_a_wrong_gradient_is_told_of_with_its_coordinate() -> None:
    def wrong(x: Array) -> tuple[Array, Array]:
        energies, gradients = double_well(x)
        gradients[:, 1] *= -1.0
        return energies, gradients

    with pytest.raises(ValueError, match="its entry for x1 is"):
        fitted(wrong)


def test_an_energy_that_is_not_finite_is_told_of() -> None:
    def half(x: Array) -> tuple[Array, Array]:
        return np.where(x[:, 0] > 0, x[:, 0], np.nan), np.eye(2)[np.zeros(len(x), dtype=int)]

    with pytest.raises(ValueError, match="not finite at"):
        fitted(half)


@pytest.mark.parametrize(
    ("returned", "kind", "sentence"),
    [
        (lambda x: x[:, 0], (TypeError, ValueError), "a pair is needed|shape"),
        (lambda x: (x[:, 0], x[:, :1]), ValueError, r"gradients .* shape \[256, 1\], but \[256, 2\]"),
        (lambda x: (x, x), ValueError, r"energies .* shape \[256, 2\], but \[256\]"),
        (lambda x: None, TypeError, "a pair is needed"),
        (lambda x: ("a", "b"), ValueError, "could not convert"),
    ],
)
def test_what_an_energy_returns_is_checked(returned: Any, kind: Any, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        fitted(returned)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="which cannot be called"):
        fitted(3)
    with pytest.raises(ValueError, match="dim is 0"):
        fitted(dim=0)


def test_exceptions_come_through_as_they_were_raised() -> None:
    class Odd(Exception):
        pass

    error, calls = Odd("of the user's own"), 0

    def late(x: Array) -> tuple[Array, Array]:
        nonlocal calls
        calls += 1
        if calls > 40:
            raise error
        return double_well(x)

    with pytest.raises(Odd) as raised:
        fitted(late)
    assert raised.value is error


def test_integers_and_single_precision_are_taken() -> None:
    def single(x: Array) -> tuple[Any, Any]:
        energies, gradients = double_well(x)
        return energies.astype(np.float32), gradients.astype(np.float32).tolist()

    assert np.isfinite(fitted(single).evaluate()["free_energy_per_site"])


def test_a_pickled_flow_leaves_its_energy_behind(tmp_path: Path) -> None:
    captured = object()

    def energy(x: Array) -> tuple[Array, Array]:
        assert captured is not None
        return double_well(x)

    flow = fitted(energy, scale=2.0)
    again = pickle.loads(pickle.dumps(flow))
    assert np.array_equal(again.sample(10), flow.sample(10))
    assert np.array_equal(again.log_prob(flow.sample(10)), flow.log_prob(flow.sample(10)))
    assert again.evaluate()["free_energy_per_site"] == flow.evaluate()["free_energy_per_site"]
    with pytest.raises(ValueError, match="hands to the library"):
        again.physics()
    whole = copy.deepcopy(flow)
    loaded = maflow.Flow.load(flow.save(tmp_path / "run"), energy=energy)
    assert loaded.evaluate()["free_energy_per_site"] == flow.evaluate()["free_energy_per_site"]
    assert {**whole.physics(samples=500), "checkpoint": 0} == {**flow.physics(samples=500), "checkpoint": 0}


def test_an_energy_belongs_to_runs_of_energies(flow: maflow.Flow, tmp_path: Path) -> None:
    path = flow.save(tmp_path / "run")
    with pytest.raises(ValueError, match="takes no energy"):
        maflow.Flow.load(path, energy=double_well)
    wells = fitted().save(tmp_path / "wells")
    assert maflow.Flow.load(wells, energy=double_well).dimension == 2
    resumed = maflow.Flow.resume(wells, energy=double_well, set={"train.steps": 25}, progress=False)
    assert resumed.recipe["train"]["steps"] == 25


POINTS = ctypes.POINTER(ctypes.c_double)
SIGNATURE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t, POINTS, POINTS, POINTS, ctypes.c_void_p
)


def springs(rows: int, dim: int, x: Any, energy: Any, gradient: Any, user: int | None) -> int:
    if user == 7:
        return 42
    points = np.ctypeslib.as_array(x, shape=(rows, dim))
    np.ctypeslib.as_array(energy, shape=(rows,))[:] = 0.5 * np.sum(points**2, axis=1)
    np.ctypeslib.as_array(gradient, shape=(rows, dim))[:] = points
    return 0


def test_a_c_function_by_its_address() -> None:
    function = SIGNATURE(springs)
    flow = fitted(maflow.energy.from_cfunc(function))
    assert flow.evaluate()["free_energy_per_site"] == pytest.approx(-np.log(2 * np.pi), abs=0.05)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    with pytest.raises(RuntimeError, match="returned 42 for points of 2 numbers"):
        fitted(maflow.energy.from_cfunc(address, 7))
    with pytest.raises(ValueError, match="address is 0"):
        maflow.energy.from_cfunc(0)
    with pytest.raises(TypeError, match="has no address"):
        maflow.energy.from_cfunc("nowhere")


def test_bits_are_those_of_any_way_to_the_same_energy() -> None:
    def numpy_springs(x: Array) -> tuple[Array, Array]:
        return 0.5 * np.sum(x**2, axis=1), x

    function = SIGNATURE(springs)
    by_numpy, by_c = fitted(numpy_springs), fitted(maflow.energy.from_cfunc(function))
    assert np.array_equal(by_numpy.sample(50), by_c.sample(50))


def test_energies_are_evaluated_as_a_training_does() -> None:
    x = np.random.default_rng(0).normal(size=(6, 2))
    for found, expected in zip(maflow.energy.evaluate(double_well, x), double_well(x)):
        assert np.array_equal(found, expected)
    energies, gradients = maflow.energy.evaluate(maflow.energy.from_cfunc(SIGNATURE(springs)), x[:, ::-1])
    assert np.allclose(energies, 0.5 * np.sum(x**2, axis=1)) and np.array_equal(gradients, x[:, ::-1])
    with pytest.raises(ValueError, match=r"x has shape \(2,\), but \(rows, dim\)"):
        maflow.energy.evaluate(double_well, x[0])
    with pytest.raises(ValueError, match=r"gradients .* shape \[6\], but \[6, 2\]"):
        maflow.energy.evaluate(lambda x: (x[:, 0], x[:, 0]), x)
    with pytest.raises(ZeroDivisionError):
        maflow.energy.evaluate(lambda x: 1 // 0, x)  # type: ignore[arg-type, return-value]


def test_the_energy_of_a_recipe() -> None:
    energy = maflow.energy.of_recipe("phi4-16", set={"target.size": 4})
    x = np.random.default_rng(0).normal(size=(3, 16))
    energies, gradients = maflow.energy.evaluate(energy, x)
    step = np.zeros(16)
    step[5] = 1e-6
    difference = maflow.energy.evaluate(energy, x + step)[0] - maflow.energy.evaluate(energy, x - step)[0]
    assert energy.dim == 16 and np.allclose(gradients[:, 5], difference / 2e-6, rtol=1e-5, atol=1e-6)
    flow = fitted(energy, dim=16, recipe={"potential.terms.1.hidden": [8, 4]}, steps=5)
    assert np.isfinite(flow.evaluate()["free_energy_per_site"])
    with pytest.raises(ValueError, match="one of 16 numbers per point, not of 2"):
        maflow.energy.evaluate(energy, x[:, :2])
    with pytest.raises(ValueError, match="known by samples"):
        maflow.energy.of_recipe("two-moons")


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    energy = maflow.energy.from_torch(lambda x: (x[:, 0] ** 2 - 1) ** 2 + 0.5 * (x[:, 1:] ** 2).sum(dim=1))
    x = np.random.default_rng(0).normal(size=(5, 2))
    for found, expected in zip(energy(x), double_well(x)):
        assert np.allclose(found, expected, rtol=1e-12)
    assert np.isfinite(fitted(energy).evaluate()["free_energy_per_site"])
    with pytest.raises(ValueError, match="the energies have shape"):
        fitted(maflow.energy.from_torch(lambda x: (x**2).sum()))
    with pytest.raises(ZeroDivisionError):
        fitted(maflow.energy.from_torch(lambda x: x[:, 0] / (1 // 0)))
    del torch


def test_jax() -> None:
    jnp = pytest.importorskip("jax.numpy")
    energy = maflow.energy.from_jax(lambda x: (x[:, 0] ** 2 - 1) ** 2 + 0.5 * jnp.sum(x[:, 1:] ** 2, axis=1))
    x = np.random.default_rng(0).normal(size=(5, 2))
    for found, expected in zip(energy(x), double_well(x)):
        assert np.allclose(found, expected, rtol=1e-5)
    assert np.isfinite(fitted(energy).evaluate()["free_energy_per_site"])


def test_numba() -> None:
    numba = pytest.importorskip("numba")
    types = numba.types
    pointer = types.CPointer(types.float64)
    signature = types.intc(types.uintp, types.uintp, pointer, pointer, pointer, types.voidptr)

    @numba.cfunc(signature)  # type: ignore
    def compiled(rows: int, dim: int, x: Any, energy: Any, gradient: Any, user: Any) -> int:
        for r in range(rows):
            energy[r] = 0.0
            for i in range(dim):
                energy[r] += 0.5 * x[r * dim + i] ** 2
                gradient[r * dim + i] = x[r * dim + i]
        return 0

    flow = fitted(maflow.energy.from_cfunc(compiled, thread_safe=True))
    assert flow.evaluate()["free_energy_per_site"] == pytest.approx(-np.log(2 * np.pi), abs=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neither_points_nor_flows_pile_up() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    fitted(steps=5)
    before = resident()
    for _ in range(15):
        fitted(steps=5)
    assert resident() - before < 20e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_fits_take_no_more_memory_than_ten() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    x = np.random.default_rng(0).normal(size=(60, 2))
    recipe = {"potential.terms.1.hidden": [8, 4], "flow.steps": 2, "train.batch": 16}
    reached = []
    for _ in range(1000):
        maflow.Flow.fit(x, steps=1, recipe=recipe, progress=False)
        reached.append(resident())
    assert reached[-1] - max(reached[:100]) < 10e6
