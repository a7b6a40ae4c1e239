//! Applies functions of the adjacency matrix in the basis of its eigenvectors: real Fourier transforms for periodic
//! lattices, sine modes of the two sides for open ones. No N×N matrix is formed.

use std::f64::consts::PI;
use std::sync::Arc;

use fourier::{Complex, ComplexToReal, Fft, Plans, RealToComplex, Zero};
use nalgebra::{DMatrix, DMatrixViewMut};

use super::geometry::{Boundary, Lattice, chain_eigenvalues};

/// The change to eigenvectors of the adjacency matrix and back; shared by threads.
#[derive(Clone)]
pub(super) enum Modes {
    Fourier(Fourier),
    Sine(Sine),
}

impl Modes {
    pub fn new(lattice: &Lattice) -> Self {
        match lattice.boundary() {
            Boundary::Periodic => Self::Fourier(Fourier::new(lattice.rows(), lattice.cols())),
            Boundary::Open => Self::Sine(Sine::new(lattice.rows(), lattice.cols())),
        }
    }

    /// `function` of each eigenvalue of A, in the order (and with the scale) that [`apply`](Self::apply) wants.
    pub fn table(&self, function: impl Fn(f64) -> f64) -> Vec<f64> {
        match self {
            Self::Fourier(modes) => modes.table(function),
            Self::Sine(modes) => modes.table(function),
        }
    }

    /// `x ← f(A) x` with `table` the [`table`](Self::table) of f.
    pub fn apply(&self, table: &[f64], x: &mut [f64]) {
        match self {
            Self::Fourier(modes) => modes.apply(table, x),
            Self::Sine(modes) => modes.apply(table, x),
        }
    }
}

/// Fourier modes of a torus. Rows are transformed as real numbers (`half = cols/2 + 1` complex modes), then columns.
#[derive(Clone)]
pub(super) struct Fourier {
    rows: usize,
    cols: usize,
    half: usize,
    row_forward: Arc<dyn RealToComplex<f64>>,
    row_inverse: Arc<dyn ComplexToReal<f64>>,
    column_forward: Arc<dyn Fft<f64>>,
    column_inverse: Arc<dyn Fft<f64>>,
}

impl Fourier {
    fn new(rows: usize, cols: usize) -> Self {
        let (row_forward, row_inverse) = fourier::real(cols);
        let [(column_forward, column_inverse)] = f64::complex([rows]);
        Self { rows, cols, half: cols / 2 + 1, row_forward, row_inverse, column_forward, column_inverse }
    }

    fn table(&self, function: impl Fn(f64) -> f64) -> Vec<f64> {
        // The transforms are not normalised: there and back multiplies by the number of sites.
        let scale = 1.0 / (self.rows * self.cols) as f64;
        let down = chain_eigenvalues(self.rows, Boundary::Periodic);
        let across = chain_eigenvalues(self.cols, Boundary::Periodic);
        across[..self.half].iter().flat_map(|a| down.iter().map(move |b| a + b)).map(|a| scale * function(a)).collect()
    }

    fn apply(&self, table: &[f64], x: &mut [f64]) {
        let Self { rows, cols, half, .. } = *self;
        let longest = [
            self.row_forward.get_scratch_len(),
            self.row_inverse.get_scratch_len(),
            self.column_forward.get_inplace_scratch_len(),
            self.column_inverse.get_inplace_scratch_len(),
        ];
        let scratch_len = longest.into_iter().max().unwrap_or(0);
        let mut work = vec![Complex::zero(); 2 * rows * half + scratch_len];
        let (by_row, rest) = work.split_at_mut(rows * half);
        let (by_column, scratch) = rest.split_at_mut(rows * half);

        const LENGTHS: &str = "row lengths are those the plan was made for";
        // The real transforms overwrite their input.
        for (row, modes) in x.chunks_exact_mut(cols).zip(by_row.chunks_exact_mut(half)) {
            self.row_forward.process_with_scratch(row, modes, scratch).expect(LENGTHS);
        }
        transpose(by_row, by_column, rows, half);
        self.column_forward.process_with_scratch(by_column, scratch);
        for (mode, factor) in by_column.iter_mut().zip(table) {
            *mode *= *factor;
        }
        self.column_inverse.process_with_scratch(by_column, scratch);
        transpose(by_column, by_row, half, rows);
        for (row, modes) in x.chunks_exact_mut(cols).zip(by_row.chunks_exact_mut(half)) {
            // Real up to rounding, and the real inverse transform insists on it.
            modes[0].im = 0.0;
            if cols % 2 == 0 {
                modes[half - 1].im = 0.0;
            }
            self.row_inverse.process_with_scratch(modes, row, scratch).expect(LENGTHS);
        }
    }
}

/// Writes the `rows × cols` matrix `from` to `to` as `cols × rows`.
fn transpose(from: &[Complex<f64>], to: &mut [Complex<f64>], rows: usize, cols: usize) {
    for (c, column) in to.chunks_exact_mut(rows).enumerate() {
        for (r, entry) in column.iter_mut().enumerate() {
            *entry = from[r * cols + c];
        }
    }
}

/// Sine modes of an open rectangle: `√(2/(m+1)) sin(π(i+1)(p+1)/(m+1))` down and likewise across.
#[derive(Clone)]
pub(super) struct Sine {
    down: Arc<DMatrix<f64>>,
    across: Arc<DMatrix<f64>>,
}

impl Sine {
    fn new(rows: usize, cols: usize) -> Self {
        let modes = |side: usize| {
            let step = PI / (side + 1) as f64;
            let scale = (2.0 / (side + 1) as f64).sqrt();
            // Reducing the product of indices keeps the argument of the sine small and exact.
            let sine = |i: usize, p: usize| scale * (step * ((i + 1) * (p + 1) % (2 * (side + 1))) as f64).sin();
            Arc::new(DMatrix::from_fn(side, side, sine))
        };
        Self { down: modes(rows), across: modes(cols) }
    }

    fn table(&self, function: impl Fn(f64) -> f64) -> Vec<f64> {
        let down = chain_eigenvalues(self.down.nrows(), Boundary::Open);
        let across = chain_eigenvalues(self.across.nrows(), Boundary::Open);
        down.iter().flat_map(|a| across.iter().map(move |b| a + b)).map(function).collect()
    }

    fn apply(&self, table: &[f64], x: &mut [f64]) {
        let (rows, cols) = (self.down.nrows(), self.across.nrows());
        // Row-major rows × cols is column-major cols × rows; the mode matrices are symmetric and their own inverses.
        let mut x = DMatrixViewMut::from_slice(x, cols, rows);
        let (mut half_way, mut modes) = (DMatrix::zeros(cols, rows), DMatrix::zeros(cols, rows));
        self.across.mul_to(&x, &mut half_way);
        half_way.mul_to(&*self.down, &mut modes);
        for (mode, factor) in modes.iter_mut().zip(table) {
            *mode *= factor;
        }
        self.across.mul_to(&modes, &mut half_way);
        half_way.mul_to(&*self.down, &mut x);
    }
}
