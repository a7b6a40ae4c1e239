//! The rows of a target that a training, a validation or a final figure sees.

use std::ops::Range;
use std::sync::Arc;

use flow_core::{
    BaseSamples, Batch, Batches, Energy, Estimator, FlowMatching, ForwardDivergence, FreeEnergy, KnownForces,
    LogJacobian, NegativeLogLikelihood, Objective, Purpose, RngKey, Space, WassersteinDistance, cut,
};

use super::{Layout, Samples, Split, Target};
use crate::error::Error;
use crate::recipe;

/// Rows of one batch when figures are taken: results depend on it through the keys of the random numbers.
pub const FIGURE_ROWS: usize = 1000;
/// Rows that figures are taken on where there is no end of them.
pub const DEFAULT_ROWS: usize = 10_000;
/// Rows that the mean square of forces is taken of.
const FORCE_ROWS: usize = 1024;
/// Rows of a validation where there is no end of them.
const VALIDATION_ROWS: usize = 2000;

impl dyn Target + '_ {
    /// What is minimised by one training of a run: flow matching, a distance of samples, or the target's own objective.
    ///
    /// # Errors
    /// A target without the samples that the objective needs.
    pub fn training_objective<S: Space>(
        &self,
        train: &recipe::Train,
        objective: recipe::Objective,
        gradient: Estimator,
    ) -> Result<Box<dyn Objective<S>>, Error> {
        self.require_for(train, objective)?;
        let distance = match objective {
            recipe::Objective::Nll | recipe::Objective::FreeEnergy => {
                return self.objective_by(gradient, train.transport_cost, train.force_weight, train.clip_force);
            }
            recipe::Objective::FlowMatching => {
                let path = self.required_samples()?.path();
                let forces = if train.target_forces { Some(self.known_forces(train.seed)?) } else { None };
                return Ok(Box::new(FlowMatching { path, times: train.times, focus: train.focus, forces }));
            }
            recipe::Objective::ForwardKl => {
                let energy = self.required_energy()?;
                return Ok(Box::new(ForwardDivergence { energy, clip_force: train.clip_force }));
            }
            recipe::Objective::Sinkhorn => WassersteinDistance::Sinkhorn { blur: train.blur_or_default() },
            recipe::Objective::SlicedWasserstein => {
                WassersteinDistance::Sliced { projections: train.projections_or_default() }
            }
        };
        Ok(Box::new(distance))
    }

    /// The objective of the target's figures.
    ///
    /// # Errors
    /// As [`Target::training_objective`](#method.training_objective).
    pub fn objective<S: Space>(&self) -> Result<Box<dyn Objective<S>>, Error> {
        // The transport cost and the forces are matters of training, not part of any figure.
        self.objective_by(Estimator::Total, 0.0, 0.0, None)
    }

    fn objective_by<S: Space>(
        &self,
        gradient: Estimator,
        transport_cost: f64,
        force_weight: f64,
        clip_force: Option<f64>,
    ) -> Result<Box<dyn Objective<S>>, Error> {
        if let Some(energy) = self.energy() {
            return Ok(Box::new(FreeEnergy { energy, transport_cost, force_weight, gradient, clip_force }));
        }
        self.required_samples()?;
        let log_jacobian = match self.bijection() {
            None => LogJacobian::default(),
            Some(map) => match map.constant_log_jacobian() {
                Some(constant) => constant.into(),
                None => LogJacobian::Of(Arc::new(move |y, context| {
                    let (mut x, mut backward) = (y.to_vec(), [0.0]);
                    map.inverse(&mut x, context, &mut backward);
                    -backward[0]
                })),
            },
        };
        Ok(Box::new(NegativeLogLikelihood { transport_cost, log_jacobian }))
    }

    /// Base noise in their place would train, and learn nothing.
    fn required_samples(&self) -> Result<&dyn Samples, Error> {
        self.samples().ok_or_else(|| Error::Argument("this target has no samples to learn from".to_owned()))
    }

    fn required_energy(&self) -> Result<Arc<dyn Energy>, Error> {
        self.energy().ok_or_else(|| Error::Argument("this target has no energy".to_owned()))
    }

    /// Whether it has what a training by an objective needs.
    ///
    /// # Errors
    /// When it lacks samples, or an energy.
    pub fn require_for(&self, train: &recipe::Train, objective: recipe::Objective) -> Result<(), Error> {
        use recipe::Objective::{FlowMatching, ForwardKl, FreeEnergy, Nll, Sinkhorn, SlicedWasserstein};
        let (samples, energy) = match objective {
            Nll | FreeEnergy => (self.energy().is_none(), false),
            FlowMatching => (true, train.target_forces),
            ForwardKl => (true, true),
            Sinkhorn | SlicedWasserstein => (true, false),
        };
        if samples {
            self.required_samples()?;
        }
        if energy {
            self.required_energy()?;
        }
        Ok(())
    }

    /// Forces at the samples of a training, with the mean square of a component by some of them.
    fn known_forces(&self, seed: u64) -> Result<KnownForces, Error> {
        let (energy, samples) = (self.required_energy()?, self.required_samples()?);
        let width = self.row_width() + if samples.paired() { self.dimension() } else { 0 };
        let mut rows = vec![0.0; FORCE_ROWS * width];
        samples.training(RngKey::new(seed, Purpose::Evaluate, 0), 0, 0..FORCE_ROWS, &mut rows)?;
        let batch = self.batch(rows, width)?;
        let (_, gradients) = batch.energies_and_gradients(&energy)?;
        // Particles have no force at their centre.
        let free = match self.layout() {
            Layout::Particles(n, d) => (n - 1) * d,
            _ => self.dimension(),
        };
        let mean_square = gradients.iter().map(|g| g * g).sum::<f64>() / (FORCE_ROWS * free) as f64;
        Ok(KnownForces { energy, mean_square })
    }

    /// The name of the objective of its figures.
    pub fn kind(&self) -> recipe::Objective {
        match self.energy() {
            Some(_) => recipe::Objective::FreeEnergy,
            None => recipe::Objective::Nll,
        }
    }

    /// Numbers of a sample: of its point and of its context.
    pub(crate) fn row_width(&self) -> usize {
        self.dimension() + self.context_dim()
    }

    /// A batch of samples whose rows have so many numbers: a point, its context, and perhaps its partner.
    pub(crate) fn batch(&self, samples: Vec<f64>, width: usize) -> Result<Batch, Error> {
        let (n, behind) = (self.dimension(), self.row_width());
        if width == n {
            return Ok(Batch::new(samples, n)?);
        }
        let of_rows = |columns: Range<usize>| {
            samples.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect::<Vec<_>>()
        };
        let batch = Batch::new(of_rows(0..n), n)?.with_context(of_rows(n..behind));
        Ok(batch.with_base(of_rows(behind..width)))
    }

    /// Rows of a finite training set.
    pub fn training_rows(&self) -> Option<usize> {
        self.samples().and_then(|samples| samples.training_rows())
    }

    /// Gradient steps of one pass over a finite training set.
    pub fn steps_per_epoch(&self, batch: usize) -> Option<u64> {
        self.training_rows().map(|rows| rows.div_ceil(batch) as u64)
    }

    /// Gradient steps of a whole training.
    ///
    /// # Errors
    /// When the length is given in epochs, and there is no end of training rows.
    pub fn training_steps(&self, train: &recipe::Train) -> Result<u64, Error> {
        match (train.steps, train.epochs, self.training_rows()) {
            (Some(steps), _, _) => Ok(steps as u64),
            (None, Some(epochs), Some(rows)) => Ok((epochs as u64 * rows as u64).div_ceil(train.batch as u64)),
            _ => Err(Error::Argument(
                "train.epochs needs a finite training set; give train.steps instead for this target".to_owned(),
            )),
        }
    }
}

/// What a training of a target sees.
pub struct TrainingRows<'a, S> {
    /// The target.
    pub target: &'a dyn Target,
    /// What it minimises: a free energy needs points of the base, everything else samples of the target.
    pub objective: recipe::Objective,
    /// Whose threads prepare the rows.
    pub space: &'a S,
    /// The step that it begins at.
    pub first: u64,
    /// Rows seen before, which a finite data set goes on after.
    pub seen: u64,
}

impl<S: Space> Batches for TrainingRows<'_, S> {
    fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, flow_core::Error> {
        let dim = self.target.dimension();
        if self.objective == recipe::Objective::FreeEnergy {
            let contexts = self.target.contexts(key, part.clone());
            return Ok(BaseSamples { dim }.batch(key, part, rows)?.with_context(contexts));
        }
        let samples = self.target.required_samples()?;
        let width = self.target.row_width() + if samples.paired() { dim } else { 0 };
        let (first, seen) = (part.start, self.seen + (key.step() - self.first) * rows as u64);
        let blocks = self.space.map_blocks(cut(part.len(), self.space.blocks(part.len())), |block| {
            let mut out = vec![0.0; block.len() * width];
            let rows = first + block.start..first + block.end;
            samples.training(key, seen, rows, &mut out).map(|()| out)
        });
        let numbers = blocks.into_iter().collect::<Result<Vec<_>, Error>>()?.concat();
        Ok(self.target.batch(numbers, width)?.part(first, rows))
    }
}

/// The rows that a validation or a final figure is taken on, batch by batch: the same whenever they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct FigureRows<'a> {
    target: &'a dyn Target,
    seed: u64,
    split: Split,
    rows: usize,
}

impl<'a> FigureRows<'a> {
    /// Rows for validations during training: as many as asked for and there are, else the whole split or some fresh
    /// ones.
    pub fn validation(target: &'a dyn Target, seed: u64, rows: Option<usize>) -> Self {
        let split = Split::Validation;
        let rows = match Self::finite(target, split) {
            Some(all) => rows.map_or(all, |rows| rows.min(all)),
            None => rows.unwrap_or(VALIDATION_ROWS),
        };
        Self { target, seed, split, rows }
    }

    /// Rows for final figures: as many as asked for, else the whole test set or ten thousand fresh ones.
    ///
    /// # Errors
    /// [`Error::TooManyRows`] when the test set has fewer.
    pub fn evaluation(target: &'a dyn Target, seed: u64, rows: Option<usize>) -> Result<Self, Error> {
        let split = Split::Test;
        let rows = match (Self::finite(target, split), rows) {
            (Some(most), Some(found)) if found > most => return Err(Error::TooManyRows { found, most }),
            (Some(all), rows) => rows.unwrap_or(all),
            (None, rows) => rows.unwrap_or(DEFAULT_ROWS),
        };
        Ok(Self { target, seed, split, rows })
    }

    /// Rows of a split; of an energy figures are taken on base samples, of which there is no end.
    fn finite(target: &dyn Target, split: Split) -> Option<usize> {
        target.samples().filter(|_| target.energy().is_none()).and_then(|samples| samples.held_out_rows(split))
    }

    /// How many in all.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many batches they come in.
    pub fn batches(&self) -> u64 {
        self.rows.div_ceil(FIGURE_ROWS) as u64
    }

    /// Batch number `i` and its key.
    ///
    /// # Errors
    /// When the rows cannot be had.
    pub fn batch(&self, i: u64) -> Result<(Batch, RngKey), Error> {
        let first = i as usize * FIGURE_ROWS;
        let rows = 0..FIGURE_ROWS.min(self.rows - first);
        let purpose = match self.split {
            Split::Validation => Purpose::Validate,
            Split::Test => Purpose::Evaluate,
        };
        let key = RngKey::new(self.seed, purpose, i);
        let batch = match self.target.samples().filter(|_| self.target.energy().is_none()) {
            Some(samples) => {
                let mut out = vec![0.0; rows.len() * self.target.row_width()];
                samples.held_out(self.split, key, first, rows.clone(), &mut out)?;
                let batch = self.target.batch(out, self.target.row_width())?;
                match samples.weights(self.split) {
                    Some(weights) => {
                        let weights = weights[first..first + rows.len()].to_vec();
                        let total = weights.iter().sum();
                        batch.with_weights(weights, total)
                    }
                    None => batch,
                }
            }
            None => {
                let (dim, contexts) = (self.target.dimension(), self.target.contexts(key, rows.clone()));
                Batch::new(key.normals(rows, dim), dim)?.with_context(contexts)
            }
        };
        Ok((batch, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipes;
    use crate::target::open;

    #[test]
    fn figures_see_the_same_rows_every_time_and_the_last_batch_is_cut() {
        let recipe = recipes::load("two-moons", &[]).unwrap();
        let target = open(&recipe, None, None, &()).unwrap();
        let rows = FigureRows::evaluation(&*target, 3, Some(FIGURE_ROWS + 7)).unwrap();
        assert_eq!(rows.batches(), 2);
        let of = |i| rows.batch(i).map(|(batch, key)| (batch.x, key)).unwrap();
        let (last, key) = of(1);
        assert_eq!(last.len(), 2 * 7);
        assert_eq!((last, key), of(1));
        assert_ne!(of(0).0[..14], of(1).0[..]);
    }
}
