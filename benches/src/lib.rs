//! Benchmarks of maflow, one file per question; what they share: the two configurations of the paper's Table 2.

use std::ops::Range;

use datasets::lattice::{Boundary, Lattice, LatticeSymmetry};
use flow_core::{
    Activation, Alone, Batch, Block, Coordinates, Direction, Energy, Error, Evaluation, FixedStep, Flow, FreeEnergy,
    Group, Integrator, Memory, Method, NegativeLogLikelihood, Objective, Outcome, Potential, Purpose, RngKey, Solve,
    Space, Symmetrised, SymmetryDraw, cut,
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

/// Variational free energy: ln cosh without bias, integrated from base to data, a symmetry of the lattice drawn for
/// every row and stage.
pub const ISING: Configuration =
    Configuration { name: "ising", dim: 256, hidden: 512, batch: 64, steps: 50, duration: 5.0 };

/// A stand-in for a target whose own cost does not count: `E = ‖x‖²/2 − Σ ln cosh x`.
struct Stand(usize);

impl Energy for Stand {
    fn dim(&self) -> usize {
        self.0
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        _context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error> {
        let points = x.chunks_exact(self.0).zip(gradients.chunks_exact_mut(self.0));
        for (energy, (x, gradient)) in energies.iter_mut().zip(points) {
            *energy = x.iter().zip(gradient).fold(0.0, |sum, (x, g)| {
                *g = x - x.tanh();
                sum + 0.5 * x * x - (x.abs() + (-2.0 * x.abs()).exp().ln_1p() - std::f64::consts::LN_2)
            });
        }
        Ok(())
    }

    fn concurrent(&self) -> bool {
        true
    }
}

/// The solve that single evaluations of a field are measured in: of all rows, in blocks as the space cuts them.
pub fn a_solve<S: Space>(space: &S, rows: usize, coordinates: Coordinates) -> Solve {
    let block_rows = cut(rows, space.blocks(rows)).iter().map(Range::len).max().unwrap_or(0);
    let key = RngKey::new(0, Purpose::Train, 0);
    Solve { rows, block_rows, key, coordinates, evaluations: Some(1), laplacians: true }
}

/// Some rows of a batch, as they enter a field.
pub fn block<S: Space>(
    space: &S,
    potential: &dyn Potential<S>,
    solve: &Solve,
    rows: Range<usize>,
    batch: &Batch,
) -> Block<S> {
    let (dim, draws) = (potential.dim(), potential.draw_width(solve));
    let x = space.upload(rows.len(), dim, &batch.x[rows.start * dim..rows.end * dim]);
    let draws = (draws > 0).then(|| space.upload(rows.len(), draws, &potential.draw(solve, rows.clone())));
    Block { draws, ..Block::new(rows, x) }
}

/// How a loss is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// The coordinates that the solve may use.
    pub coordinates: Coordinates,
    /// What the gradient keeps.
    pub memory: Memory,
    /// Whether the gradient is wanted.
    pub gradient: bool,
}

impl Configuration {
    /// The activation of the ridge functions, and whether they have a bias.
    pub fn activation(&self) -> (Activation, bool) {
        if self.name == "mnist" { (Activation::Softplus, true) } else { (Activation::LnCosh, false) }
    }

    /// The model of the paper from its ridge potential; the symmetry of the Ising model is drawn as said, by the paper
    /// per stage.
    ///
    /// # Panics
    /// When the Ising model's dimension is no square.
    pub fn model<S: Space>(
        &self,
        space: &S,
        ridge: Box<dyn Potential<S>>,
        draw: SymmetryDraw,
    ) -> Box<dyn Potential<S>> {
        if self.name == "mnist" {
            return ridge;
        }
        let side = self.dim.isqrt();
        let symmetry =
            LatticeSymmetry::new(Lattice::new(side, side, Boundary::Periodic).expect("a lattice has a positive side"));
        let transpose = symmetry.transpose().expect("the lattice is square");
        let translations = symmetry.translations();
        let transposed: Vec<_> =
            translations.iter().map(|translation| LatticeSymmetry::compose(translation, &transpose)).collect();
        let elements = [translations, transposed].concat();
        let signs = vec![1.0; elements.len()];
        let group = Group::new(elements, signs).expect("translations and transposition are a group");
        let symmetrised = Symmetrised::new(space.clone(), ridge, group, draw);
        Box::new(symmetrised.expect("the group acts on the sites"))
    }

    /// Billions of operations in the matrix products of an evaluation with or without gradient, in the coordinates that
    /// [`Coordinates::Auto`] takes: a multiplication and an addition each.
    pub fn giga_operations(&self, gradient: bool) -> f64 {
        let (rows, n, h) = (self.batch as f64, self.dim as f64, self.hidden as f64);
        let stages = 4.0 * self.steps as f64;
        // The symmetry drawn per stage needs plain coordinates.
        let products = if self.name == "mnist" && h < 2.0 * n {
            let per_stage = if gradient { 3.0 } else { 1.0 };
            let ends = h * h * n * if gradient { 2.0 } else { 1.0 } + rows * h * n * if gradient { 6.0 } else { 2.0 };
            per_stage * stages * rows * h * h + ends
        } else {
            stages * rows * h * n * if gradient { 6.0 } else { 2.0 }
        };
        2e-9 * products
    }

    /// A batch: normal numbers, spread three times as wide where they stand for data.
    ///
    /// # Panics
    /// Never: normal numbers do not run out.
    pub fn batch(&self) -> Batch {
        let width = if self.name == "mnist" { 3.0 } else { 1.0 };
        let normals = self.key().normals(0..self.batch, self.dim);
        let x = normals.into_iter().map(|x| width * x).collect();
        Batch::new(x, self.dim).expect("rows of the model's dimension")
    }

    fn key(&self) -> RngKey {
        RngKey::new(0, Purpose::Train, 0)
    }

    /// Loss of a batch and, where asked for, its gradient.
    ///
    /// # Errors
    /// Those of the objective.
    pub fn evaluate<S: Space>(
        &self,
        space: &S,
        potential: &dyn Potential<S>,
        batch: &Batch,
        how: How,
    ) -> Result<Outcome<S>, Error> {
        let integrator = FixedStep::new(Method::Rk4.tableau(), self.steps)?;
        self.evaluate_by(space, potential, batch, &integrator, how)
    }

    /// The same by another integrator.
    ///
    /// # Errors
    /// Those of the objective.
    pub fn evaluate_by<S: Space>(
        &self,
        space: &S,
        potential: &dyn Potential<S>,
        batch: &Batch,
        integrator: &dyn Integrator<S>,
        How { coordinates, memory, gradient }: How,
    ) -> Result<Outcome<S>, Error> {
        let flow = Flow { space, potential, integrator, duration: self.duration, coordinates, memory, team: &Alone };
        let objective: Box<dyn Objective<S>> = match self.name {
            "mnist" => Box::new(NegativeLogLikelihood::default()),
            _ => Box::new(FreeEnergy::new(Stand(self.dim))),
        };
        objective.evaluate(&flow, batch, &Evaluation { gradient, ..Evaluation::new(self.key()) })
    }

    /// Samples of the model without their densities, as many as a batch has rows: `batch × dim`, row by row.
    ///
    /// # Errors
    /// Those of the integrator.
    pub fn sample<S: Space>(&self, space: &S, potential: &dyn Potential<S>) -> Result<Vec<f64>, Error> {
        let integrator = FixedStep::new(Method::Rk4.tableau(), self.steps)?;
        let (coordinates, memory) = (Coordinates::Auto, Memory::Stages);
        let flow = Flow {
            space,
            potential,
            integrator: &integrator,
            duration: self.duration,
            coordinates,
            memory,
            team: &Alone,
        };
        let key = RngKey::new(0, Purpose::Sample, 0);
        let base = key.normals(0..self.batch, self.dim);
        flow.transport_points(&Batch::new(base, self.dim)?, flow.span(Direction::Forward), key)
    }
}

/// Peak resident memory of this process, where the system tells (Linux).
pub fn peak_mebibytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
