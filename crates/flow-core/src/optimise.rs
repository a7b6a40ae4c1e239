//! Adam and AdamW, learning-rate schedules, and clipping by the global norm.

use crate::error::Error;
use crate::parameter::Parameter;
use crate::space::{MomentStep, Space};

/// Settings of Adam (Kingma and Ba, arXiv:1412.6980) and AdamW (Loshchilov and Hutter, arXiv:1711.05101).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamSettings {
    /// Decay rates of the first and second moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Strength of the weight decay.
    pub weight_decay: f64,
    /// `true`: AdamW, the parameters shrink by `learning rate · weight decay`. `false`: the decay is added to the
    /// gradient (L2).
    pub decoupled: bool,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

/// The moments of Adam and the number of steps taken.
#[derive(Debug, Clone)]
pub struct Adam<S: Space> {
    settings: AdamSettings,
    /// First moments, one per parameter.
    pub(crate) first: Vec<S::Array>,
    /// Second moments, one per parameter.
    pub(crate) second: Vec<S::Array>,
    /// Steps taken.
    pub(crate) steps: u64,
}

impl<S: Space> Adam<S> {
    /// A fresh optimiser for parameters of these shapes.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of range.
    pub fn new(space: &S, settings: AdamSettings, parameters: &[&Parameter<S>]) -> Result<Self, Error> {
        for (name, beta) in [("betas[0]", settings.betas.0), ("betas[1]", settings.betas.1)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::setting(name, beta, "in [0, 1)"));
            }
        }
        for (name, value) in [("epsilon", settings.epsilon), ("weight_decay", settings.weight_decay)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::setting(name, value, "a finite number of at least 0"));
            }
        }
        let zeros = || {
            let shape = |p: &&Parameter<S>| space.shape(&p.value);
            parameters.iter().map(shape).map(|(rows, cols)| space.zeros(rows, cols)).collect()
        };
        Ok(Self { settings, first: zeros(), second: zeros(), steps: 0 })
    }

    /// One step against the gradient, which is used up.
    pub fn step(&mut self, space: &S, learning_rate: f64, parameters: Vec<&mut Parameter<S>>, gradient: Vec<S::Array>) {
        let AdamSettings { betas, epsilon, weight_decay, decoupled } = self.settings;
        self.steps += 1;
        let correction = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, mut g), (first, second)) in parameters.into_iter().zip(gradient).zip(moments) {
            let value = &mut parameter.value;
            if decoupled {
                space.accumulate(value, 1.0 - learning_rate * weight_decay, &[]);
            } else if weight_decay != 0.0 {
                space.accumulate(&mut g, 1.0, &[(weight_decay, value)]);
            }
            let (rate, scale) = (-learning_rate / correction(betas.0), 1.0 / correction(betas.1));
            let of = MomentStep { betas: betas.into(), rate, scale, epsilon };
            space.moment_step(value, [first, second], &g, of);
        }
    }
}

/// Norm of all gradient arrays together.
pub fn global_norm<S: Space>(space: &S, gradient: &[S::Array]) -> f64 {
    gradient.iter().map(|g| space.dot(g, g)).sum::<f64>().sqrt()
}

/// Scales the gradient down to a global norm of `limit` where it is above.
pub fn clip<S: Space>(space: &S, gradient: &mut [S::Array], norm: f64, limit: f64) {
    if norm > limit {
        for g in gradient {
            space.accumulate(g, limit / norm, &[]);
        }
    }
}

/// How the learning rate changes over a training.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case")
)]
pub enum Schedule {
    /// It does not.
    #[default]
    Constant,
    /// A linear rise, then half a cosine down.
    Cosine(CosineSchedule),
}

/// A linear warm-up, then half a cosine down to a fraction of the learning rate at the last step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct CosineSchedule {
    /// Steps of the linear rise.
    pub warmup: u64,
    /// Learning rate at the end, as a fraction of the largest.
    pub final_fraction: f64,
}

impl Schedule {
    /// Factor on the learning rate at step `step` (from 0) of `total`.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Cosine(CosineSchedule { warmup, .. }) if step < warmup => (step + 1) as f64 / warmup as f64,
            Self::Cosine(CosineSchedule { warmup, final_fraction: end }) => {
                let done = (step - warmup) as f64 / total.saturating_sub(warmup + 1).max(1) as f64;
                end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_warms_up_and_ends_where_it_should() {
        let schedule = Schedule::Cosine(CosineSchedule { warmup: 10, final_fraction: 0.1 });
        assert_eq!(schedule.factor(0, 110), 0.1);
        assert_eq!(schedule.factor(9, 110), 1.0);
        assert_eq!(schedule.factor(10, 110), 1.0);
        assert!((schedule.factor(109, 110) - 0.1).abs() < 1e-15);
        let middle = schedule.factor(59, 110) + schedule.factor(60, 110);
        assert!((middle - 1.1).abs() < 1e-12);
        assert_eq!(Schedule::Constant.factor(5, 10), 1.0);
    }
}
