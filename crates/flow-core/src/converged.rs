//! Figures that are converged in the integration step, or say by how much they are not; and the choice of that step.

use crate::batch::Batch;
use crate::bijector::Bijector;
use crate::error::Error;
use crate::flow::Flow;
use crate::integrate::Integrator;
use crate::objective::Objective;
use crate::rng::RngKey;
use crate::solve::Evaluation;
use crate::space::Space;
use crate::statistics::Mean;

/// A figure that is converged in the integration step, or says by how much it is not.
#[derive(Debug, Clone)]
pub struct Converged {
    /// Losses of all rows with the finest integrator.
    pub losses: Vec<f64>,
    /// Their mean and standard error, by the weights of the rows.
    pub mean: Mean,
    /// Change of the mean from the second finest to the finest integrator.
    pub integration_error: f64,
    /// The finest integrator, in words.
    pub integrator: String,
    /// The level of the finest integrator.
    pub level: u64,
}

impl Converged {
    /// Whether the change is below a tenth of the standard error.
    pub fn is_converged(&self) -> bool {
        self.integration_error.abs() <= 0.1 * self.mean.standard_error
    }
}

/// The coarsest level, refined at least once and at most so many times from the flow's own, at which a figure of `rows`
/// rows is converged as far as those of the pilot tell: the change of their mean from the next coarser level, and
/// twice the standard error of that change, are below a tenth of the standard error of the figure.
///
/// A row's change is nearly the same whatever its loss, so that a few hundred rows tell what all of them would. Where
/// all are many times the pilot's, and steps are fixed, somewhat fewer are tried too: see [`fewer`].
///
/// # Errors
/// Those of the objective; [`Error::NonFinite`] when a loss is not finite.
pub fn choose_level<S: Space>(
    flow: &Flow<'_, S>,
    objective: &dyn Objective<S>,
    pilot: &Batch,
    key: RngKey,
    rows: usize,
    max_refinements: u32,
) -> Result<u64, Error> {
    let mut integrator = flow.integrator.refined();
    if max_refinements <= 1 {
        return Ok(integrator.level());
    }
    let at = |integrator: &dyn Integrator<S>| losses(flow, objective, integrator, pilot, key);
    // The change of the mean with its uncertainty, and what is allowed of it.
    let change = |fine: &[f64], coarse: &[f64]| {
        let changes: Vec<f64> = fine.iter().zip(coarse).map(|(fine, coarse)| fine - coarse).collect();
        let (change, scatter) = (Mean::weighted(&changes, &pilot.weights), Mean::weighted(fine, &pilot.weights));
        let standard_error = scatter.standard_error * (pilot.of as f64 / rows as f64).sqrt();
        (change.mean.abs() + 2.0 * change.standard_error, 0.1 * standard_error)
    };
    let fixed = flow.integrator.evaluations().is_some();
    let mut coarse = at(flow.integrator)?;
    for refinement in 1..max_refinements {
        let fine = at(&*integrator)?;
        let (found, allowed) = change(&fine, &coarse);
        // Steps that an error estimate chooses may be the same at two tolerances, which then say nothing.
        if found <= allowed && (fixed || fine != coarse) {
            let many = refinement > 1 && fixed && rows >= MANY * pilot.of;
            for level in fewer(integrator.level()).filter(|_| many) {
                let fine = integrator.at_level(level);
                let coarse = fine.at_level(level / fine.level_step());
                let (found, allowed) = change(&at(&*fine)?, &at(&*coarse)?);
                if found <= allowed {
                    return Ok(level);
                }
            }
            break;
        }
        coarse = fine;
        integrator = integrator.refined();
    }
    Ok(integrator.level())
}

/// How many times the pilot's rows all must be, so that a quarter of their work is more than finding out costs.
const MANY: usize = 8;

/// Five eighths and three quarters of so many steps, where half of these is a whole number too: a figure costs that much
/// less with them.
pub fn fewer(level: u64) -> impl Iterator<Item = u64> {
    let parts = [(16, level / 8 * 5), (8, level / 4 * 3)];
    parts.into_iter().filter(move |(unit, _)| level.is_multiple_of(*unit)).map(|(_, fewer)| fewer)
}

/// Losses of a batch by an integrator.
fn losses<S: Space>(
    flow: &Flow<'_, S>,
    objective: &dyn Objective<S>,
    integrator: &dyn Integrator<S>,
    batch: &Batch,
    key: RngKey,
) -> Result<Vec<f64>, Error> {
    let losses = objective.evaluate(&flow.with_integrator(integrator), batch, &Evaluation::new(key))?.losses;
    match losses.iter().all(|loss| loss.is_finite()) {
        true => Ok(losses),
        false => Err(Error::NonFinite { what: "a loss", place: format!(" with {}", integrator.describe()) }),
    }
}

/// Evaluates an objective at ever finer integrators (half the step each time) until the change of the mean is below a
/// tenth of its standard error, or `max_refinements` halvings are made (at least one is). Where two tolerances of an
/// adaptive integrator choose the very same steps, the next one is tried too.
///
/// Every row is integrated twice where the flow's own level is the next coarser one to what [`choose_level`] chose.
///
/// `batches` gives batch number i, and is called again for every refinement; memory does not grow with the number of
/// rows but for one loss per row. `progress` is told after every batch (refinement, batch).
///
/// # Errors
/// Those of the objective and of `batches`; [`Error::NonFinite`] when a loss is not finite.
pub fn converged<S: Space>(
    flow: &Flow<'_, S>,
    objective: &dyn Objective<S>,
    count: u64,
    mut batches: impl FnMut(u64) -> Result<(Batch, RngKey), Error>,
    max_refinements: u32,
    mut progress: impl FnMut(u32, u64),
) -> Result<Converged, Error> {
    let mut at = |integrator: &dyn Integrator<S>, refinement: u32| -> Result<(Vec<f64>, Vec<f64>), Error> {
        let (mut all, mut weights) = (Vec::new(), Vec::new());
        for i in 0..count {
            let (batch, key) = batches(i)?;
            all.extend(losses(flow, objective, integrator, &batch, key)?);
            weights.extend(batch.weights);
            progress(refinement, i);
        }
        Ok((all, weights))
    };
    let (mut coarse, weights) = at(flow.integrator, 0)?;
    let fixed = flow.integrator.evaluations().is_some();
    let mut level = flow.integrator.level();
    let mut integrator = flow.integrator.refined();
    let mut refinements = 1;
    loop {
        let fine = at(&*integrator, refinements)?.0;
        let mean = Mean::weighted(&fine, &weights);
        // A method that has one level alone cannot tell its error.
        let finer = integrator.level() > level;
        let integration_error =
            if finer { (mean.mean - Mean::weighted(&coarse, &weights).mean).abs() } else { f64::NAN };
        level = integrator.level();
        // Steps that an error estimate chooses may be the same at two tolerances: then the two say nothing of the
        // error.
        let told = fixed || fine != coarse;
        let out = Converged { losses: fine, mean, integration_error, integrator: integrator.describe(), level };
        if (out.is_converged() && told) || refinements >= max_refinements {
            return Ok(out);
        }
        coarse = out.losses;
        integrator = integrator.refined();
        refinements += 1;
    }
}

/// The same figure of a map in closed form, which is converged as it is: every row is seen once, and the integration
/// error is zero. `progress` is told after every batch.
///
/// # Errors
/// As [`converged`].
pub fn exact<S: Space>(
    map: &dyn Bijector<S>,
    objective: &dyn Objective<S>,
    count: u64,
    mut batches: impl FnMut(u64) -> Result<(Batch, RngKey), Error>,
    mut progress: impl FnMut(u64),
) -> Result<Converged, Error> {
    let (mut losses, mut weights) = (Vec::new(), Vec::new());
    for i in 0..count {
        let (batch, key) = batches(i)?;
        losses.extend(objective.evaluate_map(map, &batch, &Evaluation::new(key))?.losses);
        weights.extend(batch.weights);
        progress(i);
    }
    if !losses.iter().all(|loss| loss.is_finite()) {
        return Err(Error::NonFinite { what: "a loss", place: format!(" of {}", map.describe()) });
    }
    let mean = Mean::weighted(&losses, &weights);
    Ok(Converged { losses, mean, integration_error: 0.0, integrator: map.describe(), level: 0 })
}
