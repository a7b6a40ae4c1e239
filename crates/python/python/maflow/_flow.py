"""A trained flow and the ways to one: from a table, an energy, a recipe or a run on the disk."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maflow import _native
from maflow._progress import Callback, listener
from maflow._settings import settings
from maflow._table import Columns, beside, beside_rows, columns
from maflow._torch import ready
from maflow.energy import Energy

Array = NDArray[np.float64]
PathLike = str | os.PathLike[str]
Backend = Literal["ndarray", "tch-cpu", "tch-cuda"]

# The part of the rows that the library splits off for validation by its own rule.
TENTH = 0.1


@dataclass(frozen=True)
class _How:
    """How a training is made, as the extension takes it."""

    settings: list[str]
    out: str
    threads: int | None
    backend: str | None


@dataclass(frozen=True)
class _Data:
    """A table to fit, as the extension takes it."""

    rows: Columns
    validation: Columns | None
    test: Columns | None
    given: list[str]
    weights: str | None
    regression: str
    minutes: float | None
    steps: int | None
    seed: int


class Flow:
    """A probability density that was fitted: ask it for log-likelihoods, samples and figures.

    Made by :meth:`fit`, :meth:`fit_energy`, :func:`train`, :meth:`load` or :meth:`resume`. It never changes. Its
    weights are in a folder. That is a temporary one, deleted with the flow, unless ``out`` named another.

    Attributes
    ----------
    path : pathlib.Path
        The run directory.
    backend : str
        Where its numbers are computed: ``ndarray``, ``tch-cpu`` or ``tch-cuda``.
    dimension : int
        Numbers per row.
    names : list of str
        Names of the columns of a table; empty for other targets.
    given : list of str
        Names of the columns that the density is conditional on.
    recipe : dict
        The whole recipe: target, potential, flow, train, evaluate.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 20.0] + [0.0, 100.0]
    >>> flow = Flow.fit(x, steps=200, progress=False)
    >>> flow.log_prob(x).shape, flow.sample(1000).shape
    ((500,), (1000, 2))
    >>> values, errors = flow.log_prob(x, with_error=True)
    >>> bool(errors.max() < 0.01)
    True
    """

    _run: _native.Run
    _energy: Any
    _threads: int | None
    _figures: dict[str, Any] | None

    def __init__(self) -> None:
        raise TypeError("a Flow is made by Flow.fit, Flow.fit_energy, maflow.train, Flow.load or Flow.resume")

    @classmethod
    def _of(cls, run: _native.Run, threads: int | None, energy: Any) -> Flow:
        flow = object.__new__(cls)
        flow._run, flow._threads, flow._energy, flow._figures = run, threads, energy, None
        return flow

    @classmethod
    def fit(
        cls,
        x: Any,
        *,
        given: Any = None,
        weights: Any = None,
        validation: Any = TENTH,
        test: Any = None,
        regression: Literal["none", "location", "location-scale"] = "none",
        recipe: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        callback: Callback | None = None,
        progress: bool = True,
        out: PathLike | None = None,
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> Flow:
        """Fit a density to the rows of a table, by the rules of ``maflow fit``.

        Columns are checked and transformed (integers get uniform noise in [0, 1)), a potential and a training are
        chosen, and the best weights on the validation rows are kept. A tenth of the rows is set apart for the figures
        of :meth:`evaluate`, and is never trained on.

        Parameters
        ----------
        x : array_like, shape (rows, columns), or a frame of pandas or polars
            Real numbers in your units; any type and order in memory. Columns of integers are taken for counts.
        given : array_like, shape (rows,) or (rows, k), a frame, or names of columns of ``x``, optional
            What the density is to be conditional on. Text, and up to 16 different whole numbers, are categories.
        weights : array_like, shape (rows,), or the name of a column of ``x``, optional
            Weight of each row, not negative: rows are trained on in proportion to it.
        validation : float, array_like or frame
            Rows for choices during training: the part of the rows to set apart, or rows of their own with the columns
            of ``x`` and, where there are any, ``given`` and ``weights``.
        test : array_like or frame, optional
            Rows for final figures, likewise.
        regression : {"none", "location", "location-scale"}
            What of the columns a linear regression on ``given`` predicts, whose residuals the flow learns: nothing,
            their location, or their location and scale.
        recipe : mapping, optional
            Changes to the recipe that the rules write, as ``{"train.precision": "f64"}``.
        minutes : float, optional
            Approximate time to train, in minutes. If neither this nor ``steps`` is given: 2 up to 3 columns, 4 beyond.
        steps : int, optional
            Gradient steps, in place of a time. The result is then the same, bit for bit, on the same kind of processor.
        seed : int
            Seed of every random number.
        callback : callable, optional
            Called with a dict of figures after every step: ``step``, ``epoch``, ``loss`` and ``loss_error`` (nats),
            ``learning_rate``, ``gradient_norm``, ``flow_steps``, ``integration_error``, ``validation``,
            ``validation_error`` and ``latest_validation`` (nats; None where there is none), ``seconds``. Returning
            False stops the training; the flow is then what was learned so far.
        progress : bool
            Whether to show how far it is.
        out : path, optional
            The run directory to make; if left out, a temporary one that is deleted with the flow.
        threads : int, optional
            Threads to compute with; all cores if left out. Results depend on their number with ``tch-cpu`` alone.
        backend : {"ndarray", "tch-cpu", "tch-cuda"}, optional
            Where numbers are computed: by this library on the processor (``ndarray``, if left out), or by libtorch on
            the processor or an NVIDIA GPU, after :func:`maflow.setup_torch`.

        Returns
        -------
        Flow
            The density of a row, or of a row given its context.

        Raises
        ------
        ValueError
            For shapes, types, missing values, constant or repeated columns, and whatever else no density can be
            fitted to.
        OSError
            For a folder that cannot be written, or is not free.
        RuntimeError
            For a backend that cannot be used here, with the remedy.
        KeyboardInterrupt
            For Ctrl-C; with ``out`` the training can be resumed.
        """
        if minutes is not None and steps is not None:
            raise ValueError("both minutes and steps are given; give one of them")
        rows, given_names, weight_name = beside(x, given, weights)
        data = _Data(
            rows,
            _held_out(rows, validation, seed),
            _part(test, "test"),
            given_names,
            weight_name,
            regression,
            None if minutes is None else _positive("minutes", minutes),
            None if steps is None else int(_positive("steps", steps)),
            seed,
        )
        hear = listener(progress, callback)
        folder, how = _how(recipe, out, threads, backend)
        return _trained(cls, folder, how, None, progress, lambda: _native.Run.fit(data, how, hear))

    @classmethod
    def fit_energy(
        cls,
        energy: Energy,
        dim: int,
        *,
        samples: Any = None,
        scale: float | ArrayLike = 1.0,
        recipe: Mapping[str, Any] | None = None,
        steps: int | None = None,
        seed: int = 0,
        callback: Callback | None = None,
        progress: bool = True,
        out: PathLike | None = None,
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> Flow:
        """Fit a density ``exp(-energy(x)) / Z``, known by its energy and the gradient of that.

        Before anything is trained, energies are looked at where the training begins and gradients are compared with
        differences. Without samples the free energy is minimised; with samples they are learned from first.

        Parameters
        ----------
        energy : callable, or an energy of :mod:`maflow.energy`
            From points of shape (rows, dim), float64, to a pair: energies (rows,), dimensionless (divide by k_B T), and
            their gradients (rows, dim). It is called with different numbers of rows, by one thread at a time, not
            always the one that called this method. The same points must give the same numbers.
        dim : int
            Numbers per point.
        samples : array_like, shape (rows, dim), optional
            Samples of the density in your units, for instance of a short simulation. Coordinates are standardised by
            them.
        scale : float or array_like, shape (dim,)
            Size of the base density in your units, where there are no samples: its samples are ``scale * z``, z
            standard normal.
        recipe, steps, seed, callback, progress, out, threads, backend
            As of :meth:`fit`. Without ``steps`` there are 1000; with samples 4000, and 400 by free energy after them.

        Returns
        -------
        Flow
            Pickled, it leaves the energy behind: :meth:`evaluate` and :meth:`physics` need it, the rest does not.

        Raises
        ------
        ValueError
            For an energy that is not finite where the training begins, a wrong gradient (with the coordinate and both
            numbers), and results of another shape.
        TypeError
            For what cannot be called.
        Exception
            Whatever the energy raises.

        Examples
        --------
        >>> def double_well(x):
        ...     well = x[:, 0] ** 2 - 1.0
        ...     energies = well**2 + 0.5 * x[:, 1] ** 2
        ...     return energies, np.stack([4.0 * x[:, 0] * well, x[:, 1]], axis=1)
        >>> flow = Flow.fit_energy(double_well, dim=2, steps=20, progress=False)
        >>> sorted(flow.evaluate())[:3]
        ['checkpoint', 'converged', 'ess']
        """
        dim = int(_positive("dim", dim))
        sizes = np.full(dim, scale, dtype=np.float64) if np.ndim(scale) == 0 else np.asarray(scale, dtype=np.float64)
        if sizes.shape != (dim,):
            raise ValueError(f"scale has shape {sizes.shape}, but one number or ({dim},) is needed")
        table = None if samples is None else columns(samples, "samples")
        count = None if steps is None else int(_positive("steps", steps))
        hear = listener(progress, callback)
        folder, how = _how(recipe, out, threads, backend)
        scales = [float(size) for size in sizes]
        return _trained(
            cls,
            folder,
            how,
            energy,
            progress,
            lambda: _native.Run.fit_energy(energy, dim, scales, table, count, seed, how, hear),
        )

    @classmethod
    def load(
        cls,
        path: PathLike,
        *,
        energy: Energy | None = None,
        set: Mapping[str, Any] | None = None,
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> Flow:
        """Open a run directory, of this library or of the program.

        Parameters
        ----------
        path : path
            The run directory. It is only read, but for the integration step of its figures, which is kept there.
        energy : callable, optional
            The energy of a run that was trained by one of your own, for :meth:`evaluate` and :meth:`physics`.
        set : mapping, optional
            Changes to its recipe for this once, as ``{"evaluate.samples": 1000}``.
        threads : int, optional
            As of :meth:`fit`.
        backend : str, optional
            As of :meth:`fit`; that of the run if left out.

        Returns
        -------
        Flow

        Raises
        ------
        OSError
            For a folder that is no run, or a damaged file.
        ValueError
            For changes that mean nothing, or an energy that the run has no use for.
        """
        return cls._of(_opened(os.fspath(path), settings(set), energy, threads, backend), threads, energy)

    @classmethod
    def resume(
        cls,
        path: PathLike,
        *,
        energy: Energy | None = None,
        set: Mapping[str, Any] | None = None,
        callback: Callback | None = None,
        progress: bool = True,
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> Flow:
        """Go on with the training in a run directory, bit for bit as if it had not stopped.

        Parameters
        ----------
        path : path
            The run directory.
        energy : callable, optional
            The energy of a run that was trained by one of your own.
        set : mapping, optional
            Changes, as ``{"train.steps": 10_000}`` for more steps.
        callback, progress, threads
            As of :meth:`fit`.
        backend : str, optional
            As of :meth:`fit`; that of the run if left out. On another the training goes on to other bits.

        Returns
        -------
        Flow

        Raises
        ------
        OSError
            For a folder that is no run, or where another process trains.
        ValueError
            For changes that a resumed run cannot have, and an energy that is missing.
        """
        run, hear = _opened(os.fspath(path), [], energy, threads, backend), listener(progress, callback)
        how = _How(settings(set), os.fspath(path), threads, run.backend)
        return _trained(cls, None, how, energy, progress, lambda: run.resume(how, hear))

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self._run.path)

    @property
    def backend(self) -> str:
        """Where its numbers are computed."""
        return self._run.backend

    @property
    def dimension(self) -> int:
        """Numbers per row."""
        return self._run.dimension

    @property
    def names(self) -> list[str]:
        """Names of the columns of a table; empty for other targets."""
        return self._run.names

    @property
    def given(self) -> list[str]:
        """Names of the columns that the density is conditional on."""
        return self._run.given

    @property
    def recipe(self) -> dict[str, Any]:
        """The whole recipe."""
        recipe: dict[str, Any] = json.loads(self._run.recipe)
        return recipe

    @overload
    def log_prob(self, x: Any, given: Any = None, with_error: Literal[False] = False) -> Array: ...

    @overload
    def log_prob(self, x: Any, given: Any = None, *, with_error: Literal[True]) -> tuple[Array, Array]: ...

    def log_prob(self, x: Any, given: Any = None, with_error: bool = False) -> Array | tuple[Array, Array]:
        """ln p of every row, in nats and your units.

        A row's value does not depend on the rows beside it: the integration step is that of the run's figures.

        Parameters
        ----------
        x : array_like, shape (rows, columns), or a frame
            Rows; of a frame the columns are found by name.
        given : array_like, shape (rows, k) or (rows,), or a frame, optional
            The context of each row, of a conditional density; a frame ``x`` may have it too.
        with_error : bool
            Whether to return integration errors too.

        Returns
        -------
        values : ndarray, shape (rows,)
            ln p.
        errors : ndarray, shape (rows,)
            Integration errors, in nats: the most that the values would change at another integration step. Only with
            ``with_error``.

        Raises
        ------
        ValueError
            For shapes, missing values, and rows where the density is not defined.
        """
        values, errors = self._run.log_prob(columns(x, "x"), _given(given))
        return (values, errors) if with_error else values

    def to_base(self, x: Any, given: Any = None) -> Array:
        """Base coordinates of rows: standard normal as far as the flow has learned the density.

        Parameters
        ----------
        x, given
            As of :meth:`log_prob`.

        Returns
        -------
        ndarray, shape (rows, dimension)

        Raises
        ------
        ValueError
            As of :meth:`log_prob`.
        """
        return self._run.to_base(columns(x, "x"), _given(given))[0]

    def from_base(self, z: Any, given: Any = None) -> Array:
        """Rows in your units from base coordinates: the inverse of :meth:`to_base`.

        Parameters
        ----------
        z : array_like, shape (rows, dimension)
            Base coordinates.
        given
            As of :meth:`log_prob`.

        Returns
        -------
        ndarray, shape (rows, dimension)

        Raises
        ------
        ValueError
            As of :meth:`log_prob`.
        """
        return self._run.from_base(columns(z, "z"), _given(given))[0]

    def sample(self, n: int | None = None, given: Any = None, *, seed: int | None = None) -> Array:
        """Draw samples, in your units.

        Parameters
        ----------
        n : int, optional
            How many; of a conditional density how many for each row of ``given``, one if left out.
        given : array_like, shape (k,), (rows, k), or a frame, optional
            What the density is conditional on.
        seed : int, optional
            Seed of the samples. The same seed gives the same samples, and more samples begin with them. If left out,
            that of the run, which the program uses too.

        Returns
        -------
        ndarray, shape (n, dimension), or (rows * n, dimension), those of a row of ``given`` one after the other
            Rows; whole numbers where the data were.

        Raises
        ------
        ValueError
            For a missing context, or one too many.
        """
        context = _given(given)
        count = 1 if n is None else n
        if count < 0:
            raise ValueError(f"n is {n}, but must not be negative")
        if context is None:
            return self._run.sample(count, None, seed)
        labels, values = context.labels, np.repeat(context.values, count, axis=0)
        if len(values) == 0:
            return np.empty((0, self.dimension))
        return self._run.sample(len(values), Columns(context.names, values, labels), seed)

    @overload
    def sample_weighted(
        self, n: int, *, seed: int | None = None, with_error: Literal[False] = False
    ) -> tuple[Array, Array]: ...

    @overload
    def sample_weighted(
        self, n: int, *, seed: int | None = None, with_error: Literal[True]
    ) -> tuple[Array, Array, Array]: ...

    def sample_weighted(
        self, n: int, *, seed: int | None = None, with_error: bool = False
    ) -> tuple[Array, Array] | tuple[Array, Array, Array]:
        """Draw samples of the flow of an energy, with what each counts for averages over the target.

        Parameters
        ----------
        n : int
            How many.
        seed : int, optional
            As of :meth:`sample`, which draws the same samples to the integration error.
        with_error : bool
            Whether to return the integration errors of the log-weights too.

        Returns
        -------
        samples : ndarray, shape (n, dimension)
            In your units.
        log_weights : ndarray, shape (n,)
            ``-E - ln p``, in nats. The mean of their exponentials is Z; an average over the target is one over the
            samples with these exponentials as weights.
        errors : ndarray, shape (n,)
            Integration errors of the log-weights, in nats. Only with ``with_error``.

        Raises
        ------
        ValueError
            As of :meth:`physics`.

        Examples
        --------
        >>> import numpy as np, maflow
        >>> flow = maflow.Flow.fit_energy(lambda x: (0.5 * (x**2).sum(1), x), dim=2, steps=20, progress=False)
        >>> x, log_weights = flow.sample_weighted(500)
        >>> weights = np.exp(log_weights - log_weights.max())
        >>> bool(abs(np.average((x**2).sum(1), weights=weights) - 2) < 0.5)
        True
        """
        count = int(_positive("n", n))
        x, log_weights, errors, _ = self._run.weighted(count, 0, seed, listener(False, None))
        return (x, log_weights, errors) if with_error else (x, log_weights)

    def to_arviz(self, n: int = 10_000, *, chains: int = 4, seed: int | None = None) -> Any:
        """Chains of the target for ArviZ: independence Metropolis with the flow as its proposal.

        Parameters
        ----------
        n : int
            Samples of the flow, which the chains share out among them.
        chains : int
            How many chains.
        seed : int, optional
            As of :meth:`sample`.

        Returns
        -------
        arviz.InferenceData or xarray.DataTree
            ``posterior``: a variable for every column, or ``x`` of all coordinates where they have no names.
            ``sample_stats``: ``log_weight`` of the sample that a chain stands on, and ``accepted``.

        Raises
        ------
        ImportError
            Where ArviZ is not installed.
        ValueError
            As of :meth:`physics`; fewer than two samples to a chain.
        """
        import arviz

        count, chains = int(_positive("n", n)), int(_positive("chains", chains))
        if count < 2 * chains:
            raise ValueError(f"n is {count}, but must be at least twice chains, {2 * chains}")
        x, log_weights, _, walked = self._run.weighted(count, chains, seed, listener(False, None))
        steps = np.asarray(walked)
        names = self.names
        if names:
            posterior = {name: x[steps, i] for i, name in enumerate(names)}
        else:
            posterior = {"x": x[steps]}
        # The first step of a chain is where it begins.
        accepted = np.diff(steps, axis=1, prepend=-1) != 0
        groups = {"posterior": posterior, "sample_stats": {"log_weight": log_weights[steps], "accepted": accepted}}
        if hasattr(arviz, "InferenceData"):
            return arviz.from_dict(**groups)
        return arviz.from_dict(groups)

    def evaluate(self, *, progress: bool = False) -> dict[str, Any]:
        """Take the figures, with the keys of ``maflow evaluate --json``.

        Of data: ``nll_nats`` on the test rows, beside a Gaussian and independent columns (``gaussian_nll_nats``,
        ``independent_nll_nats``). Of an energy: ``free_energy_per_site``, ``ess``, ``log_z_importance`` with its error.
        Always ``standard_error``, ``integration_error`` and ``converged``.

        Parameters
        ----------
        progress : bool
            Whether to show how far it is.

        Returns
        -------
        dict
            Figures in nats per row, or per site of a lattice.

        Raises
        ------
        ValueError
            For a run whose energy was not handed in.
        OSError
            For a run whose data are gone.
        """
        if self._figures is None:
            self._figures = json.loads(self._run.report(listener(progress, None)))
        return dict(self._figures)

    def physics(
        self, *, samples: int = 10_000, chain: int = 0, leapfrog: int = 10, progress: bool = False
    ) -> dict[str, Any]:
        """What the flow of an energy says of that energy, with the keys of ``maflow physics --json``.

        Parameters
        ----------
        samples : int
            Samples of the flow.
        chain : int
            States of each chain of the hybrid Monte Carlo; 0 for none.
        leapfrog : int
            Leapfrog steps of a trajectory.
        progress : bool
            Whether to show how far it is.

        Returns
        -------
        dict
            ln Z, averages of the energy and of observables by every way they were found, autocorrelation times. Of a
            range of temperatures ``temperatures``, a list of such dicts, each with its ``temperature``.

        Raises
        ------
        ValueError
            For a target without an energy, or one whose energy was not handed in.
        """
        found: dict[str, Any] = json.loads(
            self._run.physics(int(_positive("samples", samples)), chain, leapfrog, listener(progress, None))
        )
        return found

    def save(self, path: PathLike) -> Path:
        """Copy the run directory, which the program reads and :meth:`load` opens.

        Parameters
        ----------
        path : path
            A folder that does not exist.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        FileExistsError
            For a path where something is.
        OSError
            For a folder that cannot be written.
        """
        target = Path(path)
        if target.exists():
            raise FileExistsError(f"{target} exists already; choose another folder")
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=_existing(target.absolute().parent)))
        try:
            shutil.copytree(self.path, partial / "run", ignore=shutil.ignore_patterns("lock", ".partial-*"))
            (partial / "run").rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the files of the run; an energy stays behind."""
        files = (file for file in sorted(self.path.rglob("*")) if file.is_file() and file.name != "lock")
        contents = {file.relative_to(self.path).as_posix(): file.read_bytes() for file in files}
        return {"files": contents, "threads": self._threads, "backend": self.backend, "figures": self._figures}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Write the files to a temporary run directory, and open that."""
        folder = tempfile.mkdtemp(prefix="maflow-")
        weakref.finalize(self, _remove, folder, os.getpid())
        run = Path(folder) / "run"
        for name, content in state["files"].items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
        energy = state.get("energy")
        self._threads, self._energy, self._figures = state["threads"], energy, state["figures"]
        if self._figures is not None:
            checkpoint = run / "checkpoints" / Path(self._figures["checkpoint"]).name
            self._figures = {**self._figures, "checkpoint": str(checkpoint)}
        self._run = _opened(str(run), [], energy, self._threads, state.get("backend"))

    def __deepcopy__(self, memo: dict[int, Any]) -> Flow:
        """Copy the run directory; the energy is shared."""
        copy: Flow = object.__new__(type(self))
        copy.__setstate__({**self.__getstate__(), "energy": self._energy})
        return copy

    def __copy__(self) -> Flow:
        """As a deep copy: a flow and its folder go together."""
        return self.__deepcopy__({})

    def __repr__(self) -> str:
        """Say what it is the density of, and how good it is as far as that is known."""
        columns = f" ({', '.join(self.names[:6])}{', ...' if len(self.names) > 6 else ''})" if self.names else ""
        given = f" given {', '.join(self.given)}" if self.given else ""
        return f"<maflow.Flow of {self._run.words}, {self.dimension} numbers per row{columns}{given}{self._figure()}>"

    def _figure(self) -> str:
        figures = self._figures or {}
        for key in ("nll_nats", "free_energy_per_site"):
            if key in figures:
                return f", {key} = {figures[key]:.4g} ± {figures['standard_error']:.1g}"
        return ""


def train(
    recipe: PathLike = "ising-16",
    *,
    set: Mapping[str, Any] | None = None,
    data: PathLike | None = None,
    from_run: PathLike | None = None,
    callback: Callback | None = None,
    progress: bool = True,
    out: PathLike | None = None,
    threads: int | None = None,
    backend: Backend | None = None,
) -> Flow:
    """Train a recipe, as ``maflow train`` does, to the same bits.

    Parameters
    ----------
    recipe : str or path
        One of :func:`recipes`, or a TOML file.
    set : mapping, optional
        Changes to its keys, as ``{"train.steps": 500, "target.size": 8}``.
    data : path, optional
        Folder with the files of a data set; they are fetched if left out.
    from_run : path, optional
        A run whose weights to start from.
    callback, progress, out, threads, backend
        As of :meth:`Flow.fit`; losses of lattices are per site.

    Returns
    -------
    Flow

    Raises
    ------
    ValueError
        For an unknown recipe, or keys that mean nothing.
    OSError
        For files that cannot be read, and a folder that is not free.

    Examples
    --------
    >>> short = {"train.steps": 20, "train.schedule": "constant", "evaluate.samples": 200}
    >>> flow = train("rings", set=short, progress=False)
    >>> flow.sample(5).shape
    (5, 2)
    """
    hear = listener(progress, callback)
    folder, how = _how(set, out, threads, backend)
    source, data_folder = (None if path is None else os.fspath(path) for path in (from_run, data))
    return _trained(
        Flow, folder, how, None, progress, lambda: _native.Run.train(os.fspath(recipe), source, data_folder, how, hear)
    )


def recipes() -> dict[str, str]:
    """Names of the recipes that :func:`train` knows, each with what it is.

    Returns
    -------
    dict

    Examples
    --------
    >>> list(recipes())[:3]
    ['ising-16', 'ising-8', 'ising-32']
    """
    return dict(_native.recipes())


def _trained(
    cls: type[Flow], folder: str | None, how: _How, energy: Any, progress: bool, work: Callable[[], _native.Run]
) -> Flow:
    """The flow that ``work`` trains, with its figures. A temporary folder is deleted with it, or at once on failure."""
    try:
        flow = cls._of(work(), how.threads, energy)
        # As the program does: ln p of rows is taken at the integration step of the figures.
        flow.evaluate(progress=progress)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if folder is not None:
        weakref.finalize(flow, _remove, folder, os.getpid())
    return flow


def _how(
    recipe: Mapping[str, Any] | None, out: PathLike | None, threads: int | None, backend: str | None
) -> tuple[str | None, _How]:
    changes = settings(recipe)
    ready(backend)
    if out is not None:
        return None, _How(changes, os.fspath(out), threads, backend)
    folder = tempfile.mkdtemp(prefix="maflow-")
    return folder, _How(changes, os.path.join(folder, "run"), threads, backend)


def _opened(path: str, changes: list[str], energy: Any, threads: int | None, backend: str | None) -> _native.Run:
    run = _native.Run.open(path, changes, energy, threads, backend)
    ready(run.backend)
    return run


def _remove(folder: str, owner: int) -> None:
    # A process that was forked has the flow too, but not the folder.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _given(given: Any) -> Columns | None:
    return None if given is None else beside_rows(given, "given")


def _part(rows: Any, what: str) -> Columns | None:
    return None if rows is None else columns(rows, what)


def _held_out(rows: Columns, validation: Any, seed: int) -> Columns | None:
    """Rows for validation; None for those that the library splits off itself."""
    if not isinstance(validation, (int, float)):
        return _part(validation, "validation")
    if validation == TENTH:
        return None
    count = len(rows.values)
    if not 0.0 < validation < 1.0 or not 1 <= round(count * validation) < count:
        raise ValueError(f"validation is {validation}, but must be rows, or a part of the {count} rows between 0 and 1")
    chosen = np.random.default_rng(seed).permutation(count)[: round(count * validation)]
    return Columns(rows.names, rows.values[np.sort(chosen)], rows.labels)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} is {value}, but must be positive")
    return value


__all__: Sequence[str] = ["Flow", "recipes", "train"]
