//! The one solve: a batch carried through a flow block by block, and back; captured and replayed where a device can.

use std::ops::Range;
use std::sync::Mutex;

use crate::batch::Batch;
use crate::boundary::{BoundaryTerms, Endpoints, Losses};
use crate::cache_key::CacheKey;
use crate::ends::{End, checked, halves, side_by_side};
use crate::error::Error;
use crate::evaluation::{Evaluation, Outcome};
use crate::flow::{Direction, Flow};
use crate::integrate::{Backward, Memory, SolutionCotangent, SolveOptions, Span};
use crate::normalisation::{Moments, Normalisation};
use crate::potential::{Block, BlockField, Coordinates, Field, Share, Solve};
use crate::scored::{ScoredBlock, base_score};
use crate::segments::{Piece, pieces};
use crate::shares::{BlockResult, gather};
use crate::space::{Outputs, Session, Space};
use crate::team::{Alone, agreed};

/// A batch on its way through a flow.
pub(crate) struct Solver<'a, 'f, S: Space> {
    pub flow: &'a Flow<'f, S>,
    pub batch: &'a Batch,
    pub span: Span,
    pub how: Evaluation<'a>,
    pub solve: Solve,
    /// Those of this member.
    pub blocks: Vec<Range<usize>>,
    /// `∇ ln p` of the rows of the batch at the start, where it is carried along.
    scores: Option<&'a [f64]>,
    /// Held while terms are evaluated that one thread at a time may ask.
    turn: Mutex<()>,
}

/// A block at the end of its way, from where it can go back.
pub(crate) struct Carried<'b, S: Space> {
    block: Box<dyn BlockField<S> + 'b>,
    state: S::Array,
    /// With the piece that each goes back over.
    backward: Vec<(Piece, Box<dyn Backward<S>>)>,
    layers: &'b [Normalisation<S>],
}

/// A solve up to some piece of its way.
struct PartialSolution<S: Space> {
    state: S::Array,
    /// Change of ln p and, where it is wanted, transport cost, summed over pieces.
    figures: Vec<S::Column>,
    backward: Vec<(Piece, Box<dyn Backward<S>>)>,
    /// Change of ln p by the layers.
    log_scale: f64,
    /// As [`End::moments`].
    moments: Vec<f64>,
}

pub(crate) const ONCE: &str = "a stage is done once a session";
pub(crate) const FROZEN: &str = "where work is done, the potential was frozen before";

impl<'a, 'f, S: Space> Solver<'a, 'f, S> {
    /// Checks the batch, and finds out what the potential may know of the solve.
    pub fn new(flow: &'a Flow<'f, S>, batch: &'a Batch, span: Span, how: Evaluation<'a>) -> Result<Self, Error> {
        batch.check(flow.potential.dim(), flow.potential.context_dim())?;
        let adaptive = flow.integrator.evaluations().is_none();
        if adaptive && flow.potential.random_in_time() {
            return Err(Error::AdaptivePerStage);
        }
        if flow.memory == Memory::Continuous && flow.potential.random_in_time() {
            return Err(Error::ContinuousPerStage);
        }
        // Tolerances mean x: an adaptive solve is never in other coordinates.
        let coordinates = if adaptive { Coordinates::X } else { flow.coordinates };
        let blocks = how.blocks_of(flow.space, batch)?;
        let solve = Solve {
            rows: batch.of,
            block_rows: how.block_rows(flow.space, batch.of),
            key: how.key,
            coordinates,
            evaluations: flow.integrator.evaluations(),
            laplacians: true,
        };
        Ok(Self { flow, batch, span, how, solve, blocks, scores: None, turn: Mutex::new(()) })
    }

    /// The same solve with points in plain coordinates.
    pub fn in_x(mut self) -> Self {
        self.solve.coordinates = Coordinates::X;
        self
    }

    /// The same solve with points in plain coordinates, and the scores of the rows of the batch carried along.
    pub fn with_scores(self, scores: &'a [f64]) -> Self {
        Self { scores: Some(scores), ..self.in_x() }
    }

    /// The same solve with no call of other members before its end, so that it may be captured.
    pub fn without_calls(mut self) -> Self {
        self.how.team = &Alone;
        self
    }

    /// A session for this solve, and the potential frozen in it, where the device captures such solves: of one block
    /// alone. `kind` tells apart what is done with a solve.
    pub fn session(&self, kind: CacheKey) -> Result<Option<SessionWithField<'f, S>>, Error> {
        let ([rows], Some(graphs)) = (&self.blocks[..], self.flow.space.graphs()) else { return Ok(None) };
        // Members of a team call each other between the stages, and not all of them might be in a session.
        if self.how.team.size() > 1 {
            return Ok(None);
        }
        let Flow { potential, integrator, .. } = *self.flow;
        let (Some(potential_key), Some(integrator_key)) = (potential.cache_key(), integrator.cache_key()) else {
            return Ok(None);
        };
        let sizes = [self.solve.rows, rows.start, rows.end, potential.context_dim(), potential.draw_width(&self.solve)];
        let key = sizes.into_iter().fold(kind, |key, size| key.with(size as u64));
        let key = key.with(potential_key).with_key(&integrator_key).with(self.solve.coordinates as u64);
        let key = key.with_bits(self.span.from).with_bits(self.span.to).with(self.scores.is_some().into());
        let parameters: Vec<_> = potential.parameters().into_iter().map(|p| &p.value).collect();
        let Some(mut session) = graphs.session(self.flow.space, key, &parameters) else { return Ok(None) };
        let mut field = None;
        session.stage(&mut || {
            field = Some(potential.freeze(&self.solve));
            Ok(Outputs::none())
        })?;
        Ok(Some((session, field)))
    }

    /// A block of rows as the field takes it.
    pub fn block(&self, session: &mut dyn Session<S>, rows: &Range<usize>) -> Block<S> {
        let (potential, n) = (self.flow.potential, rows.len());
        let x = session.input(n, potential.dim(), self.batch.numbers(&self.batch.x, rows));
        let [context, draws] = [potential.context_dim(), potential.draw_width(&self.solve)];
        let context = (context > 0).then(|| session.input(n, context, self.batch.numbers(&self.batch.context, rows)));
        let draws = (draws > 0).then(|| session.input(n, draws, &potential.draw(&self.solve, rows.clone())));
        Block { rows: rows.clone(), x, context, draws, times: None }
    }

    /// The scores of a block's rows with a column of ones, where scores are carried along.
    fn scores(&self, session: &mut dyn Session<S>, rows: &Range<usize>) -> Option<(S::Array, S::Column)> {
        let (scores, n) = (self.batch.numbers(self.scores?, rows), rows.len());
        Some((session.input(n, self.flow.potential.dim(), scores), session.input_column(&vec![1.0; n])))
    }

    /// Carries a block to its end. What it comes back from is there where it is asked for and the session did not
    /// replay.
    pub fn forward<'b>(
        &self,
        session: &mut dyn Session<S>,
        field: Option<&'b dyn Field<S>>,
        rows: &Range<usize>,
        options: SolveOptions,
    ) -> Result<(Option<Carried<'b, S>>, End), Error> {
        let space = self.flow.space;
        let (mut block, mut carried) = (Some(self.block(session, rows)), None);
        let (mut scores, mut log_scale, mut moments) = (self.scores(session, rows), 0.0, Vec::new());
        let end = session.stage(&mut || {
            let (field, block) = (field.expect(FROZEN), block.take().expect(ONCE));
            if scores.is_some() && !field.layers().is_empty() {
                return Err(Error::setting("score", "wanted", "left out where a flow has normalisation layers"));
            }
            let (mut block, state) = match scores.take() {
                None => field.enter(block),
                Some(scores) => ScoredBlock::enter(space, field, block, scores, options.backward.is_some()),
            };
            let mut part = PartialSolution {
                state,
                figures: Vec::new(),
                backward: Vec::new(),
                log_scale: 0.0,
                moments: Vec::new(),
            };
            for piece in pieces(&field.boundaries(), self.span) {
                part = self.solve_piece(part, &mut *block, (piece, field.layers()), rows, options)?;
            }
            (log_scale, moments) = (part.log_scale, part.moments);
            let x = match options.backward {
                None => block.leave(part.state),
                Some(_) => {
                    let x = block.leave(part.state.clone());
                    let layers = field.layers();
                    carried = Some(Carried { block, state: part.state, backward: part.backward, layers });
                    x
                }
            };
            Ok(Outputs { arrays: vec![x], columns: part.figures })
        })?;
        let mut log_density = space.download_column(&end.columns[0]);
        log_density.iter_mut().for_each(|change| *change += log_scale);
        let cost = end.columns.get(1).map_or_else(|| vec![0.0; log_density.len()], |cost| space.download_column(cost));
        let x = space.download(&end.arrays[0]);
        let [x, score] = match self.scores {
            None => [x, Vec::new()],
            Some(_) => halves(&x, self.flow.potential.dim()),
        };
        Ok((carried, End { x, score, log_density, cost, moments }))
    }

    /// Whether the way leads from the base to the data, which a piece without length does not tell.
    fn leads_forward(&self) -> bool {
        self.span.to >= self.span.from
    }

    /// Solves the next piece of the way, and goes through the layer behind it.
    fn solve_piece(
        &self,
        mut part: PartialSolution<S>,
        block: &mut dyn BlockField<S>,
        (piece, layers): (Piece, &[Normalisation<S>]),
        rows: &Range<usize>,
        options: SolveOptions,
    ) -> Result<PartialSolution<S>, Error> {
        let space = self.flow.space;
        if let Some(segment) = piece.segment {
            block.enter_segment(segment);
        }
        let solution = self.flow.integrator.solve(space, block, part.state, piece.span, options)?;
        let figures: Vec<S::Column> = std::iter::once(solution.log_density).chain(solution.cost).collect();
        if part.figures.is_empty() {
            part.figures = figures;
        } else {
            part.figures.iter_mut().zip(&figures).for_each(|(sum, of)| space.column_accumulate(sum, 1.0, &[(1.0, of)]));
        }
        part.backward.extend(solution.backward.map(|backward| (piece, backward)));
        part.state = solution.state;
        let Some(layer) = piece.crossed.and_then(|k| layers.get(k)) else { return Ok(part) };
        let forward = self.leads_forward();
        if options.backward.is_some() && !forward {
            // The layer that is met first is the last.
            let found = self.moments(&space.download(&part.state), rows);
            part.moments = [found, std::mem::take(&mut part.moments)].concat();
        }
        part.state = if forward { layer.to_data(space, &part.state) } else { layer.to_base(space, &part.state) };
        part.log_scale += if forward { -layer.log_scale } else { layer.log_scale };
        Ok(part)
    }

    /// Weighted sums over some rows of every coordinate, and then of their squares.
    fn moments(&self, x: &[f64], rows: &Range<usize>) -> Vec<f64> {
        let dim = self.flow.potential.dim();
        let mut sums = vec![0.0; 2 * dim];
        for (x, weight) in x.chunks_exact(dim).zip(self.batch.shares(rows)) {
            for (i, x) in x.iter().enumerate() {
                sums[i] += weight * x;
                sums[dim + i] += weight * x * x;
            }
        }
        sums
    }

    /// The moments of the whole batch at every layer, from those of this member's blocks in their order.
    fn all_moments(&self, blocks: &[Vec<f64>]) -> Result<Vec<Moments>, Error> {
        let Some(width) = blocks.first().map(Vec::len).filter(|width| *width > 0) else { return Ok(Vec::new()) };
        let mut sums = vec![0.0; width];
        for of_block in self.how.team.gather(&blocks.concat())?.chunks_exact(width) {
            sums.iter_mut().zip(of_block).for_each(|(sum, of_block)| *sum += of_block);
        }
        let dim = self.flow.potential.dim();
        let layer = |of: &[f64]| Moments { mean: of[..dim].to_vec(), square: of[dim..].to_vec() };
        Ok(sums.chunks_exact(2 * dim).map(layer).collect())
    }

    /// Takes a block back from its end. `then` gets the cotangent of its points at the start, by way of everything but
    /// their own term in the loss, and the block's share of the gradient; it says what of them are outputs.
    pub fn pull_back(
        &self,
        session: &mut dyn Session<S>,
        mut carried: Option<Carried<'_, S>>,
        losses: &Losses,
        then: &mut dyn FnMut(S::Array, Vec<Share<S>>) -> Outputs<S>,
    ) -> Result<Outputs<S>, Error> {
        let (n, dim) = (losses.log_density.len(), self.flow.potential.dim());
        let x_bar = match self.scores {
            None => session.input(n, dim, &losses.end),
            Some(_) => session.input(n, 2 * dim, &side_by_side(&losses.end, &losses.score, dim)),
        };
        let log_density = session.input_column(&losses.log_density);
        let cost = (!losses.cost.is_empty()).then(|| session.input_column(&losses.cost));
        let mut bars = Some((x_bar, log_density, cost));
        session.stage(&mut || {
            let (space, Carried { mut block, state, backward, layers }) =
                (self.flow.space, carried.take().expect(ONCE));
            let (x_bar, log_density, cost) = bars.take().expect(ONCE);
            let mut state_bar = block.leave_pullback(&state, x_bar);
            for (piece, backward) in backward.into_iter().rev() {
                if let Some(layer) = piece.crossed.and_then(|k| layers.get(k)) {
                    state_bar = layer.pull_back(space, &state_bar, self.leads_forward());
                }
                if let Some(segment) = piece.segment {
                    block.enter_segment(segment);
                }
                let bar = SolutionCotangent { state: state_bar, log_density: log_density.clone(), cost: cost.clone() };
                state_bar = backward.pull_back(space, &mut *block, bar);
            }
            let (start_bar, share) = block.enter_pullback(state_bar);
            Ok(then(start_bar, share))
        })
    }

    /// Losses and cotangents of a block that arrived.
    pub fn losses(&self, terms: &dyn BoundaryTerms, rows: &Range<usize>, end: &End) -> Result<Losses, Error> {
        end.losses(terms, self.batch, self.flow.potential.dim(), rows, &self.turn)
    }

    /// The ends of all rows of this member, which go forward block by block without a way back.
    pub fn ends(&self, field: &dyn Field<S>, options: SolveOptions) -> Result<End, Error> {
        let blocks = self.flow.space.map_blocks(self.blocks.clone(), |rows| {
            Ok::<_, Error>(self.forward(&mut Direct(self.flow.space), Some(field), &rows, options)?.1)
        });
        let mut all = End::default();
        for end in blocks {
            let end = end?;
            all.x.extend(end.x);
            all.score.extend(end.score);
            all.log_density.extend(end.log_density);
            all.cost.extend(end.cost);
        }
        Ok(all)
    }

    /// The ends of all rows of this member, by a session of the device where it has one.
    pub fn endpoints(&self, options: SolveOptions) -> Result<End, Error> {
        let Some((mut session, field)) = self.session(options_key(options))? else {
            return self.ends(&*self.flow.potential.freeze(&self.solve), options);
        };
        let (_, end) = self.forward(&mut *session, field.as_deref(), &self.blocks[0], options)?;
        session.finish();
        Ok(end)
    }

    /// Losses and cotangents of all rows of the whole batch together.
    fn losses_of_all(&self, field: &dyn Field<S>, terms: &dyn BoundaryTerms) -> Result<Losses, Error> {
        let (team, batch) = (self.how.team, self.batch);
        let options = options_of(terms, None);
        let mine = agreed(team, self.ends(field, options))?;
        let [start, end, score] = [team.gather(&batch.x)?, team.gather(&mine.x)?, team.gather(&mine.score)?];
        let [log_density, cost] = [team.gather(&mine.log_density)?, team.gather(&mine.cost)?];
        let [weights, context] = [team.gather(&batch.shares(&batch.rows))?, team.gather(&batch.context)?];
        let endpoints = Endpoints {
            dim: self.flow.potential.dim(),
            first: 0,
            start: &start,
            end: &end,
            score: &score,
            log_density: &log_density,
            cost: &cost,
            weights: &weights,
            context: &context,
        };
        checked(terms, &endpoints)
    }

    /// Losses, and the gradient where it is asked for.
    pub fn evaluate(&self, terms: &dyn BoundaryTerms) -> Result<Outcome<S>, Error> {
        if let Some(outcome) = self.evaluate_captured(terms)? {
            return Ok(outcome);
        }
        let (space, gradient) = (self.flow.space, self.how.gradient);
        let field = self.flow.potential.freeze(&self.solve);
        let of_all = terms.couples_rows().then(|| self.losses_of_all(&*field, terms)).transpose()?;
        if let (Some(of_all), false) = (&of_all, gradient) {
            return Ok(Outcome { losses: of_all.losses.clone(), gradient: None, moments: Vec::new() });
        }
        let options = options_of(terms, gradient.then_some(self.flow.memory));
        let blocks = space.map_blocks(self.blocks.clone(), |rows| {
            let session: &mut dyn Session<S> = &mut Direct(space);
            let (carried, end) = self.forward(session, Some(&*field), &rows, options)?;
            let losses = match &of_all {
                Some(of_all) => of_all.of_rows(&rows, self.flow.potential.dim()),
                None => self.losses(terms, &rows, &end)?,
            };
            let mut found = None;
            if carried.is_some() {
                self.pull_back(session, carried, &losses, &mut |_, share| {
                    found = Some(share);
                    Outputs::none()
                })?;
            }
            Ok(((losses.losses, found), end.moments))
        });
        let split = |block: Result<_, Error>| block.map_or_else(|error| (Err(error), Vec::new()), |(a, b)| (Ok(a), b));
        let (blocks, moments): (Vec<BlockResult<S>>, Vec<_>) = blocks.into_iter().map(split).unzip();
        let outcome = gather(space, &*field, blocks, self.how.team)?;
        Ok(Outcome { moments: self.all_moments(&moments)?, ..outcome })
    }

    /// The same in a session of the device, where it has one.
    fn evaluate_captured(&self, terms: &dyn BoundaryTerms) -> Result<Option<Outcome<S>>, Error> {
        if terms.couples_rows() {
            return Ok(None);
        }
        let memory = self.how.gradient.then_some(self.flow.memory);
        let options = options_of(terms, memory);
        let Some((mut session, field)) = self.session(options_key(options))? else { return Ok(None) };
        let rows = &self.blocks[0];
        let (carried, end) = self.forward(&mut *session, field.as_deref(), rows, options)?;
        let losses = self.losses(terms, rows, &end)?;
        let mut gradient = None;
        if memory.is_some() {
            let shares = self.pull_back(&mut *session, carried, &losses, &mut |_, shares| Outputs {
                arrays: shares.into_iter().map(Share::into_sum).collect(),
                columns: Vec::new(),
            })?;
            let mut sums = Some(shares.arrays.into_iter().map(Share::of).collect());
            let found = session.stage(&mut || {
                let arrays = field.as_deref().expect(FROZEN).gradient(sums.take().expect(ONCE));
                Ok(Outputs { arrays, columns: Vec::new() })
            })?;
            gradient = Some(found.arrays.to_vec());
        }
        session.finish();
        Ok(Some(Outcome { losses: losses.losses, gradient, moments: Vec::new() }))
    }
}

/// A session with the potential frozen in it, unless it is replayed.
pub(crate) type SessionWithField<'f, S> = (Box<dyn Session<S> + 'f>, Option<Box<dyn Field<S> + 'f>>);

/// What terms want of a solve.
fn options_of(terms: &dyn BoundaryTerms, backward: Option<Memory>) -> SolveOptions {
    SolveOptions { backward, cost: terms.needs_cost(), points_only: !terms.needs_log_density() }
}

/// The beginning of the key of a solve for points, ln p and what is asked for beside them.
pub(crate) fn options_key(options: SolveOptions) -> CacheKey {
    let keeps = match options.backward {
        None => 0,
        Some(Memory::Stages) => 1,
        Some(Memory::Recompute) => 2,
        Some(Memory::Continuous) => 3,
    };
    CacheKey::new().with(keeps).with(options.cost.into()).with(options.points_only.into())
}

impl<S: Space> Flow<'_, S> {
    /// The three calls that an objective is made of, over a whole batch: the solve, the boundary terms, and the
    /// pullback where the gradient is wanted. The loss is `Σ_r weight_r · loss_r` with the losses of the terms.
    ///
    /// A loss that is a sum over rows is worked through block by block, so that memory does not grow with the batch;
    /// one that [couples rows](BoundaryTerms::couples_rows) is solved twice.
    ///
    /// # Errors
    /// Those of the integrator and of the terms; [`Error::Shape`] when the batch does not fit; for terms of the score
    /// [`Error::NoScorePullback`], and [`Error::Setting`] where they are asked for beside the transport cost or of
    /// points that go backward. Non-finite losses are returned, not refused.
    pub fn evaluate_terms(
        &self,
        direction: Direction,
        terms: &dyn BoundaryTerms,
        batch: &Batch,
        how: &Evaluation<'_>,
    ) -> Result<Outcome<S>, Error> {
        let solver = Solver::new(self, batch, self.span(direction), *how)?;
        // The cost is a norm of ∇φ, which only plain coordinates have as their velocity.
        let solver = if terms.needs_cost() { solver.in_x() } else { solver };
        if !terms.needs_score() {
            return solver.evaluate(terms);
        }
        if terms.needs_cost() {
            return Err(Error::setting("transport cost", "wanted", "left out where a loss is of the score"));
        }
        if direction == Direction::Backward {
            return Err(Error::setting(
                "direction",
                "backward",
                "forward, from the base density, whose score is known",
            ));
        }
        if how.gradient && !self.potential.has_score_pullback() {
            return Err(Error::NoScorePullback);
        }
        solver.with_scores(&base_score(&batch.x)).evaluate(terms)
    }
}

/// The session of a solve that is done in the ordinary way.
pub(crate) struct Direct<'a, S>(pub &'a S);

impl<S: Space> Session<S> for Direct<'_, S> {
    fn input(&mut self, rows: usize, cols: usize, values: &[f64]) -> S::Array {
        self.0.upload(rows, cols, values)
    }

    fn input_column(&mut self, values: &[f64]) -> S::Column {
        self.0.upload_column(values)
    }

    fn stage(&mut self, work: &mut dyn FnMut() -> Result<Outputs<S>, Error>) -> Result<Outputs<S>, Error> {
        work()
    }

    fn finish(self: Box<Self>) {}
}
