//! Potentials symmetrised by a drawn element of a finite group: `φ(g x)` instead of `φ(x)`.

use std::collections::HashMap;
use std::ops::Range;

use rand::RngExt;

use crate::error::Error;
use crate::parameter::Parameter;
use crate::potential::{
    Block, BlockField, Coordinates, CotangentSum, Field, FusedUpdate, Motion, Potential, Pullback, RecomputeVelocity,
    ScoredCotangent, ScoredPoint, ScoredPointBar, Share, Solve, Stage,
};
use crate::space::Space;

/// A finite group of signed permutations of the coordinates: element `g` sends `x` to `y_i = sign_g · x[source_g[i]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    source: Vec<Vec<u32>>,
    sign: Vec<f64>,
    inverse: Vec<u32>,
}

impl Group {
    /// A group from its elements.
    ///
    /// # Errors
    /// [`Error::Setting`] when an element is no signed permutation of `dim` coordinates or its inverse is missing.
    pub fn new(source: Vec<Vec<u32>>, sign: Vec<f64>) -> Result<Self, Error> {
        let bad = |why: String| Error::setting("symmetry group", why, "signed permutations with their inverses");
        let dim = source.first().map_or(0, Vec::len);
        if source.is_empty() || sign.len() != source.len() || sign.iter().any(|s| s.abs() != 1.0) {
            return Err(bad(format!("{} permutations and {} signs", source.len(), sign.len())));
        }
        let mut find = HashMap::new();
        let mut inverses = Vec::with_capacity(source.len());
        for (g, (permutation, sign)) in source.iter().zip(&sign).enumerate() {
            let mut inverse = vec![u32::MAX; dim];
            for (i, &from) in permutation.iter().enumerate() {
                if let Some(slot) = inverse.get_mut(from as usize) {
                    *slot = i as u32;
                }
            }
            if permutation.len() != dim || inverse.contains(&u32::MAX) {
                return Err(bad(format!("element {g} is no permutation of {dim} coordinates")));
            }
            find.insert((permutation.clone(), *sign > 0.0), g as u32);
            inverses.push((inverse, *sign > 0.0));
        }
        let inverse = inverses.iter().map(|key| find.get(key).copied());
        let inverse = inverse.collect::<Option<_>>().ok_or_else(|| bad("an inverse is missing".into()))?;
        Ok(Self { source, sign, inverse })
    }

    /// The group with the reflection `x → −x` added (Z2).
    pub fn with_reflection(mut self) -> Self {
        let n = self.inverse.len() as u32;
        self.source.extend_from_within(..);
        self.sign.extend(self.sign.clone().iter().map(|s| -s));
        self.inverse.extend(self.inverse.clone().iter().map(|g| g + n));
        self
    }

    /// Number of elements.
    pub fn order(&self) -> usize {
        self.inverse.len()
    }

    /// Numbers per row that the group acts on.
    pub fn dim(&self) -> usize {
        self.source[0].len()
    }

    /// Checks that the group acts on `dim` numbers per row.
    ///
    /// # Errors
    /// [`Error::Shape`] when it acts on another number.
    pub fn check_dim(&self, dim: usize) -> Result<(), Error> {
        if self.dim() == dim {
            return Ok(());
        }
        Err(Error::Shape { what: "the symmetry group".into(), found: vec![self.dim()], expected: vec![dim] })
    }

    /// Element `g`: its permutation and its sign.
    ///
    /// # Panics
    /// If `g` is not below [`Group::order`].
    pub fn element(&self, g: usize) -> (&[u32], f64) {
        (&self.source[g], self.sign[g])
    }
}

/// When the group element of a row is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum SymmetryDraw {
    /// Once per row and solve: the flow of every row is a smooth one, and its log-density is exact in the limit of
    /// small steps.
    #[default]
    PerSolve,
    /// Anew at every stage, as the paper does: in the limit of small steps the flow of the averaged potential,
    /// but the order of the integrator is lost. For reproduction.
    PerStage,
    /// Never: the potential is summed over the whole group by the backend that has it, and exactly symmetric.
    Never,
}

/// A potential with a group element drawn for every row.
#[derive(Debug)]
pub struct Symmetrised<S: Space, P> {
    space: S,
    inner: P,
    group: Group,
    table: S::Permutations,
    draw: SymmetryDraw,
}

impl<S: Space, P: Potential<S>> Symmetrised<S, P> {
    /// Symmetrises a potential.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group acts on another number of coordinates than the potential; [`Error::Setting`]
    /// when it has more than 2²⁴ elements, or none is to be drawn.
    pub fn new(space: S, inner: P, group: Group, draw: SymmetryDraw) -> Result<Self, Error> {
        group.check_dim(inner.dim())?;
        if draw == SymmetryDraw::Never {
            return Err(Error::setting("draw", "never", "per solve or per stage; a sum over the group draws nothing"));
        }
        // Numbers of elements are sent in working precision.
        if group.order() > 1 << f32::MANTISSA_DIGITS {
            return Err(Error::setting("symmetry group", group.order(), "a group of at most 2^24 elements"));
        }
        let table = space.permutations(&group.source, &group.sign);
        Ok(Self { space, inner, group, table, draw })
    }

    /// The number of the draw that a stage needs.
    fn draw_of(&self, stage: u64) -> u64 {
        if self.draw == SymmetryDraw::PerStage { stage } else { 0 }
    }

    /// How many elements are drawn for every row.
    fn elements(&self, solve: &Solve) -> usize {
        match self.draw {
            SymmetryDraw::PerStage => {
                solve.evaluations.expect("an adaptive step never meets a field that is random in time")
            }
            SymmetryDraw::PerSolve | SymmetryDraw::Never => 1,
        }
    }
}

impl<S: Space, P: Potential<S>> Potential<S> for Symmetrised<S, P> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        self.inner.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.inner.parameters_mut()
    }

    fn context_dim(&self) -> usize {
        self.inner.context_dim()
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        // A new element at every stage makes sense in x alone.
        let anew = self.draw == SymmetryDraw::PerStage || solve.coordinates == Coordinates::X;
        let coordinates = if anew { Coordinates::X } else { solve.coordinates };
        let solve = Solve { coordinates, ..*solve };
        let (inner, pairs) = (self.inner.freeze(&solve), 2 * self.elements(&solve));
        Box::new(Transformed { by: self, inner, pairs, inner_draws: self.inner.draw_width(&solve), anew })
    }

    fn random_in_time(&self) -> bool {
        self.draw == SymmetryDraw::PerStage || self.inner.random_in_time()
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        2 * self.elements(solve) + self.inner.draw_width(solve)
    }

    /// The numbers of the elements in every row, each beside its inverse; then what the inner potential draws.
    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        let (order, elements) = (self.group.order() as u32, self.elements(solve) as u64);
        let (width, inner) = (self.inner.draw_width(solve), self.inner.draw(solve, rows.clone()));
        let mut out = Vec::with_capacity(rows.len() * (2 * elements as usize + width));
        for (r, row) in rows.enumerate() {
            for number in 0..elements {
                let g = solve.key.symmetry(row as u64, number).random_range(0..order);
                out.extend([g, self.group.inverse[g as usize]].map(f64::from));
            }
            out.extend(&inner[r * width..(r + 1) * width]);
        }
        out
    }

    fn has_score_pullback(&self) -> bool {
        self.inner.has_score_pullback()
    }

    fn cache_key(&self) -> Option<u64> {
        // The group never changes, and so the operations are those of the inner potential with this wrapping.
        self.inner.cache_key()
    }
}

struct Transformed<'a, S: Space, P> {
    by: &'a Symmetrised<S, P>,
    inner: Box<dyn Field<S> + 'a>,
    /// Columns of a block's draws that are elements with their inverses.
    pairs: usize,
    /// The columns behind them, which are the inner potential's.
    inner_draws: usize,
    /// Whether rows are transformed at every evaluation, because the state must be x, and not once at either end.
    anew: bool,
}

/// The elements of a block of rows.
struct Elements<'a, S: Space> {
    space: &'a S,
    table: &'a S::Permutations,
    /// Each beside its inverse, for one draw after the other.
    pairs: S::Array,
}

impl<S: Space> Elements<'_, S> {
    fn apply(&self, x: &S::Array, draw: u64) -> S::Array {
        self.space.permute(x, self.table, &self.pairs, 2 * draw as usize)
    }

    fn apply_inverse(&self, x: &S::Array, draw: u64) -> S::Array {
        self.space.permute(x, self.table, &self.pairs, 2 * draw as usize + 1)
    }
}

impl<S: Space, P: Potential<S>> Transformed<'_, S, P> {
    /// The elements of a block, and what of the block is the inner potential's.
    fn split(&self, block: Block<S>) -> (Elements<'_, S>, Block<S>) {
        let (space, table) = (&self.by.space, &self.by.table);
        let draws = block.draws.expect("a block that enters a symmetrised potential brings its draws");
        if self.inner_draws == 0 {
            return (Elements { space, table, pairs: draws }, Block { draws: None, ..block });
        }
        let part = |columns: Range<usize>| {
            let mut part = space.zeros(block.rows.len(), columns.len());
            space.copy_columns(&mut part, 0, &draws, columns);
            part
        };
        let (pairs, inner) = (part(0..self.pairs), part(self.pairs..self.pairs + self.inner_draws));
        (Elements { space, table, pairs }, Block { draws: Some(inner), ..block })
    }
}

impl<S: Space, P: Potential<S>> Field<S> for Transformed<'_, S, P> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let (elements, mut block) = self.split(block);
        if self.anew {
            let (inner, state) = self.inner.enter(block);
            return (Box::new(TransformedAnew { by: self.by, inner, elements }), state);
        }
        block.x = elements.apply(&block.x, 0);
        let (inner, state) = self.inner.enter(block);
        (Box::new(TransformedOnce { inner, elements }), state)
    }

    fn value(&self, stage: Stage, block: Block<S>) -> S::Column {
        let (elements, mut block) = self.split(block);
        block.x = elements.apply(&block.x, self.by.draw_of(stage.index));
        self.inner.value(stage, block)
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        self.inner.gradient(sums)
    }
}

/// Drawn once per solve: the inner potential's coordinates, entered and left through a transformation.
struct TransformedOnce<'a, S: Space> {
    inner: Box<dyn BlockField<S> + 'a>,
    elements: Elements<'a, S>,
}

impl<S: Space> BlockField<S> for TransformedOnce<'_, S> {
    fn evaluate(&mut self, stage: Stage, state: &S::Array, out: Motion<'_, S>) {
        self.inner.evaluate(stage, state, out);
    }

    fn evaluate_and_update(
        &mut self,
        stage: Stage,
        state: &S::Array,
        out: Motion<'_, S>,
        update: Option<FusedUpdate<'_, S>>,
    ) {
        self.inner.evaluate_and_update(stage, state, out, update);
    }

    fn recompute_velocity(&self) -> Option<&dyn RecomputeVelocity<S>> {
        self.inner.recompute_velocity()
    }

    fn pullback(&mut self, stage: Stage, state: &S::Array, of: Pullback<'_, S>) {
        self.inner.pullback(stage, state, of);
    }

    fn pullback_of_sum(&mut self, stage: Stage, state: &S::Array, of: Pullback<'_, S, CotangentSum<'_, S>>) {
        self.inner.pullback_of_sum(stage, state, of);
    }

    fn leave(&mut self, state: S::Array) -> S::Array {
        self.elements.apply_inverse(&self.inner.leave(state), 0)
    }

    fn leave_pullback(&mut self, state: &S::Array, x_bar: S::Array) -> S::Array {
        self.inner.leave_pullback(state, self.elements.apply(&x_bar, 0))
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        let (x_bar, share) = self.inner.enter_pullback(state_bar);
        (self.elements.apply_inverse(&x_bar, 0), share)
    }
}

/// In plain coordinates: transformed before the inner field is evaluated, and back after.
struct TransformedAnew<'a, S: Space, P> {
    by: &'a Symmetrised<S, P>,
    inner: Box<dyn BlockField<S> + 'a>,
    elements: Elements<'a, S>,
}

impl<S: Space, P: Potential<S>> BlockField<S> for TransformedAnew<'_, S, P> {
    fn evaluate(&mut self, stage: Stage, state: &S::Array, Motion { velocity, laplacian, residuals }: Motion<'_, S>) {
        let draw = self.by.draw_of(stage.index);
        let transformed = self.elements.apply(state, draw);
        self.inner.evaluate(stage, &transformed, Motion { velocity, laplacian, residuals });
        *velocity = self.elements.apply_inverse(velocity, draw);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, S>,
    ) {
        let draw = self.by.draw_of(stage.index);
        let transformed = self.elements.apply(state, draw);
        let velocity_bar = self.elements.apply(velocity_bar, draw);
        let Some(state_bar) = state_bar else {
            return self.inner.pullback(
                stage,
                &transformed,
                Pullback { residuals, velocity_bar: &velocity_bar, laplacian_bar, state_bar: None },
            );
        };
        self.inner.pullback(
            stage,
            &transformed,
            Pullback { residuals, velocity_bar: &velocity_bar, laplacian_bar, state_bar: Some(state_bar) },
        );
        *state_bar = self.elements.apply_inverse(state_bar, draw);
    }

    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, S>,
        bar: ScoredCotangent<'_, S>,
        out: ScoredPointBar<'_, S>,
    ) {
        let draw = self.by.draw_of(stage.index);
        let [x, score] = [at.x, at.score].map(|of| self.elements.apply(of, draw));
        let [velocity, change] = [bar.velocity, bar.change].map(|of| self.elements.apply(of, draw));
        let at = ScoredPoint { x: &x, score: &score };
        let bar = ScoredCotangent { velocity: &velocity, change: &change, ..bar };
        let ScoredPointBar { x, score } = out;
        self.inner.score_pullback(stage, at, bar, ScoredPointBar { x, score });
        for of in [x, score] {
            *of = self.elements.apply_inverse(of, draw);
        }
    }

    fn leave(&mut self, state: S::Array) -> S::Array {
        self.inner.leave(state)
    }

    fn leave_pullback(&mut self, state: &S::Array, x_bar: S::Array) -> S::Array {
        self.inner.leave_pullback(state, x_bar)
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        self.inner.enter_pullback(state_bar)
    }
}
