//! Fourier transforms of fields on a periodic lattice, many at once.

use std::sync::Arc;

use fourier::{Complex, Fft};

use crate::number::Number;

/// Transforms of complex fields on a torus of `rows × cols` sites.
///
/// Fields lie one after the other, site (i, j) at `i · cols + j`; spectra are transposed, wave number (k, l) at `l ·
/// rows + k`, which saves half of the transpositions. Neither direction divides by the number of sites.
#[derive(Clone)]
pub(crate) struct Torus<T: Number> {
    rows: usize,
    cols: usize,
    /// Along a row (first) and along a column, forwards and backwards.
    forward: [Arc<dyn Fft<T>>; 2],
    inverse: [Arc<dyn Fft<T>>; 2],
}

impl<T: Number> Torus<T> {
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        let [along_row, along_column] = T::complex([cols, rows]);
        Self { rows, cols, forward: [along_row.0, along_column.0], inverse: [along_row.1, along_column.1] }
    }

    pub(crate) fn sites(&self) -> usize {
        self.rows * self.cols
    }

    /// Work space that serves any number of fields.
    pub(crate) fn work(&self) -> Vec<Complex<T>> {
        let plans = self.forward.iter().chain(&self.inverse);
        let both = |plan: &Arc<dyn Fft<T>>| plan.get_inplace_scratch_len().max(plan.get_outofplace_scratch_len());
        let scratch = plans.map(both).max().unwrap_or(0);
        vec![Complex::new(T::zero(), T::zero()); self.sites() + scratch]
    }

    /// Fields to spectra, in place.
    pub(crate) fn transform(&self, fields: &mut [Complex<T>], work: &mut [Complex<T>]) {
        let (turned, scratch) = work.split_at_mut(self.sites());
        for field in fields.chunks_exact_mut(self.sites()) {
            self.forward[0].process_with_scratch(field, scratch);
            transpose(field, turned, self.rows, self.cols);
            self.forward[1].process_outofplace_with_scratch(turned, field, scratch);
        }
    }

    /// Spectra to fields, in place; `rows · cols` times the inverse of [`Torus::transform`].
    pub(crate) fn transform_back(&self, spectra: &mut [Complex<T>], work: &mut [Complex<T>]) {
        let (turned, scratch) = work.split_at_mut(self.sites());
        for spectrum in spectra.chunks_exact_mut(self.sites()) {
            self.inverse[1].process_with_scratch(spectrum, scratch);
            transpose(spectrum, turned, self.cols, self.rows);
            self.inverse[0].process_outofplace_with_scratch(turned, spectrum, scratch);
        }
    }
}

/// `out[j · rows + i] ← of[i · cols + j]`, in tiles that stay in registers.
fn transpose<T: Number>(of: &[Complex<T>], out: &mut [Complex<T>], rows: usize, cols: usize) {
    #[cfg(target_arch = "x86_64")]
    if crate::transpose::complex(of, out, rows, cols) {
        return;
    }
    const TILE: usize = 4;
    let (whole_rows, whole_cols) = (rows - rows % TILE, cols - cols % TILE);
    for i in (0..whole_rows).step_by(TILE) {
        for j in (0..whole_cols).step_by(TILE) {
            let line = |k: usize| -> [Complex<T>; TILE] {
                let first = (i + k) * cols + j;
                of[first..first + TILE].try_into().expect("a tile is as wide as its slice")
            };
            let lines: [[Complex<T>; TILE]; TILE] = std::array::from_fn(line);
            for k in 0..TILE {
                let first = (j + k) * rows + i;
                out[first..first + TILE].copy_from_slice(&lines.map(|line| line[k]));
            }
        }
    }
    let rest = (whole_rows..rows).flat_map(|i| (0..cols).map(move |j| (i, j)));
    for (i, j) in rest.chain((0..whole_rows).flat_map(|i| (whole_cols..cols).map(move |j| (i, j)))) {
        out[j * rows + i] = of[i * cols + j];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_are_the_plain_sums_and_come_back() {
        let (rows, cols) = (3, 10);
        let torus = Torus::<f64>::new(rows, cols);
        let fields: Vec<_> = (0..60).map(|i| Complex::new((i as f64).sin(), (i as f64 * 0.7).cos())).collect();
        let (mut spectra, mut work) = (fields.clone(), torus.work());
        torus.transform(&mut spectra, &mut work);
        for (field, spectrum) in fields.chunks(30).zip(spectra.chunks(30)) {
            for (k, l) in [(0, 0), (1, 7), (2, 3)] {
                let angle = |i: usize, j: usize| {
                    -std::f64::consts::TAU * ((k * i) as f64 / rows as f64 + (l * j) as f64 / cols as f64)
                };
                let term = |n: usize| field[n] * Complex::from_polar(1.0, angle(n / cols, n % cols));
                let sum: Complex<f64> = (0..30).map(term).sum();
                assert!((sum - spectrum[l * rows + k]).norm() < 1e-12);
            }
        }
        torus.transform_back(&mut spectra, &mut work);
        assert!(spectra.iter().zip(&fields).all(|(a, b)| (a / 30.0 - b).norm() < 1e-14));
    }
}
