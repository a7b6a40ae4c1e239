//! What the user sees and decides while the library works: bars, lines and Ctrl-C.

use std::sync::{Mutex, MutexGuard, PoisonError};

use maflow::metrics::Row;
use maflow::monitor::{Monitor, TaskProgress, Training};

use crate::progress::{Progress, Status, Task};
use crate::{interrupt, output};

/// Shows progress on standard error. Ctrl-C asks for an end.
#[derive(Debug, Default)]
pub struct Terminal {
    training: Mutex<Option<Progress>>,
    task: Mutex<Option<Task>>,
}

/// Shows nothing, because another process shows all. Ctrl-C asks for an end.
#[derive(Debug)]
pub struct Silent;

impl Monitor for Silent {
    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Monitor for Terminal {
    fn note(&self, sentence: &str) {
        match &*locked(&self.training) {
            Some(progress) => progress.note(sentence),
            None => output::note(sentence),
        }
    }

    fn task(&self, progress: &TaskProgress<'_>) {
        let mut task = locked(&self.task);
        let task = task.get_or_insert_with(|| Task::start(progress.name, progress.parts));
        task.update(progress.done, progress.detail);
    }

    fn task_ended(&self) {
        if let Some(task) = locked(&self.task).take() {
            task.finish();
        }
    }

    fn training(&self, training: &Training) {
        *locked(&self.training) = Some(Progress::start(*training));
    }

    fn step(&self, row: &Row, validation: Option<f64>) {
        if let Some(progress) = &mut *locked(&self.training) {
            let (step, loss, flow_steps) = (row.step, row.loss, row.flow_steps);
            progress.update(Status { step, loss, flow_steps, validation });
        }
    }

    fn restarted(&self, made: u64) {
        if let Some(progress) = &mut *locked(&self.training) {
            progress.forget(made);
        }
    }

    fn training_ended(&self) {
        if let Some(progress) = locked(&self.training).take() {
            progress.finish();
        }
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}
