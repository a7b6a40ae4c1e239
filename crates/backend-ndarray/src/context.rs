//! Offsets that are linear in the context of a row, and the gathering of their cotangents.

use flow_core::Parameter;
use ndarray::Array2;

use crate::arrays::zeros;
use crate::cpu::Cpu;
use crate::gemm::product;
use crate::real::Real;

/// `Uc` of every row, n × h, where a potential has offsets U (h × k) by its context c (n × k).
pub(crate) fn offsets<T: Real>(weight: Option<&Parameter<Cpu<T>>>, context: Option<&Array2<T>>) -> Option<Array2<T>> {
    let (weight, context) = (weight?, context.expect("a block has the context that its potential takes"));
    let mut offsets = zeros(context.nrows(), weight.value.nrows());
    product(offsets.view_mut(), 0.0, context.view(), weight.value.t());
    Some(offsets)
}

/// A block's offsets, with the sum over stages of the cotangents of what they are added to.
pub(crate) struct Offsets<T> {
    /// `Uc`, n × h.
    pub(crate) value: Array2<T>,
    /// c, n × k.
    context: Array2<T>,
    bar: Array2<T>,
}

impl<T: Real> Offsets<T> {
    /// Those of a block, where there are any.
    pub(crate) fn new(weight: Option<&Parameter<Cpu<T>>>, context: Option<Array2<T>>) -> Option<Self> {
        let value = offsets(weight, context.as_ref())?;
        let bar = zeros(value.nrows(), value.ncols());
        Some(Self { value, context: context?, bar })
    }

    /// Adds a cotangent, n × h.
    pub(crate) fn add(&mut self, bar: &Array2<T>) {
        self.bar += bar;
    }

    /// The cotangent of U, h × k.
    pub(crate) fn finish(self) -> Array2<T> {
        weight_bar(&self.bar, &self.context)
    }
}

/// The cotangent of U (h × k) from that of `Uc` (n × h).
pub(crate) fn weight_bar<T: Real>(bar: &Array2<T>, context: &Array2<T>) -> Array2<T> {
    let mut out = zeros(bar.ncols(), context.ncols());
    product(out.view_mut(), 0.0, bar.t(), context.view());
    out
}
