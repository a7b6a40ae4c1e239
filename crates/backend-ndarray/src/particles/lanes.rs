//! Numbers that are worked on side by side, which the compiler makes vectors of.

use std::array::from_fn;
use std::ops::{Add, AddAssign, Mul, Sub};

use crate::number::Number;

/// So many numbers side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes<T, const W: usize>(pub(super) [T; W]);

impl<T: Number, const W: usize> Lanes<T, W> {
    /// The same number in all lanes.
    #[inline(always)]
    pub(super) fn all(of: T) -> Self {
        Self([of; W])
    }

    /// The first numbers of a slice.
    #[inline(always)]
    pub(super) fn load(of: &[T]) -> Self {
        Self(from_fn(|l| of[l]))
    }

    /// Adds them to the first numbers of a slice.
    #[inline(always)]
    pub(super) fn add_to(self, out: &mut [T]) {
        out[..W].iter_mut().zip(self.0).for_each(|(out, of)| *out += of);
    }

    /// The sum of all lanes.
    #[inline(always)]
    pub(super) fn sum(self) -> T {
        self.0.into_iter().fold(T::zero(), |sum, of| sum + of)
    }
}

macro_rules! lane_by_lane {
    ($($name:ident $method:ident $operator:tt)*) => {$(
        impl<T: Number, const W: usize> $name for Lanes<T, W> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(from_fn(|l| self.0[l] $operator other.0[l]))
            }
        }
        impl<T: Number, const W: usize> $name<T> for Lanes<T, W> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: T) -> Self {
                Self(from_fn(|l| self.0[l] $operator other))
            }
        }
    )*};
}

lane_by_lane!(Add add + Sub sub - Mul mul *);

impl<T: Number, const W: usize> AddAssign for Lanes<T, W> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
