"""Exact results of the two-dimensional Ising model, to compare samplers and models with.

Energy ``E = -J_x sum s s' - J_y sum s s'`` over nearest neighbours, with a third direction on triangular and honeycomb
lattices, in units J = k_B = 1. Every quantity of a :func:`lattice` and of the :func:`infinite` lattice is good to a
relative 1e-12. One exception: exponentially small quantities of the infinite triangular antiferromagnet are good to
1e-13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maflow import _native
from maflow._native import Thermodynamics

__all__ = [
    "InfiniteLattice",
    "Thermodynamics",
    "critical_temperature",
    "density_of_states",
    "infinite",
    "lattice",
    "planar",
    "spontaneous_magnetisation",
]


def lattice(
    size: int,
    size_y: int | None = None,
    *,
    temperature: float | None = None,
    coupling_x: float = 1.0,
    coupling_y: float = 1.0,
    coupling_z: float | None = None,
    boundary: str = "periodic",
    shape: str = "square",
) -> Thermodynamics:
    """Exact thermodynamics of a lattice with uniform couplings.

    Parameters
    ----------
    size, size_y : int
        Sites along x and along y, from 1 to 4096; on the honeycomb, cells of two sites. ``size_y`` is ``size`` if left
        out.
    temperature : float, optional
        T in units of J / k_B; that of the infinite lattice's transition if left out.
    coupling_x, coupling_y : float
        J_x and J_y, of either sign.
    coupling_z : float, optional
        That of the third direction, 1 if left out: of a triangular lattice between (x + 1, y) and (x, y + 1), of a
        honeycomb in a cell.
    boundary : str
        ``periodic``, ``open``, ``cylinder`` (open along y), ``antiperiodic`` (along x), ``doubly-antiperiodic`` or
        ``antiperiodic-cylinder``.
    shape : str
        ``square``, ``triangular`` or ``honeycomb``.

    Returns
    -------
    Thermodynamics
        With the attributes ``sites``, ``temperature``, ``beta``, ``ln_z`` (of the whole lattice),
        ``free_energy_per_site``, ``energy_per_site``, ``entropy_per_site``, ``specific_heat_per_site``; and of the
        formulation with continuous variables ``alpha``, ``log_det_k`` and ``continuous_free_energy_per_site``, the
        ``-ln Z / N`` that flows are compared with (None but for the square lattice).

    Raises
    ------
    ValueError
        For sizes, temperatures and couplings out of range, and large frustrated lattices that are too cold.

    Examples
    --------
    >>> exact = lattice(16)
    >>> round(exact.continuous_free_energy_per_site, 12)
    -2.315920858819
    >>> frustrated = lattice(12, shape="triangular", coupling_x=-1, coupling_y=-1, coupling_z=-1, temperature=0.1)
    >>> round(frustrated.energy_per_site, 12)
    -1.0
    """
    if temperature is None:
        temperature = critical_temperature(coupling_x, coupling_y, coupling_z, shape=shape)
        if temperature == 0.0:
            raise ValueError("these couplings have no critical temperature to take by default: give a temperature")
    sides = (size, size if size_y is None else size_y)
    couplings = _couplings(coupling_x, coupling_y, coupling_z, shape)
    if len(couplings) == 2:
        return _native.lattice(sides, temperature, couplings, boundary)
    return _native.three_way(shape, sides, temperature, couplings, boundary)


def _couplings(
    coupling_x: float, coupling_y: float, coupling_z: float | None, shape: str
) -> tuple[float, float] | tuple[float, float, float]:
    """Two couplings of a square lattice, three of another."""
    if shape != "square":
        return coupling_x, coupling_y, 1.0 if coupling_z is None else coupling_z
    if coupling_z is not None:
        raise ValueError('a square lattice has no third direction: leave out coupling_z, or give shape="triangular"')
    return coupling_x, coupling_y


def planar(
    size_x: int,
    size_y: int,
    along_x: ArrayLike,
    along_y: ArrayLike,
    *,
    temperature: float,
    cylinder: bool = False,
    diagonals: ArrayLike | None = None,
) -> Thermodynamics:
    """Exact thermodynamics of a lattice with a coupling of its own for every bond.

    Parameters
    ----------
    size_x, size_y : int
        Sites along x and along y.
    along_x : array_like, shape (size_y, size_x - 1), or (size_y, size_x) for a cylinder
        Couplings between (x, y) and (x + 1, y).
    along_y : array_like, shape (size_y - 1, size_x)
        Couplings between (x, y) and (x, y + 1).
    temperature : float
        T in units of J / k_B.
    cylinder : bool
        Whether it is closed along x.
    diagonals : array_like, shape (size_y - 1, size_x - 1), or (size_y - 1, size_x) for a cylinder, optional
        Couplings between (x + 1, y) and (x, y + 1).

    Returns
    -------
    Thermodynamics
        As of :func:`lattice`; the quantities of the continuous formulation are None.

    Raises
    ------
    ValueError
        For couplings of another number, and where fewer than nine digits can be had.

    Examples
    --------
    >>> one = planar(3, 2, [[1, 1], [1, 1]], [[1, 1, 1]], temperature=2.0)
    >>> abs(one.ln_z - lattice(3, 2, temperature=2.0, boundary="open").ln_z) < 1e-12
    True
    """
    bonds = [np.asarray(bonds, dtype=np.float64).ravel().tolist() for bonds in (along_x, along_y)]
    across = None if diagonals is None else np.asarray(diagonals, dtype=np.float64).ravel().tolist()
    return _native.planar((size_x, size_y), bonds[0], bonds[1], across, temperature, cylinder)


def density_of_states(
    size: int,
    size_y: int | None = None,
    *,
    coupling_x: float = 1.0,
    coupling_y: float = 1.0,
    boundary: str = "periodic",
) -> tuple[NDArray[np.float64], list[int]]:
    """Energies of a closed lattice and the exact numbers of their configurations.

    Parameters
    ----------
    size, size_y : int
        Sites along x and along y, up to 4096 in all.
    coupling_x, coupling_y : float
        J_x and J_y, of the same absolute value.
    boundary : str
        ``periodic``, ``antiperiodic`` or ``doubly-antiperiodic``.

    Returns
    -------
    energies : ndarray, shape (levels,)
        From the ground state upwards.
    counts : list of int
        Numbers of configurations, exact.

    Raises
    ------
    ValueError
        For open boundaries, different couplings and lattices that are too large.

    Examples
    --------
    >>> energies, counts = density_of_states(4)
    >>> energies[:3].tolist(), counts[:3], sum(counts) == 2**16
    ([-32.0, -24.0, -20.0], [2, 32, 64], True)
    """
    sides = (size, size if size_y is None else size_y)
    energies, counts = _native.density_of_states(sides, (coupling_x, coupling_y), boundary)
    return energies, [int(count) for count in counts]


@dataclass(frozen=True)
class InfiniteLattice:
    """Quantities per site of the infinite lattice, in units of J = k_B = 1; no magnetisation but for the square one."""

    temperature: float
    ln_z_per_site: float
    free_energy_per_site: float
    energy_per_site: float
    entropy_per_site: float
    specific_heat_per_site: float
    spontaneous_magnetisation: float | None = None


def infinite(
    *,
    temperature: float,
    coupling_x: float = 1.0,
    coupling_y: float = 1.0,
    coupling_z: float | None = None,
    shape: str = "square",
) -> InfiniteLattice:
    """Onsager's solution, with Yang's magnetisation, or Houtappel's without one.

    Parameters
    ----------
    temperature : float
        T in units of J / k_B.
    coupling_x, coupling_y : float
        J_x and J_y, of either sign.
    coupling_z : float, optional
        That of the third direction, as of :func:`lattice`.
    shape : str
        ``square``, ``triangular`` or ``honeycomb``.

    Returns
    -------
    InfiniteLattice
        The specific heat is infinite at the transition.

    Raises
    ------
    ValueError
        For a temperature that is not positive and finite.

    Examples
    --------
    >>> round(infinite(temperature=critical_temperature()).energy_per_site, 12)
    -1.414213562373
    """
    couplings = _couplings(coupling_x, coupling_y, coupling_z, shape)
    if len(couplings) == 2:
        return InfiniteLattice(**_native.infinite(temperature, couplings))
    return InfiniteLattice(**_native.infinite_three_way(shape, temperature, couplings))


def spontaneous_magnetisation(*, temperature: float, coupling_x: float = 1.0, coupling_y: float = 1.0) -> float:
    """Yang's magnetisation per site of the infinite square lattice, zero at and above the transition.

    Parameters
    ----------
    temperature : float
        T in units of J / k_B.
    coupling_x, coupling_y : float
        J_x and J_y.

    Returns
    -------
    float
        From 0 to 1.
    """
    return _native.spontaneous_magnetisation(temperature, (coupling_x, coupling_y))


def critical_temperature(
    coupling_x: float = 1.0, coupling_y: float = 1.0, coupling_z: float | None = None, *, shape: str = "square"
) -> float:
    """T_c of the infinite lattice, zero where it has none.

    For unit couplings ``2 / ln(1 + sqrt(2))`` (square), ``4 / ln(3)`` (triangular) and ``2 / ln(2 + sqrt(3))``
    (honeycomb).

    Parameters
    ----------
    coupling_x, coupling_y, coupling_z : float
        As of :func:`lattice`.
    shape : str
        ``square``, ``triangular`` or ``honeycomb``.

    Returns
    -------
    float
        In units of J / k_B.
    """
    couplings = _couplings(coupling_x, coupling_y, coupling_z, shape)
    if len(couplings) == 2:
        return _native.critical_temperature(couplings)
    return _native.critical_temperature_three_way(shape, couplings)
