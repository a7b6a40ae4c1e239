//! Long work on a thread of its own, while the calling thread listens for Python.
//!
//! Only the thread that called may look for Ctrl-C, and callbacks belong there too: plots and progress bars are of one
//! thread. The interpreter is free in between.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use maflow::metrics::Row;
use maflow::monitor::{Monitor, TaskProgress, Training};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::raise;

/// Time between two looks for Ctrl-C.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Time between two reports to a listener that does not want every step.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The first exception of a user's own code, which is raised in place of what it led to.
#[derive(Debug, Default)]
pub struct Raised(Mutex<Option<PyErr>>);

impl Raised {
    /// Remembers an exception, unless there is one.
    pub fn put(&self, error: PyErr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The exception, which is forgotten then.
    pub fn take(&self) -> Option<PyErr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whom to tell of progress: a callable that takes the kind of an event and its figures, and returns False to stop.
#[derive(FromPyObject)]
pub struct Listener {
    hear: Option<Py<PyAny>>,
    every_step: bool,
}

impl Listener {
    /// Nobody.
    pub fn silent() -> Self {
        Self { hear: None, every_step: false }
    }
}

/// Does the work, with the interpreter free. Exceptions of the listener and of Ctrl-C stop it and are raised; so are
/// those that the work has put into `raised`.
pub fn watched<T: Send>(
    py: Python<'_>,
    listener: &Listener,
    raised: &Raised,
    work: impl FnOnce(&dyn Monitor) -> Result<T, maflow::Error> + Send,
) -> PyResult<T> {
    raised.take();
    let stop = AtomicBool::new(false);
    let hear = listener.hear.as_ref();
    let (told, every_step) = (hear.is_some(), listener.every_step);
    let (found, stopped) = py.detach(|| {
        thread::scope(|scope| {
            let (sender, events) = channel();
            let stop = &stop;
            let worker = scope.spawn(move || {
                // Dropped at the end of the work, which ends the listening too.
                work(&Reporter { events: sender, stop, told, every_step, last: Mutex::new(None) })
            });
            let stopped = listen(&events, hear, stop);
            (worker.join().unwrap_or_else(|panic| resume_unwind(panic)), stopped)
        })
    });
    match stopped.or_else(|| raised.take()) {
        Some(exception) => Err(exception),
        None => found.map_err(raise),
    }
}

/// Hears events until the work ends; the exception that stopped it, where one did.
fn listen(events: &Receiver<Event>, hear: Option<&Py<PyAny>>, stop: &AtomicBool) -> Option<PyErr> {
    let (mut looked, mut stopped) = (Instant::now(), None);
    loop {
        let event = match events.recv_timeout(LOOK_EVERY) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return stopped,
        };
        let due = looked.elapsed() >= LOOK_EVERY;
        if stopped.is_some() || !due && event.is_none() {
            continue;
        }
        let heard = Python::attach(|py| {
            if due {
                py.check_signals()?;
            }
            match (hear, &event) {
                (Some(hear), Some(event)) => event.tell(hear.bind(py)),
                _ => Ok(true),
            }
        });
        if due {
            looked = Instant::now();
        }
        match heard {
            Ok(true) => {}
            Ok(false) => stop.store(true, Ordering::SeqCst),
            Err(exception) => {
                stop.store(true, Ordering::SeqCst);
                stopped = Some(exception);
            }
        }
        // Whoever waits for an answer to the event goes on here, and not before the wish to stop is known.
        drop(event);
    }
}

/// What the work tells the calling thread.
enum Event {
    Note(String),
    Task {
        name: String,
        done: u64,
        parts: u64,
        detail: String,
    },
    TaskEnded,
    Training(Training),
    /// With the latest validation, and whoever waits until it was heard, which is when this is dropped.
    Step {
        row: Row,
        validation: Option<f64>,
        _heard: Option<SyncSender<()>>,
    },
    /// After so many steps.
    Restarted(u64),
    TrainingEnded,
}

impl Event {
    /// Calls the listener; whether it wants to go on.
    fn tell(&self, hear: &Bound<'_, PyAny>) -> PyResult<bool> {
        let figures = PyDict::new(hear.py());
        let kind = match self {
            Self::Note(sentence) => {
                figures.set_item("sentence", sentence)?;
                "note"
            }
            Self::Task { name, done, parts, detail } => {
                figures.set_item("name", name)?;
                figures.set_item("done", done)?;
                figures.set_item("parts", parts)?;
                figures.set_item("detail", detail)?;
                "task"
            }
            Self::TaskEnded => "task_ended",
            Self::Training(training) => {
                figures.set_item("first", training.first)?;
                figures.set_item("total", training.total)?;
                figures.set_item("fine_tuned_from", training.fine_tuned_from)?;
                figures.set_item("best", training.best)?;
                "training"
            }
            Self::Step { row, validation, .. } => {
                step(&figures, row, *validation)?;
                "step"
            }
            Self::Restarted(made) => {
                figures.set_item("made", made)?;
                "restarted"
            }
            Self::TrainingEnded => "training_ended",
        };
        // False stops; None, which a function without a result returns, does not.
        Ok(!hear.call1((kind, figures))?.extract::<bool>().is_ok_and(|wish| !wish))
    }
}

/// The figures of a step, with the names of `metrics.csv`.
fn step(figures: &Bound<'_, PyDict>, row: &Row, validation: Option<f64>) -> PyResult<()> {
    figures.set_item("step", row.step)?;
    figures.set_item("epoch", row.epoch)?;
    figures.set_item("loss", row.loss)?;
    figures.set_item("loss_error", row.loss_error)?;
    figures.set_item("learning_rate", row.learning_rate)?;
    figures.set_item("gradient_norm", row.gradient_norm)?;
    figures.set_item("flow_steps", row.flow_steps)?;
    figures.set_item("integration_error", row.integration_error)?;
    figures.set_item("validation", row.validation)?;
    figures.set_item("validation_error", row.validation_error)?;
    figures.set_item("seconds", row.seconds)?;
    figures.set_item("latest_validation", validation)
}

/// The monitor of the work.
struct Reporter<'a> {
    events: Sender<Event>,
    stop: &'a AtomicBool,
    told: bool,
    every_step: bool,
    last: Mutex<Option<Instant>>,
}

impl Reporter<'_> {
    fn send(&self, event: Event) {
        if self.told {
            // The other end lives as long as the work.
            let _ = self.events.send(event);
        }
    }

    /// Whether it is time for another report.
    fn due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= REPORT_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl Monitor for Reporter<'_> {
    fn note(&self, sentence: &str) {
        self.send(Event::Note(sentence.to_owned()));
    }

    fn task(&self, progress: &TaskProgress<'_>) {
        let TaskProgress { name, done, parts, detail } = *progress;
        if done == 0 || self.due() {
            self.send(Event::Task { name: name.to_owned(), done, parts, detail: detail.to_owned() });
        }
    }

    fn task_ended(&self) {
        self.send(Event::TaskEnded);
    }

    fn training(&self, training: &Training) {
        self.send(Event::Training(*training));
    }

    fn step(&self, row: &Row, validation: Option<f64>) {
        if self.every_step {
            // The next step waits until this one was heard: nothing is ever sent, the sender is dropped then.
            let (heard, answer) = sync_channel(0);
            self.send(Event::Step { row: row.clone(), validation, _heard: Some(heard) });
            let _ = answer.recv();
        } else if row.validation.is_some() || self.due() {
            self.send(Event::Step { row: row.clone(), validation, _heard: None });
        }
    }

    fn restarted(&self, made: u64) {
        self.send(Event::Restarted(made));
    }

    fn training_ended(&self) {
        self.send(Event::TrainingEnded);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
