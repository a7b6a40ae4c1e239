//! Points carried through a flow: samples, base coordinates and log-densities.

use crate::batch::Batch;
use crate::ends::End;
use crate::energy::standard_normal_log_density;
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::flow::{Direction, Flow};
use crate::integrate::{SolveOptions, Span};
use crate::rng::RngKey;
use crate::solve::Solver;
use crate::space::Space;

/// Points carried from one time to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Transported {
    /// The points at the end, `rows × dim`, row by row.
    pub x: Vec<f64>,
    /// Change of ln p on the way, per row.
    pub log_density: Vec<f64>,
}

/// Points carried from one time to another, with what their way cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The points at the end, `rows × dim`, row by row.
    pub x: Vec<f64>,
    /// `∫ ½‖∇φ‖² |dt|` along the way, per row.
    pub cost: Vec<f64>,
}

impl<S: Space> Flow<'_, S> {
    /// Carries points (`rows × dim`, row by row) over a span of time.
    ///
    /// # Errors
    /// As [`Flow::transport_batch`].
    pub fn transport(&self, x: &[f64], span: Span, key: RngKey) -> Result<Transported, Error> {
        self.transport_batch(&Batch::new(x.to_vec(), self.potential.dim())?, span, key)
    }

    /// Carries the rows of a whole batch, with their context, over a span of time.
    ///
    /// # Errors
    /// Those of the integrator; [`Error::Shape`] when the batch does not fit the potential; [`Error::NonFinite`] when
    /// the result is not finite.
    pub fn transport_batch(&self, batch: &Batch, span: Span, key: RngKey) -> Result<Transported, Error> {
        let [x, log_density] =
            self.ends_of(batch, span, key, SolveOptions::default(), |end| [end.x, end.log_density])?;
        Ok(Transported { x, log_density })
    }

    /// Carries the rows of a whole batch as [`Flow::transport_batch`] does, to the same points up to round-off, and
    /// leaves ln p out: for samples. Laplacians are then evaluated by methods alone whose steps depend on ln p.
    ///
    /// # Errors
    /// As [`Flow::transport_batch`].
    pub fn transport_points(&self, batch: &Batch, span: Span, key: RngKey) -> Result<Vec<f64>, Error> {
        let options = SolveOptions { points_only: true, ..SolveOptions::default() };
        let [x] = self.ends_of(batch, span, key, options, |end| [end.x])?;
        Ok(x)
    }

    /// What is wanted of the ends of all rows of a batch.
    fn ends_of<const K: usize>(
        &self,
        batch: &Batch,
        span: Span,
        key: RngKey,
        options: SolveOptions,
        wanted: impl Fn(End) -> [Vec<f64>; K],
    ) -> Result<[Vec<f64>; K], Error> {
        if batch.of == 0 {
            return Ok([(); K].map(|()| Vec::new()));
        }
        self.by_members(batch, Evaluation::new(key), |batch, how| {
            let solver = Solver::new(self, batch, span, *how)?.without_calls();
            let ends = wanted(solver.endpoints(options)?);
            all_finite(ends.iter().flatten())?;
            Ok(ends)
        })
    }

    /// Carries the rows of a whole batch over a span of time, and adds up the transport cost of every row. Always in
    /// plain coordinates, whose velocity is ∇φ.
    ///
    /// # Errors
    /// As [`Flow::transport_batch`].
    pub fn transport_cost(&self, batch: &Batch, span: Span, key: RngKey) -> Result<Moved, Error> {
        if batch.of == 0 {
            return Ok(Moved { x: Vec::new(), cost: Vec::new() });
        }
        let options = SolveOptions { cost: true, ..SolveOptions::default() };
        let [x, cost] = self.by_members(batch, Evaluation::new(key), |batch, how| {
            let solver = Solver::new(self, batch, span, *how)?.in_x();
            let end = solver.ends(&*self.potential.freeze(&solver.solve), options)?;
            all_finite(end.x.iter().chain(&end.cost))?;
            Ok([end.x, end.cost])
        })?;
        Ok(Moved { x, cost })
    }

    /// ln p(x, T) of every row of `x` under the model.
    ///
    /// # Errors
    /// As [`Flow::transport_batch`].
    pub fn log_density(&self, x: &[f64], key: RngKey) -> Result<Vec<f64>, Error> {
        self.log_density_of(&Batch::new(x.to_vec(), self.potential.dim())?, key)
    }

    /// ln p(x, T | context) of every row of a whole batch.
    ///
    /// # Errors
    /// As [`Flow::transport_batch`].
    pub fn log_density_of(&self, batch: &Batch, key: RngKey) -> Result<Vec<f64>, Error> {
        let base = self.transport_batch(batch, self.span(Direction::Backward), key)?;
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
