//! A chain of potentials, one after the other in time, with normalisation layers between them.

use std::ops::Range;
use std::sync::OnceLock;

use crate::error::Error;
use crate::normalisation::{Moments, Normalisation};
use crate::parameter::Parameter;
use crate::potential::{
    Block, BlockField, Coordinates, Field, Motion, Potential, Pullback, ScoredCotangent, ScoredPoint, ScoredPointBar,
    Share, Solve, Stage,
};
use crate::space::Space;

/// A flow of segments: the k-th of K potentials, k from 0, moves points from time kT/K to (k + 1)T/K. It sees times
/// from 0 to T/K.
///
/// With normalisation layers, points are centred and scaled between two segments on their way from the data to the
/// base: `x ← (x − m) / s`, coordinate by coordinate, and `x ← m + s x` on the way back; ln p changes by `±Σ ln s`. The
/// means m and deviations s are moving averages over the batches of data that came by *before*, so that rows, blocks
/// and members of a team stay uncoupled, and no gradient goes through them. A layer is the identity until its first
/// batch, learns where [`Objective::evaluate`](crate::Objective::evaluate) carries batches backward with a gradient,
/// and stands still everywhere else. Its numbers are [`Potential::buffers`].
///
/// Solves are in plain coordinates, with the integrator's steps in every segment. A chain is a whole potential, and not
/// a term of one; a score is not carried through its layers.
pub struct Chain<S: Space> {
    space: S,
    segments: Vec<Box<dyn Potential<S>>>,
    layers: Vec<Layer<S>>,
    duration: f64,
    decay: f64,
}

/// The moving averages of a normalisation layer.
struct Layer<S: Space> {
    mean: Parameter<S>,
    variance: Parameter<S>,
    /// How many batches are in them.
    batches: Parameter<S>,
}

/// Added to a variance, so that a coordinate that stands still can be divided by its deviation.
const LEAST_VARIANCE: f64 = 1e-5;

impl<S: Space> Chain<S> {
    /// A flow of duration `duration` through these potentials, from the base to the data. With a `decay` in [0, 1)
    /// there are normalisation layers between them; it is the decay of their moving averages per batch. The parameters
    /// of the k-th potential are called `segment-k.…` from now on, k from 1.
    ///
    /// # Errors
    /// [`Error::Setting`] for no segments, for a decay out of range, and for segments that are random in time;
    /// [`Error::Shape`] when they take different numbers of coordinates or of context.
    pub fn new(
        space: S,
        segments: Vec<Box<dyn Potential<S>>>,
        duration: f64,
        decay: Option<f64>,
    ) -> Result<Self, Error> {
        let Some(first) = segments.first() else {
            return Err(Error::setting("segments", 0, "at least 1"));
        };
        let sizes = vec![first.dim(), first.context_dim()];
        for (k, segment) in segments.iter().enumerate() {
            let found = vec![segment.dim(), segment.context_dim()];
            if found != sizes {
                let what = format!("segment {} of the flow (numbers, context)", k + 1);
                return Err(Error::Shape { what, found, expected: sizes });
            }
            if segment.random_in_time() {
                return Err(Error::setting("draw", "per stage", "per solve or never in a flow of segments"));
            }
        }
        if let Some(decay) = decay.filter(|decay| !(0.0..1.0).contains(decay)) {
            return Err(Error::setting("normalisation", decay, "at least 0 and below 1"));
        }
        let layers = decay.map_or(0, |_| segments.len() - 1);
        let layer = |k| Layer::new(&space, k, sizes[0]);
        let layers = (1..=layers).map(layer).collect();
        let named = |(k, mut segment): (usize, Box<dyn Potential<S>>)| {
            segment.parameters_mut().into_iter().for_each(|p| p.name = format!("segment-{}.{}", k + 1, p.name));
            segment
        };
        let segments = segments.into_iter().enumerate().map(named).collect();
        Ok(Self { space, segments, layers, duration, decay: decay.unwrap_or(0.0) })
    }

    /// How long a segment takes.
    fn part(&self) -> f64 {
        self.duration / self.segments.len() as f64
    }
}

impl<S: Space> Layer<S> {
    fn new(space: &S, k: usize, dim: usize) -> Self {
        let named = |name: &str, n: usize, value: f64| Parameter {
            name: format!("normalisation-{k}.{name}"),
            shape: vec![n],
            value: space.upload(1, n, &vec![value; n]),
        };
        Self { mean: named("mean", dim, 0.0), variance: named("variance", dim, 1.0), batches: named("batches", 1, 0.0) }
    }

    /// Takes in the moments of a batch. The first batches count alike, so that the start is forgotten.
    fn observe(&mut self, space: &S, moments: &Moments, decay: f64) {
        let batches = space.download(&self.batches.value)[0];
        let keep = decay.min(batches / (batches + 1.0));
        let variance = moments.mean.iter().zip(&moments.square).map(|(mean, square)| (square - mean * mean).max(0.0));
        let dim = moments.mean.len();
        let [mean, variance] = [moments.mean.clone(), variance.collect()].map(|now| space.upload(1, dim, &now));
        space.accumulate(&mut self.mean.value, keep, &[(1.0 - keep, &mean)]);
        space.accumulate(&mut self.variance.value, keep, &[(1.0 - keep, &variance)]);
        self.batches.value = space.upload(1, 1, &[batches + 1.0]);
    }

    /// The layer as it is now.
    fn freeze(&self, space: &S) -> Normalisation<S> {
        if space.download(&self.batches.value)[0] == 0.0 {
            let one = space.upload(1, self.mean.shape[0], &vec![1.0; self.mean.shape[0]]);
            return Normalisation { mean: self.mean.value.clone(), scale: one.clone(), inverse: one, log_scale: 0.0 };
        }
        let scales: Vec<f64> =
            space.download(&self.variance.value).iter().map(|v| (v + LEAST_VARIANCE).sqrt()).collect();
        // The scale as the points are multiplied with it, so that ln p has its logarithm to the last bit.
        let scale = space.upload(1, scales.len(), &scales);
        let rounded = space.download(&scale);
        let inverse: Vec<f64> = rounded.iter().map(|scale| 1.0 / scale).collect();
        let inverse = space.upload(1, inverse.len(), &inverse);
        let log_scale = rounded.iter().map(|scale| scale.ln()).sum();
        Normalisation { mean: self.mean.value.clone(), scale, inverse, log_scale }
    }
}

impl<S: Space> Potential<S> for Chain<S> {
    fn dim(&self) -> usize {
        self.segments[0].dim()
    }

    fn context_dim(&self) -> usize {
        self.segments[0].context_dim()
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        self.segments.iter().flat_map(|segment| segment.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.segments.iter_mut().flat_map(|segment| segment.parameters_mut()).collect()
    }

    fn buffers(&self) -> Vec<&Parameter<S>> {
        self.layers.iter().flat_map(|layer| [&layer.mean, &layer.variance, &layer.batches]).collect()
    }

    fn buffers_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.layers.iter_mut().flat_map(|layer| [&mut layer.mean, &mut layer.variance, &mut layer.batches]).collect()
    }

    fn observe(&mut self, moments: &[Moments]) {
        let Self { space, layers, decay, .. } = self;
        layers.iter_mut().zip(moments).for_each(|(layer, moments)| layer.observe(space, moments, *decay));
    }

    fn has_score_pullback(&self) -> bool {
        self.layers.is_empty() && self.segments.iter().all(|segment| segment.has_score_pullback())
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        let solve = Solve { coordinates: Coordinates::X, ..*solve };
        let segments = self.segments.iter();
        let fields = segments.map(|segment| (segment.draw_width(&solve), segment.freeze(&solve))).collect();
        let layers = self.layers.iter().map(|layer| layer.freeze(&self.space)).collect();
        Box::new(Frozen { of: self, fields, layers, shares: OnceLock::new() })
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        self.segments.iter().map(|segment| segment.draw_width(solve)).sum()
    }

    /// Those of the first segment, then those of the next, in every row.
    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        let of_segments: Vec<_> = self
            .segments
            .iter()
            .map(|segment| (segment.draw_width(solve), segment.draw(solve, rows.clone())))
            .collect();
        let row = |r: usize| of_segments.iter().flat_map(move |(width, of)| &of[r * width..(r + 1) * width]);
        (0..rows.len()).flat_map(row).copied().collect()
    }
}

struct Frozen<'a, S: Space> {
    of: &'a Chain<S>,
    /// Of every segment, with the random numbers that each row has for it.
    fields: Vec<(usize, Box<dyn Field<S> + 'a>)>,
    layers: Vec<Normalisation<S>>,
    /// How many arrays the share of each segment has, as the first block to come back found.
    shares: OnceLock<Vec<usize>>,
}

impl<S: Space> Frozen<'_, S> {
    /// What of a block enters each segment.
    fn blocks(&self, block: &Block<S>) -> Vec<Block<S>> {
        let (space, mut first) = (&self.of.space, 0);
        let of_segment = |width: usize| {
            let columns = first..first + width;
            first = columns.end;
            let draws = block.draws.as_ref().filter(|_| width > 0).map(|all| {
                let mut own = space.zeros(block.rows.len(), width);
                space.copy_columns(&mut own, 0, all, columns.clone());
                own
            });
            let (rows, context) = (block.rows.clone(), block.context.clone());
            Block { rows, x: block.x.clone(), context, draws, times: None }
        };
        self.fields.iter().map(|(width, _)| *width).map(of_segment).collect()
    }

    /// The segment of a time, where the segment is not stated.
    fn segment_at(&self, t: f64) -> usize {
        ((t / self.of.part()).floor().max(0.0) as usize).min(self.fields.len() - 1)
    }

    /// A stage on the clock of a segment.
    fn on_clock(&self, k: usize, stage: Stage) -> Stage {
        Stage { t: stage.t - k as f64 * self.of.part(), ..stage }
    }
}

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let segments = self.fields.iter().zip(self.blocks(&block)).map(|((_, field), block)| field.enter(block).0);
        (Box::new(Rows { field: self, segments: segments.collect(), now: None }), block.x)
    }

    fn value(&self, stage: Stage, block: Block<S>) -> S::Column {
        let k = self.segment_at(stage.t);
        self.fields[k].1.value(self.on_clock(k, stage), self.blocks(&block).swap_remove(k))
    }

    fn boundaries(&self) -> Vec<f64> {
        (1..self.fields.len()).map(|k| k as f64 * self.of.part()).collect()
    }

    fn layers(&self) -> &[Normalisation<S>] {
        &self.layers
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        let shares = self.shares.get().expect("sums come from blocks");
        let mut sums = sums.into_iter();
        let segments = self.fields.iter().zip(shares);
        segments.flat_map(|((_, field), share)| field.gradient(sums.by_ref().take(*share).collect())).collect()
    }
}

/// A block of rows in plain coordinates, in the segment that it was told of.
struct Rows<'a, S: Space> {
    field: &'a Frozen<'a, S>,
    segments: Vec<Box<dyn BlockField<S> + 'a>>,
    now: Option<usize>,
}

impl<'a, S: Space> Rows<'a, S> {
    /// The segment of a stage, and the stage on its clock.
    fn at(&mut self, stage: Stage) -> (&mut (dyn BlockField<S> + 'a), Stage) {
        let k = self.now.unwrap_or_else(|| self.field.segment_at(stage.t));
        (&mut *self.segments[k], self.field.on_clock(k, stage))
    }
}

impl<S: Space> BlockField<S> for Rows<'_, S> {
    fn enter_segment(&mut self, k: usize) {
        self.now = Some(k);
    }

    fn evaluate(&mut self, stage: Stage, state: &S::Array, out: Motion<'_, S>) {
        let (segment, stage) = self.at(stage);
        segment.evaluate(stage, state, out);
    }

    fn pullback(&mut self, stage: Stage, state: &S::Array, of: Pullback<'_, S>) {
        let (segment, stage) = self.at(stage);
        segment.pullback(stage, state, of);
    }

    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, S>,
        bar: ScoredCotangent<'_, S>,
        out: ScoredPointBar<'_, S>,
    ) {
        let (segment, stage) = self.at(stage);
        segment.score_pullback(stage, at, bar, out);
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        let segments = self.segments.into_iter();
        let shares: Vec<_> = segments.map(|segment| segment.enter_pullback(state_bar.clone()).1).collect();
        self.field.shares.get_or_init(|| shares.iter().map(Vec::len).collect());
        (state_bar, shares.into_iter().flatten().collect())
    }
}
