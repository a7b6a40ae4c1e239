//! The debiased Sinkhorn divergence of two weighted clouds of points, in the logarithmic domain.

use super::{Cloud, Distance};
use crate::error::Error;

/// Mean change of a potential in units of ε at which iterations end: the mass that the plan has in wrong places.
pub(super) const TOLERANCE: f64 = 1e-5;
/// Iterations at most, with the smallest regularisation.
const MOST: usize = 2000;
/// Such a mass that is good enough after all of them: with little blur the last bit takes thousands more.
const ENOUGH: f64 = 1e-3;

/// `OT_ε(x, y) − ½ OT_ε(x, x) − ½ OT_ε(y, y)` with the cost `½‖x − y‖²`, and its gradient by the points of x.
///
/// The gradient is that of the envelope theorem, `Σ_j π_ij (x_i − y_j)` of either plan: exact where the iterations have
/// converged, with no derivative of the iterations themselves (Feydy et al., arXiv:1810.08278).
///
/// # Errors
/// [`Error::Setting`] where iterations don't converge. Points that are not finite have a distance that is no number.
pub(super) fn divergence(x: &Cloud, y: &Cloud, dim: usize, epsilon: f64, tolerance: f64) -> Result<Distance, Error> {
    if !x.x.iter().all(|x| x.is_finite()) {
        // A training may want to go back: that is told by figures.
        let (rows, numbers) = (x.weights.len(), x.x.len());
        return Ok(Distance { of_rows: vec![f64::NAN; rows], gradient: vec![f64::NAN; numbers] });
    }
    let problem = |a: &Cloud, b: &Cloud| Problem::new(a, b, dim, epsilon, tolerance);
    let (between, within, of_data) = (problem(x, y), problem(x, x), problem(y, y));
    let (f, g) = between.potentials()?;
    let (own, of_data) = (within.symmetric()?, of_data.symmetric()?);
    let constant: f64 = g.iter().zip(&of_data).zip(&y.weights).map(|((g, own), weight)| weight * (g - own)).sum();
    let of_rows = f.iter().zip(&own).map(|(f, own)| f - own + constant).collect();
    let mut gradient = vec![0.0; x.x.len()];
    between.add_gradient(1.0, &f, &g, (x, y), &mut gradient);
    within.add_gradient(-1.0, &own, &own, (x, x), &mut gradient);
    Ok(Distance { of_rows, gradient })
}

/// The costs between two clouds.
struct Problem {
    /// `rows of a × rows of b`.
    cost: Vec<f64>,
    /// The same for b and a.
    transposed: Vec<f64>,
    log_weights: [Vec<f64>; 2],
    dim: usize,
    epsilon: f64,
    tolerance: f64,
}

impl Problem {
    fn new(a: &Cloud, b: &Cloud, dim: usize, epsilon: f64, tolerance: f64) -> Self {
        let log_weights = [a, b].map(|cloud| cloud.weights.iter().map(|weight| weight.ln()).collect());
        let (cost, transposed) = (costs(&a.x, &b.x, dim), costs(&b.x, &a.x, dim));
        Self { cost, transposed, log_weights, dim, epsilon, tolerance }
    }

    /// Regularisations from the greatest cost down to ε, each half of the one before: fewer iterations in all.
    fn regularisations(&self) -> impl Iterator<Item = f64> {
        let (epsilon, most) = (self.epsilon, self.cost.iter().copied().fold(0.0, f64::max));
        std::iter::successors(Some(most), |e| Some(0.5 * e)).take_while(move |e| *e > epsilon)
    }

    /// The potentials f of the first cloud and g of the second, whose plan is `a_i b_j exp((f_i + g_j − c_ij)/ε)`.
    fn potentials(&self) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let [log_a, log_b] = &self.log_weights;
        let (mut f, mut g) = (vec![0.0; log_a.len()], vec![0.0; log_b.len()]);
        for epsilon in self.regularisations() {
            f = soft_minimum(&self.cost, &g, log_b, epsilon);
            g = soft_minimum(&self.transposed, &f, log_a, epsilon);
        }
        for made in 1.. {
            let better = soft_minimum(&self.cost, &g, log_b, self.epsilon);
            let done = self.is_done(&better, &f, made)?;
            f = better;
            if done {
                break;
            }
            g = soft_minimum(&self.transposed, &f, log_a, self.epsilon);
        }
        Ok((f, g))
    }

    /// The potential of a cloud and itself, of which there is one; the mean of two iterates nears it fast.
    fn symmetric(&self) -> Result<Vec<f64>, Error> {
        let log_weights = &self.log_weights[0];
        let mut f = vec![0.0; log_weights.len()];
        let mean = |f: &[f64], next: &[f64]| f.iter().zip(next).map(|(a, b)| 0.5 * (a + b)).collect::<Vec<_>>();
        for epsilon in self.regularisations() {
            f = mean(&f, &soft_minimum(&self.cost, &f, log_weights, epsilon));
        }
        for made in 1.. {
            let next = soft_minimum(&self.cost, &f, log_weights, self.epsilon);
            if self.is_done(&next, &f, made)? {
                return Ok(next);
            }
            f = mean(&f, &next);
        }
        Ok(f)
    }

    /// Whether a potential of the first cloud and the one before it are near enough, after so many iterations.
    fn is_done(&self, next: &[f64], before: &[f64], made: usize) -> Result<bool, Error> {
        let changes = next.iter().zip(before).zip(&self.log_weights[0]);
        let wrong = changes.map(|((a, b), log)| log.exp() * (a - b).abs()).sum::<f64>() / self.epsilon;
        if wrong <= self.tolerance || (made >= MOST && wrong <= ENOUGH) {
            return Ok(true);
        }
        if made < MOST {
            return Ok(false);
        }
        let blur = self.epsilon / self.dim as f64;
        let expected = format!("greater: after {MOST} iterations {wrong:.1e} of the mass is in wrong places");
        Err(Error::setting("blur", blur, expected))
    }

    /// Adds `factor · Σ_j π_ij (x_i − y_j)` to the gradient of every point of the first cloud.
    fn add_gradient(&self, factor: f64, f: &[f64], g: &[f64], (x, y): (&Cloud, &Cloud), gradient: &mut [f64]) {
        let (dim, columns) = (self.dim, g.len());
        let rows = x.x.chunks_exact(dim).zip(gradient.chunks_exact_mut(dim)).zip(self.cost.chunks_exact(columns));
        for (((x_row, gradient), cost), (f, a)) in rows.zip(f.iter().zip(&x.weights)) {
            let columns = y.x.chunks_exact(dim).zip(cost).zip(g.iter().zip(&y.weights));
            for ((y_row, cost), (g, b)) in columns {
                let mass = factor * a * b * ((f + g - cost) / self.epsilon).exp();
                for (gradient, (x, y)) in gradient.iter_mut().zip(x_row.iter().zip(y_row)) {
                    *gradient += mass * (x - y);
                }
            }
        }
    }
}

/// `½‖x_i − y_j‖²`, row by row.
fn costs(x: &[f64], y: &[f64], dim: usize) -> Vec<f64> {
    let square = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
    x.chunks_exact(dim).flat_map(|x| y.chunks_exact(dim).map(move |y| 0.5 * square(x, y))).collect()
}

/// `−ε ln Σ_j exp(log_weights_j + (potential_j − cost_ij)/ε)` of every row i.
fn soft_minimum(cost: &[f64], potential: &[f64], log_weights: &[f64], epsilon: f64) -> Vec<f64> {
    let inverse = 1.0 / epsilon;
    let shifts: Vec<f64> = potential.iter().zip(log_weights).map(|(p, log)| p * inverse + log).collect();
    let of_row = |cost: &[f64]| {
        let exponents = || cost.iter().zip(&shifts).map(|(cost, shift)| shift - cost * inverse);
        let most = exponents().fold(f64::NEG_INFINITY, f64::max);
        -epsilon * (most + exponents().map(|e| (e - most).exp()).sum::<f64>().ln())
    };
    cost.chunks_exact(potential.len()).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_differentiated, by_assignment, even, points, uneven, value};
    use super::*;

    /// The density of N(mean, variance) on a fine grid.
    fn normal(mean: f64, variance: f64) -> Cloud {
        let (reach, step) = (7.0 * variance.sqrt(), 0.05);
        let cells = (2.0 * reach / step) as usize;
        let x: Vec<f64> = (0..cells).map(|i| mean - reach + (i as f64 + 0.5) * 2.0 * reach / cells as f64).collect();
        let weights: Vec<f64> = x.iter().map(|x| (-0.5 * (x - mean).powi(2) / variance).exp()).collect();
        let total: f64 = weights.iter().sum();
        Cloud { x, weights: weights.into_iter().map(|weight| weight / total).collect() }
    }

    /// `OT_ε` of two normal densities in one dimension (Janati et al., arXiv:2006.02572, with half their cost).
    fn of_normals([mean_a, a]: [f64; 2], [mean_b, b]: [f64; 2], epsilon: f64) -> f64 {
        let d = (4.0 * a * b + epsilon * epsilon).sqrt();
        let entropic = epsilon * (1.0 - (2.0 * epsilon).ln()) + epsilon * (d + epsilon).ln();
        0.5 * ((mean_a - mean_b).powi(2) + a + b - d + entropic)
    }

    #[test]
    fn normal_densities_have_their_closed_form() {
        let (a, b) = ([0.3, 0.8], [-0.9, 1.7]);
        for epsilon in [0.2, 1.0] {
            let [x, y] = [a, b].map(|[mean, variance]| normal(mean, variance));
            let found = value(&divergence(&x, &y, 1, epsilon, 1e-11).unwrap(), &x.weights);
            let [of_a, of_b] = [a, b].map(|of| of_normals(of, of, epsilon));
            let exact = of_normals(a, b, epsilon) - 0.5 * of_a - 0.5 * of_b;
            assert!((found - exact).abs() < 1e-7, "ε = {epsilon}: {found}, exactly {exact}");
        }
    }

    #[test]
    fn a_little_blur_leaves_the_best_assignment() {
        for dim in [1, 2, 3] {
            let (x, y) = (points(7, dim, 1), points(7, dim, 2));
            let exact = by_assignment(&x, &y, dim);
            let epsilon = 0.05;
            let found = divergence(&even(x, dim), &even(y, dim), dim, epsilon, TOLERANCE).unwrap();
            let found = found.of_rows.iter().sum::<f64>() / 7.0;
            // The entropy of a plan between seven points and seven is ln 7 to 2 ln 7.
            assert!((found - exact).abs() < epsilon * 7f64.ln(), "{dim} dimensions: {found}, exactly {exact}");
        }
    }

    #[test]
    fn a_cloud_is_at_no_distance_from_itself_and_a_shift_costs_its_square() {
        let x = uneven(20, 2, 3);
        let same = divergence(&x, &x, 2, 0.3, 1e-12).unwrap();
        assert!(value(&same, &x.weights).abs() < 1e-10 && same.gradient.iter().all(|g| g.abs() < 1e-10));
        let y = Cloud { x: x.x.chunks(2).flat_map(|row| [row[0] + 3.0, row[1] - 4.0]).collect(), ..x.clone() };
        let apart = divergence(&x, &y, 2, 0.3, 1e-12).unwrap();
        assert!((value(&apart, &x.weights) - 12.5).abs() < 1e-8, "{}", value(&apart, &x.weights));
    }

    #[test]
    fn the_gradient_is_the_difference() {
        for (dim, epsilon) in [(1, 0.5), (3, 0.2)] {
            let (x, y) = (uneven(9, dim, 4), uneven(11, dim, 5));
            assert_differentiated(&x, 1e-6, |x| divergence(x, &y, dim, epsilon, 1e-12).unwrap());
        }
    }

    #[test]
    fn points_that_are_not_finite_have_no_distance() {
        let mut x = uneven(5, 1, 6);
        x.x[2] = f64::NAN;
        assert!(divergence(&x, &uneven(5, 1, 7), 1, 0.1, TOLERANCE).unwrap().of_rows[0].is_nan());
    }
}
