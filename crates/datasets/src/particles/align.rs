//! The nearest image of a configuration under permutations, rotations and reflections.

use nalgebra::{Matrix2, Matrix3};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{ClusterError, Composition};

/// The most permutations that are tried one by one: those of 4 equal particles.
const EXACT: usize = 24;
/// Random rotations that the search begins from, where there are too many permutations to try.
const STARTS: usize = 8;
/// The most times that a permutation and a rotation are found in turn.
const TURNS: usize = 30;

/// Brings configurations near each other: `y_i ← R y_σ(i)` with the permutation σ of particles of one kind and the
/// orthogonal R that make `Σ_i |x_i − R y_σ(i)|²` least.
///
/// Of up to 4 equal particles, and of more where no more than 24 permutations keep the kinds, it is
/// the least of all. Of others, permutations by an optimal assignment and rotations by a singular value decomposition
/// (Kabsch, Acta Cryst. A 32, 922 (1976)) take turns from some random rotations, and the best of what they end in is
/// taken: near the least, and never above the first distance.
///
/// ```
/// use datasets::particles::Alignment;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// let x = [1.0, 0.0, -1.0, 1.0, 0.0, -1.0];
/// // The same triangle, turned by a right angle, its particles in another order.
/// let mut y = [1.0, 0.0, 0.0, 1.0, -1.0, -1.0];
/// let alignment = Alignment::new(3, 2)?;
/// assert!(alignment.align(&x, &mut y, &mut ChaCha8Rng::seed_from_u64(1)) < 1e-12);
/// assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-6));
/// # Ok::<(), datasets::particles::ClusterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Alignment {
    of: Composition,
    /// Every permutation, where they are few.
    permutations: Vec<Vec<usize>>,
}

/// The sum `Σ_i x_i · R y_σ(i)` with what it is found by.
struct Overlap {
    value: f64,
    permutation: Vec<usize>,
    rotation: [f64; 9],
}

impl Alignment {
    /// For `particles` equal particles in `space` dimensions.
    ///
    /// # Errors
    /// [`ClusterError::Size`] for fewer than 2 particles or a space that has not 1, 2 or 3 dimensions.
    pub fn new(particles: usize, space: usize) -> Result<Self, ClusterError> {
        Ok(Self::of(&Composition::new(particles, space)?))
    }

    /// For these particles.
    pub fn of(of: &Composition) -> Self {
        Self { of: of.clone(), permutations: permutations_of(of.kinds()).unwrap_or_default() }
    }

    /// Whether the image found is the nearest of all.
    pub fn is_exact(&self) -> bool {
        !self.permutations.is_empty()
    }

    /// Replaces `y` by its image that is near `x` and returns the square of the distance. Both have their centres at
    /// the origin.
    ///
    /// # Panics
    /// If they are not the coordinates of all particles.
    pub fn align(&self, x: &[f64], y: &mut [f64], rng: &mut impl Rng) -> f64 {
        let found = if self.is_exact() { self.of_all(x, y) } else { self.search(x, y, rng) };
        let (d, old) = (self.of.space(), y.to_vec());
        for (i, from) in found.permutation.iter().enumerate() {
            turn(&found.rotation, &old[from * d..(from + 1) * d], &mut y[i * d..(i + 1) * d]);
        }
        x.iter().zip(y).map(|(x, y)| (x - *y).powi(2)).sum()
    }

    /// The square of the distance to the nearest image of `y`, of an exact alignment.
    pub(super) fn least(&self, x: &[f64], y: &[f64]) -> f64 {
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let best =
            self.permutations.iter().map(|p| overlap(&self.moments(x, y, p), self.of.space())).fold(0.0, f64::max);
        (square(x) + square(y) - 2.0 * best).max(0.0)
    }

    fn of_all(&self, x: &[f64], y: &[f64]) -> Overlap {
        let of = |permutation: &Vec<usize>| overlap(&self.moments(x, y, permutation), self.of.space());
        let best = self.permutations.iter().max_by(|a, b| of(a).total_cmp(&of(b))).expect("there are permutations");
        self.with_rotation(x, y, best.clone())
    }

    fn search(&self, x: &[f64], y: &[f64], rng: &mut impl Rng) -> Overlap {
        let mut best = self.with_rotation(x, y, (0..self.of.particles()).collect());
        for _ in 0..STARTS {
            let mut gaussian = [0.0; 9];
            gaussian[..self.of.space() * self.of.space()].fill_with(|| StandardNormal.sample(rng));
            // Of a Gaussian matrix the orthogonal factor has no preferred direction.
            let mut rotation = orthogonal_factor(&gaussian, self.of.space());
            let mut value = f64::NEG_INFINITY;
            for _ in 0..TURNS {
                let next = self.with_rotation(x, y, self.permuted(x, y, &rotation));
                let gained = next.value > value + 1e-9 * next.value.abs();
                (rotation, value) = (next.rotation, next.value);
                if value > best.value {
                    best = next;
                }
                if !gained {
                    break;
                }
            }
        }
        best
    }

    /// The best permutation under a rotation.
    fn permuted(&self, x: &[f64], y: &[f64], rotation: &[f64; 9]) -> Vec<usize> {
        let (n, d) = (self.of.particles(), self.of.space());
        let mut turned = vec![0.0; n * d];
        turned.chunks_exact_mut(d).zip(y.chunks_exact(d)).for_each(|(to, from)| turn(rotation, from, to));
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let mut costs: Vec<f64> =
            x.chunks_exact(d).flat_map(|x| turned.chunks_exact(d).map(move |y| -dot(x, y))).collect();
        // Dearer than any permutation that keeps the kinds, and than what it can gain.
        let forbidden = 1.0 + 2.0 * n as f64 * costs.iter().fold(0.0, |most: f64, cost| most.max(cost.abs()));
        let kinds = self.of.kinds();
        let unequal = |place: usize| kinds[place / n] != kinds[place % n];
        costs.iter_mut().enumerate().filter(|(place, _)| unequal(*place)).for_each(|(_, cost)| *cost = forbidden);
        assignment(&costs, n)
    }

    /// The best rotation under a permutation.
    fn with_rotation(&self, x: &[f64], y: &[f64], permutation: Vec<usize>) -> Overlap {
        let moments = self.moments(x, y, &permutation);
        let rotation = orthogonal_factor(&moments, self.of.space());
        let value = moments.iter().zip(&rotation).map(|(m, r)| m * r).sum();
        Overlap { value, permutation, rotation }
    }

    /// `Σ_i x_i y_σ(i)ᵀ`, d × d row by row.
    fn moments(&self, x: &[f64], y: &[f64], permutation: &[usize]) -> [f64; 9] {
        let (d, mut sum) = (self.of.space(), [0.0; 9]);
        for (x, from) in x.chunks_exact(d).zip(permutation) {
            let y = &y[from * d..(from + 1) * d];
            for (a, x) in x.iter().enumerate() {
                for (b, y) in y.iter().enumerate() {
                    sum[a * d + b] += x * y;
                }
            }
        }
        sum
    }
}

/// `to ← R from`.
fn turn(rotation: &[f64; 9], from: &[f64], to: &mut [f64]) {
    for (row, to) in rotation.chunks_exact(from.len()).zip(to) {
        *to = row.iter().zip(from).map(|(r, x)| r * x).sum();
    }
}

/// The greatest `Σ M_ab R_ab` over orthogonal R: the sum of the singular values.
fn overlap(moments: &[f64; 9], d: usize) -> f64 {
    match d {
        1 => moments[0].abs(),
        2 => {
            let [a, b, c, e] = [moments[0], moments[1], moments[2], moments[3]];
            // (s₁ + s₂)² = ‖M‖² + 2 |det M|.
            (a * a + b * b + c * c + e * e + 2.0 * (a * e - b * c).abs()).sqrt()
        }
        _ => Matrix3::from_row_slice(moments).singular_values().sum(),
    }
}

/// `U Vᵀ` of a matrix with the decomposition `U S Vᵀ`: the orthogonal matrix nearest to it.
fn orthogonal_factor(moments: &[f64; 9], d: usize) -> [f64; 9] {
    let mut out = [0.0; 9];
    match d {
        1 => out[0] = 1.0f64.copysign(moments[0]),
        2 => {
            let found = Matrix2::from_row_slice(&moments[..4]).svd(true, true);
            let product = found.u.expect("asked for") * found.v_t.expect("asked for");
            out[..4].copy_from_slice(product.transpose().as_slice());
        }
        _ => {
            let found = Matrix3::from_row_slice(moments).svd(true, true);
            let product = found.u.expect("asked for") * found.v_t.expect("asked for");
            out.copy_from_slice(product.transpose().as_slice());
        }
    }
    out
}

/// All permutations that keep the kinds, where they are few.
fn permutations_of(kinds: &[usize]) -> Option<Vec<Vec<usize>>> {
    let groups: Vec<Vec<usize>> =
        (0..=*kinds.iter().max()?).map(|kind| (0..kinds.len()).filter(|i| kinds[*i] == kind).collect()).collect();
    let many = groups.iter().flat_map(|group| 1..=group.len()).try_fold(1, usize::checked_mul);
    many.filter(|many| *many <= EXACT)?;
    let mut all = vec![(0..kinds.len()).collect::<Vec<_>>()];
    for group in groups {
        let orders = permutations(group.len());
        let within = |whole: Vec<usize>| {
            let moved = |order: &Vec<usize>| {
                let mut whole = whole.clone();
                group.iter().zip(order).for_each(|(to, from)| whole[*to] = group[*from]);
                whole
            };
            orders.iter().map(moved).collect::<Vec<_>>()
        };
        all = all.into_iter().flat_map(within).collect();
    }
    Some(all)
}

/// All orders of the numbers below n.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let with = |shorter: Vec<usize>| {
        (0..n).map(move |place| {
            let mut longer = shorter.clone();
            longer.insert(place, n - 1);
            longer
        })
    };
    permutations(n - 1).into_iter().flat_map(with).collect()
}

/// For every row of an n × n matrix of costs a column of its own, so that the sum of the costs is least: shortest
/// augmenting paths with dual prices (Kuhn, Naval Res. Logist. Q. 2, 83 (1955); Jonker and Volgenant, Computing 38, 325
/// (1987)), in `O(n³)`.
///
/// ```
/// use datasets::particles::assignment;
/// assert_eq!(assignment(&[4.0, 1.0, 3.0, 2.0, 0.0, 5.0, 3.0, 2.0, 2.0], 3), [1, 0, 2]);
/// ```
///
/// # Panics
/// If there are not n² costs, or one is not finite.
pub fn assignment(costs: &[f64], n: usize) -> Vec<usize> {
    assert_eq!(costs.len(), n * n, "a cost for every row and column");
    assert!(costs.iter().all(|cost| cost.is_finite()), "finite costs");
    const NOBODY: usize = usize::MAX;
    let (mut row_price, mut column_price) = (vec![0.0; n], vec![0.0; n + 1]);
    // The row that every column has; the last column is where a path begins.
    let mut row_of = vec![NOBODY; n + 1];
    for row in 0..n {
        row_of[n] = row;
        let (mut column, mut nearest, mut before) = (n, vec![f64::INFINITY; n], vec![n; n]);
        let mut done = vec![false; n + 1];
        while row_of[column] != NOBODY {
            done[column] = true;
            let (at, mut step, mut next) = (row_of[column], f64::INFINITY, n);
            for to in (0..n).filter(|to| !done[*to]) {
                let reduced = costs[at * n + to] - row_price[at] - column_price[to];
                if reduced < nearest[to] {
                    (nearest[to], before[to]) = (reduced, column);
                }
                if nearest[to] < step {
                    (step, next) = (nearest[to], to);
                }
            }
            for to in 0..=n {
                if done[to] {
                    row_price[row_of[to]] += step;
                    column_price[to] -= step;
                } else if to < n {
                    nearest[to] -= step;
                }
            }
            column = next;
        }
        while column != n {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut found = vec![0; n];
    row_of[..n].iter().enumerate().for_each(|(column, row)| found[*row] = column);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn centred(mut x: Vec<f64>, d: usize) -> Vec<f64> {
        for a in 0..d {
            let mean = x.iter().skip(a).step_by(d).sum::<f64>() / (x.len() / d) as f64;
            x.iter_mut().skip(a).step_by(d).for_each(|x| *x -= mean);
        }
        x
    }

    fn normals(count: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        StandardNormal.sample_iter(rng).take(count).collect()
    }

    proptest! {
        #[test]
        fn assignments_are_the_least_of_all_permutations(n in 1usize..6, seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut costs = normals(n * n, &mut rng);
            // Ties too.
            if seed % 3 == 0 {
                costs.iter_mut().for_each(|cost| *cost = cost.round());
            }
            let of = |p: &[usize]| p.iter().enumerate().map(|(i, j)| costs[i * n + j]).sum::<f64>();
            let least = permutations(n).iter().map(|p| of(p)).fold(f64::INFINITY, f64::min);
            let found = assignment(&costs, n);
            let mut columns = found.clone();
            columns.sort_unstable();
            prop_assert_eq!(columns, (0..n).collect::<Vec<_>>());
            prop_assert!((of(&found) - least).abs() < 1e-12, "{} {}", of(&found), least);
        }

        #[test]
        fn images_are_images_and_the_least_of_many(n in 2usize..5, d in 1usize..4, seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let x = centred(normals(n * d, &mut rng), d);
            let y = centred(normals(n * d, &mut rng), d);
            let alignment = Alignment::new(n, d).unwrap();
            let mut image = y.clone();
            let found = alignment.align(&x, &mut image, &mut rng);
            prop_assert!((found - alignment.least(&x, &y)).abs() < 1e-9);
            // Distances between the particles are the same ones.
            let distances = |x: &[f64]| {
                let pair = |i: usize, j: usize| (0..d).map(|a| (x[i * d + a] - x[j * d + a]).powi(2)).sum::<f64>();
                let mut all: Vec<f64> = (0..n).flat_map(|i| (0..i).map(move |j| pair(i, j))).collect();
                all.sort_by(f64::total_cmp);
                all
            };
            prop_assert!(distances(&y).iter().zip(distances(&image)).all(|(a, b)| (a - b).abs() < 1e-9));
            // No random image is nearer.
            for _ in 0..50 {
                let mut gaussian = [0.0; 9];
                gaussian[..d * d].copy_from_slice(&normals(d * d, &mut rng));
                let rotation = orthogonal_factor(&gaussian, d);
                for p in permutations(n) {
                    let mut other = vec![0.0; n * d];
                    for (i, from) in p.iter().enumerate() {
                        turn(&rotation, &y[from * d..(from + 1) * d], &mut other[i * d..(i + 1) * d]);
                    }
                    let square: f64 = x.iter().zip(&other).map(|(x, y)| (x - y).powi(2)).sum();
                    prop_assert!(square > found - 1e-9);
                }
            }
        }
    }

    #[test]
    fn particles_of_two_kinds_do_not_change_places() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        // Few permutations, and too many to try.
        for (kinds, exact) in [(&[0, 1, 0, 1, 2][..], true), (&[3, 0, 3, 3, 0, 3, 3, 3][..], false)] {
            let of = Composition::new(kinds.len(), 3).unwrap().with_kinds(kinds).unwrap();
            let alignment = Alignment::of(&of);
            assert_eq!(alignment.is_exact(), exact);
            let x = centred(normals(of.dimension(), &mut rng), 3);
            let y = centred(normals(of.dimension(), &mut rng), 3);
            let mut image = y.clone();
            let square = alignment.align(&x, &mut image, &mut rng);
            // A particle is known by how far from the centre it is.
            let radius = |x: &[f64], i: usize| x[3 * i..3 * i + 3].iter().map(|x| x * x).sum::<f64>();
            for (i, kind) in kinds.iter().enumerate() {
                let same = |j: &usize| (radius(&y, *j) - radius(&image, i)).abs() < 1e-9;
                assert_eq!((0..kinds.len()).find(same).map(|j| kinds[j]), Some(*kind));
            }
            // One that may change all places is as near or nearer.
            let mut free = y.clone();
            let least = Alignment::new(kinds.len(), 3).unwrap().align(&x, &mut free, &mut rng);
            assert!(!exact || least <= square + 1e-9, "{least} {square}");
        }
        let all = permutations_of(&[0, 1, 0, 2]).unwrap();
        assert_eq!(all, [vec![2, 1, 0, 3], vec![0, 1, 2, 3]]);
        assert_eq!(permutations_of(&[0; 4]).unwrap(), permutations(4));
    }

    #[test]
    fn larger_clusters_are_found_again_and_never_moved_away() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let alignment = Alignment::new(13, 3).unwrap();
        assert!(!alignment.is_exact());
        let mut again = 0;
        for _ in 0..20 {
            let x = centred(normals(39, &mut rng), 3);
            let mut gaussian = [0.0; 9];
            gaussian.copy_from_slice(&normals(9, &mut rng));
            let rotation = orthogonal_factor(&gaussian, 3);
            let mut y = vec![0.0; 39];
            for (i, to) in y.chunks_exact_mut(3).enumerate() {
                let from = (5 * i + 2) % 13;
                turn(&rotation, &x[from * 3..(from + 1) * 3], to);
            }
            // Nearly the same cluster.
            y.iter_mut().zip(normals(39, &mut rng)).for_each(|(y, noise)| *y += 0.01 * noise);
            let before: f64 = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum();
            let after = alignment.align(&x, &mut y, &mut rng);
            assert!(after <= before);
            again += usize::from(after < 0.1);
        }
        assert!(again >= 8, "found again {again} times of 20");
    }
}
