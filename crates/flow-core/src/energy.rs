//! Energies: the negative logarithms of densities up to a constant, with their gradients, on the host.

use std::sync::Arc;

use crate::error::Error;

/// A function of rows of numbers with its gradient: the negative logarithm of a density, up to a constant.
///
/// An energy may fail. It is called from one thread at a time unless [`Energy::concurrent`] says otherwise. One that is
/// known point by point is made of a closure by [`PointEnergy`]; one that is quicker for many rows at once implements
/// the trait:
///
/// ```
/// use flow_core::{Energy, Error};
///
/// /// A spring to a centre that is the row's context.
/// struct Spring { stiffness: f64 }
///
/// impl Energy for Spring {
///     fn dim(&self) -> usize { 1 }
///     fn context_dim(&self) -> usize { 1 }
///     fn energies_and_gradients(
///         &self, x: &[f64], context: &[f64], energies: &mut [f64], gradients: &mut [f64],
///     ) -> Result<(), Error> {
///         for (r, (x, centre)) in x.iter().zip(context).enumerate() {
///             energies[r] = 0.5 * self.stiffness * (x - centre).powi(2);
///             gradients[r] = self.stiffness * (x - centre);
///         }
///         Ok(())
///     }
/// }
///
/// let (mut energies, mut gradients) = ([0.0; 2], [0.0; 2]);
/// Spring { stiffness: 2.0 }.energies_and_gradients(&[1.0, 3.0], &[0.0, 1.0], &mut energies, &mut gradients)?;
/// assert_eq!((energies, gradients), ([1.0, 4.0], [2.0, 4.0]));
/// # Ok::<(), Error>(())
/// ```
pub trait Energy: Send + Sync {
    /// Numbers per row.
    fn dim(&self) -> usize;

    /// Numbers of context per row.
    fn context_dim(&self) -> usize {
        0
    }

    /// The energies of some rows and their gradients by x: `x` and `gradients` are `rows × dim`, `context` is `rows ×
    /// context_dim`, `energies` has a number for every row, all row by row. Both results are overwritten.
    ///
    /// # Errors
    /// Whatever keeps it from an answer, as [`Error::Callback`]: the evaluation that asked ends with it. A point that
    /// has no energy is no error: its energy is NaN or infinite.
    fn energies_and_gradients(
        &self,
        x: &[f64],
        context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error>;

    /// Products of the second derivatives of the energies with one vector per row, laid out like the points; `products`
    /// is overwritten. A loss of forces is differentiated by them.
    ///
    /// By default they are central differences of the gradients, from two calls with a point on either side of each
    /// row. Their error is about 1e-10 of the gradients where these have 64 bits. An energy with exact second
    /// derivatives overrides this.
    ///
    /// # Errors
    /// Those of [`Energy::energies_and_gradients`].
    fn hessian_products(&self, x: &[f64], context: &[f64], vectors: &[f64], products: &mut [f64]) -> Result<(), Error> {
        let dim = self.dim();
        // Moves a point by the cube root of round-off of its size, whichever length its vector has.
        let reaches = x.chunks_exact(dim).zip(vectors.chunks_exact(dim)).map(|(x, vector)| {
            let greatest = |of: &[f64]| of.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            let length = greatest(vector);
            if length > 0.0 { 6e-6 * greatest(x).max(1.0) / length } else { 1.0 }
        });
        let reaches: Vec<f64> = reaches.collect();
        let mut energies = vec![0.0; reaches.len()];
        let mut gradients = [vec![0.0; x.len()], vec![0.0; x.len()]];
        for (gradients, side) in gradients.iter_mut().zip([1.0, -1.0]) {
            let moved = |(i, (x, vector)): (usize, (&f64, &f64))| x + side * reaches[i / dim] * vector;
            let moved: Vec<f64> = x.iter().zip(vectors).enumerate().map(moved).collect();
            self.energies_and_gradients(&moved, context, &mut energies, gradients)?;
        }
        let differences = gradients[0].iter().zip(&gradients[1]).map(|(ahead, behind)| ahead - behind);
        for (i, (product, difference)) in products.iter_mut().zip(differences).enumerate() {
            *product = difference / (2.0 * reaches[i / dim]);
        }
        Ok(())
    }

    /// Whether it may be called from several threads at a time.
    fn concurrent(&self) -> bool {
        false
    }

    /// The energy of one point and its gradient, which is overwritten.
    ///
    /// # Errors
    /// Those of [`Energy::energies_and_gradients`].
    fn energy_and_gradient(&self, x: &[f64], context: &[f64], gradient: &mut [f64]) -> Result<f64, Error> {
        let mut energy = [0.0];
        self.energies_and_gradients(x, context, &mut energy, gradient)?;
        Ok(energy[0])
    }
}

/// An energy behind a pointer is that energy.
macro_rules! energy_behind {
    ($pointer:ident) => {
        impl<E: Energy + ?Sized> Energy for $pointer<E> {
            fn dim(&self) -> usize {
                (**self).dim()
            }

            fn context_dim(&self) -> usize {
                (**self).context_dim()
            }

            fn energies_and_gradients(
                &self,
                x: &[f64],
                context: &[f64],
                energies: &mut [f64],
                gradients: &mut [f64],
            ) -> Result<(), Error> {
                (**self).energies_and_gradients(x, context, energies, gradients)
            }

            fn hessian_products(
                &self,
                x: &[f64],
                context: &[f64],
                vectors: &[f64],
                products: &mut [f64],
            ) -> Result<(), Error> {
                (**self).hessian_products(x, context, vectors, products)
            }

            fn concurrent(&self) -> bool {
                (**self).concurrent()
            }
        }
    };
}

energy_behind!(Box);
energy_behind!(Arc);

/// Of the context of some rows, what an energy takes: all, or nothing where it does without. An energy without context
/// may be fitted by a flow that has one.
pub(crate) fn context_of<'a>(energy: &dyn Energy, context: &'a [f64]) -> &'a [f64] {
    if energy.context_dim() == 0 { &[] } else { context }
}

/// Checks that an energy takes points and contexts of these widths; it may do without the context.
///
/// # Errors
/// [`Error::Shape`] when it does not.
pub(crate) fn check_widths(energy: &dyn Energy, dim: usize, context_dim: usize) -> Result<(), Error> {
    let (found, expected) = (vec![energy.dim(), energy.context_dim()], vec![dim, context_dim]);
    if energy.dim() == dim && [0, context_dim].contains(&energy.context_dim()) {
        return Ok(());
    }
    Err(Error::Shape { what: "a row of the energy (numbers, context)".into(), found, expected })
}

/// An energy that is known point by point, without context.
///
/// ```
/// use flow_core::{Energy, PointEnergy};
/// let well = PointEnergy::new(1, |x, gradient| {
///     gradient[0] = 4.0 * x[0] * (x[0] * x[0] - 1.0);
///     Ok((x[0] * x[0] - 1.0).powi(2))
/// });
/// let mut gradient = [0.0];
/// assert_eq!(well.energy_and_gradient(&[2.0], &[], &mut gradient)?, 9.0);
/// assert_eq!(gradient, [24.0]);
/// # Ok::<(), flow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PointEnergy<F> {
    dim: usize,
    of_point: F,
    concurrent: bool,
}

impl<F: Fn(&[f64], &mut [f64]) -> Result<f64, Error> + Send + Sync> PointEnergy<F> {
    /// The energy of points of `dim` numbers: `of_point` returns it and overwrites the gradient, its second argument.
    pub fn new(dim: usize, of_point: F) -> Self {
        Self { dim, of_point, concurrent: false }
    }

    /// The same, called from several threads at a time.
    #[must_use]
    pub fn concurrent(self) -> Self {
        Self { concurrent: true, ..self }
    }
}

impl<F: Fn(&[f64], &mut [f64]) -> Result<f64, Error> + Send + Sync> Energy for PointEnergy<F> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        _context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error> {
        let points = x.chunks_exact(self.dim).zip(gradients.chunks_exact_mut(self.dim));
        for (energy, (x, gradient)) in energies.iter_mut().zip(points) {
            *energy = (self.of_point)(x, gradient)?;
        }
        Ok(())
    }

    fn concurrent(&self) -> bool {
        self.concurrent
    }
}

/// The standard normal density: `E = −ln N(x; 0, I)`.
#[derive(Debug, Clone, Copy)]
pub struct StandardNormal {
    /// Numbers per point.
    pub dim: usize,
}

impl Energy for StandardNormal {
    fn dim(&self) -> usize {
        self.dim
    }

    fn energies_and_gradients(
        &self,
        x: &[f64],
        _context: &[f64],
        energies: &mut [f64],
        gradients: &mut [f64],
    ) -> Result<(), Error> {
        gradients.copy_from_slice(x);
        for (energy, x) in energies.iter_mut().zip(x.chunks_exact(self.dim)) {
            *energy = -standard_normal_log_density(x);
        }
        Ok(())
    }

    fn concurrent(&self) -> bool {
        true
    }
}

/// ln N(z; 0, I).
pub fn standard_normal_log_density(z: &[f64]) -> f64 {
    let square: f64 = z.iter().map(|v| v * v).sum();
    -0.5 * (square + z.len() as f64 * std::f64::consts::TAU.ln())
}
