//! Targets for flows, as plain host numbers: tables of one's own, MNIST in logit space, densities in the plane, and
//! lattice models.
//!
//! Everything takes and fills slices (`u8`, `f64`, row-major) and draws from a generator or a seed of the caller's, so
//! that any backend can use it and a run is reproducible at any number of threads.
//!
//! - [`table`]: numbers with named columns, read from csv, npy and other files, in blocks or whole, and written.
//! - [`columns`]: checks of a table, the transform of each column, and whitening, with their Jacobians.
//! - [`split`]: rows for training, validation and test, by a hash of their numbers.
//! - [`yardstick`]: two simple densities fitted to the same rows, to measure a flow by.
//! - [`mnist`]: two IDX files, read from a folder or fetched into the user's cache; pixels to logits and back with
//!   their Jacobian and bits per dimension.
//! - [`plane`]: five densities with samples, `ln p` and entropy; four energies with gradients and `ln Z`.
//! - [`lattice`]: the Ising model in continuous variables and the φ⁴ theory (both plain and whitened), their spins and
//!   fields by cluster Monte Carlo, and the symmetries of a rectangular lattice.
//! - [`particles`]: clusters of equal particles, their configurations by Monte Carlo at several temperatures, and the
//!   alignment of one configuration with another.
//! - [`sets`]: sets of vectors that are stretched along one axis of their own, with `ln p` and entropy.
//! - [`chains`]: configurations of lattices and particles by many Markov chains, of which several processes draw some
//!   each.
//! - [`Bijection`]: the one trait of maps between a user's coordinates and a flow's.
//! - [`Standardisation`]: affine maps to zero mean and unit scale, with their inverse and their Jacobian.
//!
//! # From pictures to logits
//!
//! ```no_run
//! use datasets::mnist::{Content, Download, LogitTransform, Mnist};
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//!
//! let download = Download::into_user_cache()?;
//! download.fetch(|line| eprintln!("{line}"))?;
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let mnist = Mnist::load(&download.folder, Content::Published, &mut rng)?;
//! assert_eq!((mnist.train.len(), mnist.validation.len(), mnist.test.len()), (50_000, 10_000, 10_000));
//!
//! let mut x = vec![0.0; mnist.dimension()];
//! let log_jacobian = LogitTransform::MNIST.forward(mnist.train.picture(0), &mut rng, &mut x);
//! let nll = 1255.5; // of a model at x, in nats
//! println!("{:.3} bits/dim", LogitTransform::bits_per_dim(nll, log_jacobian, x.len()));
//! # Ok::<(), datasets::mnist::MnistError>(())
//! ```
//!
//! # An exact entropy to compare a fit with
//!
//! ```
//! use datasets::plane::PlaneDensity;
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//!
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let moons = PlaneDensity::TwoMoons;
//! let samples: Vec<[f64; 2]> = (0..10_000).map(|_| moons.sample(&mut rng)).collect();
//! let mean = samples.iter().map(|&x| -moons.log_density(x)).sum::<f64>() / 1e4;
//! assert!((mean - moons.entropy()).abs() < 0.05);
//! ```
//!
//! # The exact free energy of the continuous Ising model
//!
//! ```
//! use datasets::lattice::{Boundary, IsingTarget};
//!
//! // One free spin: Z_Ising = 2 and K = 0.1, so Z = ∫ exp(−x²/0.2) cosh x dx = √(0.2π) exp(0.05).
//! let target = IsingTarget::new(1, 1, Boundary::Open, 2.0)?;
//! let exact = -0.5 * (0.2 * std::f64::consts::PI).ln() - 0.05;
//! assert!((target.minus_log_z(2f64.ln()) - exact).abs() < 1e-15);
//! # Ok::<(), datasets::lattice::LatticeError>(())
//! ```

pub mod chains;
pub mod columns;
pub mod lattice;
pub mod mnist;
pub mod particles;
pub mod plane;
pub mod sets;
pub mod split;
pub mod table;
pub mod whole_file;
pub mod yardstick;

mod bessel;
mod bijection;
mod gelbrich;
mod moments;
mod quadrature;
mod standardise;

pub use bijection::Bijection;
pub use gelbrich::gelbrich;
pub use standardise::{Standardisation, StandardisationError};

#[cfg(test)]
mod finite_difference;
