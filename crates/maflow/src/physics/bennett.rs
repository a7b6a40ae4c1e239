//! ln Z from samples of a flow and samples of its target together: the acceptance ratio of Bennett.

use flow_core::{Mean, jackknife};

/// Blocks that are left out in turn to find the error.
const BLOCKS: usize = 32;

/// ln Z from `ln p + E` at samples of the flow and at samples of the target: the estimate of least variance from both
/// (Bennett, J. Comput. Phys. 22, 245 (1976)). Its error is by the jackknife over 32 blocks of consecutive samples of
/// either. Samples of the target from 32 chains should come chain by chain, so that a block is a chain.
///
/// Unlike a mean of importance weights it needs no sample of the flow that is where the target has most of its mass,
/// but overlap alone. Unlike it, it relies on the target's samples: where these are biased, so is ln Z.
pub fn log_z(flow: &[f64], target: &[f64]) -> Mean {
    let without = |block: usize| {
        let rest = |of: &[f64]| -> Vec<f64> {
            let length = of.len().div_ceil(BLOCKS);
            of.iter().enumerate().filter(|(i, _)| i / length != block).map(|(_, loss)| *loss).collect()
        };
        solve(&rest(flow), &rest(target))
    };
    let left_out: Vec<f64> = (0..BLOCKS).map(without).collect();
    Mean { mean: solve(flow, target), standard_error: jackknife(&left_out) }
}

/// The root ln Z of `Σ_flow σ(−(r + loss + ln Z)) = Σ_target σ(r + loss + ln Z)` with `r = ln(n_flow/n_target)`, by
/// bisection: left minus right falls with ln Z.
fn solve(flow: &[f64], target: &[f64]) -> f64 {
    let ratio = (flow.len() as f64 / target.len() as f64).ln();
    let fermi = |x: f64| 1.0 / (1.0 + x.exp());
    let excess = |log_z: f64| {
        let of_flow: f64 = flow.iter().map(|loss| fermi(ratio + loss + log_z)).sum();
        let of_target: f64 = target.iter().map(|loss| fermi(-ratio - loss - log_z)).sum();
        of_flow - of_target
    };
    let all = || flow.iter().chain(target).copied().filter(|loss| loss.is_finite());
    let (mut low, mut high) = (-all().fold(f64::NEG_INFINITY, f64::max) - ratio.abs() - 50.0, 0.0);
    high += -all().fold(f64::INFINITY, f64::min) + ratio.abs() + 50.0;
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use flow_core::{Purpose, RngKey};

    use super::*;

    /// Losses of a standard normal flow at normal points, of a target N(a, s²) with ln Z = 3.
    fn losses(points: &[f64], a: f64, s: f64) -> Vec<f64> {
        let ln = |x: f64, a: f64, s: f64| -0.5 * ((x - a) / s).powi(2) - s.ln();
        points.iter().map(|x| ln(*x, 0.0, 1.0) - ln(*x, a, s) - 3.0).collect()
    }

    #[test]
    fn two_normal_densities_have_the_ratio_that_they_have() {
        let normals = |stream, count| RngKey::new(5, Purpose::Sample, stream).normals(0..count, 1);
        for (a, s, counts) in [(0.5, 1.3, [3200, 3200]), (2.0, 0.4, [6400, 1600]), (0.0, 3.0, [800, 6400])] {
            let target: Vec<f64> = normals(1, counts[1]).iter().map(|z| a + s * z).collect();
            let [flow, target] = [normals(0, counts[0]), target].map(|points| losses(&points, a, s));
            let found = log_z(&flow, &target);
            let error = found.standard_error;
            assert!((found.mean - 3.0).abs() < 3.0 * error && error < 0.1, "{a} {s}: {found:?}");
            // Nearer than the mean of the weights, or as near.
            let weights = flow_core::Weights::new(&flow).log_z();
            assert!(error < 1.2 * weights.standard_error, "{found:?} {weights:?}");
        }
    }

    #[test]
    fn an_infinite_energy_is_a_weight_of_zero() {
        let (mut flow, target) = (vec![-1.0; 64], vec![-1.0; 64]);
        assert!((log_z(&flow, &target).mean - 1.0).abs() < 1e-9);
        flow[..32].fill(f64::INFINITY);
        flow[32..].fill(-1.0 - 2f64.ln());
        // Half of the flow is where the target is not.
        let target = vec![-1.0 - 2f64.ln(); 64];
        assert!((log_z(&flow, &target).mean - 1.0).abs() < 1e-9, "{:?}", log_z(&flow, &target));
    }
}
