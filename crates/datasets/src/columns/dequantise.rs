//! Uniform noise that makes a density of values that are steps.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// Adds uniform noise in [0, step) to the columns that have a step.
///
/// A value k of integers becomes `k + u`. The density of `k + u`, integrated over u, is the probability of k, so that
/// `E_u ln p(k + u) ≤ ln P(k)` (Theis, van den Oord, Bethge, arXiv:1511.01844). It is no bijection, since u is lost on
/// the way back: [`quantise`](Self::quantise) returns k.
///
/// ```
/// use datasets::columns::Dequantisation;
/// let noise = Dequantisation::new(vec![Some(1.0), None], 7);
/// let (mut rows, mut alone) = (vec![3.0, 0.5, 4.0, 0.5], vec![4.0, 0.5]);
/// noise.keyed(&mut rows);
/// noise.keyed(&mut alone);
/// assert_eq!(rows[2..], alone, "the noise of a row depends on nothing but the row and the seed");
/// noise.quantise(&mut rows);
/// assert_eq!(rows, [3.0, 0.5, 4.0, 0.5]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dequantisation {
    steps: Vec<Option<f64>>,
    seed: u64,
}

/// What round-off may take from a value that is a whole number of steps, in steps.
const ROUND_OFF: f64 = 1e-9;

impl Dequantisation {
    /// From the step of each column that has one, and a seed.
    ///
    /// # Panics
    /// If a step is not finite and positive.
    pub fn new(steps: Vec<Option<f64>>, seed: u64) -> Self {
        assert!(steps.iter().flatten().all(|step| step.is_finite() && *step > 0.0), "steps are positive");
        Self { steps, seed }
    }

    /// The step of each column that has one.
    pub fn steps(&self) -> &[Option<f64>] {
        &self.steps
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether no column has a step, so that nothing is ever changed.
    pub fn is_idle(&self) -> bool {
        self.steps.iter().all(Option::is_none)
    }

    /// Adds the noise of the row's content: equal rows get equal noise, wherever they stand.
    ///
    /// For figures: ln p of a row does not depend on its place or its neighbours. For training take
    /// [`fresh`](Self::fresh), since equal rows must not fall on one point.
    ///
    /// The generator of a row is ChaCha8, its key the SHA-256 of the seed and all values of the row (IEEE bits, −0 as
    /// 0).
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn keyed(&self, rows: &mut [f64]) {
        self.each(rows, |row| {
            let mut hash = Sha256::new();
            hash.update(self.seed.to_le_bytes());
            // Adding 0 turns −0 into 0.
            row.iter().for_each(|value| hash.update((value + 0.0).to_bits().to_le_bytes()));
            let mut rng = ChaCha8Rng::from_seed(hash.finalize().into());
            self.add(row, &mut rng);
        });
    }

    /// Adds noise from a generator.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn fresh(&self, rows: &mut [f64], rng: &mut impl Rng) {
        self.each(rows, |row| self.add(row, rng));
    }

    /// Takes the noise away: every value of a column with a step goes down to a whole number of steps.
    ///
    /// # Panics
    /// If the last row is not whole.
    pub fn quantise(&self, rows: &mut [f64]) {
        self.each(rows, |row| {
            for (value, step) in row.iter_mut().zip(&self.steps) {
                if let Some(step) = step {
                    let steps = (*value / step + ROUND_OFF).floor();
                    // A step such as 0.01 is no power of two: dividing by 100 is exact where multiplying is not.
                    let inverse = step.recip().round();
                    *value = if (inverse * step - 1.0).abs() < 1e-15 { steps / inverse } else { steps * step };
                }
            }
        });
    }

    fn each(&self, rows: &mut [f64], mut act: impl FnMut(&mut [f64])) {
        if self.is_idle() {
            return;
        }
        assert_eq!(rows.len() % self.steps.len(), 0, "rows of {} numbers", self.steps.len());
        rows.chunks_exact_mut(self.steps.len()).for_each(&mut act);
    }

    fn add(&self, row: &mut [f64], rng: &mut impl Rng) {
        for (value, step) in row.iter_mut().zip(&self.steps) {
            if let Some(step) = step {
                let u: f64 = rng.random();
                let noisy = *value + step * u;
                // Rounding may reach the next step.
                *value = if noisy < *value + step { noisy } else { *value };
            }
        }
    }
}

/// The largest step 1, 0.1, 0.01, … down to 1e-9 that all values are whole numbers of.
pub(super) fn decimal_step(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    (0..=9).map(|digits| 10f64.powi(digits)).find(|scale| values.clone().all(|x| on_grid(x, *scale))).map(f64::recip)
}

/// Whether x times `scale` is a whole number but for rounding.
fn on_grid(x: f64, scale: f64) -> bool {
    let steps = x * scale;
    steps.abs() < 2f64.powi(50) && (steps - steps.round()).abs() <= 4.0 * f64::EPSILON * steps.abs()
}

/// Whether x is a whole number of steps but for rounding.
pub(super) fn is_multiple(x: f64, step: f64) -> bool {
    let steps = x / step;
    (steps - steps.round()).abs() <= 1e-6f64.max(4.0 * f64::EPSILON * steps.abs())
}
