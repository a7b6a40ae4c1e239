//! Exact results of the two-dimensional Ising model.

use ising_exact::{Boundary, Continuous, Hexagonal, InfiniteLattice, Lattice, PlanarLattice, Shape};
use numpy::PyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::array::vector;

fn raise(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Exact thermodynamics of a finite lattice at one temperature, in units of J = k_B = 1.
#[pyclass(frozen, get_all, module = "maflow.ising_exact")]
pub struct Thermodynamics {
    sites: usize,
    temperature: f64,
    beta: f64,
    ln_z: f64,
    free_energy_per_site: f64,
    energy_per_site: f64,
    entropy_per_site: f64,
    specific_heat_per_site: f64,
    alpha: Option<f64>,
    log_det_k: Option<f64>,
    continuous_free_energy_per_site: Option<f64>,
}

#[pymethods]
impl Thermodynamics {
    fn __repr__(&self) -> String {
        format!(
            "Thermodynamics(sites={}, temperature={:?}, ln_z={:?}, free_energy_per_site={:?}, energy_per_site={:?}, \
             entropy_per_site={:?}, specific_heat_per_site={:?})",
            self.sites,
            self.temperature,
            self.ln_z,
            self.free_energy_per_site,
            self.energy_per_site,
            self.entropy_per_site,
            self.specific_heat_per_site
        )
    }
}

impl Thermodynamics {
    fn new(found: ising_exact::Thermodynamics, continuous: Option<Continuous>) -> Self {
        Self {
            sites: found.sites,
            temperature: found.temperature,
            beta: found.beta,
            ln_z: found.ln_z,
            free_energy_per_site: found.free_energy_per_site,
            energy_per_site: found.energy_per_site,
            entropy_per_site: found.entropy_per_site,
            specific_heat_per_site: found.specific_heat_per_site,
            alpha: continuous.map(|continuous| continuous.alpha),
            log_det_k: continuous.map(|continuous| continuous.log_det_k),
            continuous_free_energy_per_site: continuous.map(|continuous| continuous.free_energy_per_site),
        }
    }
}

fn made(size: [usize; 2], couplings: [f64; 2], boundary: &str) -> PyResult<Lattice> {
    let boundary: Boundary = boundary.parse().map_err(raise)?;
    let lattice = Lattice::new(size[0], size[1]).and_then(|lattice| lattice.couplings(couplings[0], couplings[1]));
    Ok(lattice.map_err(raise)?.boundary(boundary))
}

/// A rectangular lattice with uniform couplings.
#[pyfunction]
pub fn lattice(
    py: Python<'_>,
    size: [usize; 2],
    temperature: f64,
    couplings: [f64; 2],
    boundary: &str,
) -> PyResult<Thermodynamics> {
    let lattice = made(size, couplings, boundary)?;
    let found = py.detach(|| lattice.thermodynamics(temperature)).map_err(raise)?;
    Ok(Thermodynamics::new(found, Some(lattice.continuous_from(&found))))
}

fn hexagonal(shape: &str, cells: [usize; 2], couplings: [f64; 3]) -> PyResult<Hexagonal> {
    let shape: Shape = shape.parse().map_err(raise)?;
    Hexagonal::new(shape, cells[0], cells[1]).and_then(|lattice| lattice.couplings(couplings)).map_err(raise)
}

/// A triangular or honeycomb lattice with uniform couplings along its three directions.
#[pyfunction]
pub fn three_way(
    py: Python<'_>,
    shape: &str,
    cells: [usize; 2],
    temperature: f64,
    couplings: [f64; 3],
    boundary: &str,
) -> PyResult<Thermodynamics> {
    let lattice = hexagonal(shape, cells, couplings)?.boundary(boundary.parse().map_err(raise)?);
    let found = py.detach(|| lattice.thermodynamics(temperature)).map_err(raise)?;
    Ok(Thermodynamics::new(found, None))
}

/// A lattice with a coupling of its own for every bond: open, or a cylinder closed along x.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "its one caller names them")]
pub fn planar(
    py: Python<'_>,
    size: [usize; 2],
    along_x: Vec<f64>,
    along_y: Vec<f64>,
    diagonals: Option<Vec<f64>>,
    temperature: f64,
    cylinder: bool,
) -> PyResult<Thermodynamics> {
    let make = if cylinder { PlanarLattice::cylinder } else { PlanarLattice::open };
    let mut lattice = make(size, along_x, along_y).map_err(raise)?;
    if let Some(diagonals) = diagonals {
        lattice = lattice.with_diagonals(diagonals).map_err(raise)?;
    }
    let found = py.detach(|| lattice.thermodynamics(temperature)).map_err(raise)?;
    Ok(Thermodynamics::new(found, None))
}

/// Energies of a closed lattice and the numbers of their configurations, as digits.
#[pyfunction]
pub fn density_of_states<'py>(
    py: Python<'py>,
    size: [usize; 2],
    couplings: [f64; 2],
    boundary: &str,
) -> PyResult<(Bound<'py, PyArray1<f64>>, Vec<String>)> {
    let lattice = made(size, couplings, boundary)?;
    let states = py.detach(|| lattice.density_of_states()).map_err(raise)?;
    let (energies, counts) = states.levels().map(|(energy, count)| (energy, count.to_string())).unzip();
    Ok((vector(py, energies), counts))
}

/// The infinite square lattice: its quantities per site by name.
#[pyfunction]
pub fn infinite<'py>(py: Python<'py>, temperature: f64, couplings: [f64; 2]) -> PyResult<Bound<'py, PyDict>> {
    let found = ising_exact::infinite_lattice(couplings[0], couplings[1], temperature).map_err(raise)?;
    named(py, &found, Some(spontaneous_magnetisation(temperature, couplings)?))
}

/// The infinite triangular or honeycomb lattice: its quantities per site by name.
#[pyfunction]
pub fn infinite_three_way<'py>(
    py: Python<'py>,
    shape: &str,
    temperature: f64,
    couplings: [f64; 3],
) -> PyResult<Bound<'py, PyDict>> {
    named(py, &hexagonal(shape, [1, 1], couplings)?.infinite(temperature).map_err(raise)?, None)
}

fn named<'py>(py: Python<'py>, found: &InfiniteLattice, magnetisation: Option<f64>) -> PyResult<Bound<'py, PyDict>> {
    let quantities = PyDict::new(py);
    for (name, value) in [
        ("temperature", found.temperature),
        ("ln_z_per_site", found.ln_z_per_site),
        ("free_energy_per_site", found.free_energy_per_site),
        ("energy_per_site", found.energy_per_site),
        ("entropy_per_site", found.entropy_per_site),
        ("specific_heat_per_site", found.specific_heat_per_site),
    ] {
        quantities.set_item(name, value)?;
    }
    if let Some(magnetisation) = magnetisation {
        quantities.set_item("spontaneous_magnetisation", magnetisation)?;
    }
    Ok(quantities)
}

/// Yang's spontaneous magnetisation.
#[pyfunction]
pub fn spontaneous_magnetisation(temperature: f64, couplings: [f64; 2]) -> PyResult<f64> {
    ising_exact::spontaneous_magnetisation(couplings[0], couplings[1], temperature).map_err(raise)
}

/// T_c of the infinite triangular or honeycomb lattice.
#[pyfunction]
pub fn critical_temperature_three_way(shape: &str, couplings: [f64; 3]) -> PyResult<f64> {
    Ok(hexagonal(shape, [1, 1], couplings)?.critical_temperature())
}

/// T_c of the infinite square lattice.
#[pyfunction]
pub fn critical_temperature(couplings: [f64; 2]) -> f64 {
    ising_exact::critical_temperature(couplings[0], couplings[1])
}
