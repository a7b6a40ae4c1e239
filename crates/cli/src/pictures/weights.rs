//! The importance weights of a flow that fits an energy: their histogram, and the effective sample size that belongs to
//! it.

use flow_core::{Converged, Weights};

use maflow::recipe::Recipe;
use maflow::target::Target;

use crate::plots::{Histogram, Series};

/// `ln w − ln Z` of samples of the flow, as the flow has them and as the target has them: 0 where the two densities are
/// equal.
pub fn histogram(found: &Converged, recipe: &Recipe, target: &dyn Target) -> Histogram {
    let (losses, count) = (&found.losses, found.losses.len());
    let weights = Weights::new(losses);
    let (log_z, by) = match target.known() {
        Some(known) => (-known.value(), "exact"),
        None => (weights.log_z().mean, "by importance"),
    };
    let values: Vec<f64> = losses.iter().map(|loss| -loss - log_z).collect();
    let weighted = Series {
        name: "the same, weighted: the target".to_owned(),
        weights: values.iter().map(|v| v.exp()).collect(),
        values: values.clone(),
    };
    Histogram {
        title: format!(
            "Importance weights of {}: effective sample size {:.1} % of {count} samples",
            recipe.name,
            100.0 * weights.ess()
        ),
        x_label: format!("ln w − ln Z, ln Z {by}; {}", found.integrator),
        series: vec![Series::equal("samples of the flow", values), weighted],
        reference: Some(("flow = target".to_owned(), 0.0)),
        range: None,
    }
}
