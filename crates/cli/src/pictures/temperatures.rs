//! A flow of a range of temperatures beside the exact curves.

use maflow::Error;
use maflow::kept::Kept;
use maflow::physics::report::AtTemperature;
use maflow::run::Run;

use crate::plots::{Curve, Point, Stacked};

/// Places at which an exact curve is known.
const PLACES: usize = 240;

/// Energy and specific heat per site against the temperature, of samples of the flow under their weights.
///
/// # Errors
/// A target without temperatures.
pub fn beside_exact(run: &Run, found: &[AtTemperature]) -> Result<Stacked<Curve>, Error> {
    let kept = Kept::read(run.path(), run.recipe())?;
    let ends = run.recipe().target.temperatures().unwrap_or_default();
    let place = |k: usize| ends[0] + (ends[1] - ends[0]) * k as f64 / (PLACES - 1) as f64;
    let at = |temperature: f64| Ok((temperature, run.at_temperature(temperature)?.open_target(&kept, &())?));
    let targets = (0..PLACES).map(place).map(at).collect::<Result<Vec<_>, Error>>()?;
    let mut curves = Vec::new();
    for key in ["energy_per_site", "specific_heat_per_site"] {
        let mut exact = Vec::new();
        let mut words = String::new();
        for (temperature, target) in &targets {
            let Some(model) = target.lattice_model() else { continue };
            let Some(observable) = model.observables().into_iter().find(|observable| observable.key == key) else {
                continue;
            };
            exact.extend(model.exact(&observable).map(|value| (*temperature, value)));
            words = observable.words.into_owned();
        }
        let measured = found.iter().filter_map(|at| {
            let row = at.report.observables.iter().find(|row| row.observable.key == key)?;
            Some(Point { x: at.temperature, mean: row.weighted.value, error: row.weighted.standard_error })
        });
        curves.push(Curve {
            title: format!("{}: {words}", run.recipe().name),
            x_label: "temperature, in units of the coupling".to_owned(),
            y_label: words,
            exact: ("exact".to_owned(), exact),
            measured: ("samples of the flow, weighted, ± standard error".to_owned(), measured.collect()),
        });
    }
    Ok(Stacked(curves))
}
