//! What hears of every gradient step: the metrics file, the log and the monitor.

use flow_core::{Observer, StepMetrics};

use crate::metrics::{Metrics, Row};
use crate::monitor::{Monitor, Training};
use crate::numbers::with_error;
use crate::run_dir::RunDir;

/// The listener of one training.
pub(crate) struct Listener<'a> {
    /// Where it writes; none where another process does.
    run: Option<&'a RunDir>,
    monitor: &'a dyn Monitor,
    /// Open from the first [`Observer::rewind`] on, which a resumed training calls once its checkpoint has been read.
    metrics: Option<Metrics>,
    shown: bool,
    /// What nats are divided by: sites of a lattice.
    sites: f64,
    /// Rows of the training set, where that is finite.
    training_rows: Option<usize>,
    /// Where the training of now began: its first step, the rows seen before, and the rows of its batches.
    first: u64,
    seen: u64,
    batch: u64,
    validation: Option<f64>,
}

impl<'a> Listener<'a> {
    /// Listens for the run; figures are nats divided by `sites`, and an epoch is so many rows, where the training set
    /// is finite.
    pub(crate) fn new(
        run: Option<&'a RunDir>,
        monitor: &'a dyn Monitor,
        sites: f64,
        training_rows: Option<usize>,
    ) -> Self {
        Self {
            run,
            monitor,
            metrics: None,
            shown: false,
            sites,
            training_rows,
            first: 0,
            seen: 0,
            batch: 0,
            validation: None,
        }
    }

    /// Hears of a training that begins at step `first` after so many rows were `seen`, in batches of so many.
    pub(crate) fn begin(&mut self, first: u64, seen: u64, batch: u64) {
        (self.first, self.seen, self.batch) = (first, seen, batch);
    }

    /// Shows the progress of a training, whose best value is in nats.
    pub(crate) fn show(&mut self, training: Training) {
        let best = training.best.map(|(name, nats)| (name, nats / self.sites));
        self.monitor.training(&Training { best, ..training });
        self.shown = true;
    }

    /// Ends the display.
    pub(crate) fn finish(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.monitor.training_ended();
        }
    }

    fn row(&self, metrics: &StepMetrics) -> Row {
        let per_site = |nats: f64| nats / self.sites;
        let validation = metrics.validation;
        Row {
            step: metrics.step,
            epoch: self
                .training_rows
                .map(|rows| (self.seen + (metrics.step - 1 - self.first) * self.batch) / rows as u64),
            loss: per_site(metrics.loss.mean),
            loss_error: per_site(metrics.loss.standard_error),
            learning_rate: metrics.learning_rate,
            gradient_norm: metrics.gradient_norm,
            flow_steps: metrics.level,
            integration_error: metrics.integration_error.map(per_site),
            validation: validation.map(|v| per_site(v.figure)),
            // One row alone has none.
            validation_error: validation.map(|v| per_site(v.standard_error)).filter(|error| !error.is_nan()),
            seconds: metrics.seconds,
            communication_seconds: (metrics.traffic.bytes > 0).then_some(metrics.traffic.seconds),
            communication_bytes: Some(metrics.traffic.bytes).filter(|bytes| *bytes > 0),
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Observer for Listener<'_> {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), flow_core::Error> {
        let row = self.row(metrics);
        if let Some(file) = &mut self.metrics {
            file.push(&row)?;
        }
        if let Some(validation) = metrics.validation {
            self.validation = row.validation;
            let figure = with_error(validation.figure, validation.standard_error);
            // A model in closed form has no integration steps.
            let error = match metrics.level {
                0 => String::new(),
                _ => format!(", integration error {:.1e}", validation.integration_error),
            };
            self.note(&format!("step {}: validation {figure} nats{error}", metrics.step));
        }
        self.monitor.step(&row, self.validation);
        Ok(())
    }

    fn note(&mut self, sentence: &str) {
        self.monitor.note(sentence);
        if let Some(Err(error)) = self.run.map(|run| run.log(sentence)) {
            self.monitor.note(&error.to_string());
        }
    }

    fn rewind(&mut self, step: u64) -> Result<(), flow_core::Error> {
        self.metrics = self.run.map(|run| Metrics::open(&run.metrics(), step)).transpose()?;
        self.monitor.restarted(step);
        Ok(())
    }

    fn interrupted(&self) -> bool {
        self.monitor.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use flow_core::{Mean, Traffic};

    use super::*;
    use crate::recipes;

    #[test]
    fn epochs_go_on_from_one_training_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run"), &recipes::load("mnist", &[]).unwrap()).unwrap();
        let mut listener = Listener::new(Some(&run), &(), 1.0, Some(100));
        let epoch = |listener: &Listener<'_>, step| {
            let metrics = StepMetrics {
                step,
                loss: Mean::of(&[1.0, 2.0]),
                learning_rate: 1e-3,
                gradient_norm: 1.0,
                level: 10,
                integration_error: None,
                validation: None,
                seconds: 0.0,
                traffic: Traffic::default(),
            };
            listener.row(&metrics).epoch
        };
        listener.begin(0, 0, 10);
        assert_eq!([1, 10, 11, 20].map(|step| epoch(&listener, step)), [0, 0, 1, 1].map(Some));
        listener.begin(20, 200, 25);
        assert_eq!([21, 24, 25].map(|step| epoch(&listener, step)), [2, 2, 3].map(Some));
    }
}
