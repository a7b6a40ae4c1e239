//! Gradients that are sums of products of short matrices: accumulated over stages, or over blocks of rows where each
//! has few of them.

use flow_core::Share;
use ndarray::{Array2, s};
use rayon::prelude::*;

use crate::arrays::{numbers, numbers_mut, zeros};
use crate::cpu::Cpu;
use crate::gemm::product;
use crate::real::Real;
use crate::tiles::{AlignedVec, Tiles, aligned_zeros};

/// `Σ leftᵀ · right` over all stages of a block of rows, gathered until one product is large enough to be fast.
pub(crate) struct GradientAccumulator<T: Real> {
    pending: Vec<(Array2<T>, Array2<T>)>,
    stacked: Option<Stacked<T>>,
    shape: (usize, usize),
}

struct Factors<T> {
    left: Array2<T>,
    right: Array2<T>,
}

/// At most so many columns of the right factor are multiplied with all of the left one before the next: they stay in
/// the second cache.
const RIGHT_COLUMNS: usize = 192;

/// Rows of factors of the blocks' shares that are multiplied at once: a panel of them stays in the second cache.
const SUM_ROWS: usize = 512;

/// Panels of the right factor that a thread has of such a product, for one reading of the left one.
const SUM_COLUMNS: usize = 7;

/// Factors one below the other that are not yet multiplied, and the sum of the products of those that were there
/// before.
struct Stacked<T: 'static> {
    layout: StackLayout<T>,
    capacity: usize,
    filled: usize,
}

enum StackLayout<T: 'static> {
    /// As matrices, for the general product.
    Plain { factors: Factors<T>, sum: Array2<T> },
    /// Laid out for tiles of the sum: the left factor in panels of a tile's width, the right one in panels of its
    /// height, and the sum tile after tile in the order in which they are visited.
    Tiled { tiles: Tiles<T>, left: Panels<T>, right: Panels<T>, sum: AlignedVec<T> },
}

/// A matrix of at most `most` rows, panel after panel of `width` columns, each row by row.
struct Panels<T> {
    numbers: AlignedVec<T>,
    width: usize,
    most: usize,
    columns: usize,
}

impl<T: Real> Panels<T> {
    fn new(most: usize, columns: usize, width: usize) -> Self {
        Self { numbers: aligned_zeros(most * columns.next_multiple_of(width)), width, most, columns }
    }

    /// Writes a matrix into the rows from the `first`.
    fn put(&mut self, tiles: &Tiles<T>, first: usize, matrix: &Array2<T>) {
        let rows = matrix.nrows();
        assert!(first + rows <= self.most && matrix.ncols() == self.columns, "room for the rows");
        for (p, panel) in self.numbers.chunks_exact_mut(self.most * self.width).enumerate() {
            fill_panel(tiles, &mut panel[first * self.width..], self.width, [matrix], p * self.width);
        }
    }

    /// The first rows of every panel.
    fn panels(&self, rows: usize) -> impl Iterator<Item = &[T]> {
        self.numbers.chunks_exact(self.most * self.width).map(move |panel| &panel[..rows * self.width])
    }
}

impl<T: Real> GradientAccumulator<T> {
    /// Rows of one product.
    const ROWS: usize = 384;
    /// Products that a block hands on as factors: those of one stage.
    const PENDING: usize = 2;

    /// A sum of products with `left` rows and `right` columns.
    pub(crate) fn new(left: usize, right: usize) -> Self {
        Self { pending: Vec::new(), stacked: None, shape: (left, right) }
    }

    /// Adds `leftᵀ · right`.
    pub(crate) fn add(&mut self, left: &Array2<T>, right: &Array2<T>) {
        match &mut self.stacked {
            None if self.pending.len() < Self::PENDING => {
                self.pending.push((left.clone(), right.clone()));
            }
            None => {
                let mut stacked = Stacked::of_this_processor(Self::ROWS.max(left.nrows()), self.shape);
                self.pending.drain(..).for_each(|(left, right)| stacked.add(&left, &right));
                stacked.add(left, right);
                self.stacked = Some(stacked);
            }
            Some(stacked) => stacked.add(left, right),
        }
    }

    /// The block's share of the sum: as factors where it has so few products that those of all blocks are better made
    /// together, in [`whole_sum`].
    pub(crate) fn finish(self) -> Share<Cpu<T>> {
        match self.stacked {
            Some(stacked) => Share::of(stacked.finish()),
            None => Share { sum: None, factors: self.pending },
        }
    }
}

impl<T: Real> Stacked<T> {
    fn of_this_processor(capacity: usize, shape: (usize, usize)) -> Self {
        match T::tiles() {
            Some(tiles) => Self::tiled(tiles, capacity, shape),
            None => Self::plain(capacity, shape),
        }
    }

    fn plain(capacity: usize, (left, right): (usize, usize)) -> Self {
        let factors = Factors { left: zeros(capacity, left), right: zeros(capacity, right) };
        Self { layout: StackLayout::Plain { factors, sum: zeros(left, right) }, capacity, filled: 0 }
    }

    fn tiled(tiles: Tiles<T>, capacity: usize, (left, right): (usize, usize)) -> Self {
        let sum = aligned_zeros(left.next_multiple_of(tiles.width()) * right.next_multiple_of(tiles.height()));
        let [left, right] = [(left, tiles.width()), (right, tiles.height())].map(|(n, w)| Panels::new(capacity, n, w));
        Self { layout: StackLayout::Tiled { tiles, left, right, sum }, capacity, filled: 0 }
    }

    /// Adds `leftᵀ · right`.
    fn add(&mut self, left: &Array2<T>, right: &Array2<T>) {
        if self.filled + left.nrows() > self.capacity {
            self.flush();
        }
        match &mut self.layout {
            StackLayout::Plain { factors, .. } => {
                let rows = self.filled..self.filled + left.nrows();
                factors.left.slice_mut(s![rows.clone(), ..]).assign(left);
                factors.right.slice_mut(s![rows, ..]).assign(right);
            }
            StackLayout::Tiled { tiles, left: stack_left, right: stack_right, .. } => {
                stack_left.put(tiles, self.filled, left);
                stack_right.put(tiles, self.filled, right);
            }
        }
        self.filled += left.nrows();
    }

    /// `sum ← sum + leftᵀ · right` of the rows that are there, which then are no longer.
    fn flush(&mut self) {
        let rows = std::mem::take(&mut self.filled);
        match &mut self.layout {
            StackLayout::Plain { factors: Factors { left, right }, sum } => {
                product(sum.view_mut(), 1.0, left.slice(s![..rows, ..]).t(), right.slice(s![..rows, ..]));
            }
            StackLayout::Tiled { tiles, left, right, sum } => {
                let (left, right): (Vec<_>, Vec<_>) = (left.panels(rows).collect(), right.panels(rows).collect());
                for ((l, r), tile) in tiles_of(tiles, left.len(), right.len(), sum) {
                    tiles.add(tiles.height(), right[r], tiles.height(), left[l], tile);
                }
            }
        }
    }

    /// The whole sum.
    fn finish(mut self) -> Array2<T> {
        self.flush();
        match self.layout {
            StackLayout::Plain { sum, .. } => sum,
            StackLayout::Tiled { tiles, left, right, sum: mut tiled } => {
                let mut sum = zeros(left.columns, right.columns);
                let shape = (left.columns.div_ceil(tiles.width()), right.columns.div_ceil(tiles.height()));
                for ((l, r), tile) in tiles_of(&tiles, shape.0, shape.1, &mut tiled) {
                    let units = l * tiles.width()..left.columns.min((l + 1) * tiles.width());
                    // A row of a tile belongs to a column of the right factor.
                    let columns = numbers_mut(&mut sum).chunks_exact_mut(left.columns).skip(r * tiles.height());
                    for (column, tile) in columns.zip(tile.chunks_exact(tiles.width())) {
                        column[units.clone()].copy_from_slice(&tile[..units.len()]);
                    }
                }
                sum
            }
        }
    }
}

/// The tiles of a sum, with the panels of the left and of the right factor that each belongs to, in the order in which
/// they lie.
fn tiles_of<'a, T: Real>(
    tiles: &Tiles<T>,
    left: usize,
    right: usize,
    sum: &'a mut [T],
) -> impl Iterator<Item = ((usize, usize), &'a mut [T])> {
    let together = RIGHT_COLUMNS / tiles.height();
    let of_group = move |first| {
        let group = first..right.min(first + together);
        (0..left).flat_map(move |l| group.clone().map(move |r| (l, r)))
    };
    let pairs = (0..right).step_by(together).flat_map(of_group);
    pairs.zip(sum.chunks_exact_mut(tiles.height() * tiles.width()))
}

/// The whole sum of a shape, from the sum of the blocks' shares.
pub(crate) fn whole_sum<T: Real>(space: &Cpu<T>, shape: (usize, usize), shares: Share<Cpu<T>>) -> Array2<T> {
    let mut sum = shares.sum.unwrap_or_else(|| zeros(shape.0, shape.1));
    let mut rest = &shares.factors[..];
    while !rest.is_empty() {
        let (some, behind) = rest.split_at(together(rest));
        match T::tiles() {
            Some(tiles) => add_tiled(space, tiles, &mut sum, some),
            None => add_plain(space, &mut sum, some),
        }
        rest = behind;
    }
    sum
}

/// How many of the first pairs of factors are multiplied at once: panels of [`SUM_ROWS`] rows stay in the second cache.
fn together<T>(factors: &[(Array2<T>, Array2<T>)]) -> usize {
    let mut rows = 0;
    let fits = |(left, _): &&(Array2<T>, Array2<T>)| {
        rows += left.nrows();
        rows <= SUM_ROWS
    };
    factors.iter().take_while(fits).count().max(1)
}

/// `sum ← sum + Σ leftᵀ · right` by the general product.
fn add_plain<T: Real>(space: &Cpu<T>, sum: &mut Array2<T>, factors: &[(Array2<T>, Array2<T>)]) {
    let (left, right): (Vec<_>, Vec<_>) = factors.iter().map(|(left, right)| (left, right)).unzip();
    let (left, right) = (space.stacked(sum.nrows(), &left), space.stacked(sum.ncols(), &right));
    space.product(sum.view_mut(), 1.0, left.t(), right.view());
}

/// The same by tiles: the left factors are laid out once for all threads, of the right ones each thread has some
/// columns. The order of additions depends on the factors alone.
fn add_tiled<T: Real>(space: &Cpu<T>, tiles: Tiles<T>, sum: &mut Array2<T>, factors: &[(Array2<T>, Array2<T>)]) {
    let depth: usize = factors.iter().map(|(left, _)| left.nrows()).sum();
    let (units, width, height) = (sum.nrows(), tiles.width(), tiles.height());
    if depth == 0 || sum.is_empty() {
        return;
    }
    let lay_out = |l: usize| {
        let mut panel = aligned_zeros(depth * width);
        fill_panel(&tiles, &mut panel, width, factors.iter().map(|(left, _)| left), l * width);
        panel
    };
    let left: Vec<AlignedVec<T>> = space.install(|| (0..units.div_ceil(width)).into_par_iter().map(lay_out).collect());
    let add = |(group, out): (usize, &mut [T])| {
        let first = group * SUM_COLUMNS * height;
        let mut right = aligned_zeros(depth * (out.len() / units).next_multiple_of(height));
        for (r, panel) in right.chunks_exact_mut(depth * height).enumerate() {
            fill_panel(&tiles, panel, height, factors.iter().map(|(_, right)| right), first + r * height);
        }
        let mut tile = aligned_zeros(height * width);
        for (l, left) in left.iter().enumerate() {
            let here = l * width..units.min((l + 1) * width);
            for (right, out) in right.chunks_exact(depth * height).zip(out.chunks_mut(height * units)) {
                for (tile, column) in tile.chunks_exact_mut(width).zip(out.chunks_exact(units)) {
                    tile[..here.len()].copy_from_slice(&column[here.clone()]);
                }
                tiles.add(out.len() / units, right, height, left, &mut tile);
                for (tile, column) in tile.chunks_exact(width).zip(out.chunks_exact_mut(units)) {
                    column[here.clone()].copy_from_slice(&tile[..here.len()]);
                }
            }
        }
    };
    space.install(|| numbers_mut(sum).par_chunks_mut(SUM_COLUMNS * height * units).enumerate().for_each(add));
}

/// Fills a panel with its columns, from the `first` on, of matrices one below the other.
fn fill_panel<'a, T: Real>(
    tiles: &Tiles<T>,
    panel: &mut [T],
    width: usize,
    matrices: impl IntoIterator<Item = &'a Array2<T>>,
    first: usize,
) {
    let mut rest = panel;
    for matrix in matrices {
        let (here, below) = rest.split_at_mut(matrix.nrows() * width);
        let columns = first..matrix.ncols().min(first + width);
        let numbers = &numbers(matrix)[columns.start * matrix.nrows()..columns.end * matrix.nrows()];
        tiles.transpose((numbers, matrix.nrows()), (here, width), (columns.len(), matrix.nrows()));
        rest = below;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix<T: Real>(rows: usize, cols: usize, key: usize) -> Array2<T> {
        let mut out = zeros(rows, cols);
        out.indexed_iter_mut().for_each(|((i, j), v)| *v = T::of(((i * 7 + j * 3 + key * 5) % 11) as f64 - 5.0));
        out
    }

    fn tiles_give_the_sum_of_the_general_product<T: Real>() {
        for (left, right, heights) in [(5, 70, [3, 2]), (33, 6, [10, 1]), (70, 200, [25, 7]), (1, 1, [1, 1])] {
            let sum = |mut stacked: Stacked<T>| {
                // The second round finds no room, and the last leaves some.
                for round in 0..3 {
                    stacked.add(&matrix(heights[0], left, round), &matrix(heights[0], right, 3));
                    stacked.add(&matrix(heights[1], left, 4), &matrix(heights[1], right, round));
                }
                stacked.add(&matrix(1, left, 2), &matrix(1, right, 8));
                stacked.finish()
            };
            let (capacity, shape) = (heights[0] + heights[1], (left, right));
            let plain = sum(Stacked::plain(capacity, shape));
            assert!(plain.iter().any(|v| *v != T::zero()));
            let tiled = T::all_tiles().into_iter().map(|tiles| Stacked::tiled(tiles, capacity, shape));
            // Small integers: sums are exact in any order.
            tiled.for_each(|stacked| assert_eq!(sum(stacked), plain, "{left} × {right}"));
        }
    }

    #[test]
    fn tiles_give_the_sum_of_the_general_product_in_either_precision() {
        tiles_give_the_sum_of_the_general_product::<f32>();
        tiles_give_the_sum_of_the_general_product::<f64>();
    }

    fn sums_of_shares_are_those_of_the_general_product<T: Real>() {
        let space = Cpu::<T>::new(2);
        for (left, right, heights) in
            [(5, 70, &[3, 2][..]), (33, 100, &[10]), (70, 200, &[300, 200, 25, 600]), (1, 1, &[0, 2])]
        {
            let factors: Vec<_> = heights
                .iter()
                .enumerate()
                .map(|(i, rows)| (matrix(*rows, left, i), matrix(*rows, right, 7 * i)))
                .collect();
            let start = matrix(left, right, 5);
            let mut plain = start.clone();
            add_plain(&space, &mut plain, &factors);
            for tiles in T::all_tiles() {
                let mut tiled = start.clone();
                add_tiled(&space, tiles, &mut tiled, &factors);
                // Small integers: sums are exact in any order.
                assert_eq!(tiled, plain, "{left} × {right}");
            }
            let whole = whole_sum(&space, (left, right), Share { sum: Some(start), factors });
            assert_eq!(whole, plain, "{left} × {right}");
        }
    }

    #[test]
    fn sums_of_shares_are_those_of_the_general_product_in_either_precision() {
        sums_of_shares_are_those_of_the_general_product::<f32>();
        sums_of_shares_are_those_of_the_general_product::<f64>();
    }

    #[test]
    fn few_and_many_products_give_the_same_sum() {
        let space = Cpu::<f64>::new(2);
        for stages in [0, 1, 2, 3, 60] {
            let mut expected: Array2<f64> = zeros(5, 70);
            let mut shares: Option<Share<Cpu<f64>>> = None;
            for (block, rows) in [16, 16, 3].into_iter().enumerate() {
                let mut gathered = GradientAccumulator::new(5, 70);
                for stage in 0..stages {
                    let (left, right) = (matrix(rows, 5, stage + block), matrix(rows, 70, stage * block));
                    expected += &left.t().dot(&right);
                    gathered.add(&left, &right);
                }
                let share = gathered.finish();
                match &mut shares {
                    Some(sum) => sum.add(&space, share),
                    None => shares = Some(share),
                }
            }
            // Small integers: sums are exact in any order.
            assert_eq!(whole_sum(&space, (5, 70), shares.unwrap()), expected, "{stages} stages");
        }
    }
}
