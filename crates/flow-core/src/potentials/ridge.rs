//! One hidden layer with gains and offsets that depend on time, over the operations of a space: the pattern for further
//! terms.

use crate::activation::Activation;
use crate::error::Error;
use crate::parameter::Parameter;
use crate::potential::{Block, BlockField, Field, Motion, Potential, Pullback, Share, Solve, Stage};
use crate::ridge::RidgeParameters;
use crate::space::{Factor, Space};
use crate::time::TimeBasis;

/// `φ(x, t) = Σ_j v_j(t) f(a_j)`, `a = g(t) ⊙ Wx + b(t)`: `∇φ = Wᵀ(v ⊙ g ⊙ f'(a))`, `∇²φ = Σ_j v_j g_j² f''(a_j)
/// ‖w_j‖²` (section 3 of arXiv:1809.10188 has it with `g = 1` and nothing dependent on time).
///
/// Parameters: `weight` (h × N), `bias` where there is one, `gain` and `amplitude`, coefficients of functions of time
/// (M × h; h for M = 1). Their names, shapes and first values are those of the backends' own ridge potentials with
/// gains.
#[derive(Debug)]
pub struct Ridge<S: Space> {
    space: S,
    activation: Activation,
    basis: TimeBasis,
    weight: Parameter<S>,
    bias: Option<Parameter<S>>,
    gain: Parameter<S>,
    amplitude: Parameter<S>,
}

impl<S: Space> Ridge<S> {
    /// A potential of `hidden` ridge functions of `dim` numbers.
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is zero.
    pub fn new(
        space: S,
        (dim, hidden): (usize, usize),
        activation: Activation,
        bias: bool,
        basis: TimeBasis,
        seed: u64,
    ) -> Result<Self, Error> {
        let parameters = RidgeParameters::new(&space, dim, hidden, bias, seed)?;
        let in_time = |parameter: Parameter<S>| parameter.in_time(&space, basis.terms());
        let (bias, amplitude) = (parameters.bias.map(in_time), in_time(parameters.amplitude));
        let gain = RidgeParameters::gain(&space, hidden, basis.terms());
        Ok(Self { activation, basis, weight: parameters.weight, bias, gain, amplitude, space })
    }

    fn hidden(&self) -> usize {
        self.weight.shape[0]
    }

    /// A row of numbers that are all one.
    fn ones(&self, n: usize) -> S::Array {
        self.space.upload(1, n, &vec![1.0; n])
    }

    /// `c(t) = Σ_m c_m b_m(t)`, 1 × h.
    fn at(&self, t: f64, of: &Parameter<S>) -> S::Array {
        let b: Vec<f64> = self.basis.at(t).collect();
        let mut now = self.space.zeros(1, self.hidden());
        self.space.matmul(&mut now, 0.0, Factor::Plain(&self.space.upload(1, b.len(), &b)), Factor::Plain(&of.value));
        now
    }

    /// The coefficients at a time.
    fn coefficients(&self, t: f64, norms: &S::Array) -> Coefficients<S> {
        let (space, h) = (&self.space, self.hidden());
        let product = |a: &S::Array, b: &S::Array| {
            let mut out = space.zeros(1, h);
            space.accumulate_product(&mut out, 0.0, 1.0, a, b);
            out
        };
        let (v, g) = (self.at(t, &self.amplitude), self.at(t, &self.gain));
        let strength = product(&v, &g);
        let gained_norms = product(&g, norms);
        let curvature = product(&strength, &gained_norms);
        let bias = self.bias.as_ref().map(|bias| self.at(t, bias));
        Coefficients { v, g, bias, strength, gained_norms, curvature }
    }
}

/// Rows of h numbers.
struct Coefficients<S: Space> {
    v: S::Array,
    g: S::Array,
    bias: Option<S::Array>,
    /// `v ⊙ g`.
    strength: S::Array,
    /// `g ⊙ n` with `n_j = ‖w_j‖²`.
    gained_norms: S::Array,
    /// `v ⊙ g² ⊙ n`.
    curvature: S::Array,
}

impl<S: Space> Potential<S> for Ridge<S> {
    fn dim(&self) -> usize {
        self.weight.shape[1]
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        std::iter::once(&self.weight).chain(&self.bias).chain([&self.gain, &self.amplitude]).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        let Self { weight, bias, gain, amplitude, .. } = self;
        std::iter::once(weight).chain(bias).chain([gain, amplitude]).collect()
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<S> + '_> {
        let (space, dim, h) = (&self.space, self.dim(), self.hidden());
        let (mut squares, mut norms) = (space.zeros(h, dim), space.zeros(1, h));
        space.accumulate_product(&mut squares, 0.0, 1.0, &self.weight.value, &self.weight.value);
        space.matmul(&mut norms, 0.0, Factor::Plain(&self.ones(dim)), Factor::Transposed(&squares));
        Box::new(Frozen { of: self, norms })
    }
}

/// A ridge potential frozen for one solve.
struct Frozen<'a, S: Space> {
    of: &'a Ridge<S>,
    /// `‖w_j‖²`, 1 × h.
    norms: S::Array,
}

impl<S: Space> Frozen<'_, S> {
    /// `Wx` and `a`, each n × h.
    fn arguments(&self, at: &Coefficients<S>, x: &S::Array, ones: &S::Array) -> [S::Array; 2] {
        let space = &self.of.space;
        let (rows, _) = space.shape(x);
        let [mut wx, mut a] = [(); 2].map(|()| space.zeros(rows, self.of.hidden()));
        space.matmul(&mut wx, 0.0, Factor::Plain(x), Factor::Transposed(&self.of.weight.value));
        space.accumulate_scaled_columns(&mut a, 0.0, 1.0, &wx, &at.g);
        if let Some(bias) = &at.bias {
            space.matmul(&mut a, 1.0, Factor::Transposed(ones), Factor::Plain(bias));
        }
        [wx, a]
    }

    /// The sums over hidden units of `of ⊙ row`, in 64 bits.
    fn row_sums(&self, out: &mut S::Column, of: &S::Array, row: &S::Array, ones: &S::Array) {
        let space = &self.of.space;
        let mut rows = space.empty_like(of);
        space.matmul(&mut rows, 0.0, Factor::Transposed(ones), Factor::Plain(row));
        space.row_dot(out, of, &rows);
    }
}

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let (space, h, terms) = (&self.of.space, self.of.hidden(), self.of.basis.terms());
        let timed = || space.zeros(terms, h);
        let share = Bars {
            weight: space.zeros(h, self.of.dim()),
            norms: space.zeros(1, h),
            bias: timed(),
            gain: timed(),
            amplitude: timed(),
        };
        (Box::new(Rows { field: self, ones: self.of.ones(block.rows.len()), share }), block.x)
    }

    fn value(&self, stage: Stage, block: Block<S>) -> S::Column {
        let (of, n) = (self.of, block.rows.len());
        let (at, ones) = (of.coefficients(stage.t, &self.norms), of.ones(n));
        let [mut f, a] = self.arguments(&at, &block.x, &ones);
        of.space.activate(&mut f, of.activation, 0, &a);
        let mut value = of.space.column_zeros(n);
        self.row_sums(&mut value, &f, &at.v, &ones);
        value
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        let mut sums = sums.into_iter().map(Share::into_sum);
        let mut next = || sums.next().expect("enter_pullback returns this many shares");
        let (space, mut weight, norms) = (&self.of.space, next(), next());
        // n_j = ‖w_j‖²: w̄_j += 2 n̄_j w_j.
        let norms = space.upload_column(&space.download(&norms));
        space.accumulate_scaled_rows(&mut weight, 2.0, &norms, &self.of.weight.value);
        let (bias, gain, amplitude) = (next(), next(), next());
        let bias = self.of.bias.as_ref().map(|_| bias);
        std::iter::once(weight).chain(bias).chain([gain, amplitude]).collect()
    }
}

/// Sums of the cotangents of a block of rows.
struct Bars<S: Space> {
    /// h × N.
    weight: S::Array,
    /// 1 × h, as the next three are for every function of time.
    norms: S::Array,
    bias: S::Array,
    gain: S::Array,
    amplitude: S::Array,
}

/// A block of rows: the state is x, the residuals are `Wx` and a.
struct Rows<'a, S: Space> {
    field: &'a Frozen<'a, S>,
    /// 1 × rows.
    ones: S::Array,
    share: Bars<S>,
}

impl<S: Space> BlockField<S> for Rows<'_, S> {
    fn evaluate(&mut self, stage: Stage, state: &S::Array, Motion { velocity, laplacian, residuals }: Motion<'_, S>) {
        let (of, space) = (self.field.of, &self.field.of.space);
        let at = of.coefficients(stage.t, &self.field.norms);
        let [wx, a] = self.field.arguments(&at, state, &self.ones);
        let [mut slope, mut scaled] = [space.empty_like(&a), space.empty_like(&a)];
        space.activate(&mut slope, of.activation, 1, &a);
        space.accumulate_scaled_columns(&mut scaled, 0.0, 1.0, &slope, &at.strength);
        space.matmul(velocity, 0.0, Factor::Plain(&scaled), Factor::Plain(&of.weight.value));
        if let Some(laplacian) = laplacian {
            space.activate(&mut slope, of.activation, 2, &a);
            self.field.row_sums(laplacian, &slope, &at.curvature, &self.ones);
        }
        if let Some(residuals) = residuals {
            residuals.extend([wx, a]);
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, S>,
    ) {
        let (of, space) = (self.field.of, &self.field.of.space);
        let at = of.coefficients(stage.t, &self.field.norms);
        let [wx, a] = [&residuals[0], &residuals[1]];
        let like_a = || space.empty_like(a);
        let [mut slope, mut curvature] = [like_a(), like_a()];
        space.activate(&mut slope, of.activation, 1, a);
        space.activate(&mut curvature, of.activation, 2, a);

        // velocity = k W with k = s · diag(strength).
        let [mut k, mut k_bar, mut a_bar, mut scratch] = [like_a(), like_a(), like_a(), like_a()];
        space.accumulate_scaled_columns(&mut k, 0.0, 1.0, &slope, &at.strength);
        space.matmul(&mut self.share.weight, 1.0, Factor::Transposed(&k), Factor::Plain(velocity_bar));
        space.matmul(&mut k_bar, 0.0, Factor::Plain(velocity_bar), Factor::Transposed(&of.weight.value));
        space.accumulate_product(&mut scratch, 0.0, 1.0, &k_bar, &slope);
        let strength_bar = self.column_sums(&scratch);
        space.accumulate_scaled_columns(&mut scratch, 0.0, 1.0, &k_bar, &at.strength);
        space.accumulate_product(&mut a_bar, 0.0, 1.0, &scratch, &curvature);

        // ∇²φ = Σ_j curvature_j f''(a_j), curvature = v ⊙ g² ⊙ n.
        let mut curvature_bar = space.zeros(1, of.hidden());
        if let Some(laplacian_bar) = laplacian_bar {
            space.accumulate(&mut scratch, 0.0, &[]);
            space.accumulate_scaled_rows(&mut scratch, 1.0, laplacian_bar, &curvature);
            curvature_bar = self.column_sums(&scratch);
            space.activate(&mut k, of.activation, 3, a);
            space.accumulate_scaled_columns(&mut scratch, 0.0, 1.0, &k, &at.curvature);
            space.accumulate_scaled_rows(&mut a_bar, 1.0, laplacian_bar, &scratch);
        }

        // a = Wx · diag(g) + b.
        let bias_bar = self.column_sums(&a_bar);
        space.accumulate_product(&mut scratch, 0.0, 1.0, &a_bar, wx);
        let gain_bar = self.column_sums(&scratch);
        space.accumulate_scaled_columns(&mut scratch, 0.0, 1.0, &a_bar, &at.g);
        space.matmul(&mut self.share.weight, 1.0, Factor::Transposed(&scratch), Factor::Plain(state));
        if let Some(state_bar) = state_bar {
            space.matmul(state_bar, 0.0, Factor::Plain(&scratch), Factor::Plain(&of.weight.value));
        }
        self.add_coefficients(stage.t, &at, [bias_bar, gain_bar, strength_bar, curvature_bar]);
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        let Bars { weight, norms, bias, gain, amplitude } = self.share;
        (state_bar, [weight, norms, bias, gain, amplitude].map(Share::of).into())
    }
}

impl<S: Space> Rows<'_, S> {
    /// The sums of the columns of an n × h array, 1 × h.
    fn column_sums(&self, of: &S::Array) -> S::Array {
        let space = &self.field.of.space;
        let mut sums = space.zeros(1, self.field.of.hidden());
        space.matmul(&mut sums, 0.0, Factor::Plain(&self.ones), Factor::Plain(of));
        sums
    }

    /// Adds the cotangents of one evaluation's coefficients to the block's share: of b, of g where it multiplies Wx, of
    /// `v ⊙ g` and of `v ⊙ g² ⊙ n`.
    fn add_coefficients(&mut self, t: f64, at: &Coefficients<S>, bars: [S::Array; 4]) {
        let [bias_bar, mut gain_bar, strength_bar, curvature_bar] = bars;
        let space = &self.field.of.space;
        let mut amplitude_bar = space.zeros(1, self.field.of.hidden());
        let mut scratch = amplitude_bar.clone();
        // Of v: g · strength_bar + g² n · curvature_bar.
        space.accumulate_product(&mut amplitude_bar, 0.0, 1.0, &at.g, &strength_bar);
        space.accumulate_product(&mut scratch, 0.0, 1.0, &at.gained_norms, &curvature_bar);
        space.accumulate_product(&mut amplitude_bar, 1.0, 1.0, &at.g, &scratch);
        // Of g: v · strength_bar + 2 v g n · curvature_bar.
        space.accumulate_product(&mut gain_bar, 1.0, 1.0, &at.v, &strength_bar);
        space.accumulate_product(&mut gain_bar, 1.0, 2.0, &at.v, &scratch);
        // Of n: v g² · curvature_bar.
        space.accumulate_product(&mut scratch, 0.0, 1.0, &at.strength, &at.g);
        space.accumulate_product(&mut self.share.norms, 1.0, 1.0, &scratch, &curvature_bar);
        let b: Vec<f64> = self.field.of.basis.at(t).collect();
        let b = space.upload(1, b.len(), &b);
        for (sum, bar) in [
            (&mut self.share.bias, &bias_bar),
            (&mut self.share.gain, &gain_bar),
            (&mut self.share.amplitude, &amplitude_bar),
        ] {
            space.matmul(sum, 1.0, Factor::Transposed(&b), Factor::Plain(bar));
        }
    }
}
