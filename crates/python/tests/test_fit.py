"""Fits to tables: what comes out, of which input, and what is refused."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import Array, rows

import maflow


def test_a_fit_has_densities_samples_and_figures(flow: maflow.Flow, x: Array) -> None:
    values, errors = flow.log_prob(x, with_error=True)
    assert values.shape == errors.shape == (400,)
    assert values.dtype == np.float64
    assert np.array_equal(values, flow.log_prob(x))
    assert errors.min() >= 0.0 and errors.max() < 0.1
    figures = flow.evaluate()
    assert figures["objective"] == "nll" and figures["samples"] == 40
    assert figures["nll_nats"] == pytest.approx(-values.mean(), abs=0.5)
    assert flow.sample(7).shape == (7, 2)
    assert "x0, x1" in repr(flow) and "nll_nats" in repr(flow)
    assert (flow.dimension, flow.names, flow.given) == (2, ["x0", "x1"], [])
    assert flow.recipe["train"]["steps"] == 60


def test_the_density_integrates_to_one(flow: maflow.Flow) -> None:
    a, b = np.meshgrid(np.linspace(25, 75, 60), np.linspace(-0.5, 2.5, 80), indexing="ij")
    grid = np.stack([a.ravel(), b.ravel()], axis=1)
    cell = (a[1, 0] - a[0, 0]) * (b[0, 1] - b[0, 0])
    assert np.exp(flow.log_prob(grid)).sum() * cell == pytest.approx(1.0, abs=0.02)


def test_longer_training_beats_a_gaussian(x: Array) -> None:
    figures = maflow.Flow.fit(rows(2000), steps=600, progress=False).evaluate()
    assert figures["nll_nats"] < figures["gaussian_nll_nats"] - 5 * figures["standard_error"]


def test_base_coordinates_are_the_inverse(flow: maflow.Flow, x: Array) -> None:
    z = flow.to_base(x)
    assert z.shape == x.shape and abs(z.mean()) < 0.3
    assert np.allclose(flow.from_base(z), x, rtol=1e-3)


def test_rows_do_not_depend_on_those_beside_them(flow: maflow.Flow, x: Array) -> None:
    whole = flow.log_prob(x)
    assert np.allclose(flow.log_prob(x[5:6]), whole[5:6], atol=1e-5)


def test_samples_are_those_of_a_seed(flow: maflow.Flow) -> None:
    samples = flow.sample(20)
    assert np.array_equal(samples, flow.sample(20, seed=0))
    assert np.array_equal(samples[:5], flow.sample(5))
    assert not np.array_equal(samples, flow.sample(20, seed=1))
    assert flow.sample(0).shape == (0, 2)
    with pytest.raises(ValueError, match="n is -1"):
        flow.sample(-1)


def test_threads_change_no_bit(flow: maflow.Flow, x: Array) -> None:
    one = maflow.Flow.fit(x, steps=60, progress=False, threads=1)
    assert np.array_equal(one.log_prob(x), flow.log_prob(x))


def test_dtype_and_order_do_not_matter(flow: maflow.Flow, x: Array) -> None:
    single = x.astype(np.float32)
    expected = flow.log_prob(single.astype(np.float64))
    wide = np.empty((400, 4))
    wide[:, ::2] = single
    for same in [single, single.astype(">f4"), np.asfortranarray(single), wide[:, ::2], single.tolist()]:
        assert np.array_equal(flow.log_prob(same), expected)
    assert np.array_equal(flow.log_prob(single[::-2]), flow.log_prob(np.ascontiguousarray(single[::-2])))


def test_the_input_is_left_alone(flow: maflow.Flow, x: Array) -> None:
    before = x.copy()
    frozen = x.copy()
    frozen.flags.writeable = False
    flow.log_prob(frozen)
    maflow.Flow.fit(frozen, steps=2, progress=False)
    assert np.array_equal(before, frozen)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (np.zeros(3), r"shape \(3,\).*x.reshape\(-1, 1\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros((0, 2)), "without any numbers"),
        (np.zeros((5, 0)), "without any numbers"),
        (np.zeros((5, 2), dtype=complex), "complex"),
        (np.array([["a", "b"]]), "no numbers"),
        (np.array([[1.0, np.nan]]), "row 1, column \"x1\""),
        (np.array([[1.0, np.inf]]), "infinite|inf"),
        (np.ma.masked_array(np.zeros((2, 2)), mask=[[True, False]] * 2), "masked"),
        (np.zeros((5, 3)), "3 columns"),
    ],
)
def test_bad_rows_are_refused(flow: maflow.Flow, bad: Array, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        flow.log_prob(bad)


def test_what_has_no_density_is_refused(x: Array) -> None:
    with pytest.raises(ValueError, match="is the same in all 320 rows"):
        maflow.Flow.fit(np.hstack([x, np.ones((400, 1)) * 0.5]), steps=5, progress=False)
    with pytest.raises(ValueError, match="too few"):
        maflow.Flow.fit(x[:2], steps=5, progress=False)
    with pytest.raises(ValueError, match="both minutes and steps"):
        maflow.Flow.fit(x, steps=5, minutes=1)
    with pytest.raises(ValueError, match="minutes is 0"):
        maflow.Flow.fit(x, minutes=0)
    with pytest.raises(ValueError, match="threads is 0"):
        maflow.Flow.fit(x, steps=5, progress=False, threads=0)
    with pytest.raises(ValueError, match="did you mean `train.learning_rate`"):
        maflow.Flow.fit(x, steps=5, progress=False, recipe={"train.lerning_rate": 1.0})
    with pytest.raises(TypeError, match="callback is a int"):
        maflow.Flow.fit(x, steps=5, callback=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="made by"):
        maflow.Flow()


def test_rows_for_validation_are_a_part_or_rows(x: Array) -> None:
    for validation in [0.3, rows(50, seed=1)]:
        flow = maflow.Flow.fit(x, steps=10, validation=validation, progress=False)
        assert flow.evaluate()["samples"] == 40
    flow = maflow.Flow.fit(x, steps=10, test=rows(55, seed=1), progress=False)
    assert flow.evaluate()["samples"] == 55
    with pytest.raises(ValueError, match="validation is 1.5"):
        maflow.Flow.fit(x, steps=10, validation=1.5)


def test_conditional_densities(x: Array) -> None:
    flow = maflow.Flow.fit(x[:, 1:], given=x[:, 0], steps=60, progress=False)
    assert (flow.dimension, flow.given) == (1, ["c0"])
    values = flow.log_prob(x[:, 1:], given=x[:, 0])
    assert values.mean() > flow.log_prob(x[:, 1:], given=x[::-1, 0]).mean()
    low, high = (flow.sample(200, given=[[centre]]) for centre in (50.0, 58.0))
    assert low.shape == (200, 1) and high.mean() > low.mean()
    assert np.allclose(flow.from_base(flow.to_base(x[:, 1:], x[:, 0]), x[:, 0]), x[:, 1:], atol=1e-3)
    assert "given c0" in repr(flow)
    with pytest.raises(ValueError, match="conditional on c0"):
        flow.log_prob(x[:, 1:])
    with pytest.raises(ValueError, match="given has 5 rows, but x has 400"):
        flow.log_prob(x[:, 1:], given=x[:5, 0])
    with pytest.raises(ValueError, match="given has 5 rows, but x has 400"):
        maflow.Flow.fit(x[:, 1:], given=x[:5, 0], steps=5)


def test_a_context_where_none_belongs(flow: maflow.Flow, x: Array) -> None:
    with pytest.raises(ValueError, match="not conditional"):
        flow.log_prob(x, given=x[:, 0])


def test_weights_count(x: Array) -> None:
    weights = (x[:, 0] > 50.0).astype(float)
    flow = maflow.Flow.fit(x, weights=weights, steps=100, progress=False)
    assert (flow.sample(200)[:, 0] > 49.0).mean() > 0.8
    with pytest.raises(ValueError, match="less than nothing"):
        maflow.Flow.fit(x, weights=-weights, steps=5, progress=False)


def test_frames_with_names_and_text(x: Array) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(x, columns=["mass", "height"])
    frame["arm"] = np.where(x[:, 0] > 50.0, "right", "left")
    flow = maflow.Flow.fit(frame, given="arm", steps=60, progress=False)
    assert (flow.names, flow.given) == (["mass", "height"], ["arm"])
    values = flow.log_prob(frame)
    assert np.array_equal(values, flow.log_prob(frame[["arm", "height", "mass"]]))
    assert np.array_equal(values, flow.log_prob(x, given=frame[["arm"]]))
    right = flow.sample(100, given=pandas.DataFrame({"arm": ["right"]}))
    assert right[:, 0].mean() > 50.0
    with pytest.raises(ValueError, match="\"middle\" is not among"):
        flow.sample(1, given=pandas.DataFrame({"arm": ["middle"]}))
    with pytest.raises(ValueError, match="no column 'leg'"):
        maflow.Flow.fit(frame, given=["leg"], steps=5)
    frame.loc[3, "arm"] = None
    with pytest.raises(ValueError, match="1 of 400 values are no text"):
        maflow.Flow.fit(frame, given="arm", steps=5)


def test_integers_are_counts() -> None:
    counts = np.random.default_rng(0).poisson(20, size=(300, 2))
    flow = maflow.Flow.fit(counts, steps=30, progress=False)
    samples = flow.sample(50)
    assert np.array_equal(samples, np.round(samples))
    assert "bits_per_dim" in flow.evaluate()


def test_saved_runs_come_back(flow: maflow.Flow, x: Array, tmp_path: Path) -> None:
    path = flow.save(tmp_path / "deep" / "run")
    again = maflow.Flow.load(path)
    assert np.array_equal(again.log_prob(x), flow.log_prob(x))
    assert np.array_equal(again.sample(9), flow.sample(9))
    figures = again.evaluate()
    assert {**figures, "checkpoint": 0} == {**flow.evaluate(), "checkpoint": 0}
    with pytest.raises(FileExistsError, match="exists already"):
        flow.save(path)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["run"]


def test_pickles_and_copies_are_whole(flow: maflow.Flow, x: Array) -> None:
    for again in [pickle.loads(pickle.dumps(flow)), copy.copy(flow), copy.deepcopy(flow)]:
        assert again.path != flow.path
        assert np.array_equal(again.log_prob(x), flow.log_prob(x))
        assert {**again.evaluate(), "checkpoint": 0} == {**flow.evaluate(), "checkpoint": 0}
        assert Path(again.evaluate()["checkpoint"]).is_relative_to(again.path)


def test_a_temporary_run_goes_with_its_flow(x: Array) -> None:
    flow = maflow.Flow.fit(x, steps=2, progress=False)
    path = flow.path
    assert path.is_dir()
    del flow
    assert not path.parent.exists()


def test_a_run_of_ones_own_stays_and_resumes(x: Array, tmp_path: Path) -> None:
    out = tmp_path / "run"
    flow = maflow.Flow.fit(x, steps=20, out=out, progress=False)
    assert flow.path == out
    del flow
    longer = maflow.Flow.resume(out, set={"train.steps": 30}, progress=False)
    assert longer.recipe["train"]["steps"] == 30 and np.isfinite(longer.evaluate()["nll_nats"])
    with pytest.raises(FileExistsError, match="already holds a run"):
        maflow.Flow.fit(x, steps=20, out=out, progress=False)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a run directory"):
        maflow.Flow.load(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="not empty"):
        maflow.train("rings", set={"train.steps": 2, "train.schedule": "constant"}, out=tmp_path, progress=False)
    with pytest.raises(OSError, match="cannot read"):
        maflow.train(tmp_path / "missing.toml", progress=False)
