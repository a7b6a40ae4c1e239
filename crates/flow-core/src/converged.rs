//! Figures that are converged in the integration step, or say by how much they are not; and the choice of that step.

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::bijector::Bijector;
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::flow::Flow;
use crate::integrate::Integrator;
use crate::objective::Objective;
use crate::rng::RngKey;
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

/// The coarsest level at which a figure of `rows` rows is converged, judging by the few rows of `pilot`. It is refined
/// at least once, and at most `max_refinements` times, from the flow's own level. Converged means: the change of the
/// pilot's mean from the next coarser level, plus the standard error of that change, is at most a tenth of the standard
/// error of the figure.
///
/// A few hundred rows suffice, because the change of a row hardly depends on its loss. The pilot decides on the amount
/// of work and nothing else: whether the figure is converged is measured on all of its rows. Where there are at least 8
/// times as many rows as in the pilot, and steps are fixed, [`three_quarters`] of the steps are tried too.
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
    let (own, step) = (flow.integrator.level(), flow.integrator.level_step());
    let refined = |times: u32| own.saturating_mul(step.saturating_pow(times));
    let fixed = flow.integrator.evaluations().is_some();
    let many = fixed && rows >= MANY * pilot.of;
    let last = refined(max_refinements.max(1));
    let tried = (1..=max_refinements).flat_map(|times| {
        let between = three_quarters(refined(times)).filter(|_| many && times > 1);
        between.into_iter().chain([refined(times)])
    });
    let mut known = BTreeMap::new();
    let mut at = |level: u64| -> Result<Vec<f64>, Error> {
        if let Some(losses) = known.get(&level) {
            return Ok(Vec::clone(losses));
        }
        let losses = losses(flow, objective, &*flow.integrator.at_level(level), pilot, key)?;
        Ok(known.entry(level).or_insert(losses).clone())
    };
    // The last level is taken whatever the pilot says.
    for level in tried.take_while(|level| *level != last) {
        let (coarse, fine) = (at(level / step)?, at(level)?);
        let changes: Vec<f64> = fine.iter().zip(&coarse).map(|(fine, coarse)| fine - coarse).collect();
        let (change, scatter) = (Mean::weighted(&changes, &pilot.weights), Mean::weighted(&fine, &pilot.weights));
        let standard_error = scatter.standard_error * (pilot.of as f64 / rows as f64).sqrt();
        // Steps that an error estimate chooses may be the same at two tolerances, which then say nothing.
        if change.mean.abs() + change.standard_error <= 0.1 * standard_error && (fixed || fine != coarse) {
            return Ok(level);
        }
    }
    Ok(last)
}

/// All rows must be this many times the pilot's, so that a quarter of their work is more than the trial costs.
const MANY: usize = 8;

/// Three quarters of `level` steps, where half of these is a whole number too; else `None`. A figure costs a quarter
/// less with them.
pub fn three_quarters(level: u64) -> Option<u64> {
    level.is_multiple_of(8).then_some(level / 4 * 3)
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
