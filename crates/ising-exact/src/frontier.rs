//! The correlations of the last row of a growing planar lattice, with two derivatives in β, and the steps that change them.

use std::f64::consts::LN_2;

use crate::{
    jet::{Jet, JetSum},
    thermodynamics::LogZ,
};

/// A row of jets, its three components apart so that loops over them vectorise.
#[derive(Clone)]
struct Row {
    v: Vec<f64>,
    d1: Vec<f64>,
    d2: Vec<f64>,
}

impl Row {
    fn zeros(width: usize) -> Self {
        Self { v: vec![0.0; width], d1: vec![0.0; width], d2: vec![0.0; width] }
    }

    fn get(&self, i: usize) -> Jet {
        Jet { v: self.v[i], d1: self.d1[i], d2: self.d2[i] }
    }

    fn set(&mut self, i: usize, jet: Jet) {
        (self.v[i], self.d1[i], self.d2[i]) = (jet.v, jet.d1, jet.d2);
    }

    /// self ← self + a·p + b·q.
    fn add_products(&mut self, a: Jet, p: &Self, b: Jet, q: &Self) {
        let width = self.v.len();
        let (v, d1, d2) = (&mut self.v[..width], &mut self.d1[..width], &mut self.d2[..width]);
        let (p0, p1, p2) = (&p.v[..width], &p.d1[..width], &p.d2[..width]);
        let (q0, q1, q2) = (&q.v[..width], &q.d1[..width], &q.d2[..width]);
        for l in 0..width {
            v[l] += a.v * p0[l] + b.v * q0[l];
            d1[l] += (a.v * p1[l] + a.d1 * p0[l]) + (b.v * q1[l] + b.d1 * q0[l]);
            d2[l] +=
                (a.v * p2[l] + 2.0 * a.d1 * p1[l] + a.d2 * p0[l]) + (b.v * q2[l] + 2.0 * b.d1 * q1[l] + b.d2 * q0[l]);
        }
    }
}

/// ln Z of the lattice so far and the antisymmetric correlations of its last row: `G_ij = ⟨s_i s_j⟩` for i < j.
pub(crate) struct Frontier {
    beta: f64,
    /// ln Z without the part `Σ|J| β`, which `linear` holds.
    log_z: JetSum,
    linear: f64,
    rows: Vec<Row>,
}

impl Frontier {
    /// A row of free spins.
    pub fn new(width: usize, beta: f64) -> Self {
        let mut log_z = JetSum::new();
        log_z.add(Jet::constant(width as f64 * LN_2));
        Self { beta, log_z, linear: 0.0, rows: vec![Row::zeros(width); width] }
    }

    /// ln cosh K into ln Z; returns tanh K.
    fn weight(&mut self, coupling: f64) -> Jet {
        let k = Jet::linear(coupling, self.beta);
        let strength = Jet::linear(coupling.abs(), self.beta);
        if strength.v < 0.5 {
            self.log_z.add(k.ln_cosh());
        } else {
            self.linear += coupling.abs();
            self.log_z.add(strength.scale(-2.0).exp().ln_1p() + -LN_2);
        }
        k.tanh()
    }

    /// Each spin of the row gives way to a new one, bound to it by its coupling.
    pub fn next_row(&mut self, couplings: &[f64]) {
        let t: Vec<Jet> = couplings.iter().map(|&j| self.weight(j)).collect();
        self.log_z.add(Jet::constant(couplings.len() as f64 * LN_2));
        for (row, &t_i) in self.rows.iter_mut().zip(&t) {
            for (j, &t_j) in t.iter().enumerate() {
                row.set(j, t_i * row.get(j) * t_j);
            }
        }
    }

    /// A bond between spin `i` of the row and the next one, cyclically; `None` when its pivot is not positive.
    pub fn bond(&mut self, i: usize, coupling: f64) -> Option<()> {
        let width = self.rows.len();
        let j = (i + 1) % width;
        if i == j {
            // A bond from a spin to itself.
            self.linear += coupling;
            return Some(());
        }
        if coupling == 0.0 {
            return Some(());
        }
        let t = self.weight(coupling);
        // Across the seam the order of the two spins, and with it the sign of G, is turned.
        let (i, j, turn) = if i < j { (i, j, 1.0) } else { (j, i, -1.0) };
        let g = self.rows[i].get(j);
        let tg = t * g;
        let pivot = tg + 1.0;
        if pivot.v.is_nan() || pivot.v <= 0.0 {
            return None;
        }
        self.log_z.add(tg.ln_1p());
        let (row_i, row_j) = (self.rows[i].clone(), self.rows[j].clone());
        let c = t / pivot;
        for (k, row) in self.rows.iter_mut().enumerate() {
            if k != i && k != j {
                // ⟨s_k s_l s_i s_j⟩ = G_kl G_ij − G_ki G_lj + G_kj G_li.
                let (a, b) = (c * row.get(j), c * row.get(i));
                row.add_products(-a, &row_i, b, &row_j);
            }
        }
        // s_i s_j turns a correlation with s_i into one with s_j.
        let mixing = t.scale(turn);
        for l in 0..width {
            if l != i && l != j {
                let (gi, gj) = (row_i.get(l), row_j.get(l));
                for (k, new) in [(i, (gi + mixing * gj) / pivot), (j, (gj + mixing * gi) / pivot)] {
                    self.rows[k].set(l, new);
                    self.rows[l].set(k, -new);
                }
            }
        }
        let new = (g + t) / pivot;
        self.rows[i].set(j, new);
        self.rows[j].set(i, -new);
        Some(())
    }

    pub fn into_log_z(self) -> LogZ {
        LogZ::new(self.linear, self.log_z.total())
    }
}
