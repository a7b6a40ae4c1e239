//! Potentials symmetrised by a drawn element of a finite group: `φ(g x)` instead of `φ(x)`.

use std::collections::HashMap;
use std::ops::Range;

use rand::RngExt;

use crate::{Chart, Coordinates, Draws, Error, Field, Memo, Parameter, Potential, Recall, Solve, Space, Stage, Toward};

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
}

impl<S: Space, P: Potential<S>> Symmetrised<S, P> {
    /// Symmetrises a potential.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group acts on another number of coordinates than the potential.
    pub fn new(space: S, inner: P, group: Group, draw: SymmetryDraw) -> Result<Self, Error> {
        group.check_dim(inner.dim())?;
        let table = space.permutations(&group.source, &group.sign);
        Ok(Self { space, inner, group, table, draw })
    }

    fn turn(&self, x: &S::Array, elements: &[u32]) -> S::Array {
        self.space.permute(x, &self.table, elements)
    }

    fn turn_back(&self, x: &S::Array, elements: &[u32]) -> S::Array {
        let inverse: Vec<u32> = elements.iter().map(|&g| self.group.inverse[g as usize]).collect();
        self.turn(x, &inverse)
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
        // A new element at every stage makes sense in x alone.
        let anew = self.draw == SymmetryDraw::PerStage || solve.coordinates == Coordinates::X;
        let coordinates = if anew { Coordinates::X } else { solve.coordinates };
        let inner = self.inner.freeze(&Solve { coordinates, ..*solve });
        Box::new(Turned { by: self, inner, draws: solve.draws, anew })
    }

    fn random_in_time(&self) -> bool {
        self.draw == SymmetryDraw::PerStage || self.inner.random_in_time()
    }
}

struct Turned<'a, S: Space, P> {
    by: &'a Symmetrised<S, P>,
    inner: Box<dyn Field<S> + 'a>,
    draws: Draws,
    /// Whether rows are turned at every evaluation, because the state must be x, and not once at either end.
    anew: bool,
}

impl<S: Space, P> Turned<'_, S, P> {
    fn elements(&self, rows: Range<usize>, stage: u64) -> Vec<u32> {
        let draw = if self.by.draw == SymmetryDraw::PerStage { stage } else { 0 };
        let order = self.by.group.order() as u32;
        rows.map(|row| self.draws.symmetry(row as u64, draw).random_range(0..order)).collect()
    }
}

impl<S: Space, P: Potential<S>> Field<S> for Turned<'_, S, P> {
    fn enter(&self, rows: Range<usize>, x: S::Array) -> (Box<dyn Chart<S> + '_>, S::Array) {
        if self.anew {
            let (inner, state) = self.inner.enter(rows.clone(), x);
            return (Box::new(TurnedAnew { field: self, inner, rows }), state);
        }
        let elements = self.elements(rows.clone(), 0);
        let (inner, state) = self.inner.enter(rows, self.by.turn(&x, &elements));
        (Box::new(TurnedOnce { by: self.by, inner, elements }), state)
    }

    fn value(&self, rows: Range<usize>, stage: Stage, x: &S::Array) -> S::Column {
        let elements = self.elements(rows.clone(), stage.index);
        self.inner.value(rows, stage, &self.by.turn(x, &elements))
    }

    fn gradient(&self, sums: Vec<S::Array>) -> Vec<S::Array> {
        self.inner.gradient(sums)
    }
}

/// Drawn once per solve: the inner potential's coordinates, entered and left through a turn.
struct TurnedOnce<'a, S: Space, P> {
    by: &'a Symmetrised<S, P>,
    inner: Box<dyn Chart<S> + 'a>,
    elements: Vec<u32>,
}

impl<S: Space, P: Potential<S>> Chart<S> for TurnedOnce<'_, S, P> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        memo: Option<&mut Memo<S>>,
    ) {
        self.inner.evaluate(stage, state, velocity, laplacian, memo);
    }

    fn evaluate_toward(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        memo: Option<&mut Memo<S>>,
        toward: Option<Toward<'_, S>>,
    ) {
        self.inner.evaluate_toward(stage, state, velocity, laplacian, memo, toward);
    }

    fn recall(&self) -> Option<&dyn Recall<S>> {
        self.inner.recall()
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        memo: &[S::Array],
        velocity_bar: &S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    ) {
        self.inner.pullback(stage, state, memo, velocity_bar, laplacian_bar, state_bar);
    }

    fn pullback_of_sum(
        &mut self,
        space: &S,
        stage: Stage,
        state: &S::Array,
        memo: &[S::Array],
        velocity_bar: &[(f64, &S::Array)],
        room: &mut S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    ) {
        self.inner.pullback_of_sum(space, stage, state, memo, velocity_bar, room, laplacian_bar, state_bar);
    }

    fn leave(&mut self, state: S::Array) -> S::Array {
        self.by.turn_back(&self.inner.leave(state), &self.elements)
    }

    fn leave_pullback(&mut self, state: &S::Array, x_bar: S::Array) -> S::Array {
        self.inner.leave_pullback(state, self.by.turn(&x_bar, &self.elements))
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<S::Array>) {
        let (x_bar, share) = self.inner.enter_pullback(state_bar);
        (self.by.turn_back(&x_bar, &self.elements), share)
    }
}

/// In plain coordinates: turned before the inner field is evaluated, and back after.
struct TurnedAnew<'a, S: Space, P> {
    field: &'a Turned<'a, S, P>,
    inner: Box<dyn Chart<S> + 'a>,
    rows: Range<usize>,
}

impl<S: Space, P: Potential<S>> Chart<S> for TurnedAnew<'_, S, P> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        laplacian: Option<&mut S::Column>,
        memo: Option<&mut Memo<S>>,
    ) {
        let elements = self.field.elements(self.rows.clone(), stage.index);
        let turned = self.field.by.turn(state, &elements);
        self.inner.evaluate(stage, &turned, velocity, laplacian, memo);
        *velocity = self.field.by.turn_back(velocity, &elements);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        memo: &[S::Array],
        velocity_bar: &S::Array,
        laplacian_bar: Option<&S::Column>,
        state_bar: Option<&mut S::Array>,
    ) {
        let elements = self.field.elements(self.rows.clone(), stage.index);
        let turned = self.field.by.turn(state, &elements);
        let velocity_bar = self.field.by.turn(velocity_bar, &elements);
        let Some(state_bar) = state_bar else {
            return self.inner.pullback(stage, &turned, memo, &velocity_bar, laplacian_bar, None);
        };
        self.inner.pullback(stage, &turned, memo, &velocity_bar, laplacian_bar, Some(state_bar));
        *state_bar = self.field.by.turn_back(state_bar, &elements);
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
