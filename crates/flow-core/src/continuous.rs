//! The continuous adjoint (Chen et al., arXiv:1806.07366): states and cotangents by an equation of their own, back from
//! the end. Memory does not grow with the steps, and the gradient is that of the limit of small steps, not of the map.

use std::sync::Arc;

use crate::integrate::{Backward, SolutionCotangent, Span};
use crate::potential::{BlockField, Motion, Pullback, Stage};
use crate::space::Space;
use crate::stages::terms;
use crate::tableau::Tableau;

/// Where the way back begins.
pub(crate) struct ContinuousAdjoint<S: Space> {
    pub tableau: Arc<Tableau>,
    pub state: S::Array,
    pub span: Span,
    pub steps: usize,
}

impl<S: Space> Backward<S> for ContinuousAdjoint<S> {
    /// `dx/dt = v`, `da/dt = −P(x, a)` and `dθ̄/dt = −P_θ(x, a)` from the end to the start, by as many steps of the
    /// same method. P and P_θ are what the field's pullback makes of the cotangent a of the velocity, with those of ln
    /// p and the cost. The pullback adds to the gradient by itself, so that stage i gets cotangents times its weight
    /// b_i; what it returns has that factor.
    fn pull_back(self: Box<Self>, space: &S, block: &mut dyn BlockField<S>, bar: SolutionCotangent<S>) -> S::Array {
        let Self { tableau, state: mut x, span, steps } = *self;
        let SolutionCotangent { state: mut x_bar, log_density, cost } = bar;
        let (h, (rows, cols)) = ((span.to - span.from) / steps as f64, space.shape(&x));
        let used = used_stages(&tableau);
        // A stage without weight adds to the gradient what is then taken back.
        let scales: Vec<f64> = tableau.b().iter().map(|b| if *b == 0.0 { 1.0 } else { *b }).collect();
        let arrays = || -> Vec<S::Array> { scales.iter().map(|_| space.zeros(rows, cols)).collect() };
        let (mut velocities, mut pulled) = (arrays(), arrays());
        let empty = || space.empty_like(&x);
        let (mut argument, mut argument_bar, mut velocity_bar) = (empty(), empty(), empty());
        // Asked for, because a pullback may need what comes of it.
        let mut laplacian = space.column_zeros(rows);
        let mut laplacian_bar = space.column_zeros(rows);
        for n in (0..steps).rev() {
            let end = span.from + (n + 1) as f64 * h;
            for i in (0..scales.len()).filter(|i| used[*i]) {
                let (a, scale) = (tableau.a(i), scales[i]);
                let stage = Stage { t: end - tableau.c()[i] * h, index: (n * scales.len() + i) as u64 };
                space.combine(&mut argument, &x, &terms(-h, a, &velocities));
                let weights: Vec<f64> = a.iter().zip(&scales).map(|(a, scale)| a / scale).collect();
                space.combine(&mut argument_bar, &x_bar, &terms(1.0, &weights, &pulled));
                let mut residuals = Vec::new();
                let velocity = &mut velocities[i];
                let motion = Motion { velocity, laplacian: Some(&mut laplacian), residuals: Some(&mut residuals) };
                block.evaluate(stage, &argument, motion);
                space.accumulate(&mut velocity_bar, 0.0, &[(h * scale, &argument_bar)]);
                space.column_accumulate(&mut laplacian_bar, 0.0, &[(-h * scale, &log_density)]);
                if let Some(cost) = &cost {
                    space.accumulate_scaled_rows(&mut velocity_bar, h.abs() * scale, cost, &velocities[i]);
                }
                let (residuals, state_bar) = (&residuals[..], Some(&mut pulled[i]));
                let bars = (&velocity_bar, Some(&laplacian_bar));
                let of = Pullback { residuals, velocity_bar: bars.0, laplacian_bar: bars.1, state_bar };
                block.pullback(stage, &argument, of);
                if tableau.b()[i] == 0.0 {
                    space.accumulate(&mut velocity_bar, -1.0, &[]);
                    space.column_accumulate(&mut laplacian_bar, -1.0, &[]);
                    let (velocity_bar, laplacian_bar) = (&velocity_bar, Some(&laplacian_bar));
                    let of = Pullback { residuals, velocity_bar, laplacian_bar, state_bar: None };
                    block.pullback(stage, &argument, of);
                }
            }
            space.accumulate(&mut x, 1.0, &terms(-h, tableau.b(), &velocities));
            let weights: Vec<f64> = tableau.b().iter().zip(&scales).map(|(b, scale)| b / scale).collect();
            space.accumulate(&mut x_bar, 1.0, &terms(1.0, &weights, &pulled));
        }
        x_bar
    }
}

/// The stages that the step depends on: not the last one of a method whose last stage is the first of the next step.
fn used_stages(tableau: &Tableau) -> Vec<bool> {
    let stages = tableau.stages();
    let mut used: Vec<bool> = tableau.b().iter().map(|b| *b != 0.0).collect();
    for i in (0..stages).rev() {
        used[i] |= (i + 1..stages).any(|j| used[j] && tableau.a(j)[i] != 0.0);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tableau::Method;

    #[test]
    fn stages_without_weight_are_used_where_others_need_them() {
        assert_eq!(used_stages(&Method::Midpoint.tableau()), [true, true]);
        let used = [true, true, true, true, true, true, false];
        assert_eq!(used_stages(&Method::Dopri5.tableau()), used);
        assert_eq!(used_stages(&Method::Tsit5.tableau()), used);
    }
}
