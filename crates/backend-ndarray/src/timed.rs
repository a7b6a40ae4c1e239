//! Coefficients that depend on time, and the gathering of their cotangents.

use flow_core::TimeBasis;
use ndarray::Array2;

use crate::arrays::{column_major, zeros};
use crate::number::Number;

/// `c(t) = Σ_m c_m b_m(t)` of a frozen potential, n numbers.
pub(crate) struct Timed<T> {
    basis: TimeBasis,
    /// `c_m` for every function of the basis.
    terms: Vec<Vec<T>>,
}

impl<T: Number> Timed<T> {
    /// From the M × n matrix of a parameter.
    pub(crate) fn new(basis: TimeBasis, coefficients: &Array2<T>) -> Self {
        Self::repeated(basis, coefficients, 1)
    }

    /// With the coefficients of a parameter so many times over, one set after the other.
    pub(crate) fn repeated(basis: TimeBasis, coefficients: &Array2<T>, times: usize) -> Self {
        debug_assert_eq!(coefficients.nrows(), basis.terms());
        Self { basis, terms: coefficients.rows().into_iter().map(|term| term.to_vec().repeat(times)).collect() }
    }

    /// `c(t)`.
    pub(crate) fn at(&self, t: f64) -> Vec<T> {
        let mut now = self.terms[0].clone();
        for (basis, term) in self.basis.at(t).zip(&self.terms).skip(1) {
            let basis = T::of(basis);
            now.iter_mut().zip(term).for_each(|(now, term)| *now += basis * *term);
        }
        now
    }

    /// Where cotangents are gathered.
    pub(crate) fn bar(&self) -> TimedBar<T> {
        TimedBar { basis: self.basis, sum: zeros(self.terms[0].len(), self.terms.len()) }
    }
}

/// Cotangents of `c_m`, gathered over stages from those of `c(t)`.
pub(crate) struct TimedBar<T> {
    basis: TimeBasis,
    /// `n × M`: a block's share of the gradient.
    pub(crate) sum: Array2<T>,
}

impl<T: Number> TimedBar<T> {
    /// Adds the cotangent of `c(t)`.
    pub(crate) fn add(&mut self, t: f64, bar: &[T]) {
        for (basis, mut sum) in self.basis.at(t).zip(self.sum.columns_mut()) {
            let (basis, sum) = (T::of(basis), sum.as_slice_mut().expect("columns are contiguous"));
            sum.iter_mut().zip(bar).for_each(|(sum, bar)| *sum += basis * *bar);
        }
    }
}

/// The cotangent of the parameter (M × n) from the sum of the shares (n × M).
pub(crate) fn coefficients_bar<T: Number>(sum: &Array2<T>) -> Array2<T> {
    column_major(sum.t())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::TimeFamily;

    #[test]
    fn coefficients_and_their_cotangents_are_transposes_of_each_other() {
        let basis = TimeBasis::new(TimeFamily::Polynomial, 3, 2.0).unwrap();
        let coefficients = Array2::from_shape_fn((3, 2), |(m, i)| (1 + m) as f64 - 0.3 * i as f64);
        let timed = Timed::new(basis, &coefficients);
        let (t, bar) = (0.7, [0.4, -1.5]);
        let pairing: f64 = timed.at(t).iter().zip(&bar).map(|(c, b)| c * b).sum();
        let mut gathered = timed.bar();
        gathered.add(t, &bar);
        let gradient = coefficients_bar(&gathered.sum);
        assert_eq!(gradient.dim(), coefficients.dim());
        assert!(((&gradient * &coefficients).sum() - pairing).abs() < 1e-14);
        assert_eq!(Timed::repeated(basis, &coefficients, 2).at(t), timed.at(t).repeat(2));
    }
}
