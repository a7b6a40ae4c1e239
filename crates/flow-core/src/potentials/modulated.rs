//! A potential whose strength depends on the context of a row: for terms that can have no offsets.

use std::ops::Range;

use crate::error::Error;
use crate::parameter::Parameter;
use crate::potential::{Block, BlockField, Coordinates, Field, Motion, Potential, Pullback, Share, Solve, Stage};
use crate::space::{Factor, Space};
use crate::time::TimeBasis;

/// `φ(x, t | c) = e(t, c) φ₀(x, t)` with `e = 1 + a(t)·c` for a context c: every symmetry of φ₀ is kept.
///
/// Parameters: `modulation`, the coefficients of a (M × k), zero at first unless [`Modulated::starting_with`] says
/// otherwise, and those of φ₀, which may have the same context.
pub struct Modulated<S: Space> {
    space: S,
    inner: Box<dyn Potential<S>>,
    basis: TimeBasis,
    modulation: Parameter<S>,
}

impl<S: Space> Modulated<S> {
    /// φ₀ with a context of `width` numbers a row.
    ///
    /// # Errors
    /// [`Error::Setting`] for no context; [`Error::Shape`] where φ₀ has another one.
    pub fn new(space: S, inner: Box<dyn Potential<S>>, width: usize, basis: TimeBasis) -> Result<Self, Error> {
        Error::at_least_1([("context", width)])?;
        let found = inner.context_dim();
        if ![0, width].contains(&found) {
            let what = "the context of the potential".into();
            return Err(Error::Shape { what, found: vec![found], expected: vec![width] });
        }
        let modulation = Parameter::zeros(&space, "modulation", &[basis.terms(), width]);
        Ok(Self { space, inner, basis, modulation })
    }

    /// The same with `e = 1 + c_i` at first, at all times, for a place i of the context: terms that start alike are
    /// then told apart by their context.
    ///
    /// # Panics
    /// If the context has no such place.
    #[must_use]
    pub fn starting_with(mut self, place: usize) -> Self {
        let (terms, width) = (self.basis.terms(), self.modulation.shape[1]);
        assert!(place < width, "the context has {width} numbers");
        // The first function of time is 1.
        let mut values = vec![0.0; terms * width];
        values[place] = 1.0;
        self.modulation.value = self.space.upload(terms, width, &values);
        self
    }
}

impl<S: Space> Potential<S> for Modulated<S> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn context_dim(&self) -> usize {
        self.modulation.shape[1]
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        std::iter::once(&self.modulation).chain(self.inner.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        std::iter::once(&mut self.modulation).chain(self.inner.parameters_mut()).collect()
    }

    /// φ₀ in coordinates of its own would not be e times as fast there.
    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        let inner = self.inner.freeze(&Solve { coordinates: Coordinates::X, ..*solve });
        Box::new(Frozen { of: self, inner })
    }

    fn random_in_time(&self) -> bool {
        self.inner.random_in_time()
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        self.inner.draw_width(solve)
    }

    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        self.inner.draw(solve, rows)
    }
}

/// Both frozen for one solve.
struct Frozen<'a, S: Space> {
    of: &'a Modulated<S>,
    inner: Box<dyn Field<S> + 'a>,
}

impl<S: Space> Frozen<'_, S> {
    /// `b(t)`, 1 × M.
    fn basis(&self, t: f64) -> S::Array {
        let b: Vec<f64> = self.of.basis.at(t).collect();
        self.of.space.upload(1, b.len(), &b)
    }

    /// e of every row in its context.
    fn strength(&self, t: f64, Given { context, ones, unit }: &Given<S>) -> S::Column {
        let space = &self.of.space;
        let (n, k) = space.shape(context);
        let (mut a, mut rows, mut strength) = (space.zeros(1, k), space.zeros(n, k), space.column_zeros(n));
        space.matmul(&mut a, 0.0, Factor::Plain(&self.basis(t)), Factor::Plain(&self.of.modulation.value));
        space.matmul(&mut rows, 0.0, Factor::Plain(ones), Factor::Plain(&a));
        space.row_dot(&mut strength, &rows, context);
        space.column_accumulate(&mut strength, 1.0, &[(1.0, unit)]);
        strength
    }

    /// The context of a block, and the block for φ₀.
    fn split(&self, block: Block<S>) -> (Given<S>, Block<S>) {
        let (space, n) = (&self.of.space, block.rows.len());
        let context = block.context.clone().expect("a block has the context that its potential takes");
        let inner = block.context.filter(|_| self.of.inner.context_dim() > 0);
        let (ones, unit) = (space.upload(n, 1, &vec![1.0; n]), space.upload_column(&vec![1.0; n]));
        (Given { context, ones, unit }, Block { context: inner, ..block })
    }
}

/// The context of a block's rows, and ones for sums over them.
struct Given<S: Space> {
    /// n × k.
    context: S::Array,
    /// n × 1.
    ones: S::Array,
    unit: S::Column,
}

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let space = &self.of.space;
        let (given, block) = self.split(block);
        let (n, dim) = space.shape(&block.x);
        let (inner, state) = self.inner.enter(block);
        let (terms, k) = (self.of.basis.terms(), self.of.context_dim());
        let share = space.zeros(terms, k);
        let (scratch, column) = (space.zeros(n, dim), space.column_zeros(n));
        (Box::new(Rows { field: self, inner, given, share, scratch, column }), state)
    }

    fn value(&self, stage: Stage, block: Block<S>) -> S::Column {
        let (given, block) = self.split(block);
        let mut value = self.of.space.column_zeros(block.rows.len());
        let inner = self.inner.value(stage, block);
        self.of.space.column_product(&mut value, &self.strength(stage.t, &given), &inner);
        value
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        let mut sums = sums.into_iter();
        let own = sums.next().expect("enter_pullback returns this share first").into_sum();
        std::iter::once(own).chain(self.inner.gradient(sums.collect())).collect()
    }
}

/// A block of rows. The residuals are velocity and Laplacian of φ₀, and then those of φ₀ itself.
struct Rows<'a, S: Space> {
    field: &'a Frozen<'a, S>,
    inner: Box<dyn BlockField<S> + 'a>,
    given: Given<S>,
    /// The sum of the cotangents of the modulation, M × k.
    share: S::Array,
    scratch: S::Array,
    column: S::Column,
}

impl<S: Space> BlockField<S> for Rows<'_, S> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Motion { velocity, mut laplacian, residuals }: Motion<'_, S>,
    ) {
        let space = &self.field.of.space;
        let strength = self.field.strength(stage.t, &self.given);
        let mut kept = residuals.is_some().then(Vec::new);
        let column = laplacian.is_some().then_some(&mut self.column);
        self.inner.evaluate(
            stage,
            state,
            Motion { velocity: &mut self.scratch, laplacian: column, residuals: kept.as_mut() },
        );
        space.accumulate(velocity, 0.0, &[]);
        space.accumulate_scaled_rows(velocity, 1.0, &strength, &self.scratch);
        if let Some(laplacian) = &mut laplacian {
            space.column_product(laplacian, &strength, &self.column);
        }
        if let (Some(residuals), Some(kept)) = (residuals, kept) {
            let mut of_rows = space.zeros(space.shape(state).0, 1);
            if laplacian.is_some() {
                space.accumulate_scaled_rows(&mut of_rows, 1.0, &self.column, &self.given.ones);
            }
            residuals.extend([self.scratch.clone(), of_rows]);
            residuals.extend(kept);
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, S>,
    ) {
        let space = &self.field.of.space;
        let (n, k) = space.shape(&self.given.context);
        let [velocity, laplacian] = [&residuals[0], &residuals[1]];
        // e multiplies the velocity and the Laplacian.
        let mut strength_bar = space.column_zeros(n);
        space.row_dot(&mut strength_bar, velocity_bar, velocity);
        if let Some(laplacian_bar) = laplacian_bar {
            let mut own = space.column_zeros(n);
            space.row_dot(&mut own, laplacian, &self.given.ones);
            space.column_product(&mut self.column, laplacian_bar, &own);
            space.column_accumulate(&mut strength_bar, 1.0, &[(1.0, &self.column)]);
        }
        let (mut weighed, mut sum) = (space.zeros(n, k), space.zeros(1, k));
        space.accumulate_scaled_rows(&mut weighed, 1.0, &strength_bar, &self.given.context);
        space.matmul(&mut sum, 0.0, Factor::Transposed(&self.given.ones), Factor::Plain(&weighed));
        let basis = self.field.basis(stage.t);
        space.matmul(&mut self.share, 1.0, Factor::Transposed(&basis), Factor::Plain(&sum));

        let strength = self.field.strength(stage.t, &self.given);
        space.accumulate(&mut self.scratch, 0.0, &[]);
        space.accumulate_scaled_rows(&mut self.scratch, 1.0, &strength, velocity_bar);
        let column = laplacian_bar.map(|laplacian_bar| {
            space.column_product(&mut self.column, laplacian_bar, &strength);
            &self.column
        });
        self.inner.pullback(
            stage,
            state,
            Pullback { residuals: &residuals[2..], velocity_bar: &self.scratch, laplacian_bar: column, state_bar },
        );
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        let (x_bar, inner) = self.inner.enter_pullback(state_bar);
        (x_bar, std::iter::once(Share::of(self.share)).chain(inner).collect())
    }
}
