"""A density estimator with the interface of scikit-learn: for pipelines, searches and cross-validation.

It needs scikit-learn 1.6 or later, which ``pip install maflow[sklearn]`` brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from maflow._flow import Backend, Flow


class MongeAmpereFlow(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Density estimation by a Monge-Ampère flow.

    Parameters
    ----------
    max_steps : int, default=2000
        Gradient steps.
    precision : {"f32", "f64"}, default="f32"
        Arithmetic of the flow. Log-likelihoods are float64 either way.
    flow_steps : int, default=16
        Fixed steps of the integrator.
    recipe : mapping, default=None
        Further changes to the recipe, as of :meth:`maflow.Flow.fit`.
    threads : int, default=None
        Threads to compute with; all cores if None. Results depend on their number with ``tch-cpu`` alone.
    backend : {"ndarray", "tch-cpu", "tch-cuda"}, default="ndarray"
        Where numbers are computed, as of :meth:`maflow.Flow.fit`.
    random_state : int, RandomState instance or None, default=0
        Seed of the training. None draws a new one for every fit.

    Attributes
    ----------
    flow_ : maflow.Flow
        The flow, in the units of the data.
    n_features_in_ : int
        Columns of the data.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where the data have names.

    Examples
    --------
    >>> import numpy as np
    >>> from maflow.sklearn import MongeAmpereFlow
    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> flow = MongeAmpereFlow(max_steps=100).fit(x)
    >>> flow.score_samples(x).shape
    (300,)
    """

    def __init__(
        self,
        *,
        max_steps: int = 2000,
        precision: str = "f32",
        flow_steps: int = 16,
        recipe: Mapping[str, Any] | None = None,
        threads: int | None = None,
        backend: Backend = "ndarray",
        random_state: Any = 0,
    ) -> None:
        self.max_steps = max_steps
        self.precision = precision
        self.flow_steps = flow_steps
        self.recipe = recipe
        self.threads = threads
        self.backend = backend
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> MongeAmpereFlow:
        """Fit the density to the rows.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Rows. A tenth of them is for validation, and another for the figures of ``flow_.evaluate()``.
        y : ignored
            Pipelines pass it.
        sample_weight : array_like of shape (n_samples,), default=None
            Weight of each row, not negative.

        Returns
        -------
        MongeAmpereFlow
            Itself.

        Raises
        ------
        ValueError
            For rows that no density can be fitted to.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=4)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float64)
        if weights is not None and not weights.any():
            raise ValueError("the weights of all samples are zero; give some that are not")
        recipe = {
            "train.precision": self.precision,
            "flow.steps": self.flow_steps,
            "evaluate.steps": self.flow_steps,
            **(self.recipe or {}),
        }
        self.flow_ = Flow.fit(
            X,
            weights=weights,
            recipe=recipe,
            steps=self.max_steps,
            seed=_seed(self.random_state),
            progress=False,
            threads=self.threads,
            backend=self.backend,
        )
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """ln p of every row.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Nats, in the units of the data.
        """
        check_is_fitted(self)
        return self.flow_.log_prob(validate_data(self, X, dtype=np.float64, reset=False))

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean of ln p over the rows, which a search maximises.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Rows.
        y : ignored
            Pipelines pass it.

        Returns
        -------
        float
            Nats per row.
        """
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState instance or None, default=None
            Seed of the samples. None draws a new one for every call.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the units of the data.
        """
        check_is_fitted(self)
        return self.flow_.sample(n_samples, seed=_seed(random_state))


def _seed(random_state: Any) -> int:
    """The seed that a number is, or one drawn from a generator of scikit-learn's."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
