//! Potentials symmetrised by a drawn element of a finite group: `φ(g x)` instead of `φ(x)`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use rand::RngExt;

use crate::{
    BlockField, Chooses, Coordinates, Error, Field, FusedUpdate, Parameter, Potential, RecomputeVelocity, Residuals,
    RngKey, Solve, Space, Stage, new_cache_key,
};

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
        let bad =
            |why: String| Error::setting("potential.symmetry.group", why, "signed permutations with their inverses");
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
    pub fn element(&self, g: usize) -> (&[u32], f64) {
        (&self.source[g], self.sign[g])
    }
}

/// When the group element of a row is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymmetryDraw {
    /// Once per row and solve: the flow of every row is a smooth one, and its log-density is exact in the limit of small steps.
    PerSolve,
    /// Anew at every stage, as the paper does: in the limit of small steps the flow of the averaged potential,
    /// but the order of the integrator is lost. For reproduction.
    PerStage,
}

/// A potential with a group element drawn for every row.
#[derive(Debug)]
pub struct Symmetrised<S: Space, P> {
    space: S,
    inner: P,
    group: Group,
    table: S::Permutations,
    draw: SymmetryDraw,
    identity: u64,
}

impl<S: Space, P: Potential<S>> Symmetrised<S, P> {
    /// Symmetrises a potential.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group acts on another number of coordinates than the potential; [`Error::Setting`] when it has more than
    /// 2²⁴ elements.
    pub fn new(space: S, inner: P, group: Group, draw: SymmetryDraw) -> Result<Self, Error> {
        group.check_dim(inner.dim())?;
        // Numbers of elements are sent in working precision.
        if group.order() > 1 << f32::MANTISSA_DIGITS {
            return Err(Error::setting("potential.symmetry.group", group.order(), "a group of at most 2^24 elements"));
        }
        let table = space.permutations(&group.source, &group.sign);
        Ok(Self { space, inner, group, table, draw, identity: new_cache_key() })
    }

    /// The number of the draw that a stage needs.
    fn draw_of(&self, stage: u64) -> u64 {
        if self.draw == SymmetryDraw::PerStage { stage } else { 0 }
    }

    /// The numbers of the draws that some stages need, at least one.
    fn draws_of(&self, stages: Range<u64>) -> Range<u64> {
        self.draw_of(stages.start)..self.draw_of(stages.end.saturating_sub(1)) + 1
    }

    /// Elements that are drawn for some rows, each beside its inverse, for one draw after the other; row by row.
    fn pairs(&self, key: RngKey, rows: Range<usize>, numbers: Range<u64>) -> Vec<f64> {
        let order = self.group.order() as u32;
        let pair = |row, number| {
            let g = key.symmetry(row, number).random_range(0..order);
            [g, self.group.inverse[g as usize]].map(f64::from)
        };
        rows.flat_map(|row| numbers.clone().flat_map(move |number| pair(row as u64, number))).collect()
    }

    fn field<'a>(&'a self, solve: &Solve, drawn: Drawn<'a, S>) -> Box<dyn Field<S> + 'a> {
        // A new element at every stage makes sense in x alone.
        let anew = self.draw == SymmetryDraw::PerStage || solve.coordinates == Coordinates::X;
        let coordinates = if anew { Coordinates::X } else { solve.coordinates };
        let inner = self.inner.freeze(&Solve { coordinates, ..*solve });
        Box::new(Transformed { by: self, inner, drawn, anew })
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

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        self.field(solve, Drawn::By(solve.key))
    }

    fn random_in_time(&self) -> bool {
        self.draw == SymmetryDraw::PerStage || self.inner.random_in_time()
    }

    fn chooses(&self) -> Option<&dyn Chooses<S>> {
        self.inner.identity().map(|_| self as &dyn Chooses<S>)
    }
}

impl<S: Space, P: Potential<S>> Chooses<S> for Symmetrised<S, P> {
    fn told_identity(&self) -> u64 {
        self.identity
    }

    fn choose(&self, solve: &Solve, evaluations: usize) -> Vec<f64> {
        self.pairs(solve.key, 0..solve.rows, self.draws_of(0..evaluations as u64))
    }

    fn freeze_with<'a>(&'a self, solve: &Solve, chosen: &'a S::Array) -> Box<dyn Field<S> + 'a> {
        self.field(solve, Drawn::Before(chosen))
    }
}

/// Where the elements of a solve come from.
enum Drawn<'a, S: Space> {
    /// They are drawn when they are needed.
    By(RngKey),
    /// Of all rows, a pair of columns for every draw, as [`Chooses::choose`] has them.
    Before(&'a S::Array),
}

struct Transformed<'a, S: Space, P> {
    by: &'a Symmetrised<S, P>,
    inner: Box<dyn Field<S> + 'a>,
    drawn: Drawn<'a, S>,
    /// Whether rows are turned at every evaluation, because the state must be x, and not once at either end.
    anew: bool,
}

/// RngKey that are made at once where a row needs one for every stage: each upload takes as long as many numbers.
const AT_ONCE: u64 = 16;

impl<S: Space, P: Potential<S>> Transformed<'_, S, P> {
    /// The elements of a stage, and of those around it.
    fn elements(&self, rows: Range<usize>, stage: u64) -> Elements<'_, S> {
        let (space, table) = (&self.by.space, &self.by.table);
        let key = match self.drawn {
            Drawn::Before(pairs) => {
                return Elements { space, table, pairs: Cow::Borrowed(pairs), numbers: 0..u64::MAX };
            }
            Drawn::By(key) => key,
        };
        let first = stage - stage % AT_ONCE;
        let numbers = self.by.draws_of(first..first + AT_ONCE);
        let (n, columns) = (rows.len(), 2 * (numbers.end - numbers.start) as usize);
        let pairs = Cow::Owned(space.upload(n, columns, &self.by.pairs(key, rows, numbers.clone())));
        Elements { space, table, pairs, numbers }
    }
}

/// Elements for each of some rows, each beside its inverse.
struct Elements<'a, S: Space> {
    space: &'a S,
    table: &'a S::Permutations,
    pairs: Cow<'a, S::Array>,
    /// Of the draws that there are.
    numbers: Range<u64>,
}

impl<S: Space> Elements<'_, S> {
    fn turn(&self, x: &S::Array, number: u64) -> S::Array {
        self.space.permute(x, self.table, &self.pairs, self.column(number))
    }

    fn apply_inverse(&self, x: &S::Array, number: u64) -> S::Array {
        self.space.permute(x, self.table, &self.pairs, self.column(number) + 1)
    }

    fn column(&self, number: u64) -> usize {
        2 * (number - self.numbers.start) as usize
    }
}

impl<S: Space, P: Potential<S>> Field<S> for Transformed<'_, S, P> {
    fn enter(&self, rows: Range<usize>, x: S::Array) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let elements = self.elements(rows.clone(), 0);
        if self.anew {
            let (inner, state) = self.inner.enter(rows.clone(), x);
            return (Box::new(TransformedAnew { field: self, inner, rows, elements }), state);
        }
        let (inner, state) = self.inner.enter(rows, elements.turn(&x, 0));
        (Box::new(TransformedOnce { inner, elements }), state)
    }

    fn value(&self, rows: Range<usize>, stage: Stage, x: &S::Array) -> S::Column {
        let elements = self.elements(rows.clone(), stage.index);
        self.inner.value(rows, stage, &elements.turn(x, self.by.draw_of(stage.index)))
    }

    fn gradient(&self, sums: Vec<S::Array>) -> Vec<S::Array> {
        self.inner.gradient(sums)
    }
}

/// Drawn once per solve: the inner potential's coordinates, entered and left through a turn.
struct TransformedOnce<'a, S: Space> {
    inner: Box<dyn BlockField<S> + 'a>,
    elements: Elements<'a, S>,
}

impl<S: Space> BlockField<S> for TransformedOnce<'_, S> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        residuals: Option<&mut Residuals<S>>,
    ) {
        self.inner.evaluate(stage, state, velocity, laplacian, residuals);
    }

    fn evaluate_and_update(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        residuals: Option<&mut Residuals<S>>,
        toward: Option<FusedUpdate<'_, S>>,
    ) {
        self.inner.evaluate_and_update(stage, state, velocity, laplacian, residuals, toward);
    }

    fn recompute_velocity(&self) -> Option<&dyn RecomputeVelocity<S>> {
        self.inner.recompute_velocity()
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        residuals: &[S::Array],
        velocity_bar: &S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    ) {
        self.inner.pullback(stage, state, residuals, velocity_bar, laplacian_bar, state_bar);
    }

    fn pullback_of_sum(
        &mut self,
        space: &S,
        stage: Stage,
        state: &S::Array,
        residuals: &[S::Array],
        velocity_bar: &[(f64, &S::Array)],
        room: &mut S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    ) {
        self.inner.pullback_of_sum(space, stage, state, residuals, velocity_bar, room, laplacian_bar, state_bar);
    }

    fn leave(&mut self, state: S::Array) -> S::Array {
        self.elements.apply_inverse(&self.inner.leave(state), 0)
    }

    fn leave_pullback(&mut self, state: &S::Array, x_bar: S::Array) -> S::Array {
        self.inner.leave_pullback(state, self.elements.turn(&x_bar, 0))
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<S::Array>) {
        let (x_bar, share) = self.inner.enter_pullback(state_bar);
        (self.elements.apply_inverse(&x_bar, 0), share)
    }
}

/// In plain coordinates: turned before the inner field is evaluated, and back after.
struct TransformedAnew<'a, S: Space, P> {
    field: &'a Transformed<'a, S, P>,
    inner: Box<dyn BlockField<S> + 'a>,
    rows: Range<usize>,
    /// Of the last stage.
    elements: Elements<'a, S>,
}

impl<S: Space, P: Potential<S>> TransformedAnew<'_, S, P> {
    /// The draw of a stage, whose elements are there from now on.
    fn draw(&mut self, stage: Stage) -> u64 {
        let number = self.field.by.draw_of(stage.index);
        if !self.elements.numbers.contains(&number) {
            self.elements = self.field.elements(self.rows.clone(), stage.index);
        }
        number
    }
}

impl<S: Space, P: Potential<S>> BlockField<S> for TransformedAnew<'_, S, P> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        residuals: Option<&mut Residuals<S>>,
    ) {
        let draw = self.draw(stage);
        let turned = self.elements.turn(state, draw);
        self.inner.evaluate(stage, &turned, velocity, laplacian, residuals);
        *velocity = self.elements.apply_inverse(velocity, draw);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        residuals: &[S::Array],
        velocity_bar: &S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    ) {
        let draw = self.draw(stage);
        let turned = self.elements.turn(state, draw);
        let velocity_bar = self.elements.turn(velocity_bar, draw);
        let Some(state_bar) = state_bar else {
            return self.inner.pullback(stage, &turned, residuals, &velocity_bar, laplacian_bar, None);
        };
        self.inner.pullback(stage, &turned, residuals, &velocity_bar, laplacian_bar, Some(state_bar));
        *state_bar = self.elements.apply_inverse(state_bar, draw);
    }

    fn leave(&mut self, state: S::Array) -> S::Array {
        self.inner.leave(state)
    }

    fn leave_pullback(&mut self, state: &S::Array, x_bar: S::Array) -> S::Array {
        self.inner.leave_pullback(state, x_bar)
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<S::Array>) {
        self.inner.enter_pullback(state_bar)
    }
}
