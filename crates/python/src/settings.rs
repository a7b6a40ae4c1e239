//! Changes to a recipe, as Python writes them.

use maflow::recipe::Setting;
use pyo3::PyResult;
use pyo3::exceptions::PyValueError;

/// Parses changes, each `key=value`.
pub fn settings(texts: &[String]) -> PyResult<Vec<Setting>> {
    let parse = |text: &String| text.parse().map_err(|error| PyValueError::new_err(format!("set: {error}")));
    texts.iter().map(parse).collect()
}
