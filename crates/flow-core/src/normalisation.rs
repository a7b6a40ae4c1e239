//! A normalisation layer as a solve sees it, and what a batch is like there.

use crate::space::{Factor, Space};

/// Means over a batch of a coordinate and of its square, for every coordinate where points meet a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Mean of every coordinate x.
    pub mean: Vec<f64>,
    /// Mean of x².
    pub square: Vec<f64>,
}

/// A normalisation layer frozen for one solve, between two segments.
#[derive(Debug)]
pub struct Normalisation<S: Space> {
    /// m, 1 × N, as the next two are.
    pub(crate) mean: S::Array,
    /// s.
    pub(crate) scale: S::Array,
    /// 1/s.
    pub(crate) inverse: S::Array,
    /// `Σ ln s`.
    pub(crate) log_scale: f64,
}

impl<S: Space> Normalisation<S> {
    /// Points on the side of the data, from those on the side of the base; ln p changes by `−Σ ln s`.
    pub(crate) fn to_data(&self, space: &S, y: &S::Array) -> S::Array {
        let mut x = self.means(space, y);
        space.accumulate_scaled_columns(&mut x, 1.0, 1.0, y, &self.scale);
        x
    }

    /// Points on the side of the base, from those on the side of the data.
    pub(crate) fn to_base(&self, space: &S, x: &S::Array) -> S::Array {
        let mut centred = self.means(space, x);
        space.accumulate(&mut centred, -1.0, &[(1.0, x)]);
        scaled(space, &centred, &self.inverse)
    }

    /// The cotangent of what went in, from that of what came out of [`Normalisation::to_data`] or `to_base`.
    pub(crate) fn pull_back(&self, space: &S, bar: &S::Array, to_data: bool) -> S::Array {
        scaled(space, bar, if to_data { &self.scale } else { &self.inverse })
    }

    /// The means, below each other for every row.
    fn means(&self, space: &S, like: &S::Array) -> S::Array {
        let (n, mut means) = (space.shape(like).0, space.empty_like(like));
        let ones = space.upload(n, 1, &vec![1.0; n]);
        space.matmul(&mut means, 0.0, Factor::Plain(&ones), Factor::Plain(&self.mean));
        means
    }
}

/// `x diag(row)`.
fn scaled<S: Space>(space: &S, x: &S::Array, row: &S::Array) -> S::Array {
    let mut out = space.empty_like(x);
    space.accumulate_scaled_columns(&mut out, 0.0, 1.0, x, row);
    out
}
