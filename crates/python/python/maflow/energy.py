"""Energies for :meth:`maflow.Flow.fit_energy`: functions of PyTorch, JAX and compiled code, and those of recipes.

An energy is a callable that takes points of shape (rows, dim), float64, and returns a pair: energies (rows,) and their
gradients (rows, dim). A function that is written so in NumPy needs none of this module.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maflow import _native
from maflow._settings import settings

Points = NDArray[np.float64]
Function = Callable[[Points], tuple[Any, Any]]
Energy = Function | _native.CFunction | _native.BuiltIn


def evaluate(energy: Energy, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies and gradients of points, as a training asks for them.

    Parameters
    ----------
    energy : callable, or an energy of this module
        What :meth:`maflow.Flow.fit_energy` takes.
    x : array_like, shape (rows, dim)
        Points.

    Returns
    -------
    energies : ndarray, shape (rows,)
    gradients : ndarray, shape (rows, dim)

    Raises
    ------
    ValueError
        For points or results of another shape.
    RuntimeError
        For a C function that does not return 0.
    Exception
        Whatever the energy raises.

    Examples
    --------
    >>> energies, gradients = evaluate(lambda x: (0.5 * (x**2).sum(axis=1), x), [[3.0, 4.0]])
    >>> energies.tolist(), gradients.tolist()
    ([12.5], [[3.0, 4.0]])
    """
    points = np.ascontiguousarray(x, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"x has shape {points.shape}, but (rows, dim) is needed")
    return _native.evaluate(energy, points)


def of_recipe(recipe: str, *, set: Mapping[str, Any] | None = None) -> _native.BuiltIn:
    """The energy that a recipe trains to, as the library computes it.

    Parameters
    ----------
    recipe : str
        One of :func:`maflow.recipes`, or a TOML file.
    set : mapping, optional
        Changes to its keys, as ``{"target.size": 8}``.

    Returns
    -------
    object
        An energy for :meth:`maflow.Flow.fit_energy` and :func:`evaluate`, with the attribute ``dim``.

    Raises
    ------
    ValueError
        For an unknown recipe, and one whose target is known by samples.

    Examples
    --------
    >>> energy = of_recipe("phi4-16", set={"target.size": 4})
    >>> energies, gradients = evaluate(energy, np.zeros((3, energy.dim)))
    >>> gradients.shape
    (3, 16)
    """
    return _native.BuiltIn(recipe, settings(set))


def from_torch(f: Callable[[Any], Any], *, device: Any = None, dtype: Any = None) -> Function:
    """Make an energy of a function of PyTorch, which is differentiated here.

    Parameters
    ----------
    f : callable
        From a tensor of points, shape (rows, dim), to a tensor of energies, shape (rows,). The energy of a row is to
        depend on that row alone.
    device : torch.device or str, optional
        Where points are sent; the CPU, where their memory is shared, if left out.
    dtype : torch.dtype, optional
        What points are converted to; ``torch.float64`` if left out.

    Returns
    -------
    callable
        An energy with its gradient.

    Examples
    --------
    >>> import numpy as np, torch                                                 # doctest: +SKIP
    >>> spring = from_torch(lambda x: 0.5 * (x**2).sum(dim=1))                    # doctest: +SKIP
    >>> spring(np.array([[3.0, 4.0]]))                                            # doctest: +SKIP
    (array([12.5]), array([[3., 4.]]))
    """
    import torch

    def energy(x: Points) -> tuple[Any, Any]:
        points = torch.from_numpy(x).to(device=device, dtype=dtype).requires_grad_(True)
        with torch.enable_grad():
            energies = f(points)
            if energies.shape != (len(x),):
                raise ValueError(f"the energies have shape {tuple(energies.shape)}, but ({len(x)},) is needed")
            (gradients,) = torch.autograd.grad(energies.sum(), points)
        host = {"device": "cpu", "dtype": torch.float64}
        return energies.detach().to(**host).numpy(), gradients.to(**host).numpy()

    return energy


def from_jax(f: Callable[[Any], Any]) -> Function:
    """Make an energy of a function of JAX, which is differentiated and compiled here.

    Points are in JAX's own precision: 32-bit, unless ``jax_enable_x64`` is set. It compiles once for each number of
    rows that occurs in a training; there are a few.

    Parameters
    ----------
    f : callable
        From an array of points, shape (rows, dim), to energies, shape (rows,). The energy of a row is to depend on that
        row alone.

    Returns
    -------
    callable
        An energy with its gradient.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np                                      # doctest: +SKIP
    >>> spring = from_jax(lambda x: 0.5 * jnp.sum(x**2, axis=1))                  # doctest: +SKIP
    >>> spring(np.array([[3.0, 4.0]]))                                            # doctest: +SKIP
    (array([12.5]), array([[3., 4.]]))
    """
    import jax

    def total(x: Any) -> Any:
        energies = f(x)
        return energies.sum(), energies

    compiled = jax.jit(jax.value_and_grad(total, has_aux=True))

    def energy(x: Points) -> tuple[Any, Any]:
        (_, energies), gradients = compiled(x)
        return np.asarray(energies, dtype=np.float64), np.asarray(gradients, dtype=np.float64)

    return energy


def from_cfunc(function: Any, user_data: int = 0, *, thread_safe: bool = False) -> _native.CFunction:
    """Make an energy of a compiled C function, which is called without Python.

    The signature is that of ``maflow_energy`` in the header ``maflow_energy.h`` of the library's energies::

        int (size_t rows, size_t dim, const double *x, double *energy, double *gradient, void *user)

    It writes ``rows`` energies and ``rows * dim`` derivatives, and returns 0; any other number ends the training. A
    wrong address or signature crashes the process.

    Parameters
    ----------
    function : int or object with an address
        An address, a ``numba.cfunc``, or a function pointer of ctypes. It is kept alive; what an address belongs to is
        the caller's to keep.
    user_data : int
        The address that the function gets as ``user``.
    thread_safe : bool
        Whether several threads may call it at a time.

    Returns
    -------
    object
        An energy for :meth:`maflow.Flow.fit_energy`.

    Raises
    ------
    TypeError
        For an object without an address.
    ValueError
        For the address 0.
    """
    return _native.CFunction(_address(function), user_data, thread_safe, function)


def _address(function: Any) -> int:
    if isinstance(function, int):
        return function
    if hasattr(function, "address"):
        return int(function.address)
    if isinstance(function, (ctypes._CFuncPtr, ctypes.c_void_p)):  # type: ignore[attr-defined]
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    kind = type(function).__name__
    raise TypeError(f"function is a {kind}, which has no address; give an int or a compiled function")
