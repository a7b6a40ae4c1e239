//! A flow: a potential, an integrator and a duration. Samples and log-densities, block by block.

use crate::{Coordinates, Error, Integrator, Memory, Potential, RngKey, Solve, SolveOptions, Space, Span};

/// Which way through a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the base density at t = 0 to the model at t = T.
    Forward,
    /// From the model at t = T to the base density at t = 0.
    Backward,
}

/// A potential with the way it is integrated: the normalising flow itself.
pub struct Flow<'a, S: Space> {
    /// The backend.
    pub space: &'a S,
    /// The potential φ.
    pub potential: &'a dyn Potential<S>,
    /// The integrator.
    pub integrator: &'a dyn Integrator<S>,
    /// The duration T.
    pub duration: f64,
    /// The coordinates that solves may use.
    pub coordinates: Coordinates,
    /// What gradients keep.
    pub memory: Memory,
}

// By hand: a derive would ask for `S: Copy`, which the references do not need.
impl<S: Space> Clone for Flow<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: Space> Copy for Flow<'_, S> {}

/// Points carried from one time to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Transported {
    /// The points at the end, `rows × dim`, row by row.
    pub x: Vec<f64>,
    /// Change of ln p on the way, per row.
    pub log_density: Vec<f64>,
}

impl<'a, S: Space> Flow<'a, S> {
    /// The same flow with another integrator.
    pub fn with_integrator<'b>(&self, integrator: &'b dyn Integrator<S>) -> Flow<'b, S>
    where
        'a: 'b,
    {
        Flow { integrator, ..*self }
    }

    /// The times from and to which a direction leads.
    pub fn span(&self, direction: Direction) -> Span {
        match direction {
            Direction::Forward => Span { from: 0.0, to: self.duration },
            Direction::Backward => Span { from: self.duration, to: 0.0 },
        }
    }

    /// What the potential is told of a solve of this flow.
    ///
    /// # Errors
    /// [`Error::AdaptivePerStage`] when the field is random in time and the step adaptive.
    pub fn solve(&self, rows: usize, key: RngKey) -> Result<Solve, Error> {
        let adaptive = self.integrator.evaluations().is_none();
        if adaptive && self.potential.random_in_time() {
            return Err(Error::AdaptivePerStage);
        }
        // Tolerances mean x: an adaptive solve is never in other coordinates.
        let coordinates = if adaptive { Coordinates::X } else { self.coordinates };
        Ok(Solve { rows, key, coordinates })
    }

    /// Carries points (`rows × dim`, row by row) over a span of time.
    ///
    /// # Errors
    /// Those of the integrator; [`Error::NonFinite`] when the result is not finite.
    pub fn transport(&self, x: &[f64], span: Span, key: RngKey) -> Result<Transported, Error> {
        let dim = self.potential.dim();
        let rows = x.len() / dim;
        let solve = self.solve(rows, key)?;
        if let Some(recorder) = self.space.recorder()
            && let Some(arrived) = recorder.carry(self, x, span, &solve)?
        {
            all_finite(arrived.x.iter().chain(&arrived.log_density))?;
            return Ok(Transported { x: arrived.x, log_density: arrived.log_density });
        }
        let field = self.potential.freeze(&solve);
        let blocks = self.space.map_rows(rows, |range| {
            let block = self.space.upload(range.len(), dim, &x[range.start * dim..range.end * dim]);
            let (mut chart, state) = field.enter(range, block);
            let passage = self.integrator.flow(self.space, &mut *chart, state, span, SolveOptions::default())?;
            let x = chart.leave(passage.state);
            Ok::<_, Error>((self.space.download(&x), self.space.download_column(&passage.log_density)))
        });
        let mut out = Transported { x: Vec::with_capacity(x.len()), log_density: Vec::with_capacity(rows) };
        for block in blocks {
            let (x, log_density) = block?;
            out.x.extend(x);
            out.log_density.extend(log_density);
        }
        all_finite(out.x.iter().chain(&out.log_density))?;
        Ok(out)
    }

    /// ln p(x, T) of every row of `x` under the model.
    ///
    /// # Errors
    /// As [`Flow::transport`].
    pub fn log_density(&self, x: &[f64], key: RngKey) -> Result<Vec<f64>, Error> {
        let base = self.transport(x, self.span(Direction::Backward), key)?;
        let rows = base.x.chunks_exact(self.potential.dim()).zip(&base.log_density);
        Ok(rows.map(|(z, change)| standard_normal_log_density(z) - change).collect())
    }
}

/// [`Error::NonFinite`] unless all numbers of an integrated state are finite.
pub(crate) fn all_finite<'a>(mut numbers: impl Iterator<Item = &'a f64>) -> Result<(), Error> {
    match numbers.all(|v| v.is_finite()) {
        true => Ok(()),
        false => Err(Error::NonFinite { what: "the integrated state", place: String::new() }),
    }
}

/// ln N(z; 0, I).
pub fn standard_normal_log_density(z: &[f64]) -> f64 {
    let square: f64 = z.iter().map(|v| v * v).sum();
    -0.5 * (square + z.len() as f64 * std::f64::consts::TAU.ln())
}
