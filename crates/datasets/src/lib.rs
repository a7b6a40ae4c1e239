//! Targets for flows, as plain host numbers: MNIST in logit space, two-dimensional densities, and lattice models.

pub mod lattice;
pub mod mnist;

#[cfg(test)]
mod finite_difference;
