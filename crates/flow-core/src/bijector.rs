//! The seam of maps in closed form: an invertible map with its log-Jacobian, carried through whole batches.

use std::ops::Range;
use std::sync::Mutex;

use crate::batch::Batch;
use crate::boundary::BoundaryTerms;
use crate::ends::End;
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::Direction;
use crate::members::by_members;
use crate::parameter::Parameter;
use crate::potential::Share;
use crate::rng::RngKey;
use crate::shares::gather_shares;
use crate::space::Space;
use crate::team::Team;
use crate::transport::{Transported, all_finite};

/// A learnable, invertible map from the standard normal base to a model, whose log-Jacobian is known in closed form:
/// the layers of an autoregressive flow or of couplings.
///
/// Nothing is integrated, so that no figure has an integration error. [`BijectorModel`](crate::BijectorModel) makes a
/// [`Model`](crate::Model) of it, which [`Trainer`](crate::Trainer) trains by the objectives of flows. A map with one
/// parameter, whole:
///
/// ```
/// use flow_core::{Bijector, Direction, Error, Image, Parameter, Space};
///
/// /// `x = e^s z`, the same scale for every coordinate.
/// struct Scale<S: Space> { space: S, dim: usize, log_scale: Parameter<S> }
///
/// impl<S: Space> Bijector<S> for Scale<S> {
///     fn space(&self) -> &S { &self.space }
///     fn dim(&self) -> usize { self.dim }
///     fn parameters(&self) -> Vec<&Parameter<S>> { vec![&self.log_scale] }
///     fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> { vec![&mut self.log_scale] }
///     fn describe(&self) -> String { "a scale".into() }
///     fn carry(
///         &self, direction: Direction, start: S::Array, _context: Option<S::Array>, pullback: bool,
///     ) -> Result<Image<S>, Error> {
///         let (space, dim, rows) = (self.space.clone(), self.dim as f64, self.space.shape(&start).0);
///         let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
///         let s = sign * space.download(&self.log_scale.value)[0];
///         let mut x = space.zeros(rows, self.dim);
///         space.accumulate(&mut x, 0.0, &[(s.exp(), &start)]);
///         let log_density = space.upload_column(&vec![-dim * s; rows]);
///         let end = x.clone();
///         let back = move |x_bar: S::Array, log_density_bar: S::Column| {
///             let through: f64 = space.download_column(&log_density_bar).iter().sum();
///             vec![space.upload(1, 1, &[sign * (space.dot(&x_bar, &end) - dim * through)])]
///         };
///         Ok(Image { x, log_density, pullback: pullback.then(|| Box::new(back) as _) })
///     }
/// }
/// ```
pub trait Bijector<S: Space>: Send + Sync {
    /// The backend.
    fn space(&self) -> &S;

    /// Numbers per row.
    fn dim(&self) -> usize;

    /// Numbers of context per row.
    fn context_dim(&self) -> usize {
        0
    }

    /// The learnable arrays, in a fixed order.
    fn parameters(&self) -> Vec<&Parameter<S>>;

    /// The learnable arrays, in the same order.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>>;

    /// Carries rows (`rows × dim`, with their `rows × context_dim` where there is context) from the base to the model
    /// or back, perhaps on several threads at once. `pullback` asks for [`Image::pullback`].
    ///
    /// # Errors
    /// [`Error::Setting`] for a pullback that it does not have.
    fn carry(
        &self,
        direction: Direction,
        start: S::Array,
        context: Option<S::Array>,
        pullback: bool,
    ) -> Result<Image<S>, Error>;

    /// What it is, in words for people: `5 autoregressive layers`.
    fn describe(&self) -> String;
}

/// Rows that a map has carried.
pub struct Image<S: Space> {
    /// Where they are now, `rows × dim`.
    pub x: S::Array,
    /// Change of ln p, `−ln |det ∂x/∂start|`, per row.
    pub log_density: S::Column,
    /// The way back, where it was asked for.
    pub pullback: Option<BijectorPullback<S>>,
}

/// From the cotangents of [`Image::x`] and [`Image::log_density`] to those of the parameters, one array for each.
pub type BijectorPullback<S> =
    Box<dyn FnOnce(<S as Space>::Array, <S as Space>::Column) -> Vec<<S as Space>::Array> + Send>;

impl<S: Space> dyn Bijector<S> + '_ {
    /// Losses of boundary terms over a whole batch, or this member's part of it, and the gradient of their mean where
    /// it is wanted: what [`Flow::evaluate_terms`](crate::Flow::evaluate_terms) is for flows.
    ///
    /// # Errors
    /// Those of the map and of the terms; [`Error::Shape`] when the batch does not fit; [`Error::NeedsFlow`] for terms
    /// that want a transport cost or a score, or couple rows.
    pub fn evaluate_terms(
        &self,
        direction: Direction,
        terms: &dyn BoundaryTerms,
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<S>, Error> {
        if terms.needs_cost() || terms.needs_score() || terms.couples_rows() {
            return Err(Error::NeedsFlow { what: "a transport cost, a loss of forces, or one that couples rows," });
        }
        let (space, turn) = (self.space(), Mutex::new(()));
        batch.check(self.dim(), self.context_dim())?;
        let blocks = space.map_blocks(how.blocks_of(space, batch)?, |rows| {
            let image = self.carry_block(direction, batch, &rows, how.gradient)?;
            let end = ends(space, &image);
            let losses = end.losses(terms, batch, self.dim(), &rows, &turn)?;
            let share = image.pullback.map(|pullback| {
                let x_bar = space.upload(rows.len(), self.dim(), &losses.end);
                pullback(x_bar, space.upload_column(&losses.log_density)).into_iter().map(Share::of).collect()
            });
            Ok((losses.losses, share))
        });
        let (losses, sums) = gather_shares(space, blocks, how.team)?;
        Ok(Outcome {
            losses,
            gradient: sums.map(|sums| sums.into_iter().map(Share::into_sum).collect()),
            moments: Vec::new(),
        })
    }

    /// Carries the rows of a whole batch, which the members of a team share.
    ///
    /// # Errors
    /// Those of the map; [`Error::Shape`] when the batch does not fit; [`Error::NonFinite`] when the result is not
    /// finite.
    pub fn transport(
        &self,
        direction: Direction,
        batch: &Batch,
        team: &dyn Team,
        key: RngKey,
    ) -> Result<Transported, Error> {
        if batch.of == 0 {
            return Ok(Transported { x: Vec::new(), log_density: Vec::new() });
        }
        batch.check(self.dim(), self.context_dim())?;
        let space = self.space();
        let [x, log_density] = by_members(space, team, batch, Evaluation::new(key), |batch, how| {
            let blocks = space.map_blocks(how.blocks_of(space, batch)?, |rows| {
                Ok::<_, Error>(ends(space, &self.carry_block(direction, batch, &rows, false)?))
            });
            let mut all = [Vec::new(), Vec::new()];
            for end in blocks {
                let end = end?;
                all[0].extend(end.x);
                all[1].extend(end.log_density);
            }
            all_finite(all.iter().flatten())?;
            Ok(all)
        })?;
        Ok(Transported { x, log_density })
    }

    fn carry_block(
        &self,
        direction: Direction,
        batch: &Batch,
        rows: &Range<usize>,
        pullback: bool,
    ) -> Result<Image<S>, Error> {
        let (space, n, width) = (self.space(), rows.len(), self.context_dim());
        let start = space.upload(n, self.dim(), batch.numbers(&batch.x, rows));
        let context = (width > 0).then(|| space.upload(n, width, batch.numbers(&batch.context, rows)));
        self.carry(direction, start, context, pullback)
    }
}

/// Where a block arrived, on the host.
fn ends<S: Space>(space: &S, image: &Image<S>) -> End {
    let log_density = space.download_column(&image.log_density);
    let cost = vec![0.0; log_density.len()];
    End { x: space.download(&image.x), score: Vec::new(), cost, log_density, moments: Vec::new() }
}
