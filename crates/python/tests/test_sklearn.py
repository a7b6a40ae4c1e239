"""The estimator among scikit-learn's own: its checks, pipelines, searches."""

import numpy as np
import pytest
from conftest import Array

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from maflow.sklearn import MongeAmpereFlow


def quick(**how: object) -> MongeAmpereFlow:
    return MongeAmpereFlow(**{"max_steps": 5, "flow_steps": 4, "precision": "f64", **how})  # type: ignore[arg-type]


EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "it fits 23 rows of 30 columns, which have no density; and rows are"
    " set apart for validation by their place, so that a row that stands there twice is no row of weight 2",
}


def test_scikit_learns_own_checks() -> None:
    results = check_estimator(quick(), expected_failed_checks=EXPECTED, on_fail=None, on_skip=None)
    failed = [f"{result['check_name']}: {result['exception']!r}" for result in results if result["status"] == "failed"]
    assert not failed, "\n".join(failed)
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(EXPECTED)
    assert sum(result["status"] == "passed" for result in results) > 40


def test_pipelines_and_searches(x: Array) -> None:
    pipeline = make_pipeline(StandardScaler(), quick())
    assert np.isfinite(pipeline.fit(x).score(x))
    assert cross_val_score(quick(), x, cv=2).shape == (2,)
    search = GridSearchCV(quick(), {"max_steps": [1, 300]}, cv=2).fit(x)
    assert search.best_params_ == {"max_steps": 300}


def test_weights_and_samples(x: Array) -> None:
    weights = (x[:, 0] > 50.0).astype(float)
    estimator = quick(max_steps=80).fit(x, sample_weight=weights)
    samples = estimator.sample(100, random_state=0)
    assert samples.shape == (100, 2) and (samples[:, 0] > 49.0).mean() > 0.7
    assert np.array_equal(samples, estimator.sample(100, random_state=0))
    assert not np.array_equal(samples, estimator.sample(100, random_state=1))
    assert estimator.score(x) == pytest.approx(estimator.score_samples(x).mean())
    assert clone(estimator).get_params() == estimator.get_params()
