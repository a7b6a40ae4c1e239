//! A batch: rows with weights and context, or the part of them that a member of a team has.

use std::ops::Range;

use crate::energy::{Energy, context_of};
use crate::error::Error;

/// Rows of numbers, each with a weight and perhaps a context: a whole batch, or consecutive rows of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The points, `rows × dim`, row by row.
    pub x: Vec<f64>,
    /// `rows × context_dim`, row by row; empty without context.
    pub context: Vec<f64>,
    /// Points of the base density that flow matching pairs the rows with, `rows × dim`, row by row. Empty where they
    /// are independent of the rows: flow matching then draws them itself.
    pub base: Vec<f64>,
    /// Weight of every row in means over the whole batch, relative to the others; empty where all weigh the same.
    pub weights: Vec<f64>,
    /// The numbers of these rows within the whole batch.
    pub rows: Range<usize>,
    /// Rows of the whole batch.
    pub of: usize,
    /// The sum of the weights of the whole batch.
    pub total_weight: f64,
}

impl Batch {
    /// A whole batch of rows of `dim` numbers, that all count alike and have no context.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers do not make whole rows.
    pub fn new(x: Vec<f64>, dim: usize) -> Result<Self, Error> {
        let rows = rows_of("the batch", &x, dim)?;
        Ok(Self {
            x,
            context: Vec::new(),
            base: Vec::new(),
            weights: Vec::new(),
            rows: 0..rows,
            of: rows,
            total_weight: rows as f64,
        })
    }

    /// The same rows as part of a batch of `of` rows, in which they begin with row `first`.
    #[must_use]
    pub fn part(self, first: usize, of: usize) -> Self {
        let rows = first..first + self.rows.len();
        let total_weight = if self.weights.is_empty() { of as f64 } else { self.total_weight };
        Self { rows, of, total_weight, ..self }
    }

    /// Some rows of a whole batch, as the part of it that a member of a team has.
    ///
    /// ```
    /// use flow_core::Batch;
    /// let whole = Batch::new(vec![1.0, 2.0, 3.0], 1)?.with_weights(vec![1.0, 3.0, 5.0], 9.0);
    /// let part = whole.member(1..3);
    /// assert_eq!((part.x, part.weights, part.rows), (vec![2.0, 3.0], vec![3.0, 5.0], 1..3));
    /// assert_eq!((part.of, part.total_weight), (3, 9.0));
    /// # Ok::<(), flow_core::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `rows` reaches beyond the batch.
    #[must_use]
    pub fn member(&self, rows: Range<usize>) -> Self {
        let of = |numbers: &[f64]| self.numbers(numbers, &rows).to_vec();
        let [x, context, base, weights] = [&self.x, &self.context, &self.base, &self.weights].map(|all| of(all));
        Self { x, context, base, weights, rows: rows.clone(), ..*self }
    }

    /// The first `rows` rows of a whole batch, or all where there are fewer, as a whole batch of their own.
    ///
    /// ```
    /// use flow_core::Batch;
    /// let batch = Batch::new(vec![1.0, 2.0, 3.0], 1)?.with_weights(vec![1.0, 3.0, 5.0], 9.0).first(2);
    /// assert_eq!((batch.of, batch.x, batch.weights), (2, vec![1.0, 2.0], vec![1.0, 3.0]));
    /// assert_eq!(batch.total_weight, 4.0);
    /// # Ok::<(), flow_core::Error>(())
    /// ```
    #[must_use]
    pub fn first(&self, rows: usize) -> Self {
        let rows = self.of.min(rows);
        let first = |of: &[f64]| of[..of.len() / self.of.max(1) * rows].to_vec();
        let weights = first(&self.weights);
        let total_weight = if weights.is_empty() { rows as f64 } else { weights.iter().sum() };
        let [x, context, base] = [&self.x, &self.context, &self.base].map(|of| first(of));
        Self { x, context, base, weights, rows: 0..rows, of: rows, total_weight }
    }

    /// The same rows with a context, `rows × k` numbers. [`Batch::check`] looks at their number, this does not.
    #[must_use]
    pub fn with_context(self, context: Vec<f64>) -> Self {
        Self { context, ..self }
    }

    /// The same rows, each paired with a point of the base density, `rows × dim` numbers.
    #[must_use]
    pub fn with_base(self, base: Vec<f64>) -> Self {
        Self { base, ..self }
    }

    /// The same rows with weights, one each, whose sum over the whole batch is `total`. [`Batch::check`] looks at their
    /// number, this does not.
    #[must_use]
    pub fn with_weights(self, weights: Vec<f64>, total: f64) -> Self {
        Self { weights, total_weight: total, ..self }
    }

    /// The energies of all rows and their gradients, `rows × dim`, each row in its context where the energy takes one.
    ///
    /// # Errors
    /// Those of the energy.
    pub fn energies_and_gradients(&self, energy: &dyn Energy) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let (mut energies, mut gradients) = (vec![0.0; self.rows.len()], vec![0.0; self.x.len()]);
        let context = context_of(energy, &self.context);
        energy.energies_and_gradients(&self.x, context, &mut energies, &mut gradients)?;
        Ok((energies, gradients))
    }

    /// Checks that there are rows, and that points, context and weights are there for each.
    ///
    /// # Errors
    /// [`Error::Shape`] with what does not fit.
    pub fn check(&self, dim: usize, context_dim: usize) -> Result<(), Error> {
        let rows = self.rows.len();
        if self.of == 0 {
            return Err(Error::Shape { what: "the batch".into(), found: vec![0, dim], expected: vec![1, dim] });
        }
        let check = |what: &str, found: usize, cols: usize| {
            let expected = vec![rows, cols];
            if found == rows * cols {
                Ok(())
            } else {
                Err(Error::Shape { what: what.into(), found: vec![found], expected })
            }
        };
        check("the batch", self.x.len(), dim)?;
        check("the context of the batch", self.context.len(), context_dim)?;
        if !self.base.is_empty() {
            check("the points of the base that the batch is paired with", self.base.len(), dim)?;
        }
        if self.weights.is_empty() { Ok(()) } else { check("the weights of the batch", self.weights.len(), 1) }
    }

    /// Some of these rows, by their numbers within the whole batch: points and context.
    pub(crate) fn numbers<'a>(&self, of: &'a [f64], rows: &Range<usize>) -> &'a [f64] {
        let width = of.len() / self.rows.len().max(1);
        &of[(rows.start - self.rows.start) * width..(rows.end - self.rows.start) * width]
    }

    /// The share of every one of some rows in means over the whole batch, by their numbers within it.
    pub(crate) fn shares(&self, rows: &Range<usize>) -> Vec<f64> {
        if self.weights.is_empty() {
            return vec![1.0 / self.total_weight; rows.len()];
        }
        self.numbers(&self.weights, rows).iter().map(|weight| weight / self.total_weight).collect()
    }
}

/// How many rows of `dim` numbers there are.
///
/// # Errors
/// [`Error::Shape`] when the numbers do not make whole rows.
pub(crate) fn rows_of(what: &str, x: &[f64], dim: usize) -> Result<usize, Error> {
    if dim > 0 && x.len().is_multiple_of(dim) {
        return Ok(x.len() / dim);
    }
    Err(Error::Shape { what: what.into(), found: vec![x.len()], expected: vec![x.len().div_ceil(dim.max(1)), dim] })
}
