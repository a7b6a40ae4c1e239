//! Objectives of one's own, whole: one that is a sum over rows, and one that couples them.

use backend_ndarray::Cpu;
use flow_core::{
    Batch, BoundaryTerms, Direction, Endpoints, Error, Evaluation, FixedStep, Flow, Losses, Method, Objective, Outcome,
    Potential, Space, standard_normal_log_density,
};

use super::{DIM, assert_gradient_is_the_difference, key, normals, ridge};

/// Rows of data that all should have one density: `½ (ln p(x) − level)²`.
struct Level {
    level: f64,
}

impl BoundaryTerms for Level {
    fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error> {
        let mut out = Losses::default();
        let ends = rows.end.chunks_exact(rows.dim).zip(rows.log_density).zip(rows.weights);
        for ((z, change), weight) in ends {
            let off = standard_normal_log_density(z) - change - self.level;
            out.losses.push(0.5 * off * off);
            out.end.extend(z.iter().map(|z| -weight * off * z));
            out.log_density.push(-weight * off);
        }
        Ok(out)
    }

    fn concurrent(&self) -> bool {
        true
    }
}

impl<S: Space> Objective<S> for Level {
    fn name(&self) -> &'static str {
        "level"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        flow.evaluate_terms(Direction::Backward, self, batch, how)
    }
}

/// The variance over samples of `u = ln p(x) + E(x)`, with `E = Σ x⁴/4`: zero where the flow is the target (Richter et
/// al., arXiv:2010.10436). A row's loss is `½ (u − mean u)²`.
pub struct LogVariance;

impl BoundaryTerms for LogVariance {
    fn evaluate(&self, rows: &Endpoints<'_>) -> Result<Losses, Error> {
        let points = rows.start.chunks_exact(rows.dim).zip(rows.end.chunks_exact(rows.dim)).zip(rows.log_density);
        let energy = |x: &[f64]| x.iter().map(|x| x.powi(4) / 4.0).sum::<f64>();
        let u: Vec<f64> = points.map(|((z, x), change)| standard_normal_log_density(z) + change + energy(x)).collect();
        let mean: f64 = u.iter().zip(rows.weights).map(|(u, weight)| weight * u).sum();
        let mut out = Losses::default();
        // The mean's own derivative drops out: the deviations from it add up to zero.
        for ((u, weight), x) in u.iter().zip(rows.weights).zip(rows.end.chunks_exact(rows.dim)) {
            out.losses.push(0.5 * (u - mean).powi(2));
            out.log_density.push(weight * (u - mean));
            out.end.extend(x.iter().map(|x| weight * (u - mean) * x.powi(3)));
        }
        Ok(out)
    }

    fn couples_rows(&self) -> bool {
        true
    }
}

impl<S: Space> Objective<S> for LogVariance {
    fn name(&self) -> &'static str {
        "log-variance"
    }

    fn evaluate(&self, flow: &Flow<'_, S>, batch: &Batch, how: &Evaluation<'_>) -> Result<Outcome<S>, Error> {
        flow.evaluate_terms(Direction::Forward, self, batch, how)
    }
}

/// Weights that add up to what is said.
pub fn weighted(batch: Batch) -> Batch {
    let weights: Vec<f64> = (0..batch.of).map(|r| 0.5 + (r as f64).sin().powi(2)).collect();
    let total = weights.iter().sum();
    batch.with_weights(weights, total)
}

#[test]
fn gradients_are_differences_with_weights_and_in_blocks() {
    let (space, mut potential) = (Cpu::<f64>::new(2), ridge(&Cpu::new(1), 5));
    let integrator = FixedStep::new(Method::Rk4.tableau(), 3).unwrap();
    let objectives: [Box<dyn Objective<Cpu<f64>>>; 2] = [Box::new(Level { level: -2.0 }), Box::new(LogVariance)];
    for objective in &objectives {
        for batch in [normals(20), weighted(normals(20))] {
            let outcome = |potential: &dyn Potential<Cpu<f64>>, blocks| {
                let flow = Flow::new(&space, potential, &integrator);
                objective.evaluate(&flow, &batch, &Evaluation { blocks, ..Evaluation::new(key(0)).with_gradient() })
            };
            let whole = outcome(&potential, Some(1)).unwrap();
            for blocks in [None, Some(3), Some(20)] {
                let what = format!("{} in {blocks:?} blocks", objective.name());
                let found = outcome(&potential, blocks).unwrap();
                let off = found.losses.iter().zip(&whole.losses).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
                assert!(off < 1e-12, "{what}: losses differ by {off:e} from those of one block");
                assert_gradient_is_the_difference(&what, &mut potential, &batch, &|of| outcome(of, blocks));
            }
            // Without the gradient the same losses.
            let flow = Flow::new(&space, &potential, &integrator);
            let how = Evaluation { blocks: Some(1), ..Evaluation::new(key(0)) };
            let found = objective.evaluate(&flow, &batch, &how).unwrap();
            assert!(found.losses == whole.losses && found.gradient.is_none());
        }
    }
}

/// Terms that bring back as many of each kind as they are told, in a batch of four rows.
struct Miscounted {
    losses: usize,
    end: usize,
    log_density: usize,
    cost: usize,
    couples_rows: bool,
}

impl BoundaryTerms for Miscounted {
    fn evaluate(&self, _rows: &Endpoints<'_>) -> Result<Losses, Error> {
        let zeros = |n| vec![0.0; n];
        let [losses, end] = [self.losses, self.end].map(zeros);
        let [log_density, cost] = [self.log_density, self.cost].map(zeros);
        Ok(Losses { losses, end, log_density, cost, ..Losses::default() })
    }

    fn couples_rows(&self) -> bool {
        self.couples_rows
    }

    fn needs_cost(&self) -> bool {
        true
    }
}

#[test]
fn losses_of_another_number_of_rows_are_refused() {
    let (space, potential) = (Cpu::<f64>::new(1), ridge(&Cpu::new(1), 5));
    let integrator = FixedStep::new(Method::Euler.tableau(), 1).unwrap();
    let flow = Flow::new(&space, &potential, &integrator);
    for couples_rows in [false, true] {
        let good = Miscounted { losses: 4, end: 4 * DIM, log_density: 4, cost: 4, couples_rows };
        let evaluate = |terms: Miscounted| {
            let how = Evaluation { blocks: Some(1), ..Evaluation::new(key(0)).with_gradient() };
            flow.evaluate_terms(Direction::Forward, &terms, &normals(4), &how)
        };
        for bad in [
            Miscounted { losses: 3, ..good },
            Miscounted { end: 4, ..good },
            Miscounted { log_density: 0, ..good },
            Miscounted { cost: 0, ..good },
        ] {
            assert!(matches!(evaluate(bad), Err(Error::Shape { .. })));
        }
        assert_eq!(evaluate(good).unwrap().losses, [0.0; 4]);
    }
}
