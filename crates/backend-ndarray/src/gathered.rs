//! Sums of products of short matrices: gathered over stages, or over blocks of rows where each has few of them.

use std::sync::Mutex;

use ndarray::{Array2, s};

use crate::arrays::zeros;
use crate::real::product;
use crate::{Cpu, Real};

/// `Σ leftᵀ · right` over all stages of a block of rows, gathered until one product is large enough to be fast.
pub(crate) struct Gathered<T: Real> {
    few: Vec<Factors<T>>,
    many: Option<Many<T>>,
    shape: (usize, usize),
}

struct Factors<T> {
    left: Array2<T>,
    right: Array2<T>,
}

/// Factors one below the other, and the sum of the products of those that were there before.
struct Many<T> {
    sum: Array2<T>,
    left: Array2<T>,
    right: Array2<T>,
    filled: usize,
}

impl<T: Real> Gathered<T> {
    /// Rows of one product.
    const ROWS: usize = 384;
    /// Products that a block hands on as factors: those of one stage.
    const FEW: usize = 2;

    /// A sum of products with `left` rows and `right` columns.
    pub(crate) fn new(left: usize, right: usize) -> Self {
        Self { few: Vec::new(), many: None, shape: (left, right) }
    }

    /// Adds `leftᵀ · right`.
    pub(crate) fn add(&mut self, left: &Array2<T>, right: &Array2<T>) {
        match &mut self.many {
            None if self.few.len() < Self::FEW => {
                self.few.push(Factors { left: left.clone(), right: right.clone() });
            }
            None => {
                let capacity = Self::ROWS.max(left.nrows());
                let sum = zeros(self.shape.0, self.shape.1);
                let (tall_left, tall_right) = (zeros(capacity, self.shape.0), zeros(capacity, self.shape.1));
                let mut many = Many { sum, left: tall_left, right: tall_right, filled: 0 };
                self.few.drain(..).for_each(|few| many.add(&few.left, &few.right));
                many.add(left, right);
                self.many = Some(many);
            }
            Some(many) => many.add(left, right),
        }
    }

    /// The block's share of the sum: empty where the block has so few products that all blocks' are better done together,
    /// in [`Collected::finish`]. `row` is the first of the block.
    pub(crate) fn finish(self, row: usize, collected: &Collected<T>) -> Array2<T> {
        if let Some(mut many) = self.many {
            many.flush();
            return many.sum;
        }
        collected
            .0
            .lock()
            .expect("no block panics while it holds this")
            .extend(self.few.into_iter().map(|few| (row, few)));
        zeros(0, 0)
    }
}

impl<T: Real> Many<T> {
    fn add(&mut self, left: &Array2<T>, right: &Array2<T>) {
        let rows = left.nrows();
        if self.filled + rows > self.left.nrows() {
            self.flush();
        }
        let range = self.filled..self.filled + rows;
        self.left.slice_mut(s![range.clone(), ..]).assign(left);
        self.right.slice_mut(s![range, ..]).assign(right);
        self.filled += rows;
    }

    fn flush(&mut self) {
        let (left, right) = (self.left.slice(s![..self.filled, ..]), self.right.slice(s![..self.filled, ..]));
        product(self.sum.view_mut(), 1.0, left.t(), right);
        self.filled = 0;
    }
}

/// Factors of the blocks that had few products each, as in a regression, which makes one evaluation per block:
/// instead of one large sum per block there is one product for all of them.
///
/// All blocks of a solve take the same number of stages, or, with steps of their own, more than a few: either all or none come here.
pub(crate) struct Collected<T>(Mutex<Vec<(usize, Factors<T>)>>);

impl<T: Real> Collected<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The whole sum of the given shape, from that of the shares.
    pub(crate) fn finish(&self, space: &Cpu<T>, shape: (usize, usize), shares: Array2<T>) -> Array2<T> {
        let mut all = std::mem::take(&mut *self.0.lock().expect("no block panics while it holds this"));
        let mut sum = if shares.is_empty() { zeros(shape.0, shape.1) } else { shares };
        if !all.is_empty() {
            // In the order of the rows, whichever thread came first; the sort is stable.
            all.sort_by_key(|(row, _)| *row);
            let (left, right): (Vec<_>, Vec<_>) =
                all.iter().map(|(_, factors)| (&factors.left, &factors.right)).unzip();
            let (left, right) = (space.stacked(shape.0, &left), space.stacked(shape.1, &right));
            space.product(sum.view_mut(), 1.0, left.t(), right.view());
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::Space;

    fn matrix(rows: usize, cols: usize, key: usize) -> Array2<f64> {
        let mut out = zeros(rows, cols);
        out.indexed_iter_mut().for_each(|((i, j), v)| *v = ((i * 7 + j * 3 + key * 5) % 11) as f64 - 5.0);
        out
    }

    #[test]
    fn few_and_many_products_give_the_same_sum() {
        let space = Cpu::<f64>::new(2);
        for stages in [0, 1, 2, 3, 60] {
            let collected = Collected::new();
            let mut expected = zeros(5, 70);
            let mut shares: Option<Array2<f64>> = None;
            for (block, rows) in [16, 16, 3].into_iter().enumerate() {
                let mut gathered = Gathered::new(5, 70);
                for stage in 0..stages {
                    let (left, right) = (matrix(rows, 5, stage + block), matrix(rows, 70, stage * block));
                    expected += &left.t().dot(&right);
                    gathered.add(&left, &right);
                }
                let share = gathered.finish(block * 16, &collected);
                match &mut shares {
                    Some(sum) => space.accumulate(sum, 1.0, &[(1.0, &share)]),
                    None => shares = Some(share),
                }
            }
            // Small integers: sums are exact in any order.
            assert_eq!(collected.finish(&space, (5, 70), shares.unwrap()), expected, "{stages} stages");
        }
    }
}
