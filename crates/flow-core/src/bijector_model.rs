//! The model that a map in closed form makes of the base density.

use std::sync::Arc;

use crate::batch::{Batch, rows_of};
use crate::bijector::Bijector;
use crate::energy::standard_normal_log_density;
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::Direction;
use crate::model::{Estimate, Mapped, Model, Sampled, Trainable};
use crate::objective::Objective;
use crate::parameter::Parameter;
use crate::rng::RngKey;
use crate::space::Space;
use crate::team::{Alone, Team};
use crate::transport::Transported;

/// A map in closed form as a model, with the objective that it is trained by.
///
/// ```
/// use flow_core::{Bijector, BijectorModel, Error, Mean, Model, NegativeLogLikelihood, Purpose, RngKey, Space};
///
/// /// Mean ln p of rows, and of as many samples of the model itself.
/// fn compare<S: Space>(map: Box<dyn Bijector<S>>, rows: &[f64]) -> Result<[Mean; 2], Error> {
///     let key = RngKey::new(0, Purpose::Evaluate, 0);
///     let model = BijectorModel::new(map, Box::new(NegativeLogLikelihood::default()));
///     let own = model.sample(rows.len() / model.dim(), &[], key)?;
///     Ok([Mean::of(&model.log_prob(rows, &[], key)?.values), Mean::of(&own.log_prob)])
/// }
/// ```
pub struct BijectorModel<S: Space> {
    /// The map.
    pub map: Box<dyn Bijector<S>>,
    /// The loss.
    pub objective: Box<dyn Objective<S>>,
    /// The processes that share the rows of its densities, samples and maps, as
    /// [`FlowModel::team`](crate::FlowModel::team).
    pub team: Arc<dyn Team>,
}

impl<S: Space> BijectorModel<S> {
    /// The model of a map, of this process alone.
    pub fn new(map: Box<dyn Bijector<S>>, objective: Box<dyn Objective<S>>) -> Self {
        Self { map, objective, team: Arc::new(Alone) }
    }

    fn mapped(&self, direction: Direction, x: &[f64], context: &[f64], key: RngKey) -> Result<Mapped, Error> {
        let batch = Batch::new(x.to_vec(), self.dim())?.with_context(context.to_vec());
        let Transported { x, log_density } = self.map.transport(direction, &batch, &*self.team, key)?;
        let integration_errors = vec![0.0; log_density.len()];
        Ok(Mapped { x, log_jacobian: log_density.iter().map(|change| -change).collect(), integration_errors })
    }
}

impl<S: Space> Model<S> for BijectorModel<S> {
    fn space(&self) -> &S {
        self.map.space()
    }

    fn dim(&self) -> usize {
        self.map.dim()
    }

    fn context_dim(&self) -> usize {
        self.map.context_dim()
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        self.map.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.map.parameters_mut()
    }

    fn objective_name(&self) -> &'static str {
        self.objective.name()
    }

    fn evaluate(&self, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        self.evaluate_by(&*self.objective, batch, how)
    }

    fn log_prob(&self, x: &[f64], context: &[f64], key: RngKey) -> Result<Estimate, Error> {
        let base = self.to_base(x, context, key)?;
        let rows = base.x.chunks_exact(self.dim()).zip(&base.log_jacobian);
        let values = rows.map(|(z, log_jacobian)| standard_normal_log_density(z) + log_jacobian).collect();
        Ok(Estimate { values, integration_errors: base.integration_errors })
    }

    fn sample(&self, count: usize, context: &[f64], key: RngKey) -> Result<Sampled, Error> {
        let count = match self.context_dim() {
            0 => count,
            width => rows_of("the context", context, width)?,
        };
        let z = key.normals(0..count, self.dim());
        let Mapped { x, log_jacobian, integration_errors } = self.from_base(&z, context, key)?;
        let base = z.chunks_exact(self.dim()).zip(log_jacobian);
        let log_prob = base.map(|(z, log_jacobian)| standard_normal_log_density(z) - log_jacobian).collect();
        Ok(Sampled { x, log_prob, integration_errors })
    }

    fn to_base(&self, x: &[f64], context: &[f64], key: RngKey) -> Result<Mapped, Error> {
        self.mapped(Direction::Backward, x, context, key)
    }

    fn from_base(&self, z: &[f64], context: &[f64], key: RngKey) -> Result<Mapped, Error> {
        self.mapped(Direction::Forward, z, context, key)
    }
}

impl<S: Space> Trainable<S> for BijectorModel<S> {
    fn set_objective(&mut self, objective: Box<dyn Objective<S>>) {
        self.objective = objective;
    }

    fn evaluate_by(
        &self,
        objective: &dyn Objective<S>,
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<S>, Error> {
        objective.evaluate_map(&*self.map, batch, how)
    }
}
