//! The importance weights of a flow that fits an energy: their histogram, and the effective sample size that belongs to
//! it.

use flow_core::{Converged, Weights};

use maflow::recipe::Recipe;
use maflow::target::Target;

use crate::plots::{Histogram, Series};

/// `ln w − ln Z` below which a sample counts for nothing: all others are shown, where they are most.
const NOTHING: f64 = -20.0;

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
    let (range, left_out) = shown(&values);
    Histogram {
        title: format!(
            "Importance weights of {}: effective sample size {:.1} % of {count} samples",
            recipe.name,
            100.0 * weights.ess()
        ),
        x_label: format!("ln w − ln Z, ln Z {by}; {}{left_out}", found.integrator),
        series: vec![Series::equal("samples of the flow", values), weighted],
        reference: Some(("flow = target".to_owned(), 0.0)),
        range,
    }
}

/// The ends of an axis for all samples but those that count for nothing, and what is said of these; the histogram's own
/// ends where there are none of these, or little else.
fn shown(values: &[f64]) -> (Option<(f64, f64)>, String) {
    let kept = || values.iter().copied().filter(|v| *v >= NOTHING);
    let (count, lost) = (values.len(), values.len() - kept().count());
    if lost == 0 || 2 * lost > count {
        return (None, String::new());
    }
    let (low, high) = kept().fold((0.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    let room = 0.04 * (high - low);
    let part = 100.0 * lost as f64 / count as f64;
    (Some((low - room, high + room)), format!("; {part:.2} % of the samples lie left of −{:.0}", -NOTHING))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_count_for_nothing_do_not_stretch_the_axis() {
        let most: Vec<f64> = (0..97).map(|k| f64::from(k) / 48.5 - 1.0).collect();
        let with = |more: &[f64]| shown(&[&most[..], more].concat());
        assert_eq!(with(&[-3.0]), (None, String::new()));
        let (range, words) = with(&[-200.0, f64::NEG_INFINITY, f64::NAN]);
        let (low, high) = range.unwrap();
        assert!(-1.2 < low && low < -1.0 && 0.9 < high && high < 1.2, "{low} {high}");
        assert_eq!(words, "; 3.00 % of the samples lie left of −20");
        assert_eq!(shown(&[-200.0, -100.0, 0.5]).0, None, "a flow that is still far away");
    }
}
