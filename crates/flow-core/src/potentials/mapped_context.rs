//! A potential whose context is a function of what its rows are given: polynomials of one number, or the same numbers
//! for all rows.

use std::ops::Range;

use crate::error::Error;
use crate::normalisation::{Moments, Normalisation};
use crate::parameter::Parameter;
use crate::potential::{Block, BlockField, Field, Potential, Share, Solve, Stage};
use crate::space::Space;

/// `φ(x, t | c) = φ₀(x, t | f(c))` with a [`ContextMap`] f. Its parameters are those of φ₀.
pub struct MappedContext<S: Space> {
    space: S,
    inner: Box<dyn Potential<S>>,
    map: ContextMap,
}

/// A function from what a row is given to the context of a potential.
#[derive(Debug, Clone, PartialEq)]
pub enum ContextMap {
    /// One number between two ends becomes the Chebyshev polynomials of degree 1, 2, … of it, as many as the potential
    /// takes. They are between −1 and 1 where the number is between the ends.
    Chebyshev {
        /// The number that becomes −1.
        from: f64,
        /// The number that becomes 1.
        to: f64,
    },
    /// Nothing is given: the context is the same for all rows, and the potential one without context.
    Fixed(Vec<f64>),
}

impl ContextMap {
    /// Numbers that a row is given.
    fn given(&self) -> usize {
        match self {
            Self::Chebyshev { .. } => 1,
            Self::Fixed(_) => 0,
        }
    }

    /// The contexts of `width` numbers of `rows` rows, row by row.
    fn contexts(&self, given: &[f64], rows: usize, width: usize) -> Vec<f64> {
        match self {
            Self::Fixed(context) => context.repeat(rows),
            Self::Chebyshev { from, to } => {
                let polynomials = |number: &f64| {
                    let u = (2.0 * number - from - to) / (to - from);
                    std::iter::successors(Some([1.0, u]), move |[before, last]| Some([*last, 2.0 * u * last - before]))
                        .map(|[_, last]| last)
                        .take(width)
                };
                given.iter().flat_map(polynomials).collect()
            }
        }
    }
}

impl<S: Space> MappedContext<S> {
    /// φ₀ whose context is mapped.
    ///
    /// # Errors
    /// [`Error::Setting`] for ends that are not two finite numbers, the lower first, or a φ₀ without context;
    /// [`Error::Shape`] for a fixed context of another width than that of φ₀.
    pub fn new(space: S, inner: Box<dyn Potential<S>>, map: ContextMap) -> Result<Self, Error> {
        Error::at_least_1([("context", inner.context_dim())])?;
        match &map {
            ContextMap::Chebyshev { from, to } if !(to > from && (to - from).is_finite()) => {
                Err(Error::setting("to", *to, "finite, and more than `from`"))
            }
            ContextMap::Fixed(context) if context.len() != inner.context_dim() => {
                let what = "the fixed context".into();
                Err(Error::Shape { what, found: vec![context.len()], expected: vec![inner.context_dim()] })
            }
            _ => Ok(Self { space, inner, map }),
        }
    }
}

impl<S: Space> Potential<S> for MappedContext<S> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn context_dim(&self) -> usize {
        self.map.given()
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        self.inner.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.inner.parameters_mut()
    }

    fn buffers(&self) -> Vec<&Parameter<S>> {
        self.inner.buffers()
    }

    fn buffers_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.inner.buffers_mut()
    }

    fn observe(&mut self, moments: &[Moments]) {
        self.inner.observe(moments);
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        Box::new(Frozen { of: self, inner: self.inner.freeze(solve) })
    }

    fn random_in_time(&self) -> bool {
        self.inner.random_in_time()
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        self.inner.draw_width(solve)
    }

    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        self.inner.draw(solve, rows)
    }

    fn has_score_pullback(&self) -> bool {
        self.inner.has_score_pullback()
    }
}

/// φ₀ frozen for one solve; its blocks are entered with their context mapped.
struct Frozen<'a, S: Space> {
    of: &'a MappedContext<S>,
    inner: Box<dyn Field<S> + 'a>,
}

impl<S: Space> Frozen<'_, S> {
    fn mapped(&self, block: Block<S>) -> Block<S> {
        let MappedContext { space, inner, map } = self.of;
        let (rows, width) = (block.rows.len(), inner.context_dim());
        let given = block.context.as_ref().map(|given| space.download(given)).unwrap_or_default();
        Block { context: Some(space.upload(rows, width, &map.contexts(&given, rows, width))), ..block }
    }
}

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        self.inner.enter(self.mapped(block))
    }

    fn rows_may_have_times(&self) -> bool {
        self.inner.rows_may_have_times()
    }

    fn boundaries(&self) -> Vec<f64> {
        self.inner.boundaries()
    }

    fn layers(&self) -> &[Normalisation<S>] {
        self.inner.layers()
    }

    fn value(&self, stage: Stage, block: Block<S>) -> S::Column {
        self.inner.value(stage, self.mapped(block))
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        self.inner.gradient(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_those_of_chebyshev() {
        let map = ContextMap::Chebyshev { from: 1.8, to: 3.0 };
        let given = [1.8, 2.1, 3.0];
        let found = map.contexts(&given, 3, 4);
        for (number, found) in given.iter().zip(found.chunks(4)) {
            // T_n(cos θ) = cos nθ.
            let angle = ((2.0 * number - 4.8) / 1.2f64).clamp(-1.0, 1.0).acos();
            for (n, found) in (1..).zip(found) {
                assert!((found - (f64::from(n) * angle).cos()).abs() < 1e-12, "T_{n}({number})");
            }
        }
        assert_eq!(ContextMap::Fixed(vec![1.0, 2.0]).contexts(&[], 2, 2), [1.0, 2.0, 1.0, 2.0]);
    }
}
