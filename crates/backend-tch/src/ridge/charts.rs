//! Blocks of rows of a ridge potential, in plain and in feature-space coordinates, and what they gather for the gradient.

use std::sync::atomic::Ordering;

use flow_core::{Activation, Chart, Memo, Recall, Space, Stage, Toward};
use tch::{Kind, Tensor};

use super::{Amplitude, Frozen};
use crate::factor::Factor;
use crate::kernels::{Leads, MOST_TERMS, PullbackOf, SlopesOf};
use crate::space::accumulate;
use crate::{Array, Column, Device, Tch};

/// The chart of a block of rows at x, and its state at the start.
pub(super) fn enter<'a>(field: &'a Frozen<'a>, rows: i64, x: Array) -> (Box<dyn Chart<Tch> + 'a>, Array) {
    let work = Work { field, rows, share: None };
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

/// Sums that a block of rows gathers for the gradient, each row's share apart (rows × h) until the end but where it says otherwise.
struct Share {
    /// Of `b_m(t) s ⊙ u`: the cotangents of v_m, for every function of time. None where weights are scaled by v: these have
    /// them from their products.
    amplitudes: Vec<Tensor>,
    /// Of `b_m(t) l̄ f''`, without kernels summed over the rows: the cotangents of `v_mj ‖w_j‖²`, for every function of time.
    curvatures: Vec<Tensor>,
    /// Of `b_m(t) ā`: the cotangents of the offsets, for every function of time; `b₀ = 1`, so that the first are those of a.
    /// Without offsets only these in feature space, and none in plain coordinates.
    arguments: Vec<Tensor>,
    /// `Σ leftᵀ · right` over all stages: in plain coordinates of `(ā, x)`, and of `(v ⊙ s, velocity_bar)` where weights are not scaled by
    /// v; in feature space of `(c, ā)`.
    products: Gathered,
}

/// A sum of products `leftᵀ · right` of short matrices, gathered until one product is large enough to be fast.
struct Gathered {
    sum: Tensor,
    left: Tensor,
    right: Tensor,
    filled: i64,
}

impl Gathered {
    /// For matrices of a kind, of at most `rows` rows.
    fn new(space: &Tch, kind: Kind, rows: i64, left: i64, right: i64) -> Self {
        // A CUDA device has more to fill, and the memory for it.
        let least = if space.device() == Device::Cpu { 1024 } else { 4096 };
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
    /// Of `v ⊙ s`: a sum, of one term where there are no kernels.
    OfVelocity(&'a [(f64, &'a Tensor)]),
    /// Of s.
    OfSlopes(&'a Tensor),
}

/// What both charts share: everything between the matrix products.
struct Work<'a> {
    field: &'a Frozen<'a>,
    rows: i64,
    /// Made at the first pullback: evaluation without gradient never needs it.
    share: Option<Share>,
}

impl Work<'_> {
    fn share(&mut self) -> &mut Share {
        self.share.get_or_insert_with(|| {
            let ridge = self.field.ridge;
            let hidden = self.field.norms.size()[1];
            let factor = self.field.gram.as_ref().unwrap_or(&self.field.weight);
            let zeros = || ridge.space.zeros_of(&[self.rows, hidden]);
            let products = Gathered::new(&ridge.space, factor.kind(), self.rows, hidden, factor.size()[1]);
            let many = |count: usize| (0..count).map(|_| zeros()).collect();
            let (terms, in_x) = (ridge.basis.terms(), self.field.gram.is_none());
            // A kernel adds to the numbers of every row; libtorch's operations sum over the rows first.
            let rows = if ridge.space.kernels.is_some() { self.rows } else { 1 };
            let curvatures = (0..terms).map(|_| ridge.space.zeros_of(&[rows, hidden])).collect();
            let amplitudes = many(if self.field.scaled.is_some() { 0 } else { terms });
            let arguments = many(if self.field.biases.is_some() { terms } else { usize::from(!in_x) });
            Share { amplitudes, curvatures, arguments, products }
        })
    }

    /// From `left · factor + offsets` to `s = f'` of that, with the Laplacian, and `v ⊙ s`, and where that leads, where they are wanted.
    fn forward(
        &self,
        amplitude: &Amplitude,
        (left, factor): (&Tensor, &Factor),
        [base, moving]: [Option<&Tensor>; 2],
        velocity: Option<&mut Array>,
        laplacian: Option<&mut Column>,
        toward: Option<Toward<'_, Tch>>,
    ) -> Tensor {
        let ridge = self.field.ridge;
        if let Some(kernels) = ridge.space.kernels {
            let a = factor.product_of(left);
            let s = if a.kind() == ridge.space.kind() { a.shallow_clone() } else { ridge.space.empty_of(&a.size()) };
            let softplus = ridge.activation == Activation::Softplus;
            let (v, curved) = (&amplitude.v, &amplitude.curved);
            let laplacian = laplacian.as_deref().map(|laplacian| &laplacian.0);
            let (on_the_way, after) = match toward {
                Some(toward) if toward.terms.len() <= MOST_TERMS => (Some(toward), None),
                toward => (None, toward),
            };
            let terms: Vec<_> =
                on_the_way.iter().flat_map(|toward| toward.terms).map(|(c, term)| (*c, &term.0)).collect();
            let leads = on_the_way.as_ref().map(|toward| Leads {
                out: &toward.out.0,
                base: &toward.base.0,
                terms: &terms,
                c: toward.c,
            });
            let to = velocity.as_deref().map(|velocity| &velocity.0);
            kernels.slopes(
                &a,
                &s,
                &SlopesOf { softplus, base, moving, v, velocity: to, curved, laplacian, toward: leads },
            );
            if let (Some(toward), Some(velocity)) = (after, velocity) {
                toward.add_up(velocity);
            }
            return s;
        }
        let mut s = base.map_or_else(|| factor.product_of(left), |base| factor.product_plus(base, left));
        if let Some(moving) = moving {
            let _ = s.g_add_(moving);
        }
        ridge.slope(&mut s);
        if let Some(velocity) = velocity {
            let _ = s.mul_out(&velocity.0, &amplitude.v);
            if let Some(toward) = toward {
                toward.add_up(velocity);
            }
        }
        if let Some(laplacian) = laplacian {
            // libtorch sums pairwise, so short of 64 bits little is lost; asked for a sum in 64 bits, it would first copy all terms.
            let terms = ridge.curvature(&amplitude.curved, &s);
            laplacian.0.copy_(&terms.sum_dim_intlist(1, false, terms.kind()));
        }
        s
    }

    /// Fills `a_bar` from the cotangents of s or `v ⊙ s` and of the Laplacian, `ā = f'' s̄ + l̄ v n f'''`, and gathers what the gradient
    /// needs of both; with `copy`, copies the first to the second, both of the shape of s, on the way.
    fn backward(
        &mut self,
        t: f64,
        s: &Tensor,
        cotangent: Cotangent<'_>,
        laplacian_bar: Option<&Column>,
        a_bar: &mut Tensor,
        copy: Option<(&Tensor, &mut Tensor)>,
    ) {
        let (ridge, amplitude) = (self.field.ridge, self.field.amplitude(t));
        let b: Vec<f64> = ridge.basis.at(t).collect();
        let softplus = ridge.activation == Activation::Softplus;
        let Amplitude { v, curved, bent } = &amplitude;
        let share = self.share();
        if let Some(kernels) = ridge.space.kernels {
            let Share { amplitudes, curvatures, arguments, .. } = share;
            let (u, v, amplitudes) = match cotangent {
                Cotangent::OfVelocity(u) => (u, Some(v), &amplitudes[..]),
                Cotangent::OfSlopes(s_bar) => (&[(1.0, s_bar)][..], None, &[][..]),
            };
            let (laplacian_bar, copy) = (laplacian_bar.map(|l| &l.0), copy.map(|(from, to)| (from, &*to)));
            #[rustfmt::skip]
            let of = PullbackOf { softplus, u, v, curved, laplacian_bar, a_bar, copy, b: &b, amplitudes, curvatures, arguments };
            return kernels.pullback(s, &of);
        }
        if let Some((from, to)) = copy {
            to.copy_(from);
        }
        match cotangent {
            Cotangent::OfVelocity(terms) => {
                let [(1.0, u)] = terms else { unreachable!("only kernels take sums") };
                add_products(&mut share.amplitudes, &b, s, u);
                ridge.curvature_into(a_bar, &u.multiply(v), s);
            }
            Cotangent::OfSlopes(s_bar) => ridge.curvature_into(a_bar, s_bar, s),
        }
        if let Some(laplacian_bar) = laplacian_bar {
            let l_bar = laplacian_bar.0.to_kind(s.kind()).unsqueeze(1);
            let curvature = ridge.curvature(&l_bar, s);
            add_each(&mut share.curvatures, &b, &curvature.sum_dim_intlist(0, true, curvature.kind()));
            // f''' = −2s f'' (and + f'' for softplus).
            let _ = a_bar.addcmul_(&curvature.multiply(bent), s);
            if softplus {
                let _ = a_bar.addcmul_(&curvature, curved);
            }
        }
        add_each(&mut share.arguments, &b, a_bar);
    }

    /// The gathered sums: of the weights' products, of arguments, amplitudes and curvatures.
    fn sums(mut self) -> [Array; 4] {
        self.share();
        let Share { amplitudes, curvatures, arguments, products } = self.share.expect("just made");
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

/// `sum_m ← sum_m + c_m a`.
fn add_each(sums: &mut [Tensor], c: &[f64], a: &Tensor) {
    for (c, sum) in c.iter().zip(sums) {
        accumulate(sum, 1.0, &[(*c, a)]);
    }
}

/// `sum_m ← sum_m + c_m a ⊙ b`; the first c is 1.
fn add_products(sums: &mut [Tensor], c: &[f64], a: &Tensor, b: &Tensor) {
    let (first, rest) = sums.split_first_mut().expect("there is one term at least");
    let _ = first.addcmul_(a, b);
    if !rest.is_empty() {
        add_each(rest, &c[1..], &a.multiply(b));
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
    slopes: Option<Gathered>,
}

impl Chart<Tch> for Plain<'_> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array,
        velocity: &mut Array,
        laplacian: Option<&mut Column>,
        memo: Option<&mut Memo<Tch>>,
    ) {
        let (field, amplitude) = (self.work.field, self.work.field.amplitude(stage.t));
        let offsets = field.biases.as_ref().map(|biases| field.ridge.at(stage.t, biases));
        let product = (&state.0, &self.weight.transposed);
        let s = self.work.forward(&amplitude, product, [offsets.as_ref(), None], None, laplacian, None);
        match &self.scaled {
            Some(scaled) => scaled.matrix.product(&mut velocity.0, &s),
            None => self.weight.matrix.product(&mut velocity.0, &s.multiply(&amplitude.v)),
        }
        if let Some(memo) = memo {
            memo.push(Array(s));
        }
        field.ridge.count(&self.weight.matrix);
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array,
        memo: &[Array],
        velocity_bar: &Array,
        laplacian_bar: Option<&Column>,
        state_bar: Option<&mut Array>,
    ) {
        let (rows, s, velocity_bar) = (self.work.rows, &memo[0].0, &velocity_bar.0);
        let a_bar = match &self.scaled {
            Some(scaled) => {
                let [left, right] = [s.size()[1], velocity_bar.size()[1]];
                let space = &self.work.field.ridge.space;
                let new = || Gathered::new(space, s.kind(), rows, left, right);
                let slopes = self.slopes.get_or_insert_with(new);
                let (mut slopes, mut right) = slopes.next(rows);
                right.copy_(velocity_bar);
                let s_bar = scaled.transposed.product_of(velocity_bar);
                let (mut a_bar, mut right) = self.work.share().products.next(rows);
                right.copy_(&state.0);
                let copy = Some((s, &mut slopes));
                self.work.backward(stage.t, s, Cotangent::OfSlopes(&s_bar), laplacian_bar, &mut a_bar, copy);
                a_bar
            }
            None => {
                let (left, mut right) = self.work.share().products.next(rows);
                let _ = s.mul_out(&left, &self.work.field.amplitude(stage.t).v);
                right.copy_(velocity_bar);
                let u = self.weight.transposed.product_of(velocity_bar);
                let (mut a_bar, mut right) = self.work.share().products.next(rows);
                right.copy_(&state.0);
                let u = Cotangent::OfVelocity(&[(1.0, &u)]);
                self.work.backward(stage.t, s, u, laplacian_bar, &mut a_bar, None);
                a_bar
            }
        };
        if let Some(state_bar) = state_bar {
            self.weight.matrix.product(&mut state_bar.0, &a_bar);
        }
    }

    fn leave(&mut self, state: Array) -> Array {
        state
    }

    fn leave_pullback(&mut self, _state: &Array, x_bar: Array) -> Array {
        x_bar
    }

    fn enter_pullback(self: Box<Self>, state_bar: Array) -> (Array, Vec<Array>) {
        let field = self.work.field;
        let [mut weight_bar, bias_bar, mut amplitude_bar, curvature_bar] = self.work.sums();
        if let Some(Amplitude { v, .. }) = &field.constant {
            // velocity = s · diag(v) W, of whose second factor this is the cotangent.
            let scaled_bar = self.slopes.map_or_else(|| field.weight.zeros_like(), Gathered::finish);
            let _ = weight_bar.0.addcmul_(&scaled_bar, &v.tr());
            amplitude_bar = Array((scaled_bar * &field.weight).sum_dim_intlist(1, false, v.kind()).unsqueeze(0));
        }
        (state_bar, vec![weight_bar, bias_bar, amplitude_bar, curvature_bar])
    }
}

/// Feature space: the state is c, with `x = x₀ + Wᵀc` and `a = a₀ + Gc`. States, G and ā are of the kind that products are best in.
struct Feature<'a> {
    work: Work<'a>,
    /// G.
    gram: Factor,
    /// `a₀ = Wx₀`, and b where it does not change with time.
    origin: Tensor,
    /// Whether there is a b that does.
    moving: bool,
    /// x₀.
    x: Tensor,
    /// `cᵀ x̄` of the end, and the cotangent of x at the end, which is also one of x₀.
    leave_bar: Option<(Tensor, Tensor)>,
}

impl Feature<'_> {
    /// The pullback, of a sum of cotangents of the velocity.
    fn back(
        &mut self,
        stage: Stage,
        state: &Array,
        memo: &[Array],
        velocity_bar: &[(f64, &Tensor)],
        laplacian_bar: Option<&Column>,
        state_bar: Option<&mut Array>,
    ) {
        let rows = self.work.rows;
        let (mut left, mut a_bar) = self.work.share().products.next(rows);
        let (s, u) = (&memo[0].0, Cotangent::OfVelocity(velocity_bar));
        self.work.backward(stage.t, s, u, laplacian_bar, &mut a_bar, Some((&state.0, &mut left)));
        if let Some(state_bar) = state_bar {
            if state_bar.0.kind() != a_bar.kind() {
                *state_bar = Array(a_bar.empty_like());
            }
            // G is symmetric: its transpose is itself.
            self.gram.product(&mut state_bar.0, &a_bar);
        }
    }
}

impl Recall<Tch> for Feature<'_> {
    fn velocity(&self, stage: Stage, memo: &[Array], velocity: &mut Array) {
        let _ = memo[0].0.mul_out(&velocity.0, &self.work.field.amplitude(stage.t).v);
    }
}

impl Chart<Tch> for Feature<'_> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &Array,
        velocity: &mut Array,
        laplacian: Option<&mut Column>,
        memo: Option<&mut Memo<Tch>>,
    ) {
        self.evaluate_toward(stage, state, velocity, laplacian, memo, None);
    }

    fn evaluate_toward(
        &mut self,
        stage: Stage,
        state: &Array,
        velocity: &mut Array,
        laplacian: Option<&mut Column>,
        memo: Option<&mut Memo<Tch>>,
        toward: Option<Toward<'_, Tch>>,
    ) {
        let (field, amplitude) = (self.work.field, self.work.field.amplitude(stage.t));
        let moving = field.biases.as_ref().filter(|_| self.moving).map(|biases| field.ridge.at(stage.t, biases));
        let (product, offsets) = ((&state.0, &self.gram), [Some(&self.origin), moving.as_ref()]);
        let s = self.work.forward(&amplitude, product, offsets, Some(velocity), laplacian, toward);
        if let Some(memo) = memo {
            memo.push(Array(s));
        }
        self.work.field.ridge.feature_stages.fetch_add(1, Ordering::Relaxed);
        self.work.field.ridge.count(&self.gram);
    }

    /// On the CPU: a CUDA device has memory to spare, but no time for more kernels.
    fn recall(&self) -> Option<&dyn Recall<Tch>> {
        (self.work.field.ridge.space.device() == Device::Cpu).then_some(self as &dyn Recall<Tch>)
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &Array,
        memo: &[Array],
        velocity_bar: &Array,
        laplacian_bar: Option<&Column>,
        state_bar: Option<&mut Array>,
    ) {
        self.back(stage, state, memo, &[(1.0, &velocity_bar.0)], laplacian_bar, state_bar);
    }

    fn pullback_of_sum(
        &mut self,
        space: &Tch,
        stage: Stage,
        state: &Array,
        memo: &[Array],
        velocity_bar: &[(f64, &Array)],
        room: &mut Array,
        laplacian_bar: Option<&Column>,
        state_bar: Option<&mut Array>,
    ) {
        if space.kernels.is_some() && velocity_bar.len() <= MOST_TERMS {
            let terms: Vec<_> = velocity_bar.iter().map(|(c, term)| (*c, &term.0)).collect();
            return self.back(stage, state, memo, &terms, laplacian_bar, state_bar);
        }
        space.accumulate(room, 0.0, velocity_bar);
        self.pullback(stage, state, memo, room, laplacian_bar, state_bar);
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

    fn enter_pullback(mut self: Box<Self>, _state_bar: Array) -> (Array, Vec<Array>) {
        // The state starts at zero whatever x is: its cotangent goes nowhere.
        let weight = &self.work.field.weight;
        let (mut weight_bar, mut x_bar) =
            self.leave_bar.take().unwrap_or_else(|| (weight.zeros_like(), self.x.zeros_like()));
        let argument_bar = &self.work.share().arguments[0];
        let _ = weight_bar.addmm_(&argument_bar.tr(), &self.x);
        let _ = x_bar.addmm_(argument_bar, weight);
        let narrow = self.x.kind();
        let [gram_bar, bias_bar, amplitude_bar, curvature_bar] = self.work.sums();
        let gram_bar = Array(gram_bar.0.to_kind(narrow));
        (Array(x_bar), vec![Array(weight_bar), bias_bar, amplitude_bar, curvature_bar, gram_bar])
    }
}
