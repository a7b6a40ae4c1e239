//! The stages of one explicit Runge-Kutta step, what they leave, and their exact pullback: what all methods made of
//! such steps have in common.

use crate::integrate::SolveOptions;
use crate::potential::{BlockField, CotangentSum, FusedUpdate, Motion, Pullback, RecomputeVelocity, Residuals, Stage};
use crate::space::Space;
use crate::tableau::Tableau;

/// Where in time a step starts, its length, and the number of its first evaluation within the solve.
pub(crate) type StepAt = (f64, f64, u64);

/// What a stage leaves for its pullback.
pub(crate) struct StageRecord<S: Space> {
    /// `None` where it is the start of the step, or made again from it and from velocities that the block makes again.
    argument: Option<S::Array>,
    residuals: Residuals<S>,
    velocity: Option<S::Array>,
}

/// What is accumulated along the way, in 64 bits.
#[derive(Clone)]
pub(crate) struct Figures<S: Space> {
    /// Change of ln p, per row.
    pub log_density: S::Column,
    /// Transport cost per row, where it is wanted.
    pub cost: Option<S::Column>,
}

impl<S: Space> Figures<S> {
    /// Zeros for so many rows.
    pub fn zeros(space: &S, rows: usize, options: SolveOptions) -> Self {
        Self { log_density: space.column_zeros(rows), cost: options.cost.then(|| space.column_zeros(rows)) }
    }

    /// The columns that there are.
    pub fn columns(&self) -> impl Iterator<Item = &S::Column> {
        std::iter::once(&self.log_density).chain(&self.cost)
    }

    /// Sets all to zero.
    pub fn clear(&mut self, space: &S) {
        for column in std::iter::once(&mut self.log_density).chain(&mut self.cost) {
            space.column_accumulate(column, 0.0, &[]);
        }
    }

    /// The columns that there are, with those of another.
    pub fn pairs<'a>(&'a mut self, other: &'a Self) -> impl Iterator<Item = (&'a mut S::Column, &'a S::Column)> {
        let cost = self.cost.as_mut().zip(other.cost.as_ref());
        std::iter::once((&mut self.log_density, &other.log_density)).chain(cost)
    }
}

/// `(h · w_i, array_i)` for all non-zero weights.
pub(crate) fn terms<'a, A>(h: f64, weights: &[f64], arrays: &'a [A]) -> Vec<(f64, &'a A)> {
    weights.iter().zip(arrays).filter(|(w, _)| **w != 0.0).map(|(w, a)| (h * w, a)).collect()
}

/// Evaluation `i` of a step.
pub(crate) fn stage(tableau: &Tableau, i: usize, (t, h, first_index): StepAt) -> Stage {
    Stage { t: t + tableau.c()[i] * h, index: first_index + i as u64 }
}

/// What is wanted of the stages of a step beside their velocities.
pub(crate) struct StepOutputs<'a, S: Space> {
    /// The state after the step, overwritten.
    pub after: Option<&'a mut S::Array>,
    /// What the stages leave for their pullback.
    pub record: Option<&'a mut Vec<StageRecord<S>>>,
}

impl<'a, S: Space> StepOutputs<'a, S> {
    /// The state after the step alone.
    pub fn after(state: &'a mut S::Array) -> Self {
        Self { after: Some(state), record: None }
    }
}

/// Velocities, Laplacians and scratch of one block of rows.
pub(crate) struct Work<'a, S: Space> {
    pub space: &'a S,
    pub tableau: &'a Tableau,
    pub velocity: Vec<S::Array>,
    /// Room for arguments that are not kept.
    pub spare: Vec<S::Array>,
    pub laplacian: Vec<S::Column>,
    /// Room for `‖velocity‖²`, where the cost is wanted.
    square: Option<S::Column>,
    /// No Laplacian is wanted.
    points_only: bool,
    pub first_is_valid: bool,
}

impl<'a, S: Space> Work<'a, S> {
    pub fn new(space: &'a S, tableau: &'a Tableau, state: &S::Array, options: SolveOptions) -> Self {
        let (rows, cols) = space.shape(state);
        Self {
            space,
            tableau,
            spare: Vec::new(),
            velocity: (0..tableau.stages()).map(|_| space.zeros(rows, cols)).collect(),
            laplacian: (0..tableau.stages()).map(|_| space.column_zeros(rows)).collect(),
            square: options.cost.then(|| space.column_zeros(rows)),
            points_only: options.points_only,
            first_is_valid: false,
        }
    }

    /// Evaluates the stages of one step; with `reuse` the first velocity is already there.
    pub fn stages(
        &mut self,
        block: &mut dyn BlockField<S>,
        at: StepAt,
        start: &S::Array,
        reuse: bool,
        out: StepOutputs<'_, S>,
    ) {
        let StepOutputs { mut after, mut record } = out;
        let (space, tableau, h) = (self.space, self.tableau, at.1);
        let keep = record.is_some() && block.recompute_velocity().is_none();
        let mut argument = None;
        if reuse && tableau.stages() > 1 {
            let of_second = terms(h, &tableau.a(1)[..1], &self.velocity);
            space.combine(
                argument.insert(self.spare.pop().unwrap_or_else(|| space.empty_like(start))),
                start,
                &of_second,
            );
        }
        for i in usize::from(reuse)..tableau.stages() {
            let (earlier, later) = self.velocity.split_at_mut(i);
            // What comes of this velocity: the argument of the next stage, or the state after the step.
            let last = i + 1 == tableau.stages();
            let weights = if last { tableau.b() } else { tableau.a(i + 1) };
            let spare = if keep || last { None } else { self.spare.pop() };
            let mut next = (!last).then(|| spare.unwrap_or_else(|| space.empty_like(start)));
            let terms = terms(h, &weights[..i], earlier);
            let update = |out| FusedUpdate { space, out, base: start, terms: &terms, c: h * weights[i] };
            let update = if last { after.as_deref_mut() } else { next.as_mut() }.map(update);
            let mut residuals = record.is_some().then(Vec::new);
            let laplacian = (!self.points_only).then_some(&mut self.laplacian[i]);
            let stage = stage(tableau, i, at);
            let from = argument.as_ref().unwrap_or(start);
            block.evaluate_and_update(
                stage,
                from,
                Motion { velocity: &mut later[0], laplacian, residuals: residuals.as_mut() },
                update,
            );
            let mut used = std::mem::replace(&mut argument, next);
            if let (Some(record), Some(residuals)) = (record.as_deref_mut(), residuals) {
                let velocity = self.square.is_some().then(|| later[0].clone());
                record.push(StageRecord { argument: used.take_if(|_| keep), residuals, velocity });
            }
            self.spare.extend(used);
        }
        self.first_is_valid = true;
    }

    /// Evaluates the stages of one step and returns what they leave for [`StepPullback::pull_back`].
    pub fn recorded(
        &mut self,
        block: &mut dyn BlockField<S>,
        at: StepAt,
        start: &S::Array,
        after: Option<&mut S::Array>,
    ) -> Vec<StageRecord<S>> {
        let mut records = Vec::with_capacity(self.tableau.stages());
        self.stages(block, at, start, false, StepOutputs { after, record: Some(&mut records) });
        records
    }

    /// Adds the share of ln p and transport cost of a step of length h through the velocities that are there.
    pub fn add_figures(&mut self, h: f64, to: &mut Figures<S>) {
        let Self { space, tableau, velocity, laplacian, square, .. } = self;
        space.column_accumulate(&mut to.log_density, 1.0, &terms(-h, tableau.b(), laplacian));
        if let (Some(cost), Some(square)) = (&mut to.cost, square) {
            for (b, velocity) in tableau.b().iter().zip(velocity) {
                space.row_dot(square, velocity, velocity);
                space.column_accumulate(cost, 1.0, &[(0.5 * h.abs() * b, square)]);
            }
        }
    }

    /// Makes the last stage the first of the next step where the method allows it; says whether it did.
    pub fn hand_over_last_stage(&mut self) -> bool {
        let last = self.tableau.stages() - 1;
        let hand_over = self.tableau.first_same_as_last();
        if hand_over {
            self.velocity.swap(0, last);
            self.laplacian.swap(0, last);
        }
        self.first_is_valid = hand_over;
        hand_over
    }
}

/// Work space for the arguments of stages that were not kept.
struct Recomputed<S: Space> {
    velocity: Vec<S::Array>,
    argument: Vec<S::Array>,
}

impl<S: Space> Recomputed<S> {
    fn new(space: &S, tableau: &Tableau, state: &S::Array) -> Self {
        let (rows, cols) = space.shape(state);
        let arrays = || (1..tableau.stages()).map(|_| space.zeros(rows, cols)).collect();
        Self { velocity: arrays(), argument: arrays() }
    }

    /// The arguments of all stages of a step, from its start and the velocities that the block makes again.
    fn arguments<'b>(
        &'b mut self,
        (space, tableau): (&S, &Tableau),
        recompute: &dyn RecomputeVelocity<S>,
        at: StepAt,
        start: &'b S::Array,
        records: &[StageRecord<S>],
    ) -> Vec<&'b S::Array> {
        for (i, argument) in (1..).zip(&mut self.argument) {
            recompute.velocity(stage(tableau, i - 1, at), &records[i - 1].residuals, &mut self.velocity[i - 1]);
            space.combine(argument, start, &terms(at.1, tableau.a(i), &self.velocity));
        }
        std::iter::once(start).chain(&self.argument).collect()
    }
}

/// Cotangents of the increment `h Σ b_i k_i` that a step makes of its stages, and of the figures that it adds.
pub(crate) struct IncrementCotangent<'a, S: Space> {
    /// h, which need not be the length of the step that the stages belong to.
    pub h: f64,
    /// Of the increment.
    pub state: &'a S::Array,
    /// The part of the figures' cotangents that this increment has; 0 to 1.
    pub share: f64,
    /// Of the change of ln p, per row, where it was wanted.
    pub log_density: Option<&'a S::Column>,
    /// Of the transport cost, per row, where it was wanted.
    pub cost: Option<&'a S::Column>,
}

/// Work space for the pullback of steps, one after the other.
pub(crate) struct StepPullback<'a, S: Space> {
    space: &'a S,
    tableau: &'a Tableau,
    velocity_bar: S::Array,
    /// Of every stage of a step, made anew where its weight changes.
    laplacian_bar: Vec<S::Column>,
    laplacian_weight: f64,
    argument_bar: Vec<S::Array>,
    recomputed: Option<Recomputed<S>>,
}

impl<'a, S: Space> StepPullback<'a, S> {
    pub fn new(space: &'a S, tableau: &'a Tableau, state_bar: &S::Array) -> Self {
        let (rows, cols) = space.shape(state_bar);
        let stages = tableau.stages();
        Self {
            space,
            tableau,
            velocity_bar: space.zeros(rows, cols),
            laplacian_bar: (0..stages).map(|_| space.column_zeros(rows)).collect(),
            laplacian_weight: f64::NAN,
            argument_bar: (0..stages).map(|_| space.zeros(rows, cols)).collect(),
            recomputed: None,
        }
    }

    /// Pulls the cotangent of an increment back to the start of its stages, for [`StepPullback::add_to`]; shares of the
    /// gradient go to the block.
    ///
    /// ln p and the cost never feed back into the state, so every explicit method needs the field's pullback alone.
    pub fn pull_back(
        &mut self,
        block: &mut dyn BlockField<S>,
        at: StepAt,
        start: &S::Array,
        records: &[StageRecord<S>],
        bar: IncrementCotangent<'_, S>,
    ) {
        let Self { space, tableau, velocity_bar, laplacian_bar, laplacian_weight, argument_bar, recomputed } = self;
        let (space, tableau) = (*space, *tableau);
        let arguments = match block.recompute_velocity() {
            None => records.iter().map(|record| record.argument.as_ref().unwrap_or(start)).collect(),
            Some(recompute) => recomputed.get_or_insert_with(|| Recomputed::new(space, tableau, start)).arguments(
                (space, tableau),
                recompute,
                at,
                start,
                records,
            ),
        };
        let weight = bar.h * bar.share;
        if let Some(log_density) = bar.log_density.filter(|_| weight != *laplacian_weight) {
            for (b, laplacian_bar) in tableau.b().iter().zip(laplacian_bar.iter_mut()) {
                space.column_accumulate(laplacian_bar, 0.0, &[(-weight * b, log_density)]);
            }
            *laplacian_weight = weight;
        }
        let stages = tableau.stages();
        for i in (0..stages).rev() {
            let b = tableau.b()[i];
            // Velocity i enters the increment with weight h·b_i, and the argument of every later stage j with a_ji
            // times the length of the step.
            let (earlier, later) = argument_bar.split_at_mut(i + 1);
            let later = (i + 1..stages).map(|j| at.1 * tableau.a(j)[i]).zip(&*later);
            let into: Vec<_> =
                std::iter::once((bar.h * b, bar.state)).chain(later).filter(|(c, _)| *c != 0.0).collect();
            let (stage, argument, record) = (stage(tableau, i, at), arguments[i], &records[i]);
            let (residuals, state_bar) = (&record.residuals[..], Some(&mut earlier[i]));
            let laplacian_bar = bar.log_density.map(|_| &laplacian_bar[i]);
            if let (Some(cost), Some(velocity)) = (bar.cost, &record.velocity) {
                space.accumulate(velocity_bar, 0.0, &into);
                space.accumulate_scaled_rows(velocity_bar, weight.abs() * b, cost, velocity);
                block.pullback(stage, argument, Pullback { residuals, velocity_bar, laplacian_bar, state_bar });
            } else {
                let velocity_bar = CotangentSum { space, terms: &into, scratch: velocity_bar };
                block.pullback_of_sum(stage, argument, Pullback { residuals, velocity_bar, laplacian_bar, state_bar });
            }
        }
    }

    /// Adds the cotangent of the start of the stages.
    pub fn add_to(&self, start_bar: &mut S::Array) {
        let all: Vec<_> = self.argument_bar.iter().map(|a| (1.0, a)).collect();
        self.space.accumulate(start_bar, 1.0, &all);
    }
}
