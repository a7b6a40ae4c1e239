//! Models in closed form: their sizes, and nothing that only a flow has.

use datasets::lattice::Boundary;
use flow_core::Estimator;

use super::range::{MOST_NUMBERS, at_least, at_most, out_of_range};
use crate::error::RecipeError;
use crate::schema::{Evaluate, Model, Objective, Recipe};

impl Recipe {
    /// The sizes of a model in closed form, and whether it is trained in a way that it can be.
    pub(super) fn model_fits(&self, model: &Model) -> Result<(), RecipeError> {
        let (layers, hidden, components) = match model {
            Model::Made(made) => (1, &made.hidden, made.components),
            Model::Maf(maf) => (maf.layers, &maf.hidden, maf.components),
            Model::RealNvp(of) => (of.layers, &of.hidden, 1),
            Model::NeuralRg(of) => (of.layers, &of.hidden, 1),
        };
        for (key, size, most) in [("model.layers", layers, 1 << 10), ("model.components", components, 1 << 10)] {
            at_least(key, size, 1)?;
            at_most(key, size, most)?;
        }
        at_least("model.hidden", hidden.len(), 1)?;
        let dimension = self.dimension();
        let outputs = dimension.saturating_mul(2.max(3 * components));
        for (units, before) in hidden.iter().zip(std::iter::once(&dimension).chain(hidden)) {
            at_least("model.hidden", *units, 1)?;
            at_most("model.hidden", *units, MOST_NUMBERS / before.max(&1))?;
        }
        at_most("model.hidden", hidden[hidden.len() - 1], MOST_NUMBERS / outputs.max(1))?;
        let name = format!("\"{}\"", model.name());
        if matches!(model, Model::RealNvp(_)) && dimension < 2 {
            let remedy = "couplings move some coordinates by the others: choose \"maf\" or \"made\"";
            return Err(out_of_range("model.kind", name, "a target of at least 2 coordinates", remedy));
        }
        if matches!(model, Model::NeuralRg(_)) && !self.has_scales() {
            let remedy = "choose another model, or such a size";
            let expected = "a periodic square lattice as the target, whose side is a power of two";
            return Err(out_of_range("model.kind", name, expected, remedy));
        }
        if self.target.has_energy() && matches!(model, Model::Made(_) | Model::Maf(_)) {
            let remedy = "autoregressive models are sampled one coordinate after the other, without a gradient: choose \
                          \"real-nvp\", or a potential";
            return Err(out_of_range("model.kind", name, "\"real-nvp\" for a target given by its energy", remedy));
        }
        if let Some([low, high]) = self.target.temperatures() {
            let remedy = "choose a potential for a range of temperatures";
            return Err(out_of_range("target.temperature", format!("[{low}, {high}]"), "one for a model", remedy));
        }
        self.train_fits_a_model()
    }

    /// Whether the target is a periodic square lattice that can be halved down to a site.
    fn has_scales(&self) -> bool {
        self.target.lattice().is_some_and(|(rows, cols, boundary)| {
            boundary == Boundary::Periodic && rows == cols && rows.is_power_of_two()
        })
    }

    /// Refuses settings of a training that only a flow has.
    fn train_fits_a_model(&self) -> Result<(), RecipeError> {
        let own = [Objective::Nll, Objective::FreeEnergy];
        if !own.contains(&self.train.objective) {
            let objective = format!("\"{}\"", self.train.objective.name());
            let remedy = "it is of flows that are integrated, and a model in closed form is none";
            return Err(out_of_range("train.objective", objective, "\"nll\" or \"free-energy\"", remedy));
        }
        if self.train.transport_cost != 0.0 {
            let expected = "0 for a model in closed form, which moves along no path";
            return Err(out_of_range("train.transport_cost", self.train.transport_cost, expected, "leave it out"));
        }
        if self.train.force_weight != 0.0 {
            let remedy = "the score is carried along flows: leave it out, or train a potential";
            return Err(out_of_range(
                "train.force_weight",
                self.train.force_weight,
                "0 for a model in closed form",
                remedy,
            ));
        }
        let tuned = self.fine_tune.as_ref().map(|tune| tune.gradient);
        for (key, gradient) in [("train.gradient", Some(self.train.gradient)), ("fine_tune.gradient", tuned)] {
            if gradient == Some(Estimator::Path) {
                let remedy = "the gradient through the path is one of flows: leave it out";
                return Err(out_of_range(key, "\"path\"", "\"total\" for a model in closed form", remedy));
            }
        }
        let remedy = "a model in closed form integrates nothing: leave it out";
        if let Some(steps) = self.evaluate.steps {
            return Err(out_of_range("evaluate.steps", steps, "no value", remedy));
        }
        if self.evaluate.refinements != Evaluate::default().refinements {
            return Err(out_of_range("evaluate.refinements", self.evaluate.refinements, "no value", remedy));
        }
        self.evaluate.method.map_or(Ok(()), |method| {
            Err(out_of_range("evaluate.method", format!("\"{}\"", method.name()), "no value", remedy))
        })
    }
}
