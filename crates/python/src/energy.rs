//! Energies for Python: a callable, a C function at an address, one of a recipe; and what the library makes of them.

use std::sync::Arc;

use flow_core::Energy;
use maflow::target::{self, CFunction as Function};
use numpy::{
    AllowTypeChange, PyArray1, PyArray2, PyArrayLikeDyn, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::array::{matrix, vector};
use crate::error::raise;
use crate::settings::settings;
use crate::watch::Raised;

/// A C function with the signature of `maflow_energy` in `maflow_energy.h`, by its address.
#[pyclass(frozen, module = "maflow._native")]
pub struct CFunction {
    address: usize,
    user_data: usize,
    thread_safe: bool,
    /// What the address belongs to, kept alive.
    _owner: Py<PyAny>,
}

#[pymethods]
impl CFunction {
    #[new]
    fn new(address: usize, user_data: usize, thread_safe: bool, owner: Py<PyAny>) -> PyResult<Self> {
        match address {
            0 => Err(PyValueError::new_err("address is 0, where no function is; give that of a compiled function")),
            _ => Ok(Self { address, user_data, thread_safe, _owner: owner }),
        }
    }
}

/// The energy of a recipe's target, which is part of the library.
#[pyclass(frozen, module = "maflow._native")]
pub struct BuiltIn(Arc<dyn Energy>);

#[pymethods]
impl BuiltIn {
    #[new]
    fn new(recipe: &str, changes: Vec<String>) -> PyResult<Self> {
        let recipe = maflow::recipes::load(recipe, &settings(&changes)?).map_err(raise)?;
        if !recipe.target.has_energy() {
            return Err(raise(maflow::Error::NoEnergy(recipe.target.words())));
        }
        let target = target::open(&recipe, None, None, &()).map_err(raise)?;
        Ok(Self(target.energy().expect("a target that says so has an energy")))
    }

    /// Numbers per point.
    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }
}

/// Energies and gradients of points, as a training asks for them.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "two arrays")]
pub fn evaluate<'py>(
    py: Python<'py>,
    function: &Bound<'py, PyAny>,
    x: PyReadonlyArray2<'py, f64>,
) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray2<f64>>)> {
    let [rows, dim] = [x.shape()[0], x.shape()[1]];
    let Given { energy, raised } = given(function, dim)?;
    let (points, mut energies, mut gradients) = (x.as_slice()?, vec![0.0; rows], vec![0.0; rows * dim]);
    let done = py.detach(|| energy.energies_and_gradients(points, &[], &mut energies, &mut gradients));
    match (raised.take(), done) {
        (Some(exception), _) => Err(exception),
        (None, Err(error)) => Err(raise(error.into())),
        (None, Ok(())) => Ok((vector(py, energies), matrix(py, gradients, dim)?)),
    }
}

/// An energy, and where the exceptions of its code go.
pub struct Given {
    /// The energy in the user's coordinates.
    pub energy: Arc<dyn Energy>,
    /// Exceptions of its code.
    pub raised: Arc<Raised>,
}

/// The energy of points of `dim` numbers that Python hands over.
pub fn given(function: &Bound<'_, PyAny>, dim: usize) -> PyResult<Given> {
    let raised = Arc::new(Raised::default());
    if let Ok(native) = function.cast::<CFunction>() {
        let CFunction { address, user_data, thread_safe, .. } = *native.get();
        // SAFETY: whoever made the `CFunction` promised that such a function is there. It is kept alive below.
        let function = unsafe { Function::at(address, dim, user_data, thread_safe) };
        return Ok(Given { energy: Arc::new(function.keeping(native.clone().unbind())), raised });
    }
    if let Ok(built_in) = function.cast::<BuiltIn>() {
        let energy = Arc::clone(&built_in.get().0);
        return match energy.dim() {
            own if own == dim => Ok(Given { energy, raised }),
            own => Err(PyValueError::new_err(format!("the energy is one of {own} numbers per point, not of {dim}"))),
        };
    }
    if !function.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "the energy is a {}, which cannot be called; give a function of points (rows, {dim}) that returns energies \
             (rows,) and gradients (rows, {dim})",
            function.get_type().name()?
        )));
    }
    let energy = Callable { function: function.clone().unbind(), dim, raised: Arc::clone(&raised) };
    Ok(Given { energy: Arc::new(energy), raised })
}

/// A Python callable from points to energies and gradients.
struct Callable {
    function: Py<PyAny>,
    dim: usize,
    raised: Arc<Raised>,
}

impl Callable {
    fn ask(&self, py: Python<'_>, x: &[f64], energies: &mut [f64], gradients: &mut [f64]) -> PyResult<()> {
        let (rows, dim) = (energies.len(), self.dim);
        // A copy, which the callable may keep.
        let points = PyArray1::from_slice(py, x).reshape([rows, dim])?;
        let found = self.function.bind(py).call1((points,))?;
        let Ok((of_rows, of_x)) = found.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() else {
            return Err(PyTypeError::new_err(format!(
                "the energy returned a {}, but a pair is needed: energies ({rows},) and gradients ({rows}, {dim})",
                found.get_type().name()?
            )));
        };
        copy("energies", &of_rows, &[rows], energies)?;
        copy("gradients", &of_x, &[rows, dim], gradients)
    }
}

/// Copies an array of this shape.
fn copy(what: &str, found: &Bound<'_, PyAny>, shape: &[usize], out: &mut [f64]) -> PyResult<()> {
    let array: PyArrayLikeDyn<'_, f64, AllowTypeChange> = found.extract()?;
    let array = array.as_array();
    if array.shape() != shape {
        return Err(PyValueError::new_err(format!(
            "the {what} that the energy returned have shape {:?}, but {shape:?} is needed for {} points",
            array.shape(),
            shape[0]
        )));
    }
    out.iter_mut().zip(array.iter()).for_each(|(out, value)| *out = *value);
    Ok(())
}

impl Energy for Callable {
    fn dim(&self) -> usize {
        self.dim
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        _context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), flow_core::Error> {
        Python::attach(|py| self.ask(py, x, energies, gradients)).map_err(|exception| {
            let sentence = exception.to_string();
            self.raised.put(exception);
            flow_core::Error::Callback(sentence)
        })
    }
}
