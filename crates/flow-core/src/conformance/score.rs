//! The score along the flow, the gradients made of it, and energies seen from the base density.

use super::fixtures::{Quartic, ROWS, fixed, flow, whole};
use super::{
    COORDINATES, Gaussian, STAGE, a_solve, assert_close, block, derivative, difference_tolerance, inner, key,
    move_parameters, moved, parameter_directions, points,
};
use crate::energy::{Energy, PointEnergy, standard_normal_log_density};
use crate::evaluation::Evaluation;
use crate::flow::{Direction, Flow};
use crate::integrate::Memory;
use crate::objective::{Estimator, ForwardDivergence, FreeEnergy, NegativeLogLikelihood, Objective};
use crate::potential::{
    BlockField, Coordinates, Motion, Potential, Pullback, ScoredCotangent, ScoredMotion, ScoredPoint, ScoredPointBar,
};
use crate::scored::base_score;
use crate::space::Space;
use crate::tableau::Method;

/// Checks the score that a flow carries against differences of ln p, in plain coordinates whatever the flow's own are.
pub(super) fn score_is_the_difference_of_ln_p<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let dim = potential.dim();
    // As fine as the differences are: there and back differ by the error of the method.
    let integrator = fixed(Method::Rk4, 120);
    let flow = flow(space, potential, &integrator);
    let z = points(ROWS, dim, 13);
    let (batch, span) = (whole(potential, z.clone()), flow.span(Direction::Forward));
    let there = flow.transport_batch(&batch, span, key(7)).expect("small solves stay finite");
    for coordinates in COORDINATES {
        let got = Flow { coordinates, ..flow }
            .carry_score(&batch, &base_score(&z), span, &Evaluation::new(key(7)))
            .expect("small solves stay finite");
        assert_close("points carried with their score", &got.x, &there.x, 64.0 * space.round_off(), 1.0);
        let tolerance = 64.0 * space.round_off();
        assert_close("ln p carried with the score", &got.log_density, &there.log_density, tolerance, 1.0);
        for i in 0..dim {
            let expected = derivative(space, |epsilon| {
                let mut x = there.x.clone();
                x.iter_mut().skip(i).step_by(dim).for_each(|x| *x += epsilon);
                flow.log_density_of(&whole(potential, x), key(7)).expect("small solves stay finite")
            });
            let score: Vec<f64> = got.score.iter().copied().skip(i).step_by(dim).collect();
            let tolerance = 1e-7f64.max(10.0 * difference_tolerance(space));
            assert_close("score against differences of ln p", &score, &expected, tolerance, 1.0);
        }
    }
}

/// Arrays for velocity and change, `ROWS × dim`, and a column for ∇²φ, of numbers that show where none is written.
fn unwritten<S: Space>(space: &S, dim: usize) -> ([S::Array; 2], S::Column) {
    let array = || space.upload(ROWS, dim, &vec![f64::NAN; ROWS * dim]);
    ([array(), array()], space.upload_column(&[f64::NAN; ROWS]))
}

/// ∇φ, ∇²φ and `(∇∇φ) s + ∇∇²φ` at scores s, by an evaluation and its pullback.
fn in_two_calls<S: Space>(
    space: &S,
    block: &mut dyn BlockField<S>,
    state: &S::Array,
    score: &S::Array,
    dim: usize,
) -> [Vec<f64>; 3] {
    let ([mut velocity, mut change], mut laplacian) = unwritten(space, dim);
    let mut residuals = Vec::new();
    let out = Motion { velocity: &mut velocity, laplacian: Some(&mut laplacian), residuals: Some(&mut residuals) };
    block.evaluate(STAGE, state, out);
    let ones = space.upload_column(&[1.0; ROWS]);
    let bar = Pullback {
        residuals: &residuals,
        velocity_bar: score,
        laplacian_bar: Some(&ones),
        state_bar: Some(&mut change),
    };
    block.pullback(STAGE, state, bar);
    [space.download(&velocity), space.download_column(&laplacian), space.download(&change)]
}

/// Checks what moves points and their scores at once against an evaluation and a pullback.
pub(super) fn scored_evaluation_is_evaluation_and_pullback<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let (dim, solve) = (potential.dim(), a_solve(ROWS, Coordinates::X));
    let (x, score) = (points(ROWS, dim, 1), space.upload(ROWS, dim, &points(ROWS, dim, 5)));
    let (frozen, ones) = (potential.freeze(&solve), space.upload_column(&[1.0; ROWS]));
    let enter = || frozen.enter(block(space, potential, &solve, 0..ROWS, &x));
    let (mut block, state) = enter();
    let expected = in_two_calls(space, &mut *block, &state, &score, dim);
    let (mut block, state) = enter();
    let ([mut velocity, mut change], mut laplacian) = unwritten(space, dim);
    let at = ScoredPoint { x: &state, score: &score };
    let out = ScoredMotion { velocity: &mut velocity, laplacian: Some(&mut laplacian), change: &mut change };
    block.evaluate_scored(STAGE, at, &ones, &mut Vec::new(), out);
    let got = [space.download(&velocity), space.download_column(&laplacian), space.download(&change)];
    for (what, (got, expected)) in ["velocity", "∇²φ", "change"].into_iter().zip(got.iter().zip(&expected)) {
        let scale = expected.iter().fold(1.0f64, |scale, of| scale.max(of.abs()));
        assert_close(&format!("{what} beside the score's"), got, expected, 256.0 * space.round_off(), scale);
    }
}

/// Checks the losses that come with the gradient through the path against those of the total one, and that gradient
/// against itself in other coordinates and from stages that were kept and not kept: its way back knows no Laplacian.
pub(super) fn path_gradient_is_the_same_by_any_way<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let (dim, integrator) = (potential.dim(), fixed(Method::Rk4, 3));
    let batch = whole(potential, points(ROWS, dim, 9).iter().map(|z| 0.5 * z).collect());
    let of = |gradient: Estimator, coordinates: Coordinates, memory: Memory| {
        let flow = Flow { coordinates, memory, ..flow(space, potential, &integrator) };
        let objective = FreeEnergy { gradient, ..FreeEnergy::new(Quartic(dim)) };
        let how = Evaluation::new(key(8)).with_gradient();
        let outcome = objective.evaluate(&flow, &batch, &how).expect("small solves stay finite");
        let gradient: Vec<f64> = outcome.gradient.expect("asked for").iter().flat_map(|g| space.download(g)).collect();
        (outcome.losses, gradient)
    };
    let (losses, _) = of(Estimator::Total, Coordinates::X, Memory::Stages);
    let (_, expected) = of(Estimator::Path, Coordinates::X, Memory::Stages);
    let scale = expected.iter().fold(1.0f64, |scale, of| scale.max(of.abs()));
    let size = losses.iter().fold(1.0f64, |size, of| size.max(of.abs()));
    for coordinates in COORDINATES {
        for memory in [Memory::Stages, Memory::Recompute] {
            let (found, gradient) = of(Estimator::Path, coordinates, memory);
            assert_close("losses of the path gradient", &found, &losses, 256.0 * space.round_off(), size);
            assert_close("the path gradient", &gradient, &expected, 1024.0 * space.round_off(), scale);
        }
    }
}

/// ψ of [`BlockField::score_pullback`](crate::BlockField::score_pullback) at some points and scores, with fixed
/// cotangents.
struct ScorePairing {
    velocity_bar: Vec<f64>,
    laplacian_bar: Vec<f64>,
    change_bar: Vec<f64>,
}

impl ScorePairing {
    fn new(dim: usize) -> Self {
        let [velocity_bar, laplacian_bar, change_bar] =
            [(dim, 2), (1, 3), (dim, 4)].map(|(width, key)| points(ROWS, width, key));
        Self { velocity_bar, laplacian_bar, change_bar }
    }

    /// ψ, and the magnitude of its terms, by what the potential does for every solve.
    fn value<S: Space>(&self, space: &S, of: &dyn Potential<S>, x: &[f64], score: &[f64]) -> (f64, f64) {
        let (solve, dim) = (a_solve(ROWS, Coordinates::X), of.dim());
        let frozen = of.freeze(&solve);
        let (mut block, state) = frozen.enter(block(space, of, &solve, 0..ROWS, x));
        let found = in_two_calls(space, &mut *block, &state, &space.upload(ROWS, dim, score), dim).concat();
        let bars = [&*self.velocity_bar, &self.laplacian_bar, &self.change_bar].concat();
        let terms: Vec<f64> = found.iter().zip(bars).map(|(found, bar)| found * bar).collect();
        (terms.iter().sum(), terms.iter().map(|term| term.abs()).sum())
    }

    /// Its gradient by x, by s and by the parameters.
    fn pullback<S: Space>(
        &self,
        space: &S,
        of: &dyn Potential<S>,
        x: &[f64],
        score: &[f64],
    ) -> ([Vec<f64>; 2], Vec<S::Array>) {
        let (solve, dim) = (a_solve(ROWS, Coordinates::X), of.dim());
        let frozen = of.freeze(&solve);
        let (mut block, state) = frozen.enter(block(space, of, &solve, 0..ROWS, x));
        let array = |values: &[f64]| space.upload(ROWS, dim, values);
        let (score, velocity, change) = (array(score), array(&self.velocity_bar), array(&self.change_bar));
        let laplacian = space.upload_column(&self.laplacian_bar);
        let [mut x_bar, mut score_bar] = [(); 2].map(|()| array(&vec![f64::NAN; ROWS * dim]));
        block.score_pullback(
            STAGE,
            ScoredPoint { x: &state, score: &score },
            ScoredCotangent { velocity: &velocity, laplacian: &laplacian, change: &change },
            ScoredPointBar { x: &mut x_bar, score: &mut score_bar },
        );
        let bars = [&x_bar, &score_bar].map(|bar| space.download(bar));
        let (_, shares) = block.enter_pullback(x_bar);
        (bars, frozen.gradient(shares))
    }
}

/// Checks the pullback of what moves a point and its score against differences of what [`ScorePairing`] pairs.
pub(super) fn score_pullback_is_the_difference<S: Space>(space: &S, potential: &mut dyn Potential<S>) {
    let (dim, norm) = (potential.dim(), |of: &[f64]| of.iter().map(|v| v * v).sum::<f64>().sqrt());
    let (pairing, x, score) = (ScorePairing::new(dim), points(ROWS, dim, 1), points(ROWS, dim, 5));
    let ([x_bar, score_bar], gradient) = pairing.pullback(space, potential, &x, &score);
    let (tolerance, direction) = (difference_tolerance(space), points(ROWS, dim, 6));
    // Differences have the round-off of the pairing itself, a few units of the last place of its terms.
    let floor = 0.1 * pairing.value(space, potential, &x, &score).1;
    let along = |bar: &[f64]| bar.iter().zip(&direction).map(|(a, b)| a * b).sum::<f64>();
    let ahead = |of: &[f64], epsilon| moved(of, &direction, epsilon);
    let expected = derivative(space, |epsilon| vec![pairing.value(space, potential, &ahead(&x, epsilon), &score).0]);
    let scale = floor.max(norm(&x_bar) * norm(&direction));
    assert_close("pullback of the score to x", &[along(&x_bar)], &expected, tolerance, scale);
    let expected = derivative(space, |epsilon| vec![pairing.value(space, potential, &x, &ahead(&score, epsilon)).0]);
    let scale = floor.max(norm(&score_bar) * norm(&direction));
    assert_close("pullback of the score to the score", &[along(&score_bar)], &expected, tolerance, scale);
    for (i, (name, direction)) in parameter_directions(space, potential).into_iter().enumerate() {
        let expected = derivative(space, |epsilon| {
            move_parameters(space, potential, &direction, epsilon);
            let value = pairing.value(space, potential, &x, &score).0;
            move_parameters(space, potential, &direction, -epsilon);
            vec![value]
        });
        let got = inner(space, &gradient, &direction);
        let own = space.dot(&gradient[i], &gradient[i]).sqrt() * inner(space, &direction, &direction).sqrt();
        assert_close(&format!("pullback of the score to `{name}`"), &[got], &expected, tolerance, own.max(floor));
    }
}

/// Checks the energy seen from the base density, and its gradient by the adjoint, against its definition and
/// differences.
pub(super) fn latent_energy_is_differentiated<S: Space>(space: &S, potential: &dyn Potential<S>) {
    let dim = potential.dim();
    let integrator = fixed(Method::Rk4, 2);
    let energy = Quartic(dim);
    // Near the middle: far out a quartic energy is too steep for differences.
    let z: Vec<f64> = points(ROWS, dim, 15).iter().map(|z| 0.25 * z).collect();
    for coordinates in COORDINATES {
        let flow = Flow { coordinates, ..flow(space, potential, &integrator) };
        let latent = |z: &[f64]| flow.latent_energy(&energy, z, key(10)).expect("small solves stay finite");
        let (energies, gradient) = latent(&z);
        let end = flow.transport(&z, flow.span(Direction::Forward), key(10)).expect("small solves stay finite");
        let rows = end.x.chunks_exact(dim).zip(&end.log_density);
        let expected: Vec<f64> = rows
            .map(|(x, change)| {
                energy.energy_and_gradient(x, &[], &mut vec![0.0; dim]).expect("it never fails") + change
            })
            .collect();
        assert_close("energy seen from the base", &energies, &expected, 64.0 * space.round_off(), 1.0);
        for i in 0..dim {
            let expected = derivative(space, |epsilon| {
                let mut z = z.clone();
                z.iter_mut().skip(i).step_by(dim).for_each(|z| *z += epsilon);
                latent(&z).0
            });
            let got: Vec<f64> = gradient.iter().copied().skip(i).step_by(dim).collect();
            // Differences have the round-off of the energies themselves.
            let scale = energies.iter().chain(&gradient).fold(1.0f64, |m, v| m.max(v.abs()));
            assert_close("its gradient", &got, &expected, difference_tolerance(space), scale);
        }
    }
}

/// Checks that both estimators of the free energy's gradient have the same mean over the base density, by quadrature:
/// on a potential of one coordinate.
///
/// # Panics
/// When they differ by more than the integration error, with the numbers, or row by row by less.
pub fn path_gradient_has_the_mean_of_the_total<S: Space>(space: &S, potential: &dyn Potential<S>) {
    assert_eq!(potential.dim(), 1, "a potential of one coordinate");
    let integrator = fixed(Method::Rk4, 40);
    let flow = flow(space, potential, &integrator);
    // The trapezoid rule is exponentially accurate for such integrands.
    let step = 0.3;
    let nodes: Vec<f64> = (-20..=20).map(|k| step * f64::from(k)).collect();
    let gradient = |gradient: Estimator, z: f64| -> Vec<f64> {
        let objective = FreeEnergy { gradient, ..FreeEnergy::new(Quartic(1)) };
        let outcome = objective
            .evaluate(&flow, &whole(potential, vec![z]), &Evaluation::new(key(8)).with_gradient())
            .expect("small solves stay finite");
        outcome.gradient.expect("asked for").iter().flat_map(|g| space.download(g)).collect()
    };
    let mut means = [Vec::new(), Vec::new()];
    let mut apart = 0.0;
    for &z in &nodes {
        let of_row = [Estimator::Total, Estimator::Path].map(|estimator| gradient(estimator, z));
        let weight = step * standard_normal_log_density(&[z]).exp();
        for (mean, of_row) in means.iter_mut().zip(&of_row) {
            mean.resize(of_row.len(), 0.0);
            mean.iter_mut().zip(of_row).for_each(|(mean, g)| *mean += weight * g);
        }
        let [total, path] = of_row;
        apart += weight * total.iter().zip(&path).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    }
    let [total, path] = means;
    let scale = total.iter().map(|g| g * g).sum::<f64>().sqrt();
    let tolerance = 2e-6f64.max(1e3 * space.round_off());
    assert_close("mean of the path gradient", &path, &total, tolerance, scale);
    assert!(apart.sqrt() > 1e-2 * scale, "the estimators differ by {:e} of {scale:e} only", apart.sqrt());
}

/// Checks the gradient of the divergence from a target, which goes through the path of the target's samples to the
/// base, against that of their likelihood: the losses differ by the energy row by row, the gradients have the same mean
/// over the target, by quadrature, and differ row by row, on a potential of one coordinate.
///
/// # Panics
/// When they do not, with the numbers.
pub fn forward_path_gradient_has_the_mean_of_the_likelihood<S: Space>(space: &S, potential: &dyn Potential<S>) {
    assert_eq!(potential.dim(), 1, "a potential of one coordinate");
    let integrator = fixed(Method::Rk4, 40);
    let flow = flow(space, potential, &integrator);
    let divergence = ForwardDivergence { energy: Quartic(1), clip_force: None };
    let objectives: [&dyn Objective<S>; 2] = [&NegativeLogLikelihood::default(), &divergence];
    let (mut means, mut total, mut apart) = ([Vec::new(), Vec::new()], 0.0, 0.0);
    for x in (-36..=36).map(|k| 0.125 * f64::from(k)) {
        let energy = Quartic(1).energy_and_gradient(&[x], &[], &mut [0.0]).expect("it never fails");
        let of_row = objectives.map(|objective| {
            let how = Evaluation::new(key(8)).with_gradient();
            let outcome =
                objective.evaluate(&flow, &whole(potential, vec![x]), &how).expect("small solves stay finite");
            let gradient = outcome.gradient.expect("asked for");
            (outcome.losses[0], gradient.iter().flat_map(|g| space.download(g)).collect::<Vec<_>>())
        });
        let [(likelihood, of_likelihood), (loss, path)] = &of_row;
        let tolerance = 256.0 * space.round_off();
        assert_close("loss of the divergence", &[*loss], &[likelihood - energy], tolerance, 1.0 + energy);
        let weight = (-energy).exp();
        total += weight;
        apart += weight * of_likelihood.iter().zip(path).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        for (mean, (_, of_row)) in means.iter_mut().zip(&of_row) {
            mean.resize(of_row.len(), 0.0);
            mean.iter_mut().zip(of_row).for_each(|(mean, g)| *mean += weight * g);
        }
    }
    let [of_likelihood, path] = means.map(|mean| mean.iter().map(|g| g / total).collect::<Vec<_>>());
    let scale = of_likelihood.iter().map(|g| g * g).sum::<f64>().sqrt();
    let tolerance = 2e-6f64.max(1e3 * space.round_off());
    assert_close("mean of the gradient of the divergence", &path, &of_likelihood, tolerance, scale);
    assert!((apart / total).sqrt() > 1e-2 * scale, "the gradients differ by {:e} of {scale:e} only", apart.sqrt());
}

/// Checks that the gradient through the path vanishes for every sample where the model is the target, with a loss of
/// forces and without, that this loss is zero there, and that the total gradient does not vanish: on the Gaussian of
/// appendix A.
///
/// # Panics
/// When either fails, with the numbers.
pub fn path_gradient_vanishes_at_the_target<S: Space>(space: &S) {
    let (dim, rate) = (3, 0.4);
    let potential = Gaussian::new(space.clone(), dim, rate);
    let integrator = fixed(Method::Rk4, 40);
    let flow = flow(space, &potential, &integrator);
    let width = (rate * flow.duration).exp();
    let cases = [(Estimator::Total, 0.0), (Estimator::Path, 0.0), (Estimator::Path, 2.0)];
    let found = cases.map(|(gradient, force_weight)| {
        // A Gaussian of that width.
        let wide = PointEnergy::new(dim, |x, gradient| {
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x / width.powi(2));
            Ok(0.5 * x.iter().map(|x| (x / width).powi(2)).sum::<f64>())
        });
        let objective = FreeEnergy { gradient, force_weight, ..FreeEnergy::new(wide) };
        let (mut squares, mut losses) = (0.0, Vec::new());
        for z in points(20, dim, 14).chunks_exact(dim) {
            let outcome = objective
                .evaluate(&flow, &whole(&potential, z.to_vec()), &Evaluation::new(key(9)).with_gradient())
                .expect("small solves stay finite");
            let gradient = outcome.gradient.expect("asked for");
            squares += inner(space, &gradient, &gradient);
            losses.extend(outcome.losses);
        }
        ((squares / 20.0f64).sqrt(), losses)
    });
    // The same of the target's samples on their way to the base.
    let energy = PointEnergy::new(dim, |x, gradient| {
        gradient.iter_mut().zip(x).for_each(|(g, x)| *g = x / width.powi(2));
        Ok(0.5 * x.iter().map(|x| (x / width).powi(2)).sum::<f64>())
    });
    let x: Vec<f64> = points(20, dim, 14).iter().map(|z| width * z).collect();
    let forward = ForwardDivergence { energy, clip_force: None }
        .evaluate(&flow, &whole(&potential, x), &Evaluation::new(key(9)).with_gradient())
        .expect("small solves stay finite")
        .gradient
        .expect("asked for");
    let [(total, losses), (path, _), (with_forces, losses_with_forces)] = found;
    let tolerance = 1e-7f64.max(1e2 * space.round_off());
    assert!(path < tolerance, "path gradient of the exact model: {path:e}");
    let forward = inner(space, &forward, &forward).sqrt();
    assert!(forward < tolerance, "forward path gradient of the exact model: {forward:e}");
    assert!(with_forces < tolerance, "path gradient of the exact model with forces: {with_forces:e}");
    assert_close("losses of the exact model with forces", &losses_with_forces, &losses, tolerance, 1.0);
    assert!(total > 0.5, "total gradient of the exact model: {total:e}");
}
