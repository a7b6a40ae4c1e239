//! The target of a run made ready: batches to train on and to take figures on, and the value to compare with.

mod digits;
mod energy;
mod pool;

use std::ops::Range;
use std::path::Path as FilePath;

use datasets::Standardisation;
use datasets::plane::PlaneDensity;
use flow_core::{
    BaseSamples, Batch, Batches, Estimator, FlowMatching, FreeEnergy, NegativeLogLikelihood, Objective, Path, Purpose,
    RngKey, Space,
};

pub use digits::{Digits, SIDE};
pub use energy::{TargetEnergy, boundary};
pub use pool::{SamplePool, reference_seed};

use crate::config::{self, Config, Target};
use crate::error::CliError;

/// Rows of one batch when figures are taken: results depend on it through the keys of the random numbers.
pub const FIGURE_ROWS: usize = 1000;
/// Rows that figures are taken on where there is no end of them.
pub const DEFAULT_ROWS: usize = 10_000;
/// Rows of a validation where there is no end of them.
const VALIDATION_ROWS: usize = 2000;

/// A target with everything that is known about it.
#[derive(Debug)]
pub enum Problem {
    /// A density in the plane, fitted to as many samples as are asked for.
    Plane(PlaneDensity),
    /// Pictures of digits in logit space.
    Digits(Box<Digits>),
    /// A density known by its energy.
    Energy {
        /// The energy.
        energy: Box<TargetEnergy>,
        /// Sites of the lattice that figures are divided by; 1 in the plane.
        sites: usize,
        /// `−ln Z` where it is known.
        exact: Option<f64>,
        /// Samples of the target, where they are what is trained on.
        samples: Option<Box<SamplePool>>,
    },
}

impl Problem {
    /// Prepares the target of a configuration; data come from the folder `data`, or are fetched, and are standardised
    /// as a run has `kept` it or, for a new one, by their own moments.
    ///
    /// # Errors
    /// Parameters that no target has, or data that cannot be had.
    pub fn load(config: &Config, data: Option<&FilePath>, kept: Option<Standardisation>) -> Result<Self, CliError> {
        match &config.target {
            Target::Toy(toy) if !toy.name.is_energy() => Ok(Self::Plane(energy::density(toy.name))),
            Target::Mnist(mnist) => Ok(Self::Digits(Box::new(Digits::load(mnist, config.train.seed, data, kept)?))),
            Target::Ising(_) | Target::Phi4(_) | Target::Toy(_) => {
                let energy = Box::new(TargetEnergy::new(&config.target)?);
                let exact = energy::exact(&config.target);
                let sites = if matches!(config.target, Target::Toy(_)) { 1 } else { config.dimension() };
                let samples = match config.train.objective {
                    config::Objective::FlowMatching => {
                        SamplePool::new(&energy, config.train.pool, config.train.seed).map(Box::new)
                    }
                    config::Objective::Nll | config::Objective::FreeEnergy => None,
                };
                Ok(Self::Energy { energy, sites, exact, samples })
            }
        }
    }

    /// Draws the samples that matching learns from now, where they are not data.
    ///
    /// # Errors
    /// When they are more than memory holds, or the user interrupts.
    pub fn draw_samples(&self) -> Result<(), CliError> {
        match self {
            Self::Energy { samples: Some(pool), .. } => Ok(pool.draw()?),
            Self::Energy { .. } | Self::Plane(_) | Self::Digits(_) => Ok(()),
        }
    }

    /// What is minimised by one training of a run: by flow matching, or by the target's own objective.
    pub fn training_objective<S: Space>(
        &self,
        train: &config::Train,
        matching: bool,
        gradient: config::Gradient,
    ) -> Box<dyn Objective<S>> {
        if !matching {
            return self.objective_by(train.transport_cost, gradient);
        }
        let path = match self {
            Self::Plane(_) | Self::Digits(_) => Path::Straight,
            Self::Energy { energy, .. } => match **energy {
                // The pool has the centres of unit Gaussians.
                TargetEnergy::Ising(_) | TargetEnergy::WhitenedIsing(_) => Path::Blurred,
                TargetEnergy::Phi4(_) | TargetEnergy::WhitenedPhi4(_) | TargetEnergy::Plane(_) => Path::Straight,
            },
        };
        Box::new(FlowMatching { path, times: train.times, focus: train.focus })
    }

    /// The objective of the target's figures.
    pub fn objective<S: Space>(&self) -> Box<dyn Objective<S>> {
        // The transport cost is a price of training, not part of any figure.
        self.objective_by(0.0, config::Gradient::Total)
    }

    fn objective_by<S: Space>(&self, transport_cost: f64, gradient: config::Gradient) -> Box<dyn Objective<S>> {
        let gradient = match gradient {
            config::Gradient::Total => Estimator::Total,
            config::Gradient::Path => Estimator::Path,
        };
        match self {
            Self::Plane(_) => Box::new(NegativeLogLikelihood { transport_cost, log_jacobian: 0.0 }),
            Self::Digits(digits) => {
                let log_jacobian = digits.standardisation().log_jacobian();
                Box::new(NegativeLogLikelihood { transport_cost, log_jacobian })
            }
            Self::Energy { energy, .. } => {
                Box::new(FreeEnergy { energy: TargetEnergy::clone(energy), transport_cost, gradient })
            }
        }
    }

    /// Its name.
    pub fn kind(&self) -> config::Objective {
        match self {
            Self::Plane(_) | Self::Digits(_) => config::Objective::Nll,
            Self::Energy { .. } => config::Objective::FreeEnergy,
        }
    }

    /// What nats are divided by in figures: the sites of a lattice, or 1.
    pub fn sites(&self) -> f64 {
        match self {
            Self::Plane(_) | Self::Digits(_) => 1.0,
            Self::Energy { sites, .. } => *sites as f64,
        }
    }

    /// The least value that the loss can reach, in nats, where it is known: an entropy, or `−ln Z`.
    pub fn best(&self) -> Option<f64> {
        match self {
            Self::Plane(density) => Some(density.entropy()),
            Self::Digits(_) => None,
            Self::Energy { exact, .. } => *exact,
        }
    }

    /// What [`Problem::best`] is.
    pub fn best_is(&self) -> &'static str {
        match self {
            Self::Plane(_) | Self::Digits(_) => "entropy",
            Self::Energy { .. } => "exact",
        }
    }

    /// What tells the data from others, where they come from files.
    pub fn data_digest(&self) -> Option<String> {
        match self {
            Self::Digits(digits) => Some(digits.digest()),
            Self::Plane(_) | Self::Energy { .. } => None,
        }
    }

    /// Rows of the finite training set.
    pub fn training_rows(&self) -> Option<usize> {
        match self {
            Self::Digits(digits) => Some(digits.training_rows()),
            Self::Plane(_) | Self::Energy { .. } => None,
        }
    }

    /// Numbers per row.
    pub fn dimension(&self) -> usize {
        match self {
            Self::Plane(_) => 2,
            Self::Digits(_) => SIDE * SIDE,
            Self::Energy { energy, .. } => flow_core::Energy::dim(&**energy),
        }
    }

    /// Gradient steps of one pass over a finite training set.
    pub fn steps_per_epoch(&self, batch: usize) -> Option<u64> {
        self.training_rows().map(|rows| rows.div_ceil(batch) as u64)
    }

    /// Gradient steps of a whole training.
    pub fn training_steps(&self, train: &config::Train) -> u64 {
        match (train.steps, train.epochs, self.training_rows()) {
            (Some(steps), _, _) => steps as u64,
            (None, Some(epochs), Some(rows)) => (epochs as u64 * rows as u64).div_ceil(train.batch as u64),
            _ => unreachable!("a validated configuration has steps, or epochs and a finite data set"),
        }
    }
}

/// What a training of a problem sees.
pub struct TrainingRows<'a, S> {
    /// The problem.
    pub problem: &'a Problem,
    /// Whether it learns by flow matching, which needs samples of the target.
    pub matching: bool,
    /// Whose threads prepare the rows.
    pub space: &'a S,
    /// The step that it begins at.
    pub first: u64,
    /// Rows seen before, which pictures go on after.
    pub seen: u64,
}

impl<S: Space> Batches for TrainingRows<'_, S> {
    fn batch(&self, key: RngKey, part: Range<usize>, rows: usize) -> Result<Batch, flow_core::Error> {
        let first = part.start;
        let x = match self.problem {
            Problem::Plane(density) => plane_samples(*density, key, part),
            Problem::Digits(digits) => {
                let seen = self.seen + (key.step() - self.first) * rows as u64;
                digits.training_batch(self.space, key, seen, part)
            }
            Problem::Energy { samples: Some(samples), .. } if self.matching => {
                samples.batch(key, part).map_err(|error| flow_core::Error::Callback(error.to_string()))?
            }
            Problem::Energy { samples: None, .. } if self.matching => {
                // Base noise in their place would train, and learn nothing.
                return Err(flow_core::Error::Callback("this target has no samples to be matched".to_owned()));
            }
            Problem::Energy { energy, .. } => {
                return BaseSamples { dim: flow_core::Energy::dim(&**energy) }.batch(key, part, rows);
            }
        };
        Ok(Batch::new(x, self.problem.dimension())?.part(first, rows))
    }
}

fn plane_samples(density: PlaneDensity, key: RngKey, rows: Range<usize>) -> Vec<f64> {
    (rows.start as u64..rows.end as u64).flat_map(|row| density.sample(&mut key.row(row))).collect()
}

/// The rows that a validation or a final figure is taken on, batch by batch: the same whenever they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct FigureRows<'a> {
    problem: &'a Problem,
    seed: u64,
    purpose: Purpose,
    rows: usize,
}

impl<'a> FigureRows<'a> {
    /// Rows for validations during training: as many as asked for and there are, else the whole split or some fresh
    /// ones.
    pub fn validation(problem: &'a Problem, seed: u64, rows: Option<usize>) -> Self {
        let rows = match problem {
            Problem::Digits(digits) => {
                let all = digits.held_out_rows(Purpose::Validate);
                rows.map_or(all, |rows| rows.min(all))
            }
            Problem::Plane(_) | Problem::Energy { .. } => rows.unwrap_or(VALIDATION_ROWS),
        };
        Self { problem, seed, purpose: Purpose::Validate, rows }
    }

    /// Rows for final figures: as many as asked for, else the whole test set or ten thousand fresh ones.
    ///
    /// # Errors
    /// When the test set has fewer.
    pub fn evaluation(problem: &'a Problem, seed: u64, rows: Option<usize>) -> Result<Self, CliError> {
        let purpose = Purpose::Evaluate;
        let rows = match problem {
            Problem::Digits(digits) => {
                let all = digits.held_out_rows(purpose);
                match rows {
                    Some(rows) if rows > all => {
                        return Err(CliError::Usage(format!(
                            "the test set has {all} pictures, not {rows}; ask for at most {all} --samples"
                        )));
                    }
                    rows => rows.unwrap_or(all),
                }
            }
            Problem::Plane(_) | Problem::Energy { .. } => rows.unwrap_or(DEFAULT_ROWS),
        };
        Ok(Self { problem, seed, purpose, rows })
    }

    /// How many in all.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many batches they come in.
    pub fn batches(&self) -> u64 {
        self.rows.div_ceil(FIGURE_ROWS) as u64
    }

    /// Batch number `i` as objectives take it, and its key.
    ///
    /// # Errors
    /// None: the rows are whole.
    pub fn core_batch(&self, i: u64) -> Result<(Batch, RngKey), flow_core::Error> {
        let (x, key) = self.batch(i);
        Ok((Batch::new(x, self.problem.dimension())?, key))
    }

    /// Batch number `i` and its key.
    pub fn batch(&self, i: u64) -> (Vec<f64>, RngKey) {
        let first = i as usize * FIGURE_ROWS;
        let rows = FIGURE_ROWS.min(self.rows - first);
        let key = RngKey::new(self.seed, self.purpose, i);
        let batch = match self.problem {
            Problem::Plane(density) => plane_samples(*density, key, 0..rows),
            Problem::Digits(digits) => digits.held_out(self.purpose, first..first + rows, key),
            Problem::Energy { energy, .. } => key.normals(0..rows, flow_core::Energy::dim(&**energy)),
        };
        (batch, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipes;

    #[test]
    fn the_exact_value_is_that_of_the_same_target() {
        // ising-exact and datasets derive the constants of the continuous formulation independently.
        for (size, size_y, boundary, temperature) in
            [(4, 4, "periodic", 2.0), (3, 5, "open", 1.3), (2, 6, "periodic", 3.1)]
        {
            let settings = [
                format!("target.size={size}"),
                format!("target.size_y={size_y}"),
                format!("target.boundary={boundary}"),
                format!("target.temperature={temperature}"),
                "potential.symmetry.group=[\"z2\"]".to_owned(),
            ];
            let settings: Vec<_> = settings.iter().map(|s| s.parse().unwrap()).collect();
            let config = recipes::load("ising-8", &settings).unwrap();
            let Problem::Energy { energy, exact, sites, .. } = Problem::load(&config, None, None).unwrap() else {
                panic!("not given by its energy")
            };
            let TargetEnergy::Ising(target) = *energy else { panic!("not an Ising model") };
            assert_eq!(sites, size * size_y);
            let boundary: ising_exact::Boundary = boundary.parse().unwrap();
            let lattice = ising_exact::Lattice::new(size, size_y).unwrap().boundary(boundary);
            let ln_z_ising = lattice.thermodynamics(temperature).unwrap().ln_z;
            let difference = target.minus_log_z(ln_z_ising) - exact.unwrap();
            assert!(difference.abs() < 1e-10, "{size}×{size_y} {boundary}: {difference:e}");
        }
    }

    #[test]
    fn figures_see_the_same_rows_every_time_and_the_last_batch_is_cut() {
        let config = recipes::load("two-moons", &[]).unwrap();
        let problem = Problem::load(&config, None, None).unwrap();
        let rows = FigureRows::evaluation(&problem, 3, Some(FIGURE_ROWS + 7)).unwrap();
        assert_eq!(rows.batches(), 2);
        let (last, key) = rows.batch(1);
        assert_eq!(last.len(), 2 * 7);
        assert_eq!((last, key), rows.batch(1));
        assert_ne!(rows.batch(0).0[..14], rows.batch(1).0[..]);
    }
}
