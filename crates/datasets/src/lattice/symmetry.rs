//! The symmetries of a rectangular lattice as permutations of its sites.

use super::geometry::{Boundary, Lattice};

/// Makes the site permutations that leave every model with equal bonds on one [`Lattice`] unchanged.
///
/// A permutation `p` acts by `out[i] = x[p[i]]`: it holds, for each site, the site its value comes from.
///
/// ```
/// use datasets::lattice::{Boundary, Lattice, LatticeSymmetry};
///
/// let symmetry = LatticeSymmetry::new(Lattice::new(2, 3, Boundary::Periodic)?);
/// // Every site takes the value of its right neighbour.
/// assert_eq!(symmetry.translation(0, 1).unwrap(), [1, 2, 0, 4, 5, 3]);
/// assert_eq!(symmetry.translations().len(), 6);
/// # Ok::<(), datasets::lattice::LatticeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatticeSymmetry {
    lattice: Lattice,
}

impl LatticeSymmetry {
    /// The symmetries of `lattice`.
    pub fn new(lattice: Lattice) -> Self {
        Self { lattice }
    }

    /// Each site takes the value `down` rows below and `right` columns to the right, around the edges.
    /// `None` when that is no symmetry: any shift of an open lattice (but by 0).
    pub fn translation(&self, down: usize, right: usize) -> Option<Vec<u32>> {
        let (rows, cols) = (self.lattice.rows(), self.lattice.cols());
        let (down, right) = (down % rows, right % cols);
        let allowed = self.lattice.boundary() == Boundary::Periodic || (down, right) == (0, 0);
        allowed.then(|| self.permutation(|r, c| ((r + down) % rows, (c + right) % cols)))
    }

    /// All translations, shift `(d, r)` at `d·cols + r`: N of them on a periodic lattice (N² numbers; for large
    /// lattices make single ones by [`translation`](Self::translation)), the identity alone on an open one.
    pub fn translations(&self) -> Vec<Vec<u32>> {
        let cols = self.lattice.cols();
        (0..self.lattice.sites()).filter_map(|shift| self.translation(shift / cols, shift % cols)).collect()
    }

    /// Rows and columns exchanged; `None` unless the lattice is square.
    pub fn transpose(&self) -> Option<Vec<u32>> {
        (self.lattice.rows() == self.lattice.cols()).then(|| self.permutation(|r, c| (c, r)))
    }

    /// The rotations and reflections that keep the lattice in place, the identity first: D4 (8 elements) when it is
    /// square, else D2 (4 elements). With a side of 1 some of them are the same permutation.
    pub fn point_group(&self) -> Vec<Vec<u32>> {
        let (last_row, last_col) = (self.lattice.rows() - 1, self.lattice.cols() - 1);
        let identity = self.permutation(|r, c| (r, c));
        let reflections = [(false, false), (false, true), (true, false), (true, true)].map(|(vertical, horizontal)| {
            self.permutation(|r, c| {
                (if vertical { last_row - r } else { r }, if horizontal { last_col - c } else { c })
            })
        });
        [Some(identity), self.transpose()]
            .iter()
            .flatten()
            .flat_map(|first| reflections.iter().map(|second| Self::compose(second, first)))
            .collect()
    }

    /// The permutation that acts as `first`, then `second`: `x[p[i]]` with `p[i] = first[second[i]]`.
    ///
    /// # Panics
    /// If the two are not permutations of equally many sites.
    pub fn compose(second: &[u32], first: &[u32]) -> Vec<u32> {
        assert_eq!(first.len(), second.len(), "permutations of the same lattice");
        second.iter().map(|&site| first[site as usize]).collect()
    }

    fn permutation(&self, source: impl Fn(usize, usize) -> (usize, usize)) -> Vec<u32> {
        let cols = self.lattice.cols();
        let from = |site: usize| {
            let (r, c) = source(site / cols, site % cols);
            (r * cols + c) as u32
        };
        (0..self.lattice.sites()).map(from).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::{IsingTarget, Phi4Target};
    use super::*;

    const SIZES: [(usize, usize); 6] = [(1, 1), (1, 4), (2, 2), (3, 5), (4, 4), (5, 5)];

    fn all() -> impl Iterator<Item = (Lattice, LatticeSymmetry)> {
        SIZES.into_iter().flat_map(|(rows, cols)| {
            [Boundary::Periodic, Boundary::Open].map(|boundary| {
                let lattice = Lattice::new(rows, cols, boundary).unwrap();
                (lattice, LatticeSymmetry::new(lattice))
            })
        })
    }

    fn act(permutation: &[u32], x: &[f64]) -> Vec<f64> {
        permutation.iter().map(|&site| x[site as usize]).collect()
    }

    /// Translations after elements of the point group: the whole space group.
    fn space_group(symmetry: &LatticeSymmetry) -> Vec<Vec<u32>> {
        let points = symmetry.point_group();
        let translations = symmetry.translations();
        translations.iter().flat_map(|t| points.iter().map(|p| LatticeSymmetry::compose(t, p))).collect()
    }

    #[test]
    fn each_is_a_bijection_that_leaves_the_adjacency_and_the_energies_unchanged() {
        for (lattice, symmetry) in all() {
            let (rows, cols, n) = (lattice.rows(), lattice.cols(), lattice.sites());
            let ising = IsingTarget::new(rows, cols, lattice.boundary(), 2.0).unwrap();
            let phi4 = Phi4Target::new(rows, cols, lattice.boundary(), 0.3, 0.1).unwrap();
            let x: Vec<f64> = (0..n).map(|i| (1.3 * i as f64 + 0.2).sin()).collect();
            let a = lattice.adjacency();
            let (mut gradient, mut moved_gradient) = (vec![0.0; n], vec![0.0; n]);
            for p in space_group(&symmetry) {
                assert_eq!(p.iter().collect::<HashSet<_>>().len(), n);
                for i in 0..n {
                    for j in 0..n {
                        assert_eq!(a[p[i] as usize * n + p[j] as usize], a[i * n + j]);
                    }
                }
                let y = act(&p, &x);
                let before = ising.energy_and_gradient(&x, &mut gradient);
                assert!((ising.energy_and_gradient(&y, &mut moved_gradient) - before).abs() < 1e-12);
                for (moved, expected) in moved_gradient.iter().zip(act(&p, &gradient)) {
                    assert!((moved - expected).abs() < 1e-12);
                }
                let before = phi4.energy_and_gradient(&x, &mut gradient);
                assert!((phi4.energy_and_gradient(&y, &mut moved_gradient) - before).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn composition_acts_in_the_stated_order() {
        let symmetry = LatticeSymmetry::new(Lattice::new(4, 4, Boundary::Periodic).unwrap());
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        let group = space_group(&symmetry);
        for first in group.iter().step_by(7) {
            for second in group.iter().step_by(5) {
                assert_eq!(act(&LatticeSymmetry::compose(second, first), &x), act(second, &act(first, &x)));
            }
        }
    }

    #[test]
    fn they_are_groups_of_the_right_order() {
        for (lattice, symmetry) in all() {
            let translations = symmetry.translations();
            let expected = if lattice.boundary() == Boundary::Periodic { lattice.sites() } else { 1 };
            assert_eq!(translations.len(), expected);
            let points = symmetry.point_group();
            assert_eq!(points.len(), if lattice.rows() == lattice.cols() { 8 } else { 4 });
            assert!(points[0].iter().enumerate().all(|(i, &site)| i == site as usize));
            if lattice.rows() > 1 {
                assert_eq!(points.iter().collect::<HashSet<_>>().len(), points.len());
            }
            for group in [translations, points] {
                let elements: HashSet<_> = group.iter().cloned().collect();
                for a in &group {
                    assert!(group.iter().all(|b| elements.contains(&LatticeSymmetry::compose(a, b))));
                }
            }
        }
    }

    #[test]
    fn what_is_no_symmetry_is_not_offered() {
        let open = LatticeSymmetry::new(Lattice::new(3, 4, Boundary::Open).unwrap());
        assert_eq!(open.translation(1, 0), None);
        assert_eq!(open.translation(3, 4).unwrap(), (0..12).collect::<Vec<u32>>());
        assert_eq!(open.transpose(), None);
        let square = LatticeSymmetry::new(Lattice::new(2, 2, Boundary::Open).unwrap());
        assert_eq!(square.transpose().unwrap(), [0, 2, 1, 3]);
    }
}
