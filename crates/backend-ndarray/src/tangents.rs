//! Squared lengths of the rows of a Jacobian `J = W₂ diag(d) W₁`, a different one for every row of a batch: exact, or
//! by random probes.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::Array2;

use crate::arrays::{column, dot, numbers_mut, zeros};
use crate::gemm::product;
use crate::packed::Packed;
use crate::real::Real;

/// Directions in x that the Jacobian is applied to: the P unit vectors of x for `‖J_k‖²`, or P vectors of random signs
/// ε for every row, with `E (J_k ε)² = ‖J_k‖²` (Hutchinson 1990).
pub(crate) struct Tangents<'a, T: Real> {
    /// `W₁` times every direction: `P × h₁` for unit vectors, `rows · P × h₁` for probes.
    images: Cow<'a, Array2<T>>,
    /// Probes, `rows · P × N`.
    probes: Option<Array2<T>>,
    /// The number P of directions for every row.
    count: usize,
}

/// Sums for the gradient, over the stages of a block.
pub(crate) struct TangentsBar<T> {
    /// Of W₂, `h₂ × h₁`.
    pub(crate) second: Array2<T>,
    images: Array2<T>,
}

impl<'a, T: Real> Tangents<'a, T> {
    /// Directions that are worked on at once, unless one row alone has more: what is held in memory, next to the images
    /// themselves, are `max(P, 256) · 2(h₁ + h₂)` numbers per thread.
    const AT_ONCE: usize = 256;

    /// All unit vectors; `first` is `W₁ᵀ`.
    pub(crate) fn exact(first: &'a Array2<T>) -> Self {
        Self { images: Cow::Borrowed(first), probes: None, count: first.nrows() }
    }

    /// `rows · count` probes, those of one row after those of another; `first` is `W₁ᵀ`.
    pub(crate) fn probes(probes: Array2<T>, count: usize, first: &Packed<T>) -> Self {
        let images = first.of(&probes);
        Self { images: Cow::Owned(images), probes: Some(probes), count }
    }

    fn weight(&self) -> T {
        T::of(if self.probes.is_some() { 1.0 / self.count as f64 } else { 1.0 })
    }

    fn chunks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<T> {
        let step = (Self::AT_ONCE / self.count).max(1);
        (0..rows).step_by(step).map(move |first| first..rows.min(first + step))
    }

    /// Images of the directions of a row.
    fn images_of(&self, row: usize) -> Range<usize> {
        let first = if self.probes.is_some() { row * self.count } else { 0 };
        first..first + self.count
    }

    /// `d ⊙ W₁ε` for all directions of some rows, one row's below another's.
    fn stretched(&self, d: &Array2<T>, rows: Range<usize>) -> Array2<T> {
        let mut out = zeros(rows.len() * self.count, d.ncols());
        let height = out.nrows();
        for (j, out) in numbers_mut(&mut out).chunks_exact_mut(height).enumerate() {
            let images = column(&self.images, j);
            for (row, out) in rows.clone().zip(out.chunks_exact_mut(self.count)) {
                let d = d[[row, j]];
                out.iter_mut().zip(&images[self.images_of(row)]).for_each(|(out, image)| *out = d * *image);
            }
        }
        out
    }

    /// `out_rk ← ‖J_k‖²` (or its estimate) for some rows, from the directions' images under J.
    fn add_squares(&self, images: &Array2<T>, rows: Range<usize>, out: &mut Array2<T>) {
        for k in 0..images.ncols() {
            for (row, images) in rows.clone().zip(column(images, k).chunks_exact(self.count)) {
                out[[row, k]] = self.weight() * dot(images, images);
            }
        }
    }

    /// `‖J_k‖²`, `rows × h₂`, from d (`rows × h₁`) and `W₂ᵀ`.
    pub(crate) fn squares(&self, d: &Array2<T>, second_transposed: &Packed<T>) -> Array2<T> {
        let mut out = zeros(d.nrows(), second_transposed.columns());
        for rows in self.chunks(d.nrows()) {
            let images = second_transposed.of(&self.stretched(d, rows.clone()));
            self.add_squares(&images, rows, &mut out);
        }
        out
    }

    /// Where the sums for the gradient are gathered.
    pub(crate) fn bar(&self, second: &Array2<T>) -> TangentsBar<T> {
        let (rows, cols) = self.images.dim();
        TangentsBar { second: zeros(second.nrows(), second.ncols()), images: zeros(rows, cols) }
    }

    /// `‖J_k‖²` again, and its pullback: from the cotangent `squares_bar` (`rows × h₂`) to that of d, with those of the
    /// weights added to `bar`. `second` is W₂ and its transpose.
    pub(crate) fn pullback(
        &self,
        d: &Array2<T>,
        second: (&Packed<T>, &Packed<T>),
        squares_bar: &Array2<T>,
        bar: &mut TangentsBar<T>,
    ) -> (Array2<T>, Array2<T>) {
        let mut squares = zeros(d.nrows(), squares_bar.ncols());
        let mut d_bar = zeros(d.nrows(), d.ncols());
        for rows in self.chunks(d.nrows()) {
            let mut stretched = self.stretched(d, rows.clone());
            let mut images = second.1.of(&stretched);
            self.add_squares(&images, rows.clone(), &mut squares);
            // In place: the images' cotangent.
            let twice = T::of(2.0) * self.weight();
            let height = images.nrows();
            for (k, column) in numbers_mut(&mut images).chunks_exact_mut(height).enumerate() {
                for (row, images) in rows.clone().zip(column.chunks_exact_mut(self.count)) {
                    let factor = twice * squares_bar[[row, k]];
                    images.iter_mut().for_each(|image| *image *= factor);
                }
            }
            product(bar.second.view_mut(), 1.0, images.t(), stretched.view());
            second.0.product(&mut stretched, None, &images, |_, _| ());
            self.stretched_pullback(d, rows, &stretched, &mut d_bar, &mut bar.images);
        }
        (squares, d_bar)
    }

    fn stretched_pullback(
        &self,
        d: &Array2<T>,
        rows: Range<usize>,
        stretched_bar: &Array2<T>,
        d_bar: &mut Array2<T>,
        images_bar: &mut Array2<T>,
    ) {
        let height = images_bar.nrows();
        for (j, images_bar) in numbers_mut(images_bar).chunks_exact_mut(height).enumerate() {
            let images = column(&self.images, j);
            for (row, bar) in rows.clone().zip(column(stretched_bar, j).chunks_exact(self.count)) {
                let (range, d) = (self.images_of(row), d[[row, j]]);
                d_bar[[row, j]] = dot(bar, &images[range.clone()]);
                images_bar[range].iter_mut().zip(bar).for_each(|(sum, bar)| *sum += *bar * d);
            }
        }
    }

    /// The gathered cotangent of `W₁ᵀ`, `N × h₁`.
    pub(crate) fn first_bar(&self, bar: Array2<T>) -> Array2<T> {
        let Some(probes) = &self.probes else { return bar };
        let mut out = zeros(probes.ncols(), bar.ncols());
        product(out.view_mut(), 0.0, probes.t(), bar.view());
        out
    }
}

impl<T: Real> TangentsBar<T> {
    /// The block's shares: the cotangents of W₂ and of `W₁ᵀ`.
    pub(crate) fn finish(self, tangents: &Tangents<'_, T>) -> [Array2<T>; 2] {
        [self.second, tangents.first_bar(self.images)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, cols: usize, key: usize) -> Array2<f64> {
        let mut out = zeros(rows, cols);
        out.indexed_iter_mut().for_each(|((i, j), v)| *v = ((i * 13 + j * 7 + key * 5) as f64).sin());
        out
    }

    /// More directions than are worked on at once: every row is on its own.
    #[test]
    fn squares_and_their_pullback_are_those_of_the_jacobian() {
        let (rows, n, h1, h2) = (3, Tangents::<f64>::AT_ONCE + 3, 5, 4);
        let (first, second, d) = (matrix(h1, n, 0), matrix(h2, h1, 1), matrix(rows, h1, 2));
        let transpose = |of: &Array2<f64>| crate::arrays::column_major(of.t());
        let (first_transposed, second_transposed) = (transpose(&first), transpose(&second));
        let tangents = Tangents::exact(&first_transposed);
        let space = crate::cpu::Cpu::new(1);
        let [packed, packed_transposed] = [&second, &second_transposed].map(|of| Packed::new(&space, of.view()));
        let squares = tangents.squares(&d, &packed_transposed);
        for r in 0..rows {
            let jacobian = second.dot(&Array2::from_diag(&d.row(r))).dot(&first);
            for (k, row) in jacobian.rows().into_iter().enumerate() {
                assert!((squares[[r, k]] - row.dot(&row)).abs() < 1e-11 * row.dot(&row));
            }
        }
        let squares_bar = matrix(rows, h2, 3);
        let mut bar = tangents.bar(&second);
        let (again, d_bar) = tangents.pullback(&d, (&packed, &packed_transposed), &squares_bar, &mut bar);
        assert_eq!(again, squares);
        let [second_bar, first_bar] = bar.finish(&tangents);
        // Squares are quadratic in d, in W₁ and in W₂: Euler's relation for each.
        let twice = 2.0 * (&squares * &squares_bar).sum();
        for pairing in [(&d * &d_bar).sum(), (&second * &second_bar).sum(), (&first_transposed * &first_bar).sum()] {
            assert!((pairing - twice).abs() < 1e-10 * twice.abs(), "{pairing}, not {twice}");
        }
    }
}
