//! A device that plays at capturing, so that tests see sessions at work on machines without a CUDA device.

use flow_core::{Error, Outputs};

use super::{Capture, Work};
use crate::context;
use crate::tensors::Tch;

/// Replays by doing the work of the session again, on the refilled inputs, and copying its results into the captured
/// outputs.
///
/// What a replay leaves out on a CUDA device is done here: host numbers that enter a stage by mistake go unseen.
pub(super) struct Emulated;

impl Capture for Emulated {
    type Graph = ();

    fn capture(&self, work: &mut Work<'_>) -> Result<((), Outputs<Tch>), Error> {
        Ok(((), work()?))
    }

    fn replay(&self, _graph: &(), outputs: &Outputs<Tch>, work: &mut Work<'_>) -> Result<(), Error> {
        let found = work()?;
        let counts = |of: &Outputs<Tch>| (of.arrays.len(), of.columns.len());
        assert_eq!(counts(&found), counts(outputs), "outputs of a stage, now and when it was captured");
        let arrays = found.arrays.iter().zip(&outputs.arrays).map(|(found, out)| (&found.0, &out.0));
        let columns = found.columns.iter().zip(&outputs.columns).map(|(found, out)| (&found.0, &out.0));
        for (found, out) in arrays.chain(columns) {
            let form = |of: &tch::Tensor| (of.size(), of.kind());
            assert_eq!(form(found), form(out), "an output of a stage, now and when it was captured");
            out.shallow_clone().copy_(found);
        }
        Ok(())
    }

    fn mode(&self) -> u64 {
        context::tf32().into()
    }
}
