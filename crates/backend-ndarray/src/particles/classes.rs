//! Pairs of particles by their kinds: which coefficients the functions of a distance have.

use flow_core::ParticlesSettings;
use ndarray::{Array2, s};

use super::network::{gather, through};
use crate::real::Real;

/// The pairs of every class, of which each has functions of its own.
#[derive(Debug)]
pub(super) struct Classes {
    /// Numbers of the pairs, class by class.
    pairs: Vec<Vec<usize>>,
    /// Pairs of a configuration.
    count: usize,
    /// Functions of one pair.
    functions: usize,
}

impl Classes {
    pub(super) fn new(settings: &ParticlesSettings) -> Self {
        let of_pairs = settings.classes();
        let pairs = (0..=of_pairs.iter().copied().max().unwrap_or(0))
            .map(|class| (0..of_pairs.len()).filter(|p| of_pairs[*p] == class).collect())
            .collect();
        Self { pairs, count: of_pairs.len(), functions: settings.functions() }
    }

    /// Functions of all classes.
    pub(super) fn functions(&self) -> usize {
        self.pairs.len() * self.functions
    }

    /// What is there of each pair of each row, width by width, of the pairs of one class.
    fn select<T: Real>(&self, of: &[T], class: usize, width: usize) -> Vec<T> {
        let of_rows = of.chunks_exact(self.count * width);
        of_rows
            .flat_map(|row| self.pairs[class].iter().flat_map(|p| &row[p * width..(p + 1) * width]))
            .copied()
            .collect()
    }

    /// The functions of every pair of every row from its Gaussians, by coefficients of all functions × K.
    pub(super) fn through<T: Real>(&self, gaussians: &[T], radial: &Array2<T>) -> Vec<T> {
        if self.pairs.len() == 1 {
            return through(gaussians, radial.view(), None);
        }
        let (width, k) = (self.functions, radial.ncols());
        let mut out = vec![T::zero(); gaussians.len() / k * width];
        for (class, pairs) in self.pairs.iter().enumerate() {
            let own = radial.slice(s![class * width..(class + 1) * width, ..]);
            let found = through(&self.select(gaussians, class, k), own, None);
            let of_rows = out.chunks_exact_mut(self.count * width).zip(found.chunks_exact(pairs.len() * width));
            for (row, found) in of_rows {
                for (p, found) in pairs.iter().zip(found.chunks_exact(width)) {
                    row[p * width..(p + 1) * width].copy_from_slice(found);
                }
            }
        }
        out
    }

    /// Adds to the cotangents of the coefficients what those of the functions of every pair bring.
    pub(super) fn gather<T: Real>(&self, sum: &mut Array2<T>, functions: &[T], gaussians: &[T]) {
        if self.pairs.len() == 1 {
            return gather(sum, functions, gaussians);
        }
        let (width, k) = (self.functions, sum.ncols());
        for class in 0..self.pairs.len() {
            let mut own = Array2::zeros((width, k));
            gather(&mut own, &self.select(functions, class, width), &self.select(gaussians, class, k));
            let mut part = sum.slice_mut(s![class * width..(class + 1) * width, ..]);
            part += &own;
        }
    }
}
