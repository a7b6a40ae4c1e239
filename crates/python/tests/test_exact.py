"""Exact Ising results: published numbers, one method against another, and what is refused."""

import numpy as np
import pytest

from maflow import ising_exact


def test_published_numbers() -> None:
    exact = ising_exact.lattice(16)
    assert exact.sites == 256 and exact.temperature == pytest.approx(2 / np.log1p(np.sqrt(2)), rel=1e-15)
    assert exact.continuous_free_energy_per_site == pytest.approx(-2.315920858819, abs=1e-12)
    infinite = ising_exact.infinite(temperature=ising_exact.critical_temperature())
    assert infinite.energy_per_site == pytest.approx(-np.sqrt(2), abs=1e-12)
    assert infinite.ln_z_per_site == pytest.approx(0.929695398341610, abs=1e-14)
    assert ising_exact.spontaneous_magnetisation(temperature=2.0) == pytest.approx(0.911319377877496, abs=1e-12)


def test_methods_agree() -> None:
    energies, counts = ising_exact.density_of_states(4, 6)
    temperature = 1.7
    weights = np.array([float(count) for count in counts]) * np.exp(-(energies - energies[0]) / temperature)
    ln_z = np.log(weights.sum()) - energies[0] / temperature
    exact = ising_exact.lattice(4, 6, temperature=temperature)
    assert exact.ln_z == pytest.approx(ln_z, rel=1e-13)
    assert exact.energy_per_site == pytest.approx((weights @ energies) / weights.sum() / 24, rel=1e-12)
    bonds = ising_exact.planar(5, 3, np.ones((3, 5)), np.ones((2, 5)), temperature=2.0, cylinder=True)
    same = ising_exact.lattice(5, 3, temperature=2.0, boundary="cylinder")
    assert bonds.ln_z == pytest.approx(same.ln_z, rel=1e-12)
    assert "ln_z=" in repr(bonds) and bonds.alpha is None


def test_other_lattices() -> None:
    assert ising_exact.critical_temperature(shape="triangular") == pytest.approx(4 / np.log(3), rel=1e-14)
    exact = ising_exact.lattice(3, 4, shape="triangular", coupling_z=-0.5, boundary="open", temperature=1.5)
    bonds = ising_exact.planar(
        3, 4, np.ones((4, 2)), np.ones((3, 3)), temperature=1.5, diagonals=np.full((3, 2), -0.5)
    )
    assert bonds.ln_z == pytest.approx(exact.ln_z, rel=1e-13) and exact.alpha is None
    infinite = ising_exact.infinite(temperature=1.3, shape="honeycomb")
    large = ising_exact.lattice(200, shape="honeycomb", temperature=1.3)
    assert large.sites == 80_000 and large.energy_per_site == pytest.approx(infinite.energy_per_site, rel=1e-12)
    assert infinite.spontaneous_magnetisation is None


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no third direction"):
        ising_exact.lattice(4, coupling_z=1.0)
    with pytest.raises(ValueError, match="unknown lattice"):
        ising_exact.lattice(4, shape="kagome")
    with pytest.raises(ValueError, match="no critical temperature"):
        ising_exact.lattice(4, shape="honeycomb", coupling_z=0.0)
    with pytest.raises(ValueError, match="unknown boundary"):
        ising_exact.lattice(4, boundary="round")
    with pytest.raises(ValueError, match="temperature"):
        ising_exact.lattice(4, temperature=-1.0)
    with pytest.raises(ValueError, match="0"):
        ising_exact.lattice(0)
    with pytest.raises(ValueError, match="couplings along x"):
        ising_exact.planar(3, 3, [1.0], [1.0] * 6, temperature=1.0)
