//! Objectives: from a flow and a batch to a loss per row and the gradient of its mean.

use std::fmt;
use std::sync::Arc;

use crate::batch::Batch;
use crate::bijector::Bijector;
use crate::boundary::{CarriedBefore, EnergyTerms, Gradient};
use crate::energy::{Energy, StandardNormal, check_widths, standard_normal_log_density};
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::{Direction, Flow};
use crate::score::Scored;
use crate::scored::base_score;
use crate::space::Space;
use crate::team::agreed;

/// A loss with its exact gradient, for any potential, integrator and batch.
///
/// One that integrates is a few [`BoundaryTerms`](crate::BoundaryTerms). A moment of the samples that a flow makes of
/// the base density, whole:
///
/// ```
/// use flow_core::{
///     Batch, BoundaryTerms, Direction, Endpoints, Error, Evaluation, Flow, Losses, Objective, Outcome, Space,
/// };
///
/// /// The mean of `‖x‖²/2 − target` squared: samples on a sphere.
/// struct Sphere { target: f64 }
///
/// impl BoundaryTerms for Sphere {
///     fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error> {
///         let mut out = Losses { log_density: vec![0.0; rows.weights.len()], ..Losses::default() };
///         for (x, weight) in rows.end.chunks_exact(rows.dim).zip(rows.weights) {
///             let off = 0.5 * x.iter().map(|x| x * x).sum::<f64>() - self.target;
///             out.losses.push(off * off);
///             out.end.extend(x.iter().map(|x| weight * 2.0 * off * x));
///         }
///         Ok(out)
///     }
/// }
///
/// impl<S: Space> Objective<S> for Sphere {
///     fn name(&self) -> &'static str { "sphere" }
///     fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
///         flow.evaluate_terms(Direction::Forward, self, batch, how)
///     }
/// }
/// ```
pub trait Objective<S: Space>: Send + Sync {
    /// Name, as in configurations.
    fn name(&self) -> &'static str;

    /// Losses of all rows of the whole batch, and the gradient of their mean where asked for.
    ///
    /// # Errors
    /// Those of the integrator. Non-finite losses are returned, not refused: a training may want to go back.
    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error>;

    /// The same of a map in closed form, by an objective that makes sense of one:
    /// [`<dyn Bijector>::evaluate_terms`](trait.Bijector.html#method.evaluate_terms) in place of the flow's.
    ///
    /// # Errors
    /// [`Error::NeedsFlow`] where it does not; those of the map.
    fn evaluate_map(&self, _map: &dyn Bijector<S>, _batch: &Batch, _how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        Err(Error::NeedsFlow { what: self.name() })
    }
}

impl<S: Space, O: Objective<S> + ?Sized> Objective<S> for Box<O> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        (**self).evaluate(flow, batch, how)
    }

    fn evaluate_map(&self, map: &dyn Bijector<S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        (**self).evaluate_map(map, batch, how)
    }
}

/// Negative log-likelihood of data (eq. 6 of arXiv:1809.10188): batches are data, integrated from T to 0.
#[derive(Debug, Clone, Default)]
pub struct NegativeLogLikelihood {
    /// Weight of the transport cost `∫½‖∇φ‖² dt` in the loss.
    pub transport_cost: f64,
    /// `ln |∂y/∂x|` of a fixed map from the data x to the rows y of the batches: losses are those of x.
    pub log_jacobian: LogJacobian,
}

/// A function of one row and its context.
pub type RowFunction = dyn Fn(&[f64], &[f64]) -> f64 + Send + Sync;

/// `ln |∂y/∂x|` of a map from data x to the rows y of batches.
#[derive(Clone)]
pub enum LogJacobian {
    /// The same everywhere.
    Constant(f64),
    /// A function of y and, of a density that is conditional, of its context.
    Of(Arc<RowFunction>),
}

/// The identity.
impl Default for LogJacobian {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}

impl From<f64> for LogJacobian {
    fn from(constant: f64) -> Self {
        Self::Constant(constant)
    }
}

impl fmt::Debug for LogJacobian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => f.debug_tuple("Constant").field(value).finish(),
            Self::Of(_) => f.write_str("Of(a function)"),
        }
    }
}

impl LogJacobian {
    /// At a row y in its context.
    pub fn at(&self, y: &[f64], context: &[f64]) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Of(function) => function(y, context),
        }
    }
}

impl NegativeLogLikelihood {
    /// −ln p(x,T) = −ln N(z) + (ln p(z,0) − ln p(x,T)): nothing of the model's at the start, the base's energy at the
    /// end.
    fn by<T>(&self, dim: usize, evaluate: impl FnOnce(&EnergyTerms<'_>) -> T) -> T {
        let (start, end) = (|y: &[f64], context: &[f64]| -self.log_jacobian.at(y, context), StandardNormal { dim });
        evaluate(&EnergyTerms { transport_cost: self.transport_cost, ..EnergyTerms::new(&start, &end) })
    }
}

impl<S: Space> Objective<S> for NegativeLogLikelihood {
    fn name(&self) -> &'static str {
        "nll"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        self.by(flow.potential.dim(), |terms| flow.evaluate_terms(Direction::Backward, terms, batch, how))
    }

    fn evaluate_map(&self, map: &dyn Bijector<S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        self.by(map.dim(), |terms| map.evaluate_terms(Direction::Backward, terms, batch, how))
    }
}

/// Variational free energy, or reverse Kullback-Leibler divergence (eq. 7): batches are samples of the base density,
/// integrated from 0 to T. The mean loss is at least `−ln Z` of the energy.
pub struct FreeEnergy<E> {
    /// The energy `E(x)` of the target `exp(−E)/Z`.
    pub energy: E,
    /// Weight of the transport cost `∫½‖∇φ‖² dt` in the loss.
    pub transport_cost: f64,
    /// Weight of the difference of forces `‖∇ ln p(x, T) + ∇E(x)‖²/N` in the loss (section 4.2 of arXiv:1809.10188),
    /// for points of N numbers: zero where the model is the target. It needs [`Potential::has_score_pullback`] and
    /// [`Energy::hessian_products`], and goes with no transport cost. The score is that of [`Flow::transport_score`],
    /// so that the term has an integration error of its own.
    ///
    /// [`Potential::has_score_pullback`]: crate::Potential::has_score_pullback
    pub force_weight: f64,
    /// Which gradient of the same loss; that of the forces is the total one with either.
    pub gradient: Estimator,
    /// Of [`Estimator::Path`]: the longest force `∇ ln p + ∇E` that a sample gives to the gradient, longer ones are
    /// scaled to it. Few samples far from the target, where energies are steep, would hide all others otherwise; near
    /// it forces are short, and the gradient is what it was.
    pub clip_force: Option<f64>,
}

/// An estimate of the gradient of the free energy from samples; both have the same mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Estimator {
    /// The gradient of the samples' mean loss.
    #[default]
    Total,
    /// Through the path of the samples alone: the mean of the other part, the explicit derivative of ln p, is zero and
    /// its noise is left out. The gradient vanishes sample by sample where the model equals the target (Roeder, Wu and
    /// Duvenaud, arXiv:1703.09194; for flows Vaitl et al., arXiv:2206.09016). It needs the score at the end of the
    /// path, see [`Flow::transport_score`]: two to three times the work. A transport cost has its total gradient.
    Path,
}

impl<E: Energy> FreeEnergy<E> {
    /// The free energy of a target, with the total gradient, no transport cost and no forces.
    pub fn new(energy: E) -> Self {
        Self { energy, transport_cost: 0.0, force_weight: 0.0, gradient: Estimator::Total, clip_force: None }
    }
}

impl<S: Space, E: Energy> Objective<S> for FreeEnergy<E> {
    fn name(&self) -> &'static str {
        "free-energy"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        check_widths(&self.energy, flow.potential.dim(), flow.potential.context_dim())?;
        check_limit(self.clip_force)?;
        let by_path = self.gradient == Estimator::Path && how.gradient;
        // Forces bring the score with the ends.
        let scored = (by_path && self.force_weight == 0.0).then(|| {
            let scored = flow.carry_score(batch, &base_score(&batch.x), flow.span(Direction::Forward), how);
            agreed(how.team, scored)
        });
        let scored = scored.transpose()?;
        let before =
            scored.as_ref().map(|Scored { log_density, score, .. }| CarriedBefore { batch, score, log_density });
        let terms = EnergyTerms {
            start: &base_log_density,
            end: &self.energy,
            transport_cost: self.transport_cost,
            force_weight: self.force_weight,
            gradient: match by_path {
                true => Gradient::Path(before),
                false => Gradient::Total,
            },
            clip_force: self.clip_force,
        };
        flow.evaluate_terms(Direction::Forward, &terms, batch, how)
    }

    /// With the total gradient alone.
    fn evaluate_map(&self, map: &dyn Bijector<S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        check_widths(&self.energy, map.dim(), map.context_dim())?;
        if how.gradient && self.gradient == Estimator::Path {
            return Err(Error::NeedsFlow { what: "the gradient through the path" });
        }
        let terms = EnergyTerms {
            transport_cost: self.transport_cost,
            force_weight: self.force_weight,
            ..EnergyTerms::new(&base_log_density, &self.energy)
        };
        map.evaluate_terms(Direction::Forward, &terms, batch, how)
    }
}

/// The Kullback-Leibler divergence of the model from a target whose energy is known, `E[−E(x) − ln p(x, T)]`: batches
/// are samples of the target, integrated from T to 0. The mean loss is at least `ln Z` of the energy.
///
/// Its gradient is through the path alone. Seen from the base, the divergence is that of the target's samples carried
/// there from the base density: a free energy of the flow from T to 0, which begins with the score `−∇E`. So the
/// gradient vanishes sample by sample where the model equals the target, and it has the energy's forces, which a
/// likelihood has not (Vaitl, Nicoli, Nakajima and Kessel, arXiv:2207.08219). Samples are where the target is, whatever
/// the model does: it is steadier than a free energy, and drops no part of the target.
pub struct ForwardDivergence<E> {
    /// The energy `E(x)` of the target `exp(−E)/Z`.
    pub energy: E,
    /// As [`FreeEnergy::clip_force`], of the forces at the base.
    pub clip_force: Option<f64>,
}

impl<S: Space, E: Energy> Objective<S> for ForwardDivergence<E> {
    fn name(&self) -> &'static str {
        "forward-kl"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        let dim = flow.potential.dim();
        check_widths(&self.energy, dim, flow.potential.context_dim())?;
        check_limit(self.clip_force)?;
        let (energies, mut score) = agreed(how.team, batch.energies_and_gradients(&self.energy))?;
        score.iter_mut().for_each(|gradient| *gradient = -*gradient);
        let span = flow.span(Direction::Backward);
        let Scored { mut log_density, score, .. } = agreed(how.team, flow.carry_score(batch, &score, span, how))?;
        log_density.iter_mut().zip(energies).for_each(|(change, energy)| *change -= energy);
        let before = CarriedBefore { batch, score: &score, log_density: &log_density };
        let (start, end) = (|_: &[f64], _: &[f64]| 0.0, StandardNormal { dim });
        let gradient = Gradient::Path(Some(before));
        let terms = EnergyTerms { gradient, clip_force: self.clip_force, ..EnergyTerms::new(&start, &end) };
        flow.evaluate_terms(Direction::Backward, &terms, batch, how)
    }
}

/// ln p of a point of the base density, whatever its context.
fn base_log_density(z: &[f64], _context: &[f64]) -> f64 {
    standard_normal_log_density(z)
}

/// A length that forces are cut to.
fn check_limit(limit: Option<f64>) -> Result<(), Error> {
    match limit {
        Some(limit) if !(limit > 0.0 && limit.is_finite()) => {
            Err(Error::setting("clip_force", limit, "a positive number"))
        }
        _ => Ok(()),
    }
}
