//! Blocks of rows of a ridge potential in plain and in feature-space coordinates, with what they gather for the
//! gradient.

use std::sync::atomic::Ordering;

use flow_core::{BlockField, CotangentSum, FusedUpdate, Motion, Pullback, RecomputeVelocity, Share, Stage};
use tch::{Kind, Tensor};

use super::{Amplitude, Frozen};
use crate::factor::Factor;
use crate::ops::{PullbackOf, SlopesOf, Update};
use crate::tensors::{Array, Column, Tch};

/// A block of rows at x in the field's coordinates, and its state at the start.
pub(super) fn enter<'a>(field: &'a Frozen<'a>, rows: i64, x: Array) -> (Box<dyn BlockField<Tch> + 'a>, Array) {
    let work = Work { field, rows, sums: None };
    let factor = |of: &Tensor| Factor::new(&field.ridge.space, of, rows);
    let Some(gram) = &field.gram else {
        let layer = |of: &Tensor| Layer { matrix: factor(of), transposed: factor(&of.tr()) };
        let (weight, scaled) = (layer(&field.weight), field.scaled.as_ref().map(layer));
        return (Box::new(Plain { work, weight, scaled, slopes: None }), x);
    };
    // Offsets that do not change are part of the origin.
    let moving = field.biases.is_some() && field.ridge.basis.terms() > 1;
    let transposed = Factor::plain(field.weight.tr());
    let origin = if moving { transposed.product_of(&x.0) } else { field.arguments(0.0, &x.0, &transposed) };
    let state = Array(Tensor::zeros(origin.size(), (gram.kind(), gram.device())));
    let gram = factor(gram);
    (Box::new(Feature { work, gram, origin, moving, x: x.0, leave_bar: None }), state)
}

/// Sums that a block of rows gathers for the gradient, rows × h. They are summed over the rows at the end; amplitudes
/// and curvatures are 1 × h where [`Tch::rows_of_sums`] has it so.
struct Sums {
    /// Of `b_m(t) s ⊙ u`: the cotangents of v_m, for every function of time. None where weights are scaled by v: these
    /// have them from their products.
    amplitudes: Vec<Tensor>,
    /// Of `b_m(t) l̄ f''`: the cotangents of `v_mj ‖w_j‖²`, for every function of time.
    curvatures: Vec<Tensor>,
    /// Of `b_m(t) ā`: the cotangents of the offsets, for every function of time; `b₀ = 1`, so that the first are those
    /// of a. Without offsets only these in feature space, and none in plain coordinates.
    arguments: Vec<Tensor>,
    /// `Σ leftᵀ · right` over all stages. In plain coordinates of `(ā, x)`, and of `(v ⊙ s, velocity_bar)` where
    /// weights are not scaled by v. In feature space of `(c, ā)`.
    products: GradientAccumulator,
}

/// A sum of products `leftᵀ · right` of short matrices, gathered until one product is large enough to be fast.
struct GradientAccumulator {
    sum: Tensor,
    left: Tensor,
    right: Tensor,
    filled: i64,
}

impl GradientAccumulator {
    /// For matrices of a kind, of at most `rows` rows.
    fn new(space: &Tch, kind: Kind, rows: i64, left: i64, right: i64) -> Self {
        // A CUDA device has more to fill, and the memory for it.
        let least = if space.kernels.is_none() { 1024 } else { 4096 };
        let options = (kind, space.device().into());
        let empty = |columns| Tensor::empty([rows.max(least), columns], options);
        Self { sum: Tensor::zeros([left, right], options), left: empty(left), right: empty(right), filled: 0 }
    }

    /// Room for the next left and right matrix, to be written to before the next call.
    fn next(&mut self, rows: i64) -> (Tensor, Tensor) {
        if self.filled + rows > self.left.size()[0] {
            self.flush();
        }
        let of = |buffer: &Tensor| buffer.narrow(0, self.filled, rows);
        let room = (of(&self.left), of(&self.right));
        self.filled += rows;
        room
    }

    fn flush(&mut self) {
        let of = |buffer: &Tensor| buffer.narrow(0, 0, self.filled);
        let _ = self.sum.addmm_(&of(&self.left).tr(), &of(&self.right));
        self.filled = 0;
    }

    fn finish(mut self) -> Tensor {
        self.flush();
        self.sum
    }
}

/// A cotangent that comes from a matrix product.
enum Cotangent<'a> {
    /// Of `v ⊙ s`: a sum.
    OfVelocity(&'a [(f64, &'a Tensor)]),
    /// Of s.
    OfSlopes(&'a Tensor),
}

/// What may be wanted beside the slopes: `v ⊙ s`, the Laplacian, and the update of a state.
struct Outputs<'a> {
    velocity: Option<&'a mut Array>,
    laplacian: Option<&'a mut Column>,
    update: Option<FusedUpdate<'a, Tch>>,
}

/// What both coordinates share: everything between the matrix products.
struct Work<'a> {
    field: &'a Frozen<'a>,
    rows: i64,
    /// Made at the first pullback: evaluation without gradient never needs them.
    sums: Option<Sums>,
}

impl Work<'_> {
    fn sums(&mut self) -> &mut Sums {
        self.sums.get_or_insert_with(|| {
            let ridge = self.field.ridge;
            let hidden = self.field.norms.size()[1];
            let factor = self.field.gram.as_ref().unwrap_or(&self.field.weight);
            let products = GradientAccumulator::new(&ridge.space, factor.kind(), self.rows, hidden, factor.size()[1]);
            let many = |rows, count: usize| (0..count).map(|_| ridge.space.zeros_of(&[rows, hidden])).collect();
            let (terms, in_x) = (ridge.basis.terms(), self.field.gram.is_none());
            let rows = ridge.space.rows_of_sums(self.rows);
            let curvatures = many(rows, terms);
            let amplitudes = many(rows, if self.field.scaled.is_some() { 0 } else { terms });
            let arguments = many(self.rows, if self.field.biases.is_some() { terms } else { usize::from(!in_x) });
            Sums { amplitudes, curvatures, arguments, products }
        })
    }

    /// From `left · factor + offsets` to `s = f'` of that, with `v ⊙ s`, the Laplacian and the update of a state where
    /// they are wanted.
    fn forward(
        &self,
        amplitude: &Amplitude,
        (left, factor): (&Tensor, &Factor),
        [base, moving]: [Option<&Tensor>; 2],
        out: Outputs<'_>,
    ) -> Tensor {
        let (space, Outputs { velocity, laplacian, update }) = (&self.field.ridge.space, out);
        // A product on the CPU adds to its first offsets on the way.
        let (a, base) = match base {
            Some(base) if space.kernels.is_none() => (factor.product_plus(base, left), None),
            base => (factor.product_of(left), base),
        };
        let terms: Vec<_> = update.iter().flat_map(|update| update.terms).map(|(c, term)| (*c, &term.0)).collect();
        let of = SlopesOf {
            activation: self.field.ridge.activation,
            base,
            moving,
            v: &amplitude.v,
            velocity: velocity.map(|velocity| &mut velocity.0),
            curved: &amplitude.curved,
            laplacian: laplacian.map(|laplacian| &mut laplacian.0),
            update: update.map(|to| Update { out: &mut to.out.0, base: &to.base.0, terms: &terms, c: to.c }),
        };
        space.slopes(a, of)
    }

    /// Fills `a_bar` from the cotangents of s or `v ⊙ s` and of the Laplacian, `ā = f'' s̄ + l̄ v n f'''`, and gathers
    /// what the gradient needs of both; with `copy`, copies the first to the second, both of the shape of s, on the
    /// way.
    fn backward(
        &mut self,
        t: f64,
        s: &Tensor,
        bar: (Cotangent<'_>, Option<&Column>),
        a_bar: &mut Tensor,
        copy: Option<(&Tensor, &mut Tensor)>,
    ) {
        let (cotangent, laplacian_bar) = bar;
        let (field, amplitude) = (self.field, self.field.amplitude(t));
        let b: Vec<f64> = field.ridge.basis.at(t).collect();
        let Sums { amplitudes, curvatures, arguments, .. } = self.sums();
        let (u, v) = match cotangent {
            Cotangent::OfVelocity(u) => (u, Some(&amplitude.v)),
            Cotangent::OfSlopes(s_bar) => (&[(1.0, s_bar)][..], None),
        };
        let of = PullbackOf {
            activation: field.ridge.activation,
            u,
            v,
            curved: &amplitude.curved,
            laplacian_bar: laplacian_bar.map(|l_bar| &l_bar.0),
            a_bar,
            copy,
            b: &b,
            amplitudes,
            curvatures,
            arguments,
        };
        field.ridge.space.pullback(s, of);
    }

    /// The gathered sums: of the weights' products, of arguments, amplitudes and curvatures.
    fn finish(mut self) -> [Array; 4] {
        self.sums();
        let Sums { amplitudes, curvatures, arguments, products } = self.sums.expect("just made");
        let sum = |of: &Tensor| of.sum_dim_intlist(0, true, of.kind());
        // So that there is something to join where nothing was gathered.
        let none = curvatures[0].narrow(0, 0, 0);
        let sums = |of: &[Tensor]| {
            let sums: Vec<_> = of.iter().map(sum).chain([none.shallow_clone()]).collect();
            Array(Tensor::cat(&sums, 0))
        };
        [Array(products.finish()), sums(&arguments), sums(&amplitudes), sums(&curvatures)]
    }
}

/// A matrix and its transpose as factors.
struct Layer {
    matrix: Factor,
    transposed: Factor,
}

/// Plain coordinates: the state is x.
struct Plain<'a> {
    work: Work<'a>,
    /// W.
    weight: Layer,
    /// `diag(v) W`, where the field has it.
    scaled: Option<Layer>,
    /// With those `Σ sᵀ · velocity_bar` over all stages, made at the first pullback.
    slopes: Option<GradientAccumulator>,
}

impl BlockField<Tch> for Plain<'_> {
    fn evaluate(&mut self, stage: Stage, state: &Array, Motion { velocity, laplacian, residuals }: Motion<'_, Tch>) {
        let (field, amplitude) = (self.work.field, self.work.field.amplitude(stage.t));
        let offsets = field.biases.as_ref().map(|biases| field.ridge.at(stage.t, biases));
        let product = (&state.0, &self.weight.transposed);
        let out = Outputs { velocity: None, laplacian, update: None };
        let s = self.work.forward(&amplitude, product, [offsets.as_ref(), None], out);
        match &self.scaled {
            Some(scaled) => scaled.matrix.product(&mut velocity.0, &s),
            None => self.weight.matrix.product(&mut velocity.0, &s.multiply(&amplitude.v)),
        }
        if let Some(residuals) = residuals {
            residuals.push(Array(s));
        }
        field.ridge.count(&self.weight.matrix);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, Tch>,
    ) {
        let (rows, s, velocity_bar) = (self.work.rows, &residuals[0].0, &velocity_bar.0);
        let a_bar = match &self.scaled {
            Some(scaled) => {
                let [left, right] = [s.size()[1], velocity_bar.size()[1]];
                let space = &self.work.field.ridge.space;
                let new = || GradientAccumulator::new(space, s.kind(), rows, left, right);
                let slopes = self.slopes.get_or_insert_with(new);
                let (mut slopes, mut right) = slopes.next(rows);
                right.copy_(velocity_bar);
                let s_bar = scaled.transposed.product_of(velocity_bar);
                let (mut a_bar, mut right) = self.work.sums().products.next(rows);
                right.copy_(&state.0);
                let copy = Some((s, &mut slopes));
                let bar = (Cotangent::OfSlopes(&s_bar), laplacian_bar);
                self.work.backward(stage.t, s, bar, &mut a_bar, copy);
                a_bar
            }
            None => {
                let (left, mut right) = self.work.sums().products.next(rows);
                let _ = s.mul_out(&left, &self.work.field.amplitude(stage.t).v);
                right.copy_(velocity_bar);
                let u = self.weight.transposed.product_of(velocity_bar);
                let (mut a_bar, mut right) = self.work.sums().products.next(rows);
                right.copy_(&state.0);
                let bar = (Cotangent::OfVelocity(&[(1.0, &u)]), laplacian_bar);
                self.work.backward(stage.t, s, bar, &mut a_bar, None);
                a_bar
            }
        };
        if let Some(state_bar) = state_bar {
            self.weight.matrix.product(&mut state_bar.0, &a_bar);
        }
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array) -> (Array, Vec<Share<Tch>>) {
        let field = self.work.field;
        let [mut weight_bar, bias_bar, mut amplitude_bar, curvature_bar] = self.work.finish();
        if let Some(Amplitude { v, .. }) = &field.constant {
            // velocity = s · diag(v) W, of whose second factor this is the cotangent.
            let scaled_bar = self.slopes.map_or_else(|| field.weight.zeros_like(), GradientAccumulator::finish);
            let _ = weight_bar.0.addcmul_(&scaled_bar, &v.tr());
            amplitude_bar = Array((scaled_bar * &field.weight).sum_dim_intlist(1, false, v.kind()).unsqueeze(0));
        }
        (state_bar, [weight_bar, bias_bar, amplitude_bar, curvature_bar].map(Share::of).into())
    }
}

/// Feature space: the state is c, with `x = x₀ + Wᵀc` and `a = a₀ + Gc`. States, G and ā are of the kind that products
/// are best in.
struct Feature<'a> {
    work: Work<'a>,
    /// G.
    gram: Factor,
    /// `a₀ = Wx₀`, and b where it does not change with time.
    origin: Tensor,
    /// Whether there is a b that does change.
    moving: bool,
    /// x₀.
    x: Tensor,
    /// `cᵀ x̄` of the end, and the cotangent of x at the end, which is also one of x₀.
    leave_bar: Option<(Tensor, Tensor)>,
}

impl Feature<'_> {
    /// The pullback, of a sum of cotangents of the velocity.
    fn back(&mut self, stage: Stage, state: &Array, of: Pullback<'_, Tch, &[(f64, &Tensor)]>) {
        let Pullback { residuals, velocity_bar, laplacian_bar, state_bar } = of;
        let rows = self.work.rows;
        let (mut left, mut a_bar) = self.work.sums().products.next(rows);
        let bar = (Cotangent::OfVelocity(velocity_bar), laplacian_bar);
        self.work.backward(stage.t, &residuals[0].0, bar, &mut a_bar, Some((&state.0, &mut left)));
        if let Some(state_bar) = state_bar {
            if state_bar.0.kind() != a_bar.kind() {
                *state_bar = Array(a_bar.empty_like());
            }
            // G is symmetric: its transpose is itself.
            self.gram.product(&mut state_bar.0, &a_bar);
        }
    }
}

impl RecomputeVelocity<Tch> for Feature<'_> {
    fn velocity(&self, stage: Stage, residuals: &[Array], velocity: &mut Array) {
        let _ = residuals[0].0.mul_out(&velocity.0, &self.work.field.amplitude(stage.t).v);
    }
}

impl BlockField<Tch> for Feature<'_> {
    fn evaluate(&mut self, stage: Stage, state: &Array, out: Motion<'_, Tch>) {
        self.evaluate_and_update(stage, state, out, None);
    }

    fn evaluate_and_update(
        &mut self,
        stage: Stage,
        state: &Array,
        Motion { velocity, laplacian, residuals }: Motion<'_, Tch>,
        update: Option<FusedUpdate<'_, Tch>>,
    ) {
        let (field, amplitude) = (self.work.field, self.work.field.amplitude(stage.t));
        let moving = field.biases.as_ref().filter(|_| self.moving).map(|biases| field.ridge.at(stage.t, biases));
        let (product, offsets) = ((&state.0, &self.gram), [Some(&self.origin), moving.as_ref()]);
        let out = Outputs { velocity: Some(velocity), laplacian, update };
        let s = self.work.forward(&amplitude, product, offsets, out);
        if let Some(residuals) = residuals {
            residuals.push(Array(s));
        }
        self.work.field.ridge.feature_stages.fetch_add(1, Ordering::Relaxed);
        self.work.field.ridge.count(&self.gram);
    }

    /// On the CPU: a CUDA device has memory to spare, but no time for more kernels.
    fn recompute_velocity(&self) -> Option<&dyn RecomputeVelocity<Tch>> {
        self.work.field.ridge.space.kernels.is_none().then_some(self as &dyn RecomputeVelocity<Tch>)
    }

    fn pullback(&mut self, stage: Stage, state: &Array, of: Pullback<'_, Tch>) {
        let Pullback { residuals, velocity_bar, laplacian_bar, state_bar } = of;
        let velocity_bar = &[(1.0, &velocity_bar.0)][..];
        self.back(stage, state, Pullback { residuals, velocity_bar, laplacian_bar, state_bar });
    }

    fn pullback_of_sum(&mut self, stage: Stage, state: &Array, of: Pullback<'_, Tch, CotangentSum<'_, Tch>>) {
        let Pullback { residuals, velocity_bar, laplacian_bar, state_bar } = of;
        let terms: Vec<_> = velocity_bar.terms.iter().map(|(c, term)| (*c, &term.0)).collect();
        self.back(stage, state, Pullback { residuals, velocity_bar: &terms[..], laplacian_bar, state_bar });
    }

    fn leave(&mut self, state: Array) -> Array {
        let wide = |of: &Tensor| of.to_kind(state.0.kind());
        Array(wide(&self.x).addmm(&state.0, &wide(&self.work.field.weight)).to_kind(self.x.kind()))
    }

    fn leave_pullback(&mut self, state: &Array, x_bar: Array) -> Array {
        let (wide, narrow) = (state.0.kind(), self.x.kind());
        let bar = x_bar.0.to_kind(wide);
        let state_bar = bar.mm(&self.work.field.weight.to_kind(wide).tr());
        self.leave_bar = Some((state.0.tr().mm(&bar).to_kind(narrow), x_bar.0));
        Array(state_bar)
    }

    fn enter_pullback(mut self: Box<Self>, _state_bar: Array) -> (Array, Vec<Share<Tch>>) {
        // The state starts at zero whatever x is: its cotangent goes nowhere.
        let weight = &self.work.field.weight;
        let (mut weight_bar, mut x_bar) =
            self.leave_bar.take().unwrap_or_else(|| (weight.zeros_like(), self.x.zeros_like()));
        let argument_bar = &self.work.sums().arguments[0];
        let _ = weight_bar.addmm_(&argument_bar.tr(), &self.x);
        let _ = x_bar.addmm_(argument_bar, weight);
        let narrow = self.x.kind();
        let [gram_bar, bias_bar, amplitude_bar, curvature_bar] = self.work.finish();
        let gram_bar = Array(gram_bar.0.to_kind(narrow));
        let shares = [Array(weight_bar), bias_bar, amplitude_bar, curvature_bar, gram_bar].map(Share::of);
        (Array(x_bar), shares.into())
    }
}
