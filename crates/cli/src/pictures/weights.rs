//! The importance weights of a flow that fits an energy: their histogram, and the effective sample size that belongs to it.

use flow_core::{Flow, Space, Weights};

use crate::config::Config;
use crate::error::CliError;
use crate::plots::Histogram;
use crate::problem::{DEFAULT_ROWS, FigureRows, Problem};
use crate::progress::Task;

/// Samples that are drawn for it at most.
const MOST: usize = 4000;

/// `ln w − ln Z` of samples of the flow, as the flow has them and as the target has them: 0 where the two densities are equal.
pub fn histogram<S: Space>(flow: &Flow<'_, S>, config: &Config, problem: &Problem) -> Result<Histogram, CliError> {
    let count = config.evaluate.samples.unwrap_or(DEFAULT_ROWS).min(MOST);
    let rows = FigureRows::evaluation(problem, config.train.seed, Some(count))?;
    let objective = problem.objective::<S>();
    let mut losses = Vec::with_capacity(count);
    let mut task = Task::start("weighing samples", rows.batches());
    for i in 0..rows.batches() {
        let (batch, draws) = rows.batch(i);
        losses.extend(objective.evaluate(flow, &batch, draws, false)?.losses);
        task.update(i + 1, "");
    }
    task.finish();
    let weights = Weights::new(&losses);
    let (log_z, by) = match problem.best() {
        Some(least) => (-least, "exact"),
        None => (weights.log_z().mean, "by importance"),
    };
    let values: Vec<f64> = losses.iter().map(|loss| -loss - log_z).collect();
    let relative = values.iter().map(|v| v.exp()).collect();
    Ok(Histogram {
        title: format!(
            "Importance weights of {}: effective sample size {:.1} % of {count} samples",
            config.name,
            100.0 * weights.ess()
        ),
        x_label: format!("ln w − ln Z, ln Z {by}; {}", flow.integrator.describe()),
        values,
        series: vec![
            ("samples of the flow".to_owned(), vec![1.0; count]),
            ("the same, weighted: the target".to_owned(), relative),
        ],
        reference: Some(("flow = target".to_owned(), 0.0)),
    })
}
