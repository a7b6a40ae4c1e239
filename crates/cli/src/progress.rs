//! Progress on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use maflow::monitor::Training;
use maflow::numbers::fixed;

use crate::output;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Steps over which the loss is averaged for display.
const SMOOTHING: f64 = 20.0;

/// What the training reports after a step.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// Optimiser steps done.
    pub step: u64,
    /// Mean loss of the batch, in the unit of the run's figures.
    pub loss: f64,
    /// Steps of the integrator.
    pub flow_steps: u64,
    /// The latest validation figure.
    pub validation: Option<f64>,
}

/// The display. It ends with [`Progress::finish`]; dropped, it leaves the terminal clean.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    training: Training,
    pace: Pace,
    last_line: Option<Instant>,
    smooth: Smooth,
}

impl Progress {
    /// Starts.
    pub fn start(training: Training) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}")
                .expect("the template is a constant that indicatif accepts")
                .progress_chars("━╸·");
            let bar = ProgressBar::with_draw_target(Some(training.total), ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style);
            bar.set_position(training.first);
            bar
        });
        let pace = Pace { step: training.first, since: Instant::now(), latest: Instant::now() };
        Self { bar, training, pace, last_line: None, smooth: Smooth::default() }
    }

    /// Shows a step.
    pub fn update(&mut self, status: Status) {
        self.smooth.push(status.loss);
        self.pace.latest = Instant::now();
        let message = format!("{}  {}", self.message(&status), self.left(status.step));
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.set_position(status.step);
            }
            None => {
                let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
                if due || status.step >= self.training.total {
                    self.last_line = Some(Instant::now());
                    output::note(&format!("step {}/{}  {message}", status.step, self.training.total));
                }
            }
        }
    }

    /// Forgets the losses and the pace so far: what follows so many steps is another loss, or steps made before.
    pub fn forget(&mut self, made: u64) {
        self.smooth = Smooth::default();
        self.pace = Pace { step: made, since: self.pace.latest, latest: self.pace.latest };
    }

    /// Prints a line (a warning, a checkpoint) without disturbing the bar.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    /// Ends the display, leaving the last state on the screen.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }

    fn message(&self, status: &Status) -> String {
        let mut text = format!("loss {}", figure(self.smooth.mean()));
        if let Some((name, best)) = self.training.best {
            text += &format!("  {name} {}", figure(best));
        }
        if let Some(validation) = status.validation {
            text += &format!("  validation {}", figure(validation));
        }
        // A model in closed form has none.
        if status.flow_steps > 0 {
            text += &format!("  flow steps {}", status.flow_steps);
        }
        text
    }

    /// The time that is left; before fine-tuning, whose pace is not known, the time until it begins.
    fn left(&self, step: u64) -> String {
        match self.training.fine_tuned_from.filter(|from| step < *from) {
            Some(from) => format!("{} to step {from}", duration(self.pace.seconds(step, from))),
            None => format!("{} left", duration(self.pace.seconds(step, self.training.total))),
        }
    }
}

/// The time of a step: the mean since one of them.
#[derive(Debug)]
struct Pace {
    /// Steps made then.
    step: u64,
    since: Instant,
    /// When the last step was made.
    latest: Instant,
}

impl Pace {
    /// Seconds from a step just made to another.
    fn seconds(&self, step: u64, to: u64) -> f64 {
        let done = step.saturating_sub(self.step).max(1);
        (self.latest - self.since).as_secs_f64() * to.saturating_sub(step) as f64 / done as f64
    }
}

/// Progress of work in equal parts: figures, samples.
#[derive(Debug)]
pub struct Task {
    bar: Option<ProgressBar>,
    name: String,
    parts: u64,
    last_line: Instant,
}

impl Task {
    /// Starts.
    pub fn start(name: &str, parts: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {prefix} {pos}/{len}  {msg}")
                .expect("the template is a constant that indicatif accepts")
                .progress_chars("━╸·");
            let bar = ProgressBar::with_draw_target(Some(parts), ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style);
            bar.set_prefix(name.to_owned());
            bar
        });
        Self { bar, name: name.to_owned(), parts, last_line: Instant::now() }
    }

    /// Shows how many parts are done.
    pub fn update(&mut self, done: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(message.to_owned());
                bar.set_position(done);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                output::note(format!("{} {done}/{}  {message}", self.name, self.parts).trim_end());
            }
            None => {}
        }
    }

    /// Takes the bar off the screen.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Running mean over about [`SMOOTHING`] steps, exact from the first one on.
#[derive(Debug, Default)]
struct Smooth {
    sum: f64,
    weight: f64,
}

impl Smooth {
    fn push(&mut self, value: f64) {
        let keep = 1.0 - 1.0 / SMOOTHING;
        self.sum = keep * self.sum + value;
        self.weight = keep * self.weight + 1.0;
    }

    fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

/// A figure with as many digits as its size deserves.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => fixed(value, 1),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Seconds in words: `45 s`, `2 min 10 s`, `3 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_displayed_loss_is_a_mean_from_the_first_step_on() {
        let mut smooth = Smooth::default();
        smooth.push(3.0);
        assert_eq!(smooth.mean(), 3.0);
        (0..2000).for_each(|_| smooth.push(1.0));
        assert!((smooth.mean() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn fine_tuning_has_a_pace_of_its_own() {
        let training = Training { first: 10, total: 130, fine_tuned_from: Some(30), best: None };
        let mut progress = Progress::start(training);
        let start = progress.pace.since;
        let at = |progress: &mut Progress, seconds| progress.pace.latest = start + Duration::from_secs(seconds);
        at(&mut progress, 20);
        assert_eq!(progress.left(20), "20 s to step 30");
        at(&mut progress, 40);
        progress.forget(30);
        at(&mut progress, 100);
        assert_eq!(progress.left(40), "9 min 0 s left", "10 steps took a minute, 90 are left");
        assert_eq!(progress.left(130), "0 s left");
    }

    #[test]
    fn durations_and_figures_read_well() {
        assert_eq!(duration(59.6), "1 min 0 s");
        assert_eq!(duration(11_100.0), "3 h 5 min");
        assert_eq!(figure(-2.315_920_858), "-2.3159");
        assert_eq!(figure(1255.48), "1255.5");
        assert_eq!(figure(-1e300), "-1.000e300");
    }
}
