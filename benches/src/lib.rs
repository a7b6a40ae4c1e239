//! Benchmarks of maflow, one file per question; what they share: the two configurations of the paper's Table 2.

use flow_core::{
    Coordinates, Draws, Energy, Error, Estimator, FixedStep, Flow, FreeEnergy, Memory, Method, NegativeLogLikelihood,
    Objective, Outcome, Potential, Purpose, Space,
    train::{BaseSamples, Batches},
};

/// The sizes of one of the paper's two experiments.
#[derive(Debug, Clone, Copy)]
pub struct Configuration {
    /// `mnist` or `ising`.
    pub name: &'static str,
    /// Numbers per row.
    pub dim: usize,
    /// Hidden units.
    pub hidden: usize,
    /// Rows per batch.
    pub batch: usize,
    /// Integration steps.
    pub steps: usize,
    /// Duration of the flow.
    pub duration: f64,
}

/// Density estimation: softplus with bias, integrated from data to base.
pub const MNIST: Configuration =
    Configuration { name: "mnist", dim: 784, hidden: 1024, batch: 100, steps: 100, duration: 10.0 };

/// Variational free energy: ln cosh without bias, integrated from base to data.
pub const ISING: Configuration =
    Configuration { name: "ising", dim: 256, hidden: 512, batch: 64, steps: 50, duration: 5.0 };

/// A stand-in for a target whose own cost does not count: `E = ‖x‖²/2 − Σ ln cosh x`.
struct Stand(usize);

impl Energy for Stand {
    fn dim(&self) -> usize {
        self.0
    }

    fn energy_and_gradient(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        x.iter().zip(gradient).fold(0.0, |sum, (x, g)| {
            *g = x - x.tanh();
            sum + 0.5 * x * x - (x.abs() + (-2.0 * x.abs()).exp().ln_1p() - std::f64::consts::LN_2)
        })
    }
}

impl Configuration {
    /// A batch: normal numbers, spread three times as wide where they stand for data.
    pub fn batch(&self) -> Vec<f64> {
        let width = if self.name == "mnist" { 3.0 } else { 1.0 };
        let normals =
            BaseSamples { dim: self.dim }.batch(self.draws(), self.batch).expect("normal numbers never run out");
        normals.into_iter().map(|x| width * x).collect()
    }

    fn draws(&self) -> Draws {
        Draws::new(0, Purpose::Train, 0)
    }

    /// Loss of the batch and, where asked for, its gradient.
    ///
    /// # Errors
    /// Those of the objective.
    pub fn evaluate<S: Space>(
        &self,
        space: &S,
        potential: &dyn Potential<S>,
        coordinates: Coordinates,
        memory: Memory,
        gradient: bool,
    ) -> Result<Outcome<S>, Error> {
        let integrator = FixedStep::new(Method::Rk4.tableau(), self.steps)?;
        let flow = Flow { space, potential, integrator: &integrator, duration: self.duration, coordinates, memory };
        let objective: Box<dyn Objective<S>> = match self.name {
            "mnist" => Box::new(NegativeLogLikelihood::default()),
            _ => Box::new(FreeEnergy { energy: Stand(self.dim), transport_cost: 0.0, gradient: Estimator::Total }),
        };
        objective.evaluate(&flow, &self.batch(), self.draws(), gradient)
    }
}
