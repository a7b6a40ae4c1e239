//! Sums of products of short matrices: gathered over stages, or over blocks of rows where each has few of them.

use std::sync::Mutex;

use ndarray::{Array2, s};

use crate::arrays::{numbers, numbers_mut, zeros};
use crate::packed::{MOST_COLUMNS, TILE_ROWS, Tiles};
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
struct Many<T: 'static> {
    sum: Array2<T>,
    factors: Tall<T>,
    filled: usize,
}

/// The factors that are not yet multiplied.
enum Tall<T: 'static> {
    /// As matrices, for the general product.
    Plain(Factors<T>),
    /// Laid out for tiles of the sum: the left factor in panels of a tile's width, the right one in panels of its height.
    Tiled { tiles: Tiles<T>, left: Panels<T>, right: Panels<T> },
}

/// A matrix of at most `most` rows, panel after panel of `width` columns, each row by row.
struct Panels<T> {
    numbers: Vec<T>,
    width: usize,
    most: usize,
    columns: usize,
}

impl<T: Real> Panels<T> {
    fn new(most: usize, columns: usize, width: usize) -> Self {
        Self { numbers: vec![T::zero(); most * columns.next_multiple_of(width)], width, most, columns }
    }

    /// Writes a matrix into the rows from the `first`.
    fn put(&mut self, first: usize, matrix: &Array2<T>) {
        let rows = matrix.nrows();
        assert!(first + rows <= self.most && matrix.ncols() == self.columns, "room for the rows");
        let panels = self.numbers.chunks_exact_mut(self.most * self.width);
        for (panel, columns) in panels.zip(numbers(matrix).chunks(rows * self.width)) {
            let panel = &mut panel[first * self.width..];
            for (c, column) in columns.chunks_exact(rows).enumerate() {
                panel[c..].iter_mut().step_by(self.width).zip(column).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// The first rows of every panel.
    fn panels(&self, rows: usize) -> impl Iterator<Item = &[T]> {
        self.numbers.chunks_exact(self.most * self.width).map(move |panel| &panel[..rows * self.width])
    }
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
                let mut many = Many { sum, factors: Tall::new(T::tiles(), capacity, self.shape), filled: 0 };
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
        if self.filled + left.nrows() > self.factors.capacity() {
            self.flush();
        }
        self.factors.put(self.filled, left, right);
        self.filled += left.nrows();
    }

    fn flush(&mut self) {
        self.factors.add_to(&mut self.sum, self.filled);
        self.filled = 0;
    }
}

impl<T: Real> Tall<T> {
    /// Columns of the right factor that are multiplied with all of the left one before the next: what stays in the second cache.
    const RIGHT_COLUMNS: usize = 32 * TILE_ROWS;

    fn new(tiles: Option<Tiles<T>>, capacity: usize, (left, right): (usize, usize)) -> Self {
        match tiles {
            None => Self::Plain(Factors { left: zeros(capacity, left), right: zeros(capacity, right) }),
            Some(tiles) => {
                let (left, right) =
                    (Panels::new(capacity, left, tiles.width()), Panels::new(capacity, right, TILE_ROWS));
                Self::Tiled { tiles, left, right }
            }
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Plain(factors) => factors.left.nrows(),
            Self::Tiled { left, .. } => left.most,
        }
    }

    /// Writes two factors into the rows from the `first`.
    fn put(&mut self, first: usize, left: &Array2<T>, right: &Array2<T>) {
        match self {
            Self::Plain(factors) => {
                factors.left.slice_mut(s![first..first + left.nrows(), ..]).assign(left);
                factors.right.slice_mut(s![first..first + left.nrows(), ..]).assign(right);
            }
            Self::Tiled { left: tall_left, right: tall_right, .. } => {
                tall_left.put(first, left);
                tall_right.put(first, right);
            }
        }
    }

    /// `sum ← sum + leftᵀ · right` of the first rows.
    fn add_to(&self, sum: &mut Array2<T>, rows: usize) {
        let (tiles, left, right) = match self {
            Self::Plain(Factors { left, right }) => {
                let (left, right) = (left.slice(s![..rows, ..]), right.slice(s![..rows, ..]));
                return product(sum.view_mut(), 1.0, left.t(), right);
            }
            Self::Tiled { tiles, left, right } => (tiles, left, right),
        };
        let (height, width) = (left.columns, tiles.width());
        let right: Vec<_> = right.panels(rows).collect();
        let mut tile = [T::zero(); TILE_ROWS * MOST_COLUMNS];
        // Columns of the sum are those of the right factor; a tile holds a few of them, each over the width of a panel of the left one.
        let sums = numbers_mut(sum).chunks_mut(height * Self::RIGHT_COLUMNS);
        for (right, sums) in right.chunks(Self::RIGHT_COLUMNS / TILE_ROWS).zip(sums) {
            for (p, left) in left.panels(rows).enumerate() {
                let units = p * width..height.min((p + 1) * width);
                for (right, sums) in right.iter().zip(sums.chunks_mut(height * TILE_ROWS)) {
                    tiles.tile(sums.len() / height, right, TILE_ROWS, left, &mut tile);
                    for (sum, tile) in sums.chunks_exact_mut(height).zip(tile.chunks_exact(width)) {
                        sum[units.clone()].iter_mut().zip(tile).for_each(|(sum, term)| *sum += *term);
                    }
                }
            }
        }
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
    use crate::packed::Tiled;
    use flow_core::Space;

    fn matrix(rows: usize, cols: usize, key: usize) -> Array2<f64> {
        let mut out = zeros(rows, cols);
        out.indexed_iter_mut().for_each(|((i, j), v)| *v = ((i * 7 + j * 3 + key * 5) % 11) as f64 - 5.0);
        out
    }

    #[test]
    fn tiles_give_the_sum_of_the_general_product() {
        for (left, right, heights) in [(5, 70, [3, 2]), (33, 6, [10, 1]), (70, 200, [25, 7]), (1, 1, [1, 1])] {
            let (mut plain, mut tiled) = (zeros(left, right), zeros(left, right));
            for (sum, tiles) in [(&mut plain, None), (&mut tiled, f64::tiles())] {
                let mut many = Tall::new(tiles, 40, (left, right));
                for round in 0..2 {
                    many.put(0, &matrix(heights[0], left, round), &matrix(heights[0], right, 3));
                    many.put(heights[0], &matrix(heights[1], left, 4), &matrix(heights[1], right, round));
                    many.add_to(sum, heights[0] + heights[1]);
                }
            }
            assert!(plain.iter().any(|v| *v != 0.0));
            // Small integers: sums are exact in any order.
            assert_eq!(tiled, plain, "{left} × {right}");
        }
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
