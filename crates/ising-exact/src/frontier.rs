//! The correlations of the last row of a growing planar lattice, with two derivatives in β, and the steps that change
//! them.

use crate::jet::{Jet, Number};

/// A row of jets, its three components apart so that loops over them vectorise.
#[derive(Clone)]
struct Row<R> {
    v: Vec<R>,
    d1: Vec<R>,
    d2: Vec<R>,
}

impl<R: Number> Row<R> {
    fn get(&self, i: usize) -> Jet<R> {
        Jet { v: self.v[i].clone(), d1: self.d1[i].clone(), d2: self.d2[i].clone() }
    }

    fn set(&mut self, i: usize, jet: Jet<R>) {
        (self.v[i], self.d1[i], self.d2[i]) = (jet.v, jet.d1, jet.d2);
    }

    /// self ← self + a·p + b·q.
    fn add_products(&mut self, a: &Jet<R>, p: &Self, b: &Jet<R>, q: &Self) {
        let width = self.v.len();
        let (v, d1, d2) = (&mut self.v[..width], &mut self.d1[..width], &mut self.d2[..width]);
        let (p0, p1, p2) = (&p.v[..width], &p.d1[..width], &p.d2[..width]);
        let (q0, q1, q2) = (&q.v[..width], &q.d1[..width], &q.d2[..width]);
        let [twice_a, twice_b] = [a, b].map(|c| c.d1.scaled(2.0));
        let first = |c: &Jet<R>, r0: &R, r1: &R| c.v.times(r1).plus(&c.d1.times(r0));
        let second =
            |c: &Jet<R>, twice: &R, r0: &R, r1: &R, r2: &R| c.v.times(r2).plus(&twice.times(r1)).plus(&c.d2.times(r0));
        for l in 0..width {
            v[l] = v[l].plus(&a.v.times(&p0[l]).plus(&b.v.times(&q0[l])));
            d1[l] = d1[l].plus(&first(a, &p0[l], &p1[l]).plus(&first(b, &q0[l], &q1[l])));
            let both = second(a, &twice_a, &p0[l], &p1[l], &p2[l]).plus(&second(b, &twice_b, &q0[l], &q1[l], &q2[l]));
            d2[l] = d2[l].plus(&both);
        }
    }
}

/// The antisymmetric correlations of the last row of a lattice: `G_ij = ⟨s_i s_j⟩` for i < j.
///
/// A bond is given by t = tanh K, or by whatever stands in its place in a sum `Σ Π t` over the even subgraphs of a
/// lattice.
pub(crate) struct Frontier<R> {
    rows: Vec<Row<R>>,
}

impl<R: Number> Frontier<R> {
    /// A row of spins of which any two have the same correlation: 0 for free spins, 1 for spins that are always equal.
    pub fn new(width: usize, correlation: &Jet<R>) -> Self {
        let row = |i: usize| {
            let part = |x: &R| (0..width).map(|j| x.scaled(f64::from((i < j) as i8 - (i > j) as i8))).collect();
            Row { v: part(&correlation.v), d1: part(&correlation.d1), d2: part(&correlation.d2) }
        };
        Self { rows: (0..width).map(row).collect() }
    }

    /// Each spin of the row gives way to a new one, bound to it by its t.
    pub fn next_row(&mut self, t: &[Jet<R>]) {
        for (row, t_i) in self.rows.iter_mut().zip(t) {
            for (j, t_j) in t.iter().enumerate() {
                row.set(j, t_i.times(&row.get(j)).times(t_j));
            }
        }
    }

    /// Spin `i` gives way to a new one, bound to it by t.
    pub fn replace(&mut self, i: usize, t: &Jet<R>) {
        for j in (0..self.rows.len()).filter(|&j| j != i) {
            self.set(i, j, &t.times(&self.rows[i].get(j)));
        }
    }

    /// The first spin moves to the last place, whose spin is free, and a new one, bound to it by t, takes its own. The
    /// order around the row stays: what was first lies between the last and the first then.
    pub fn part_first(&mut self, t: &Jet<R>) {
        let last = self.rows.len() - 1;
        for j in 1..last {
            let first = self.rows[0].get(j);
            self.set(j, last, &first);
            self.set(0, j, &t.times(&first));
        }
        self.set(0, last, t);
    }

    /// A free spin takes the last place.
    pub fn free_last(&mut self, zero: &Jet<R>) {
        self.replace(self.rows.len() - 1, zero);
    }

    /// `G_ij`, and `G_ji` with it.
    fn set(&mut self, i: usize, j: usize, g: &Jet<R>) {
        self.rows[i].set(j, g.clone());
        self.rows[j].set(i, g.scale(-1.0));
    }

    /// A bond t between spins `i` and `j`, with none or only free ones between them on one side of the row. Returns
    /// `t G`; the sum over subgraphs grows by the factor `1 + t G`, and there is none when that is not positive.
    pub fn bond(&mut self, [i, j]: [usize; 2], t: &Jet<R>) -> Option<Jet<R>> {
        let width = self.rows.len();
        // Across the seam the order of the two spins, and with it the sign of G, is turned.
        let (i, j, turn) = if i < j { (i, j, 1.0) } else { (j, i, -1.0) };
        let g = self.rows[i].get(j);
        let tg = t.times(&g);
        let pivot = tg.shift(1.0);
        if !pivot.v.is_positive() {
            return None;
        }
        let (row_i, row_j) = (self.rows[i].clone(), self.rows[j].clone());
        let c = t.over(&pivot);
        for (k, row) in self.rows.iter_mut().enumerate() {
            if k != i && k != j {
                // ⟨s_k s_l s_i s_j⟩ = G_kl G_ij − G_ki G_lj + G_kj G_li.
                let (a, b) = (-c.times(&row.get(j)), c.times(&row.get(i)));
                row.add_products(&a, &row_i, &b, &row_j);
            }
        }
        // s_i s_j turns a correlation with s_i into one with s_j.
        let mixing = t.scale(turn);
        for l in 0..width {
            if l != i && l != j {
                let (gi, gj) = (row_i.get(l), row_j.get(l));
                let turned = [gi.plus(&mixing.times(&gj)), gj.plus(&mixing.times(&gi))];
                for (k, new) in [i, j].into_iter().zip(turned) {
                    let new = new.over(&pivot);
                    self.rows[l].set(k, new.scale(-1.0));
                    self.rows[k].set(l, new);
                }
            }
        }
        let new = g.plus(t).over(&pivot);
        self.rows[j].set(i, new.scale(-1.0));
        self.rows[i].set(j, new);
        Some(tg)
    }
}
