//! What a caller hears of long work while it goes on, and how the caller stops it.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::metrics::Row;

/// Hears of long work, and may stop it. Every method is optional; `()` hears nothing and stops nothing.
///
/// Work may call it from several threads at once.
///
/// ```
/// use maflow::monitor::Monitor;
/// struct Notes(std::sync::Mutex<Vec<String>>);
/// impl Monitor for Notes {
///     fn note(&self, sentence: &str) {
///         self.0.lock().unwrap().push(sentence.to_owned());
///     }
/// }
/// let notes = Notes(Default::default());
/// notes.note("resumed at step 10");
/// assert!(!notes.cancelled());
/// ```
pub trait Monitor: Sync {
    /// Something that the user should know: a warning, a decision.
    fn note(&self, _sentence: &str) {}

    /// Part of a task is done. The first call of a task has `done` 0.
    fn task(&self, _progress: &TaskProgress<'_>) {}

    /// The task heard of last has ended, whether it was completed or not.
    fn task_ended(&self) {}

    /// A training begins or goes on.
    fn training(&self, _training: &Training) {}

    /// A gradient step was made. `validation` is the latest validation figure, of this step or an earlier one.
    fn step(&self, _row: &Row, _validation: Option<f64>) {}

    /// The losses so far say nothing of those to come: the training was taken back to so many steps, or minimises
    /// something else after them.
    fn restarted(&self, _made: u64) {}

    /// The training begun last has ended, whether it was completed or not.
    fn training_ended(&self) {}

    /// Whether work should stop as soon as it can. A training then saves its state first.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Monitor for () {}

/// How much of a task is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskProgress<'a> {
    /// What is being done, as "drawing samples".
    pub name: &'a str,
    /// Parts done.
    pub done: u64,
    /// Parts in all.
    pub parts: u64,
    /// More about this part; may be empty.
    pub detail: &'a str,
}

/// Where a training begins, where it ends, and what it may reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// Gradient steps made before.
    pub first: u64,
    /// Gradient steps when it ends.
    pub total: u64,
    /// The step after which fine-tuning follows, where there is one: its steps take another time than those before.
    pub fine_tuned_from: Option<u64>,
    /// The least value that the loss can reach and what that is ("exact", "entropy"), where it is known, in the unit of
    /// the run's figures.
    pub best: Option<(&'static str, f64)>,
}

/// A task of so many parts that a monitor hears of until this value is dropped.
pub(crate) struct Task<'a> {
    monitor: &'a dyn Monitor,
    name: &'static str,
    parts: u64,
}

impl<'a> Task<'a> {
    /// Begins.
    pub(crate) fn start(monitor: &'a dyn Monitor, name: &'static str, parts: u64) -> Self {
        let task = Self { monitor, name, parts };
        task.update(0, "");
        task
    }

    /// So many parts are done.
    pub(crate) fn update(&self, done: u64, detail: &str) {
        self.monitor.task(&TaskProgress { name: self.name, done, parts: self.parts, detail });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.monitor.task_ended();
    }
}

/// Time between two reports of work that many threads do in small parts.
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// Tells a monitor how many of `parts` are done while work goes on that counts them from any thread; the work is told
/// to stop when the monitor wants that.
pub(crate) fn counted<T>(
    monitor: &dyn Monitor,
    name: &'static str,
    parts: usize,
    work: impl FnOnce(&(dyn Fn(usize) -> ControlFlow<()> + Sync)) -> T,
) -> T {
    let task = Task::start(monitor, name, parts as u64);
    let last = Mutex::new(Instant::now());
    work(&|done| {
        // A thread that finds another one reporting has nothing newer to report.
        if let Ok(mut last) = last.try_lock()
            && last.elapsed() >= REPORT_EVERY
        {
            *last = Instant::now();
            task.update(done as u64, "");
        }
        if monitor.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it hears, and stops everything once it has heard of a task.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Monitor for Heard {
        fn task(&self, progress: &TaskProgress<'_>) {
            self.0.lock().unwrap().push(format!("{} {}/{}", progress.name, progress.done, progress.parts));
        }

        fn task_ended(&self) {
            self.0.lock().unwrap().push("ended".to_owned());
        }

        fn cancelled(&self) -> bool {
            !self.0.lock().unwrap().is_empty()
        }
    }

    #[test]
    fn a_task_ends_where_its_work_fails_too() {
        let heard = Heard::default();
        let work = || -> Result<(), ()> {
            let task = Task::start(&heard, "sampling", 3);
            task.update(1, "");
            Err(())
        };
        work().unwrap_err();
        assert_eq!(*heard.0.lock().unwrap(), ["sampling 0/3", "sampling 1/3", "ended"]);
    }

    #[test]
    fn counted_work_is_told_to_stop() {
        assert_eq!(counted(&(), "sampling", 5, |done| done(1)), ControlFlow::Continue(()));
        assert_eq!(counted(&Heard::default(), "sampling", 5, |done| done(1)), ControlFlow::Break(()));
    }
}
