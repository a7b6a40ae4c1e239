//! The seam of models: whatever has a density, parameters and a loss; and the flow as one.

use std::sync::Arc;

use crate::batch::{Batch, rows_of};
use crate::energy::standard_normal_log_density;
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::{Direction, Flow};
use crate::integrate::{Integrator, Memory};
use crate::objective::Objective;
use crate::optimise::global_norm;
use crate::parameter::Parameter;
use crate::potential::{Coordinates, Potential};
use crate::rng::RngKey;
use crate::space::Space;
use crate::team::{Alone, Team};
use crate::transport::Transported;

/// Figures of rows, each with the error that the integration has left in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The figures.
    pub values: Vec<f64>,
    /// By how much each changes from the next coarser integration (the next finer one where there is none coarser) to
    /// the model's own. Zero for a model that does not integrate.
    pub integration_errors: Vec<f64>,
}

/// Points that a model made of others.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// The points, `rows × dim`, row by row.
    pub x: Vec<f64>,
    /// `ln |det ∂(these points)/∂(the others)|`, per row.
    pub log_jacobian: Vec<f64>,
    /// Per row, the greatest change of a coordinate or of the log-Jacobian from the next coarser integration (the next
    /// finer one where there is none coarser) to the model's own.
    pub integration_errors: Vec<f64>,
}

/// Samples of a model with their densities.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The points, `rows × dim`, row by row.
    pub x: Vec<f64>,
    /// ln p of each under the model.
    pub log_prob: Vec<f64>,
    /// As [`Mapped::integration_errors`].
    pub integration_errors: Vec<f64>,
}

/// A density with learnable parameters, and the loss that they are learned by.
///
/// [`Trainer`](crate::Trainer) trains whatever implements it. A flow does, as [`FlowModel`]. What is made for models
/// works with any:
///
/// ```
/// use flow_core::{Error, Mean, Model, Purpose, RngKey, Space};
///
/// /// The entropy of a model with its standard error, from samples of its own.
/// fn entropy<S: Space>(model: &dyn Model<S>, samples: usize) -> Result<Mean, Error> {
///     let samples = model.sample(samples, &[], RngKey::new(0, Purpose::Sample, 0))?;
///     Ok(Mean::of(&samples.log_prob.iter().map(|ln_p| -ln_p).collect::<Vec<_>>()))
/// }
/// ```
pub trait Model<S: Space> {
    /// The backend.
    fn space(&self) -> &S;

    /// Numbers per row.
    fn dim(&self) -> usize;

    /// Numbers of context per row.
    fn context_dim(&self) -> usize {
        0
    }

    /// The learnable arrays, in a fixed order.
    fn parameters(&self) -> Vec<&Parameter<S>>;

    /// The learnable arrays, in the same order.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>>;

    /// Arrays that belong into a checkpoint but are not learned, such as running means; their names differ from those
    /// of the parameters.
    fn buffers(&self) -> Vec<&Parameter<S>> {
        Vec::new()
    }

    /// The same arrays, in the same order.
    fn buffers_mut(&mut self) -> Vec<&mut Parameter<S>> {
        Vec::new()
    }

    /// Updates the buffers by the [moments](Outcome::moments) of a training batch, after the step on it.
    fn observe(&mut self, _outcome: &Outcome<S>) {}

    /// Name of the loss.
    fn objective_name(&self) -> &'static str;

    /// Losses of the rows of a batch, and the gradient of their mean where asked for.
    ///
    /// # Errors
    /// Whatever keeps it from an answer. Non-finite losses are returned, not refused.
    fn evaluate(&self, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error>;

    /// How far a gradient that it gave for a batch is from the exact one of the loss that it computes, as a part of the
    /// latter's length; `None` for a model whose gradients are exact. It takes the exact gradient once more.
    ///
    /// # Errors
    /// As [`Model::evaluate`].
    fn gradient_error(
        &self,
        _gradient: &[S::Array],
        _batch: &Batch,
        _how: &Evaluation<'_>,
    ) -> Result<Option<f64>, Error> {
        Ok(None)
    }

    /// How finely it integrates, see [`Integrator::level`]; `None` for a model that does not.
    fn level(&self) -> Option<u64> {
        None
    }

    /// Integrates at another level from now on.
    fn set_level(&mut self, _level: u64) {}

    /// How it integrates, in words for people: `100 steps of rk4`.
    fn integration(&self) -> String {
        "no integration".into()
    }

    /// The power of the level that the integration error falls with.
    fn order(&self) -> f64 {
        1.0
    }

    /// Whether finer integration nears a limit, so that an integration error can be told: not for fields that are
    /// random in time.
    fn has_fine_limit(&self) -> bool {
        true
    }

    /// ln p of every row of `x` (`rows × dim`, row by row) under the model, in a context (`rows × context_dim`).
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers do not fit the model; those of the integrator.
    fn log_prob(&self, x: &[f64], context: &[f64], key: RngKey) -> Result<Estimate, Error>;

    /// Draws samples, one for every row of the context, or `count` where there is none.
    ///
    /// # Errors
    /// As [`Model::log_prob`].
    fn sample(&self, count: usize, context: &[f64], key: RngKey) -> Result<Sampled, Error>;

    /// From points of the model to base coordinates.
    ///
    /// # Errors
    /// As [`Model::log_prob`].
    fn to_base(&self, x: &[f64], context: &[f64], key: RngKey) -> Result<Mapped, Error>;

    /// From base coordinates to points of the model: the inverse of [`Model::to_base`] up to the integration error.
    ///
    /// # Errors
    /// As [`Model::log_prob`].
    #[allow(clippy::wrong_self_convention, reason = "the pair of `to_base`, as the field calls it")]
    fn from_base(&self, z: &[f64], context: &[f64], key: RngKey) -> Result<Mapped, Error>;
}

/// A model that any objective can train and judge: a flow, or a map in closed form.
pub trait Trainable<S: Space>: Model<S> {
    /// Trains by another objective from now on.
    fn set_objective(&mut self, objective: Box<dyn Objective<S>>);

    /// As [`Model::evaluate`], by an objective that need not be the model's own.
    ///
    /// # Errors
    /// Those of the objective.
    fn evaluate_by(
        &self,
        objective: &dyn Objective<S>,
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<S>, Error>;
}

/// A flow that owns its parts, with the objective that it is trained by.
///
/// ```
/// use flow_core::{FixedStep, FlowModel, Method, Model, NegativeLogLikelihood, Potential, Purpose, RngKey, Space};
/// fn check<S: Space>(space: S, potential: Box<dyn Potential<S>>) -> Result<(), flow_core::Error> {
///     let integrator = FixedStep::new(Method::Rk4.tableau(), 16)?;
///     let model = FlowModel::new(space, potential, Box::new(integrator), Box::new(NegativeLogLikelihood::default()));
///     let samples = model.sample(10, &[], RngKey::new(0, Purpose::Sample, 0))?;
///     let ln_p = model.log_prob(&samples.x, &[], RngKey::new(0, Purpose::Evaluate, 0))?;
///     assert_eq!(ln_p.values.len(), 10);
///     Ok(())
/// }
/// ```
pub struct FlowModel<S: Space> {
    /// The backend.
    pub space: S,
    /// The potential φ.
    pub potential: Box<dyn Potential<S>>,
    /// The integrator.
    pub integrator: Box<dyn Integrator<S>>,
    /// The duration T.
    pub duration: f64,
    /// The coordinates that solves may use.
    pub coordinates: Coordinates,
    /// What gradients keep.
    pub memory: Memory,
    /// The loss.
    pub objective: Box<dyn Objective<S>>,
    /// The processes that share the rows of its densities, samples and maps, see [`Flow::team`].
    pub team: Arc<dyn Team>,
}

impl<S: Space> FlowModel<S> {
    /// A flow of duration 1 in whatever coordinates are cheapest, whose gradients keep the residuals of every stage.
    pub fn new(
        space: S,
        potential: Box<dyn Potential<S>>,
        integrator: Box<dyn Integrator<S>>,
        objective: Box<dyn Objective<S>>,
    ) -> Self {
        let (duration, coordinates, memory) = (1.0, Coordinates::Auto, Memory::Stages);
        Self { space, potential, integrator, duration, coordinates, memory, objective, team: Arc::new(Alone) }
    }

    /// The flow, to be used as it is.
    pub fn flow(&self) -> Flow<'_, S> {
        Flow {
            space: &self.space,
            potential: &*self.potential,
            integrator: &*self.integrator,
            duration: self.duration,
            coordinates: self.coordinates,
            memory: self.memory,
            team: &*self.team,
        }
    }

    /// Points carried in a direction by the model's own integrator and by its neighbour: their difference is the
    /// integration error. NaN by a neighbour that there is none of.
    ///
    /// # Errors
    /// Numbers that are no whole rows, or an integration that fails.
    pub fn carried(
        &self,
        x: &[f64],
        context: &[f64],
        direction: Direction,
        key: RngKey,
    ) -> Result<[Transported; 2], Error> {
        let batch = Batch::new(x.to_vec(), self.dim())?.with_context(context.to_vec());
        let flow = self.flow();
        let neighbour = self.integrator.coarsened().unwrap_or_else(|| self.integrator.refined());
        let carry = |flow: Flow<'_, S>| flow.transport_batch(&batch, flow.span(direction), key);
        let mut beside = carry(flow.with_integrator(&*neighbour))?;
        if neighbour.level() == self.integrator.level() {
            // A method that has one level alone cannot tell its error.
            beside.x.fill(f64::NAN);
            beside.log_density.fill(f64::NAN);
        }
        Ok([carry(flow)?, beside])
    }

    fn mapped(&self, x: &[f64], context: &[f64], direction: Direction, key: RngKey) -> Result<Mapped, Error> {
        let [own, neighbour] = self.carried(x, context, direction, key)?;
        let dim = self.dim();
        let rows = own.x.chunks_exact(dim).zip(neighbour.x.chunks_exact(dim));
        let figures = own.log_density.iter().zip(&neighbour.log_density);
        let integration_errors = rows
            .zip(figures)
            .map(|((x, y), (a, b))| {
                x.iter().zip(y).fold(
                    (a - b).abs(),
                    |most, (x, y)| {
                        if most.is_nan() { most } else { most.max((x - y).abs()) }
                    },
                )
            })
            .collect();
        let log_jacobian = own.log_density.iter().map(|change| -change).collect();
        Ok(Mapped { x: own.x, log_jacobian, integration_errors })
    }
}

impl<S: Space> Model<S> for FlowModel<S> {
    fn space(&self) -> &S {
        &self.space
    }

    fn dim(&self) -> usize {
        self.potential.dim()
    }

    fn context_dim(&self) -> usize {
        self.potential.context_dim()
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        self.potential.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.potential.parameters_mut()
    }

    fn buffers(&self) -> Vec<&Parameter<S>> {
        self.potential.buffers()
    }

    fn buffers_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.potential.buffers_mut()
    }

    fn observe(&mut self, outcome: &Outcome<S>) {
        self.potential.observe(&outcome.moments);
    }

    fn objective_name(&self) -> &'static str {
        self.objective.name()
    }

    fn evaluate(&self, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        self.evaluate_by(&*self.objective, batch, how)
    }

    fn gradient_error(&self, gradient: &[S::Array], batch: &Batch, how: &Evaluation<'_>) -> Result<Option<f64>, Error> {
        let memory = self.memory.exact();
        if memory == self.memory {
            return Ok(None);
        }
        let outcome = self.objective.evaluate(&Flow { memory, ..self.flow() }, batch, &how.with_gradient())?;
        let exact = outcome.gradient.expect("the gradient was asked for");
        let (mut difference, space) = (exact.clone(), &self.space);
        for (difference, found) in difference.iter_mut().zip(gradient) {
            space.accumulate(difference, -1.0, &[(1.0, found)]);
        }
        Ok(Some(global_norm(space, &difference) / global_norm(space, &exact)))
    }

    fn level(&self) -> Option<u64> {
        Some(self.integrator.level())
    }

    fn set_level(&mut self, level: u64) {
        if level != self.integrator.level() {
            self.integrator = self.integrator.at_level(level);
        }
    }

    fn integration(&self) -> String {
        self.integrator.describe()
    }

    fn order(&self) -> f64 {
        self.integrator.order()
    }

    fn has_fine_limit(&self) -> bool {
        !self.potential.random_in_time()
    }

    fn log_prob(&self, x: &[f64], context: &[f64], key: RngKey) -> Result<Estimate, Error> {
        let [values, neighbour] = self.carried(x, context, Direction::Backward, key)?.map(|base| {
            let rows = base.x.chunks_exact(self.dim()).zip(&base.log_density);
            rows.map(|(z, change)| standard_normal_log_density(z) - change).collect::<Vec<_>>()
        });
        let integration_errors = values.iter().zip(&neighbour).map(|(a, b)| (a - b).abs()).collect();
        Ok(Estimate { values, integration_errors })
    }

    fn sample(&self, count: usize, context: &[f64], key: RngKey) -> Result<Sampled, Error> {
        let count = match self.context_dim() {
            0 => count,
            width => rows_of("the context", context, width)?,
        };
        let z = key.normals(0..count, self.dim());
        let Mapped { x, log_jacobian, integration_errors } = self.mapped(&z, context, Direction::Forward, key)?;
        let base = z.chunks_exact(self.dim()).zip(log_jacobian);
        let log_prob = base.map(|(z, log_jacobian)| standard_normal_log_density(z) - log_jacobian).collect();
        Ok(Sampled { x, log_prob, integration_errors })
    }

    fn to_base(&self, x: &[f64], context: &[f64], key: RngKey) -> Result<Mapped, Error> {
        self.mapped(x, context, Direction::Backward, key)
    }

    fn from_base(&self, z: &[f64], context: &[f64], key: RngKey) -> Result<Mapped, Error> {
        self.mapped(z, context, Direction::Forward, key)
    }
}

impl<S: Space> Trainable<S> for FlowModel<S> {
    fn set_objective(&mut self, objective: Box<dyn Objective<S>>) {
        self.objective = objective;
    }

    fn evaluate_by(
        &self,
        objective: &dyn Objective<S>,
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<S>, Error> {
        if how.refined {
            let finer = self.integrator.refined();
            return objective.evaluate(&self.flow().with_integrator(&*finer), batch, how);
        }
        objective.evaluate(&self.flow(), batch, how)
    }
}
