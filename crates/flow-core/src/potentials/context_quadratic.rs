//! A quadratic potential of every coordinate that the context of a row decides.

use crate::error::Error;
use crate::parameter::Parameter;
use crate::potential::{Block, BlockField, Field, Motion, Potential, Pullback, Share, Solve, Stage};
use crate::space::{Factor, Space};
use crate::time::TimeBasis;

/// `φ(x, t | c) = ½ Σ_i q_i x_i² + Σ_i l_i x_i` with `q = Q(t)ᵀ c` and `l = L(t)ᵀ c`: means and scales that depend on a
/// context c.
///
/// A density that is Gaussian given c, with independent coordinates, a mean linear in c and a logarithm of the scale
/// linear in c, is one that this potential carries the base to exactly (appendix A of arXiv:1809.10188 for every c).
///
/// Parameters: `quadratic` and `linear`, each `M·k × N`, the coefficients of M functions of time one below the other;
/// zero at first.
pub struct ContextQuadratic<S: Space> {
    space: S,
    width: usize,
    basis: TimeBasis,
    quadratic: Parameter<S>,
    linear: Parameter<S>,
}

impl<S: Space> ContextQuadratic<S> {
    /// A potential of `dim` numbers with a context of `width` numbers a row.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(space: S, dim: usize, width: usize, basis: TimeBasis) -> Result<Self, Error> {
        Error::at_least_1([("dim", dim), ("context", width)])?;
        let zeros = |name| Parameter::zeros(&space, name, &[basis.terms() * width, dim]);
        Ok(Self { width, basis, quadratic: zeros("quadratic"), linear: zeros("linear"), space })
    }

    /// `b_m(t) c` side by side for all functions of time, n × M·k.
    fn context_in_time(&self, t: f64, context: &S::Array) -> S::Array {
        let (space, k) = (&self.space, self.width);
        let (n, _) = space.shape(context);
        let (mut all, mut of_one) = (space.zeros(n, self.basis.terms() * k), space.zeros(n, k));
        for (m, b) in self.basis.at(t).enumerate() {
            space.accumulate(&mut of_one, 0.0, &[(b, context)]);
            space.copy_columns(&mut all, m * k, &of_one, 0..k);
        }
        all
    }

    /// `Pᵀ c` of every row, n × N, from what [`Self::context_in_time`] returned.
    fn of_rows(&self, context: &S::Array, parameter: &Parameter<S>) -> S::Array {
        let mut of_rows = self.space.zeros(self.space.shape(context).0, self.quadratic.shape[1]);
        self.space.matmul(&mut of_rows, 0.0, Factor::Plain(context), Factor::Plain(&parameter.value));
        of_rows
    }
}

impl<S: Space> Potential<S> for ContextQuadratic<S> {
    fn dim(&self) -> usize {
        self.quadratic.shape[1]
    }

    fn context_dim(&self) -> usize {
        self.width
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        vec![&self.quadratic, &self.linear]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        vec![&mut self.quadratic, &mut self.linear]
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<S> + '_> {
        Box::new(Frozen(self))
    }
}

/// What is frozen for one solve: nothing but the parameters.
struct Frozen<'a, S: Space>(&'a ContextQuadratic<S>);

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let (of, n) = (self.0, block.rows.len());
        let context = block.context.expect("a block has the context that its potential takes");
        let shares = [&of.quadratic, &of.linear].map(|parameter| {
            let (rows, cols) = of.space.shape(&parameter.value);
            of.space.zeros(rows, cols)
        });
        let ones = of.space.upload(n, of.dim(), &vec![1.0; n * of.dim()]);
        (Box::new(Rows { of, context, ones, shares }), block.x)
    }

    fn value(&self, stage: Stage, block: Block<S>) -> S::Column {
        let (of, space, n) = (self.0, &self.0.space, block.rows.len());
        let context = block.context.expect("a block has the context that its potential takes");
        let context = of.context_in_time(stage.t, &context);
        let (quadratic, mut inner) = (of.of_rows(&context, &of.quadratic), of.of_rows(&context, &of.linear));
        space.accumulate_product(&mut inner, 1.0, 0.5, &quadratic, &block.x);
        let mut value = space.column_zeros(n);
        space.row_dot(&mut value, &inner, &block.x);
        value
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        sums.into_iter().map(Share::into_sum).collect()
    }
}

/// A block of rows, in plain coordinates.
struct Rows<'a, S: Space> {
    of: &'a ContextQuadratic<S>,
    /// n × k.
    context: S::Array,
    /// n × N.
    ones: S::Array,
    /// Sums of the cotangents of both parameters.
    shares: [S::Array; 2],
}

impl<S: Space> BlockField<S> for Rows<'_, S> {
    fn evaluate(&mut self, stage: Stage, state: &S::Array, Motion { velocity, laplacian, .. }: Motion<'_, S>) {
        let (of, space) = (self.of, &self.of.space);
        let context = of.context_in_time(stage.t, &self.context);
        let quadratic = of.of_rows(&context, &of.quadratic);
        space.matmul(velocity, 0.0, Factor::Plain(&context), Factor::Plain(&of.linear.value));
        space.accumulate_product(velocity, 1.0, 1.0, &quadratic, state);
        if let Some(laplacian) = laplacian {
            space.row_dot(laplacian, &quadratic, &self.ones);
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Pullback { velocity_bar, laplacian_bar, state_bar, .. }: Pullback<'_, S>,
    ) {
        let (of, space) = (self.of, &self.of.space);
        let context = of.context_in_time(stage.t, &self.context);
        let mut quadratic_bar = space.empty_like(state);
        space.accumulate_product(&mut quadratic_bar, 0.0, 1.0, velocity_bar, state);
        if let Some(laplacian_bar) = laplacian_bar {
            space.accumulate_scaled_rows(&mut quadratic_bar, 1.0, laplacian_bar, &self.ones);
        }
        for (share, bar) in self.shares.iter_mut().zip([&quadratic_bar, velocity_bar]) {
            space.matmul(share, 1.0, Factor::Transposed(&context), Factor::Plain(bar));
        }
        if let Some(state_bar) = state_bar {
            let quadratic = of.of_rows(&context, &of.quadratic);
            space.accumulate_product(state_bar, 0.0, 1.0, &quadratic, velocity_bar);
        }
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        (state_bar, self.shares.map(Share::of).into())
    }
}
