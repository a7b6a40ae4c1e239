//! A store of checkpoints for tests of trainings.

use flow_core::{Checkpoint, CheckpointStore, Error, Occasion, Stored};

/// Checkpoints in memory, in the order in which they were stored.
#[derive(Default)]
pub struct Kept {
    /// What was stored, with the occasion.
    pub checkpoints: Vec<(Occasion, Checkpoint)>,
    /// How many of the newest cannot be used.
    pub spoiled: usize,
}

impl CheckpointStore for Kept {
    fn save(&mut self, occasion: Occasion, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.checkpoints.push((occasion, checkpoint.clone()));
        Ok(())
    }

    fn newest(&mut self, periodic: bool) -> Result<Option<Stored>, Error> {
        let fits = |occasion: Occasion| match occasion {
            Occasion::Periodic => true,
            Occasion::Interrupt => !periodic,
            Occasion::Best => false,
        };
        let mut found = self.checkpoints.iter().rev().filter(|(occasion, _)| fits(*occasion));
        let warnings = found.by_ref().take(self.spoiled).map(|_| "one was passed over".into()).collect();
        let stored = |(occasion, checkpoint): &(_, Checkpoint)| Stored {
            checkpoint: checkpoint.clone(),
            occasion: *occasion,
            warnings,
        };
        Ok(found.next().map(stored))
    }
}
