//! Maps between the coordinates of a user and those that a flow works in, with their Jacobians.

use std::fmt;

use crate::lattice::{WhitenedIsing, WhitenedIsingRange, WhitenedPhi4};
use crate::standardise::Standardisation;

/// An invertible map of rows of N numbers from a user's coordinates x to a flow's coordinates y. It may depend on a
/// context c of every row, as that of a density p(x | c) may.
///
/// ```
/// use datasets::{Bijection, Standardisation};
/// let map = Standardisation::per_coordinate(vec![1.0, -2.0], vec![4.0, 0.25])?;
/// let (mut row, mut log_jacobian) = ([3.0, -1.0], [0.0]);
/// map.forward(&mut row, &[], &mut log_jacobian);
/// assert_eq!((row, log_jacobian), ([1.0, 2.0], [0.0]));
/// map.inverse(&mut row, &[], &mut log_jacobian);
/// assert_eq!(row, [3.0, -1.0]);
/// # Ok::<(), datasets::StandardisationError>(())
/// ```
pub trait Bijection: fmt::Debug + Send + Sync {
    /// Numbers per row, N.
    fn dimension(&self) -> usize;

    /// Numbers per row of the context that it depends on; 0 where it depends on none, and ignores one that it is given.
    fn context_dim(&self) -> usize {
        0
    }

    /// From x to y, in place, with the context of every row, row by row. Adds `ln |∂y/∂x|` of each row to its place in
    /// `log_jacobians`.
    ///
    /// # Panics
    /// If `rows` does not have N numbers for every log-Jacobian, or `context` not as many as the map depends on.
    fn forward(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]);

    /// From y to x, in place, with the context of every row, row by row. Adds `ln |∂x/∂y|` of each row to its place in
    /// `log_jacobians`.
    ///
    /// # Panics
    /// As [`Bijection::forward`].
    fn inverse(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]);

    /// `ln |∂y/∂x|` where it is the same at every point in every context; `None` where it is not.
    fn constant_log_jacobian(&self) -> Option<f64> {
        None
    }
}

/// Checks that there are N numbers for every log-Jacobian.
fn check(dimension: usize, rows: &[f64], log_jacobians: &[f64]) {
    assert_eq!(rows.len(), dimension * log_jacobians.len(), "{dimension} numbers for every log-Jacobian");
}

fn add(value: f64, log_jacobians: &mut [f64]) {
    log_jacobians.iter_mut().for_each(|sum| *sum += value);
}

/// Replaces every row of `dimension` numbers by what `map` makes of it.
fn map_rows(rows: &mut [f64], dimension: usize, map: impl Fn(&[f64], &mut [f64])) {
    let mut out = vec![0.0; dimension];
    for row in rows.chunks_exact_mut(dimension) {
        map(row, &mut out);
        row.copy_from_slice(&out);
    }
}

/// `y = S⁻¹(x − m)`.
impl Bijection for Standardisation {
    fn dimension(&self) -> usize {
        self.dimension()
    }

    fn forward(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        check(self.dimension(), rows, log_jacobians);
        self.apply(rows);
        add(self.log_jacobian(), log_jacobians);
    }

    fn inverse(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        check(self.dimension(), rows, log_jacobians);
        self.invert(rows);
        add(-self.log_jacobian(), log_jacobians);
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        Some(self.log_jacobian())
    }
}

/// `y = K^(-1/2) x`.
impl Bijection for WhitenedIsing {
    fn dimension(&self) -> usize {
        self.sites()
    }

    fn forward(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        check(self.sites(), rows, log_jacobians);
        map_rows(rows, self.sites(), |x, y| self.to_whitened(x, y));
        add(-0.5 * self.physical().log_det_k(), log_jacobians);
    }

    fn inverse(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        check(self.sites(), rows, log_jacobians);
        map_rows(rows, self.sites(), |y, x| self.to_physical(y, x));
        add(0.5 * self.physical().log_det_k(), log_jacobians);
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        Some(-0.5 * self.physical().log_det_k())
    }
}

/// `y = K(T)^(-1/2) x` with the temperature T of the row.
impl Bijection for WhitenedIsingRange {
    fn dimension(&self) -> usize {
        self.sites()
    }

    fn context_dim(&self) -> usize {
        1
    }

    fn forward(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.of_rows(rows, context, log_jacobians, |at, row, log_jacobian| at.forward(row, &[], log_jacobian));
    }

    fn inverse(&self, rows: &mut [f64], context: &[f64], log_jacobians: &mut [f64]) {
        self.of_rows(rows, context, log_jacobians, |at, row, log_jacobian| at.inverse(row, &[], log_jacobian));
    }
}

impl WhitenedIsingRange {
    /// Maps every row by that of its temperature.
    fn of_rows(
        &self,
        rows: &mut [f64],
        temperatures: &[f64],
        log_jacobians: &mut [f64],
        map: impl Fn(&WhitenedIsing, &mut [f64], &mut [f64]),
    ) {
        check(self.sites(), rows, log_jacobians);
        check(1, temperatures, log_jacobians);
        let rows = rows.chunks_exact_mut(self.sites()).zip(temperatures).zip(log_jacobians.chunks_exact_mut(1));
        for ((row, temperature), log_jacobian) in rows {
            match self.at(*temperature) {
                Some(at) => map(&at, row, log_jacobian),
                None => row.fill(f64::NAN),
            }
        }
    }
}

/// `y = K^(-1/2) φ`.
impl Bijection for WhitenedPhi4 {
    fn dimension(&self) -> usize {
        self.sites()
    }

    fn forward(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        check(self.sites(), rows, log_jacobians);
        map_rows(rows, self.sites(), |field, y| self.to_whitened(field, y));
        add(-0.5 * self.log_det_k(), log_jacobians);
    }

    fn inverse(&self, rows: &mut [f64], _context: &[f64], log_jacobians: &mut [f64]) {
        check(self.sites(), rows, log_jacobians);
        map_rows(rows, self.sites(), |y, field| self.to_physical(y, field));
        add(0.5 * self.log_det_k(), log_jacobians);
    }

    fn constant_log_jacobian(&self) -> Option<f64> {
        Some(-0.5 * self.log_det_k())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::{Boundary, IsingTarget, Phi4Target};

    #[test]
    fn rows_of_a_range_are_mapped_at_their_own_temperature() {
        let one = IsingTarget::new(3, 4, Boundary::Periodic, 1.1).unwrap();
        let range = WhitenedIsingRange::new(one.clone());
        let start: Vec<f64> = (0..24).map(|i| (1.7 * f64::from(i)).sin()).collect();
        let (mut rows, mut there) = (start.clone(), [0.0; 2]);
        range.forward(&mut rows, &[1.9, 3.3], &mut there);
        for (k, t) in [1.9, 3.3].into_iter().enumerate() {
            let (mut own, mut log_jacobian) = (start[12 * k..][..12].to_vec(), [0.0]);
            one.at(t).unwrap().whitened().forward(&mut own, &[], &mut log_jacobian);
            assert_eq!((&rows[12 * k..][..12], there[k]), (&own[..], log_jacobian[0]));
        }
        assert!((there[0] - there[1]).abs() > 0.1);
        let mut back = [0.0; 2];
        range.inverse(&mut rows, &[1.9, 3.3], &mut back);
        assert!(rows.iter().zip(&start).all(|(a, b)| (a - b).abs() < 1e-12));
        assert!(there.iter().zip(back).all(|(there, back)| (there + back).abs() < 1e-12));
        range.forward(&mut rows[..12], &[-1.0], &mut back[..1]);
        assert!(rows[..12].iter().all(|x| x.is_nan()), "no temperature");
    }

    /// ln |det| of a matrix by elimination with pivots.
    fn log_det(mut m: Vec<Vec<f64>>) -> f64 {
        let n = m.len();
        let mut sum = 0.0;
        for k in 0..n {
            let pivot = (k..n).max_by(|a, b| m[*a][k].abs().total_cmp(&m[*b][k].abs())).unwrap();
            m.swap(k, pivot);
            sum += m[k][k].abs().ln();
            for i in k + 1..n {
                let factor = m[i][k] / m[k][k];
                let (upper, lower) = m.split_at_mut(i);
                lower[0].iter_mut().zip(&upper[k]).skip(k).for_each(|(to, from)| *to -= factor * from);
            }
        }
        sum
    }

    #[test]
    fn maps_return_and_have_the_jacobian_of_their_differences() {
        let ising = IsingTarget::new(3, 2, Boundary::Periodic, 2.3).unwrap().whitened();
        let phi4 = Phi4Target::new(2, 3, Boundary::Periodic, 0.2, 0.03).unwrap().whitened();
        let scale = Standardisation::per_coordinate(vec![1.0, -2.0], vec![4.0, 0.3]).unwrap();
        let maps: [&dyn Bijection; 3] = [&ising, &phi4, &scale];
        for map in maps {
            let n = map.dimension();
            let start: Vec<f64> = (0..2 * n).map(|i| (1.7 * i as f64).sin()).collect();
            let (mut rows, mut there) = (start.clone(), [0.0; 2]);
            map.forward(&mut rows, &[], &mut there);
            let mut back = [0.0; 2];
            map.inverse(&mut rows, &[], &mut back);
            assert!(rows.iter().zip(&start).all(|(a, b)| (a - b).abs() < 1e-12), "{map:?}");
            // The maps are affine: differences of any size are exact.
            let at = |x: &[f64]| {
                let (mut y, mut unused) = (x.to_vec(), [0.0]);
                map.forward(&mut y, &[], &mut unused);
                y
            };
            let origin = at(&vec![0.0; n]);
            let column = |i: usize| {
                let mut x = vec![0.0; n];
                x[i] = 1.0;
                at(&x).iter().zip(&origin).map(|(a, b)| a - b).collect::<Vec<_>>()
            };
            let exact = log_det((0..n).map(column).collect());
            for k in 0..2 {
                assert!((there[k] - exact).abs() < 1e-10, "{map:?}: {} {exact}", there[k]);
                assert!((there[k] + back[k]).abs() < 1e-12);
                assert_eq!(map.constant_log_jacobian(), Some(there[k]));
            }
        }
    }
}
