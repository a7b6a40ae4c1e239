//! Ranges and contradictions: every number checked before any work begins.

mod flow;
mod model;
mod objective;
mod potential;
mod range;
mod target;
mod train;

pub use range::MOST_SAMPLES;

use flow::continuous_adjoint_fits;

use crate::error::RecipeError;
use crate::schema::{Density, FineTune, Recipe};

impl Recipe {
    /// Checks every number and every pair of keys that must agree.
    ///
    /// # Errors
    /// [`RecipeError::OutOfRange`] with the value, the range and the remedy.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.target.validate()?;
        match &self.density {
            Density::Flow { potential, flow } => {
                self.potential_fits(potential)?;
                flow.validate()?;
                self.watch_fits(flow)?;
                self.coupling_fits(flow)?;
                self.segments_fit(potential, flow)?;
                continuous_adjoint_fits(potential, flow)?;
            }
            Density::Model { model } => self.model_fits(model)?,
        }
        self.train.validate()?;
        self.fine_tune.as_ref().map_or(Ok(()), FineTune::validate)?;
        self.evaluate.validate()?;
        self.objective_fits()
    }
}
