//! Maps against their inverses and differences, checks against tables that deserve them.

mod checks;
mod maps;
mod regression;

use super::*;
use crate::table::Table;

/// Numbers that look random, in [0, 1).
fn uniform(index: usize) -> f64 {
    let hash = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((hash ^ (hash >> 32)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Nearly normal numbers.
fn normal(index: usize) -> f64 {
    (0..12).map(|part| uniform(12 * index + part)).sum::<f64>() - 6.0
}
