//! Products of 32-bit matrices on the matrix units of recent Intel processors (AMX), which multiply numbers of 16 bits.
//!
//! The 24 significant bits of a 32-bit number are those of three bfloat16: `x = x₁ + x₂ + x₃`, each the nearest to what
//! the ones before leave. Of the nine products of pieces of x and y the six with `i + j ≤ 4` are added up in 32 bits,
//! the least first; the others are together at most 2⁻²⁴ of `|x y|`, as large as the rounding of one 32-bit product,
//! and on average a twentieth of that (G. Henry, P. T. P. Tang and A. Heinecke, arXiv:1904.06376). A sum of many
//! products is rounded at its own size six times for every 32 of them, not 32 times: it is as exact as a loop of 32-bit
//! operations, or more. The units do sixteen times as many operations as the vectors of the same processor, so that six
//! products take less time than one in 32 bits.
//!
//! Numbers from 3.3962e38 on count as infinite, and where one factor is infinite the product is not a number. Denormal
//! numbers count as zero, and with them pieces of small numbers: products below 2⁻¹⁰² lose digits.
//!
//! ```
//! use matrix_units::{Left, Order, Right, Start, Units};
//! let Some(units) = Units::of_this_processor() else { return };
//! // 3 × 2 times 2 × 1, each row by row.
//! let (mut left, mut right, mut product) = (Left::default(), Right::default(), [0.0; 3]);
//! left.lay_out(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, (3, 2));
//! right.lay_out(&[10.0, 1.0], 1, (2, 1));
//! let all = ((&left, 0..left.groups()), (&right, 0..right.panels()));
//! units.multiply(all.0, all.1, Order::ByGroup, Start::Zeros, (&mut product, 1));
//! assert_eq!(product, [12.0, 34.0, 56.0]);
//! ```

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux"))]
mod amx;
mod pieces;
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux")))]
mod without;

use std::ops::Range;

use aligned_vec::{AVec, ConstAlign};
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux"))]
use amx::{Loop, permitted};
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux")))]
use without::{Loop, permitted};

/// Rows of a tile, and columns of 32 bits.
const SIDE: usize = 16;
/// Numbers of the inner dimension that one operation takes.
const DEPTH: usize = 32;
/// Numbers of a tile of pieces.
const TILE: usize = SIDE * DEPTH;
/// Numbers of one step along the inner dimension, in either factor: three pieces of two tiles.
const STEP: usize = 3 * 2 * TILE;
/// Bytes of a line of the caches.
const LINE: usize = 64;

/// The most rows of a group, and the most columns of a panel: two tiles of either.
const MOST: usize = 2 * SIDE;

/// Numbers from the beginning of a line of the caches on.
type Pieces = AVec<u16, ConstAlign<LINE>>;

/// The matrix units of this processor.
#[derive(Debug, Clone, Copy)]
pub struct Units(());

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Nothing.
    Zeros,
    /// What is in its place.
    There,
    /// Numbers in the layout of the result.
    Of(&'a [f32]),
}

/// The order in which a product is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One group of rows after the other, each with a few panels, then with the next few: where the left factor comes
    /// from farther away than these. While a group meets them, most of the next one is asked for.
    ByGroup,
    /// One panel of columns after the other, with a few groups: where the right factor does.
    ByPanel,
}

/// Parts of the factor in the inner loop: with a depth of 384, as many as stay in the second cache beside the parts of
/// the other.
const FEW: usize = 6;

/// The least inner dimension and number of columns (or rows) of a factor that is worth its pieces: at 256, laying out
/// the other factor takes what products gain.
pub const WORTH_FROM: usize = 512;

impl Units {
    /// Those of this processor, where it has any and the system lets this process use them.
    ///
    /// A process that has used them ends without a word when a thread's stack overflows: the larger state of its
    /// threads no longer fits into the room that the standard library keeps for its message.
    pub fn of_this_processor() -> Option<Self> {
        permitted().then_some(Self(()))
    }

    /// `out_rc ← start_rc + Σ_k left_rk · right_kc` for some groups of rows of the left factor and some panels of
    /// columns of the right one, row by row with `stride` numbers from one row to the next.
    ///
    /// # Panics
    /// When the factors do not fit together, there are no such groups or panels, or there is no room.
    pub fn multiply(
        self,
        left: (&Left, Range<usize>),
        right: (&Right, Range<usize>),
        order: Order,
        start: Start<'_>,
        (out, stride): (&mut [f32], usize),
    ) {
        multiply(&Loop, left, right, order, start, (out, stride));
    }
}

/// What multiplies one group of rows by one panel of columns.
trait Kernel {
    fn product(&self, factors: &Factors<'_>, sums: Sums<'_>);
}

/// One group of rows and one panel of columns.
struct Factors<'a> {
    /// Rows of either tile of the group.
    height: usize,
    /// Columns of the first and of the second tile of the panel.
    widths: [usize; 2],
    /// Step by step.
    left: &'a [u16],
    /// Step by step.
    right: &'a [u16],
    /// Part of what is read next, to be asked for meanwhile: equally many lines of the caches at every step.
    next: &'a [u16],
}

/// Where a product goes: row by row with `stride` numbers from one row to the next.
struct Sums<'a> {
    start: Start<'a>,
    out: &'a mut [f32],
    stride: usize,
}

/// [`Units::multiply`] by any kernel.
fn multiply(
    kernel: &impl Kernel,
    (left, groups): (&Left, Range<usize>),
    (right, panels): (&Right, Range<usize>),
    order: Order,
    start: Start<'_>,
    (out, stride): (&mut [f32], usize),
) {
    assert!(left.depth == right.depth, "inner dimensions of {} and {}", left.depth, right.depth);
    let (rows, columns) = (left.rows_of(groups.clone()), right.columns_of(panels.clone()));
    if rows.is_empty() || columns.is_empty() {
        return;
    }
    check_numbers(out, stride, (rows.len(), columns.len()));
    if let Start::Of(start) = start {
        check_numbers(start, stride, (rows.len(), columns.len()));
    }
    let (outer, inner) = match order {
        Order::ByGroup => (groups, panels),
        Order::ByPanel => (panels, groups),
    };
    for first in inner.clone().step_by(FEW) {
        let few = first..inner.end.min(first + FEW);
        for slow in outer.clone() {
            for quick in few.clone() {
                let (group, panel) = if order == Order::ByGroup { (slow, quick) } else { (quick, slow) };
                let part = (quick - first, few.len());
                let at = (left.rows_of(group..group + 1).start - rows.start) * stride;
                let at = at + right.columns_of(panel..panel + 1).start - columns.start;
                let start = match start {
                    Start::Of(start) => Start::Of(&start[at..]),
                    other => other,
                };
                let sums = Sums { start, out: &mut out[at..], stride };
                one(kernel, (left, group), (right, panel), (order, part), sums);
            }
        }
    }
}

/// One group and one panel, with the number of the part in the inner loop and how many those are.
fn one(
    kernel: &impl Kernel,
    (left, group): (&Left, usize),
    (right, panel): (&Right, usize),
    (order, (number, count)): (Order, (usize, usize)),
    sums: Sums<'_>,
) {
    let length = left.depth.div_ceil(DEPTH) * STEP;
    // After the last part comes the first one.
    let next = match order {
        Order::ByGroup => part_of(&left.pieces, (group + 1) % left.groups(), length),
        Order::ByPanel => part_of(&right.pieces, (panel + 1) % right.panels(), length),
    };
    let share = length / count;
    let (height, width) = (left.rows_of(group..group + 1).len(), right.columns_of(panel..panel + 1).len());
    let factors = Factors {
        height: left.height,
        widths: [width.div_ceil(2), (width / 2).max(1)],
        left: part_of(&left.pieces, group, length),
        right: part_of(&right.pieces, panel, length),
        next: &next[number * share..(number + 1) * share],
    };
    if height == 2 * left.height && width > 1 {
        kernel.product(&factors, sums);
    } else {
        in_part(kernel, &factors, sums, (height, width));
    }
}

/// A group or a panel, of so many numbers each.
fn part_of(pieces: &Pieces, number: usize, length: usize) -> &[u16] {
    &pieces[number * length..(number + 1) * length]
}

/// Some rows and columns of a product: tiles of fewer rows or without a column do not exist, so there is room for all
/// of it.
fn in_part(kernel: &impl Kernel, factors: &Factors<'_>, sums: Sums<'_>, (height, width): (usize, usize)) {
    #[repr(align(64))]
    struct Whole([f32; MOST * MOST]);
    let Sums { start, out, stride } = sums;
    let mut whole = Whole([0.0; MOST * MOST]);
    let rows = |r: usize| (r * MOST..r * MOST + width, r * stride..r * stride + width);
    for (to, from) in (0..height).map(rows) {
        match start {
            Start::Zeros => {}
            Start::There => whole.0[to].copy_from_slice(&out[from]),
            Start::Of(start) => whole.0[to].copy_from_slice(&start[from]),
        }
    }
    kernel.product(factors, Sums { start: Start::There, out: &mut whole.0, stride: MOST });
    (0..height).map(rows).for_each(|(from, to)| out[to].copy_from_slice(&whole.0[from]));
}

/// The size of all parts but the last of as few of at most [`MOST`] as there can be.
fn equal_parts(count: usize) -> usize {
    let parts = count.div_ceil(MOST).max(1);
    count.div_ceil(parts).max(1)
}

/// What some of `most` parts of a size are of `all`.
fn part(parts: Range<usize>, most: usize, size: usize, all: usize) -> Range<usize> {
    assert!(parts.start <= parts.end && parts.end <= most, "parts {parts:?} of {most}");
    all.min(parts.start * size)..all.min(parts.end * size)
}

/// Numbers from the first to the last of `rows × columns`, with `stride` from one row to the next; `None` where rows
/// would overlap.
fn extent((rows, columns): (usize, usize), stride: usize) -> Option<usize> {
    if rows == 0 || columns == 0 {
        return Some(0);
    }
    (rows - 1).checked_mul(stride)?.checked_add(columns).filter(|_| columns <= stride)
}

/// Asserts that there are `rows × columns` numbers.
fn check_numbers(numbers: &[f32], stride: usize, shape: (usize, usize)) {
    let enough = extent(shape, stride).is_some_and(|extent| extent <= numbers.len());
    assert!(enough, "{} numbers with {stride} from row to row are no {} × {}", numbers.len(), shape.0, shape.1);
}

/// Room for so many steps of factors; what lies beyond the depth is zero.
fn make_room(pieces: &mut Pieces, parts: usize, depth: usize) {
    let of_part = depth.div_ceil(DEPTH) * STEP;
    pieces.resize(parts * of_part, 0);
    if !depth.is_multiple_of(DEPTH) {
        pieces.chunks_exact_mut(of_part).for_each(|part| part[of_part - STEP..].fill(0));
    }
}

/// A left factor in pieces, group after group of rows; by default one without numbers, as room to be laid out.
#[derive(Debug, Clone)]
pub struct Left {
    pieces: Pieces,
    rows: usize,
    depth: usize,
    /// Rows of a tile, of which a group has two.
    height: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self { pieces: Pieces::new(LINE), rows: 0, depth: 0, height: 1 }
    }
}

impl Left {
    /// Lays out `rows × depth` numbers in place of what was there, row by row with `stride` numbers from one row to the
    /// next.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn lay_out(&mut self, numbers: &[f32], stride: usize, (rows, depth): (usize, usize)) {
        check_numbers(numbers, stride, (rows, depth));
        (self.rows, self.depth, self.height) = (rows, depth, equal_parts(rows).div_ceil(2));
        let groups = self.groups();
        make_room(&mut self.pieces, groups, depth);
        if depth == 0 {
            return;
        }
        let of_group = self.pieces.len() / groups.max(1);
        for (r, row) in numbers.chunks(stride).take(rows).enumerate() {
            let (tile, r) = (r / self.height, r % self.height);
            let to = &mut self.pieces[tile / 2 * of_group + tile % 2 * TILE + r * DEPTH..];
            for (step, numbers) in row[..depth].chunks(DEPTH).enumerate() {
                pieces::row(numbers, &mut to[step * STEP..]);
            }
        }
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(2 * self.height)
    }

    /// The rows of some groups.
    ///
    /// # Panics
    /// When there are no such groups.
    pub fn rows_of(&self, groups: Range<usize>) -> Range<usize> {
        part(groups, self.groups(), 2 * self.height, self.rows)
    }
}

/// A right factor in pieces, panel after panel of columns; by default one without numbers, as room to be laid out.
#[derive(Debug, Clone)]
pub struct Right {
    pieces: Pieces,
    depth: usize,
    columns: usize,
    /// Columns of a panel.
    width: usize,
}

impl Default for Right {
    fn default() -> Self {
        Self { pieces: Pieces::new(LINE), depth: 0, columns: 0, width: 1 }
    }
}

impl Right {
    /// Lays out `depth × columns` numbers in place of what was there, row by row with `stride` numbers from one row to
    /// the next.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn lay_out(&mut self, numbers: &[f32], stride: usize, (depth, columns): (usize, usize)) {
        check_numbers(numbers, stride, (depth, columns));
        (self.depth, self.columns, self.width) = (depth, columns, equal_parts(columns));
        let panels = self.panels();
        make_room(&mut self.pieces, panels, depth);
        if depth == 0 {
            return;
        }
        let of_panel = self.pieces.len() / panels.max(1);
        let numbers = &numbers[..extent((depth, columns), stride).expect("just checked")];
        for panel in 0..panels {
            let columns = self.columns_of(panel..panel + 1);
            let tiles = [columns.start, columns.start + columns.len().div_ceil(2)];
            let steps = self.pieces[panel * of_panel..][..of_panel].chunks_exact_mut(STEP);
            for (pieces, numbers) in steps.zip(numbers.chunks(DEPTH * stride)) {
                pieces::rows_in_pairs(numbers, stride, tiles, pieces);
            }
        }
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The columns of some panels.
    ///
    /// # Panics
    /// When there are no such panels.
    pub fn columns_of(&self, panels: Range<usize>) -> Range<usize> {
        part(panels, self.panels(), self.width, self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the units do, one number after the other: the judge of their layout on any machine.
    struct OneByOne;

    impl Kernel for OneByOne {
        fn product(&self, factors: &Factors<'_>, sums: Sums<'_>) {
            let number = |bits: u16| f32::from_bits(u32::from(bits) << 16);
            let (&Factors { height, widths, left, right, .. }, Sums { start, out, stride }) = (factors, sums);
            for (r, c) in (0..2 * height).flat_map(|r| (0..widths[0] + widths[1]).map(move |c| (r, c))) {
                let at = r * stride + c;
                let mut sum = match start {
                    Start::Zeros => 0.0,
                    Start::There => out[at],
                    Start::Of(start) => start[at],
                };
                let (tile, column) = if c < widths[0] { (0, c) } else { (1, c - widths[0]) };
                for (left, right) in left.chunks_exact(STEP).zip(right.chunks_exact(STEP)) {
                    for (i, j) in [(2, 0), (1, 1), (0, 2), (0, 1), (1, 0), (0, 0)] {
                        let left = &left[(2 * (2 - i) + r / height) * TILE + r % height * DEPTH..];
                        let right = &right[(2 * j + tile) * TILE + column * 2..];
                        sum += (0..DEPTH).map(|k| number(left[k]) * number(right[k / 2 * DEPTH + k % 2])).sum::<f32>();
                    }
                }
                out[at] = sum;
            }
        }
    }

    type Multiply = fn((&Left, Range<usize>), (&Right, Range<usize>), Order, Start<'_>, (&mut [f32], usize));

    /// The units of this processor, and what stands for them everywhere.
    fn all_units() -> impl Iterator<Item = Multiply> {
        let plain: Multiply = |left, right, order, start, out| multiply(&OneByOne, left, right, order, start, out);
        let ours: Multiply = |left, right, order, start, out| multiply(&Loop, left, right, order, start, out);
        std::iter::once(plain).chain(Units::of_this_processor().map(|_| ours))
    }

    /// `start + a · b`, row by row; with `gap` numbers that are none between the rows of all of them, and after the
    /// last.
    fn product(
        multiply: Multiply,
        (rows, depth, columns): (usize, usize, usize),
        a: &[f32],
        b: &[f32],
        start: Option<&[f32]>,
        gap: usize,
    ) -> Vec<f32> {
        let apart = |numbers: &[f32], columns: usize| -> Vec<f32> {
            let gap = std::iter::repeat_n(f32::NAN, gap);
            numbers.chunks(columns.max(1)).flat_map(|row| row.iter().copied().chain(gap.clone())).collect()
        };
        let (mut left, mut right) = (Left::default(), Right::default());
        // Some other factors were there before.
        left.lay_out(&[f32::NAN; 300], 60, (5, 60));
        right.lay_out(&[f32::NAN; 480], 8, (60, 8));
        left.lay_out(&apart(a, depth), depth + gap, (rows, depth));
        right.lay_out(&apart(b, columns), columns + gap, (depth, columns));
        let (stride, start) = (columns + gap, start.map(|start| apart(start, columns)));
        let mut out = vec![f32::NAN; rows * stride];
        // All but the first group or panel, then that.
        let parts = |count: usize| [count.min(1)..count, 0..count.min(1)];
        for (groups, order) in parts(left.groups()).into_iter().zip([Order::ByGroup, Order::ByPanel]) {
            for panels in parts(right.panels()) {
                let at = left.rows_of(groups.clone()).start * stride + right.columns_of(panels.clone()).start;
                let at = at.min(out.len());
                let start = start.as_ref().map_or(Start::Zeros, |start| Start::Of(&start[at.min(start.len())..]));
                multiply((&left, groups.clone()), (&right, panels), order, start, (&mut out[at..], stride));
            }
        }
        let (kept, between): (Vec<_>, Vec<_>) = (0..out.len()).partition(|at| at % stride.max(1) < columns);
        assert!(between.iter().all(|at| out[*at].is_nan()), "something was written between the rows");
        kept.into_iter().map(|at| out[at]).collect()
    }

    fn integers(count: usize, key: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + key) % 11) as f32 - 5.0).collect()
    }

    fn small_integers_are_exact(
        multiply: Multiply,
        shape @ (rows, depth, columns): (usize, usize, usize),
        on_top: bool,
        gap: usize,
    ) {
        let (a, b, start) = (integers(rows * depth, 1), integers(depth * columns, 4), integers(rows * columns, 2));
        let sum = |at: usize| -> f32 {
            (0..depth).map(|k| a[at / columns * depth + k] * b[k * columns + at % columns]).sum()
        };
        let exact: Vec<f32> = (0..rows * columns).map(|at| sum(at) + if on_top { start[at] } else { 0.0 }).collect();
        let found = product(multiply, shape, &a, &b, on_top.then_some(&*start), gap);
        assert!(found == exact, "{rows} × {depth} times {depth} × {columns}");
    }

    /// Numbers between −1 and 1, some of them far smaller than others.
    fn numbers(count: usize, key: usize) -> Vec<f32> {
        let number = |i: usize| {
            let x = ((i * 7919 + key * 104_729) as f32 * 0.618_034).sin();
            x * f32::powi(2.0, -((i * 31 + key) as i32 % 12))
        };
        (0..count).map(number).collect()
    }

    /// Greatest error of products in units of `2⁻²⁴ Σ_k |a_rk b_kc|`, against 64 bits.
    fn worst(found: &[f32], (rows, depth, columns): (usize, usize, usize), a: &[f32], b: &[f32]) -> f64 {
        let mut worst = 0.0f64;
        for (at, found) in found.iter().enumerate() {
            let (r, c) = (at / columns, at % columns);
            let term = |k: usize| f64::from(a[r * depth + k]) * f64::from(b[k * columns + c]);
            let (exact, scale) = (0..depth).map(term).fold((0.0, 0.0), |(s, t), x| (s + x, t + x.abs()));
            worst = worst.max((f64::from(*found) - exact).abs() / (scale * 2f64.powi(-24)));
        }
        assert!(rows * columns == found.len() && worst.is_finite());
        worst
    }

    proptest! {
        #[test]
        fn products_of_small_integers_are_exact(rows in 0usize..70, depth in 0usize..70, columns in 0usize..70, on_top: bool, gap in 0usize..3) {
            all_units().for_each(|multiply| small_integers_are_exact(multiply, (rows, depth, columns), on_top, gap));
        }
    }

    /// More groups and panels than the inner loop takes at a time, with one row or column in the last.
    #[test]
    fn products_of_many_parts_are_exact() {
        for shape in [(230, 40, 450), (993, 33, 40), (33, 5, 993)] {
            all_units().for_each(|multiply| small_integers_are_exact(multiply, shape, true, 1));
        }
    }

    #[test]
    #[should_panic(expected = "are no 32 × 1")]
    fn rows_are_not_farther_apart_than_numbers_reach() {
        let (mut left, mut right) = (Left::default(), Right::default());
        left.lay_out(&[1.0; 32], 1, (32, 1));
        right.lay_out(&[1.0], 1, (1, 1));
        // 31 times this is 1 where products overflow.
        let stride = 17_256_631_552_825_064_415;
        multiply(&OneByOne, (&left, 0..1), (&right, 0..1), Order::ByGroup, Start::Zeros, (&mut [0.0; 2], stride));
    }

    #[test]
    fn a_product_is_added_to_what_is_there() {
        for (rows, columns) in [(2, 2), (1, 1), (32, 20)] {
            let (mut left, mut right) = (Left::default(), Right::default());
            left.lay_out(&vec![2.0; rows * 3], 3, (rows, 3));
            right.lay_out(&vec![1.0; columns * 3], columns, (3, columns));
            for multiply in all_units() {
                let mut out = vec![0.5; rows * 40];
                (0..2).for_each(|_| {
                    multiply((&left, 0..1), (&right, 0..1), Order::ByPanel, Start::There, (&mut out, 40))
                });
                let expected = |at: usize| if at % 40 < columns { 12.5 } else { 0.5 };
                assert!(out.iter().enumerate().all(|(at, v)| *v == expected(at)), "{rows} × {columns}");
            }
        }
    }

    /// A plain loop in 32 bits errs by up to as many units as the sum has terms.
    #[test]
    fn products_are_as_exact_as_in_32_bits() {
        let shape = (37, 1000, 45);
        let (a, b) = (numbers(shape.0 * shape.1, 1), numbers(shape.1 * shape.2, 2));
        let mut plain = vec![0.0f32; shape.0 * shape.2];
        for (at, sum) in plain.iter_mut().enumerate() {
            let (r, c) = (at / shape.2, at % shape.2);
            (0..shape.1).for_each(|k| *sum = a[r * shape.1 + k].mul_add(b[k * shape.2 + c], *sum));
        }
        let plain = worst(&plain, shape, &a, &b);
        for multiply in all_units() {
            let ours = worst(&product(multiply, shape, &a, &b, None, 0), shape, &a, &b);
            assert!(ours <= plain, "{ours} units of the last place, a loop in 32 bits {plain}");
        }
        // One term has no sum to hide behind: the products left out, and the roundings of the six that are added.
        let shape = (50, 1, 50);
        let (a, b) = (numbers(50, 3), numbers(50, 5));
        for multiply in all_units() {
            let ours = worst(&product(multiply, shape, &a, &b, None, 0), shape, &a, &b);
            assert!(ours <= 2.0, "{ours} units of the last place");
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for multiply in all_units() {
            for bad in [f32::NAN, f32::INFINITY, f32::from_bits(0x7fff_ffff)] {
                let mut a = vec![1.0; 40];
                a[7] = bad;
                let found = product(multiply, (2, 20, 3), &a, &[1.0; 60], None, 0);
                assert!(found[..3].iter().all(|v| !v.is_finite()) && found[3..] == [20.0; 3], "{bad}: {found:?}");
            }
        }
    }
}
