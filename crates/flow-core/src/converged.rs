//! Figures that are converged in the integration step, or say by how much they are not.

use crate::batch::Batch;
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
    /// Their mean and standard error.
    pub mean: Mean,
    /// Change of the mean from the second finest to the finest integrator.
    pub integration_error: f64,
    /// The finest integrator, in words.
    pub integrator: String,
    /// Times that the step was halved.
    pub refinements: u32,
}

impl Converged {
    /// Whether the change is below a tenth of the standard error.
    pub fn is_converged(&self) -> bool {
        self.integration_error.abs() <= 0.1 * self.mean.standard_error
    }
}

/// Evaluates an objective at ever finer integrators (half the step each time) until the change of the mean is below a
/// tenth of its standard error, or `max_refinements` halvings are made (at least one is). Where two tolerances of an
/// adaptive integrator choose the very same steps, the next one is tried too.
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
    let mut at = |integrator: &dyn Integrator<S>, refinement: u32| -> Result<Vec<f64>, Error> {
        let mut losses = Vec::new();
        for i in 0..count {
            let (batch, key) = batches(i)?;
            losses.extend(objective.evaluate(&flow.with_integrator(integrator), &batch, &Evaluation::new(key))?.losses);
            progress(refinement, i);
        }
        if losses.iter().all(|v| v.is_finite()) {
            Ok(losses)
        } else {
            Err(Error::NonFinite { what: "a loss", place: format!(" with {}", integrator.describe()) })
        }
    };
    let mut coarse = at(flow.integrator, 0)?;
    let fixed = flow.integrator.evaluations().is_some();
    let mut level = flow.integrator.level();
    let mut integrator = flow.integrator.refined();
    let mut refinements = 1;
    loop {
        let losses = at(&*integrator, refinements)?;
        let mean = Mean::of(&losses);
        // A method that has one level alone cannot tell its error.
        let finer = integrator.level() > level;
        let integration_error = if finer { (mean.mean - Mean::of(&coarse).mean).abs() } else { f64::NAN };
        level = integrator.level();
        // Steps that an error estimate chooses may be the same at two tolerances: then the two say nothing of the
        // error.
        let told = fixed || losses != coarse;
        let out = Converged { losses, mean, integration_error, integrator: integrator.describe(), refinements };
        if (out.is_converged() && told) || refinements >= max_refinements {
            return Ok(out);
        }
        coarse = out.losses;
        integrator = integrator.refined();
        refinements += 1;
    }
}
