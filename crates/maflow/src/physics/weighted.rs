//! Samples of a flow with importance weights, for averages over its target of a caller's own.

use flow_core::{Direction, FlowModel, Model, Purpose, Space};

use super::subject::Subject;
use super::{require_exact_laplacian, require_no_context};
use crate::error::Error;
use crate::kept::Units;
use crate::monitor::{Monitor, Task};
use crate::recipe::Recipe;
use crate::sampling;
use crate::target::Target;

/// Samples of a flow, and their importance weights for averages over its target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weighted {
    /// In the user's coordinates, `count × N` row by row.
    pub points: Vec<f64>,
    /// `−E − ln p` of every sample, in nats: ln Z plus the logarithm of the target's density over the flow's.
    pub log_weights: Vec<f64>,
    /// The most that each of these would change at another integration step, in nats.
    pub integration_errors: Vec<f64>,
}

/// The first `count` samples with their weights.
///
/// # Errors
/// A target without an energy, a potential whose ln p is an estimate, or an integration that fails.
pub fn weigh<S: Space>(
    model: &FlowModel<S>,
    units: &Units,
    recipe: &Recipe,
    target: &dyn Target,
    count: usize,
    monitor: &dyn Monitor,
) -> Result<Weighted, Error> {
    require_exact_laplacian(recipe)?;
    require_no_context(target)?;
    let subject = Subject::of(target).ok_or_else(|| Error::NoEnergy(recipe.target.words()))?;
    let batches = sampling::batches(count);
    let task = Task::start(monitor, "drawing samples", batches);
    let mut weighted = Weighted::default();
    for i in 0..batches {
        if monitor.cancelled() {
            return Err(Error::Cancelled);
        }
        let (base, key) = sampling::base(recipe.train.seed, Purpose::Sample, i, count, model.dim());
        let [own, neighbour] = model.carried(&base, &[], Direction::Forward, key)?;
        let (losses, _) = subject.losses(&model.flow(), &base, &own)?;
        let (beside, _) = subject.losses(&model.flow(), &base, &neighbour)?;
        weighted.integration_errors.extend(losses.iter().zip(beside).map(|(a, b)| (a - b).abs()));
        weighted.log_weights.extend(losses.iter().map(|loss| -loss));
        let mut x = own.x;
        units.to_user(&mut x, &[]);
        weighted.points.extend(x);
        task.update(i + 1, "");
    }
    Ok(weighted)
}
