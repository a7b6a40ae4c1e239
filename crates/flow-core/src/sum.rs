//! Sums of potentials: gradients, Laplacians and cotangents add up.

use std::ops::Range;
use std::sync::OnceLock;

use crate::{
    BlockField, Coordinates, Error, Field, Parameter, Potential, Residuals, Solve, Space, Stage, new_cache_key,
};

/// `φ(x, t) = Σ_k φ_k(x, t)`, integrated in x.
pub struct Sum<S: Space> {
    space: S,
    dim: usize,
    terms: Vec<Box<dyn Potential<S>>>,
    identity: u64,
}

impl<S: Space> Sum<S> {
    /// A sum of terms, each with a name; the parameters of a term are called `name.parameter` from now on.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are no terms or two have the same name; [`Error::Shape`] when they take different numbers of coordinates.
    pub fn new(space: S, terms: Vec<(String, Box<dyn Potential<S>>)>) -> Result<Self, Error> {
        let Some(dim) = terms.first().map(|(_, term)| term.dim()) else {
            return Err(Error::setting("potential.terms", 0, "at least 1"));
        };
        for (i, (name, term)) in terms.iter().enumerate() {
            if term.dim() != dim {
                let what = format!("the term `{name}` of the potential");
                return Err(Error::Shape { what, found: vec![term.dim()], expected: vec![dim] });
            }
            if terms[..i].iter().any(|(other, _)| other == name) {
                return Err(Error::setting("potential.terms.name", name, "another name for each term"));
            }
        }
        let named = |(name, mut term): (String, Box<dyn Potential<S>>)| {
            term.parameters_mut().into_iter().for_each(|p| p.name = format!("{name}.{}", p.name));
            term
        };
        Ok(Self { space, dim, terms: terms.into_iter().map(named).collect(), identity: new_cache_key() })
    }
}

impl<S: Space> Potential<S> for Sum<S> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        self.terms.iter().flat_map(|term| term.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.terms.iter_mut().flat_map(|term| term.parameters_mut()).collect()
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        let solve = Solve { coordinates: Coordinates::X, ..*solve };
        let terms = self.terms.iter().map(|term| term.freeze(&solve)).collect();
        Box::new(Frozen { space: &self.space, terms, shares: OnceLock::new() })
    }

    fn random_in_time(&self) -> bool {
        self.terms.iter().any(|term| term.random_in_time())
    }

    fn identity(&self) -> Option<u64> {
        self.terms.iter().all(|term| term.identity().is_some()).then_some(self.identity)
    }
}

struct Frozen<'a, S: Space> {
    space: &'a S,
    terms: Vec<Box<dyn Field<S> + 'a>>,
    /// How many arrays the share of each term has, as the first block to come back found.
    shares: OnceLock<Vec<usize>>,
}

impl<'a, S: Space> Frozen<'a, S> {
    /// The chart of a block of rows like x, from those of the terms.
    fn block(&'a self, x: &S::Array, terms: Vec<Box<dyn BlockField<S> + 'a>>) -> Box<dyn BlockField<S> + 'a> {
        let (n, dim) = self.space.shape(x);
        let (array, column) = (self.space.zeros(n, dim), self.space.column_zeros(n));
        Box::new(Block { field: self, terms, memo_ends: Vec::new(), array, column })
    }
}

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, rows: Range<usize>, x: S::Array) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let terms = self.terms.iter().map(|term| term.enter(rows.clone(), x.clone()).0).collect();
        (self.block(&x, terms), x)
    }

    fn enter_at(
        &self,
        rows: Range<usize>,
        x: &S::Array,
        times: &[f64],
    ) -> Option<(Box<dyn BlockField<S> + '_>, S::Array)> {
        let terms = self.terms.iter().map(|term| Some(term.enter_at(rows.clone(), x, times)?.0));
        let terms = terms.collect::<Option<Vec<_>>>()?;
        Some((self.block(x, terms), x.clone()))
    }

    fn value(&self, rows: Range<usize>, stage: Stage, x: &S::Array) -> S::Column {
        let mut sum = self.space.column_zeros(rows.len());
        for term in &self.terms {
            self.space.column_accumulate(&mut sum, 1.0, &[(1.0, &term.value(rows.clone(), stage, x))]);
        }
        sum
    }

    fn gradient(&self, sums: Vec<S::Array>) -> Vec<S::Array> {
        let shares = self.shares.get().expect("sums come from blocks");
        let mut sums = sums.into_iter();
        let terms = self.terms.iter().zip(shares);
        terms.flat_map(|(term, share)| term.gradient(sums.by_ref().take(*share).collect())).collect()
    }
}

struct Block<'a, S: Space> {
    field: &'a Frozen<'a, S>,
    terms: Vec<Box<dyn BlockField<S> + 'a>>,
    /// Where the residuals of each term ends; the same at every evaluation.
    memo_ends: Vec<usize>,
    array: S::Array,
    column: S::Column,
}

impl<S: Space> BlockField<S> for Block<'_, S> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        velocity: &mut S::Array,
        mut laplacian: Option<&mut S::Column>,
        mut residuals: Option<&mut Residuals<S>>,
    ) {
        let space = self.field.space;
        let start = residuals.as_ref().map_or(0, |residuals| residuals.len());
        if residuals.is_some() {
            self.memo_ends.clear();
        }
        for (k, term) in self.terms.iter_mut().enumerate() {
            if k == 0 {
                term.evaluate(stage, state, velocity, laplacian.as_deref_mut(), residuals.as_deref_mut());
            } else {
                let column = laplacian.is_some().then_some(&mut self.column);
                term.evaluate(stage, state, &mut self.array, column, residuals.as_deref_mut());
                space.accumulate(velocity, 1.0, &[(1.0, &self.array)]);
                if let Some(laplacian) = &mut laplacian {
                    space.column_accumulate(laplacian, 1.0, &[(1.0, &self.column)]);
                }
            }
            self.memo_ends.extend(residuals.as_ref().map(|residuals| residuals.len() - start));
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        residuals: &[S::Array],
        velocity_bar: &S::Array,
        laplacian_bar: Option<&S::Column>,
        mut state_bar: Option<&mut S::Array>,
    ) {
        let mut first = 0;
        for (k, term) in self.terms.iter_mut().enumerate() {
            let residuals = &residuals[first..self.memo_ends[k]];
            first = self.memo_ends[k];
            match &mut state_bar {
                Some(state_bar) if k > 0 => {
                    term.pullback(stage, state, residuals, velocity_bar, laplacian_bar, Some(&mut self.array));
                    self.field.space.accumulate(state_bar, 1.0, &[(1.0, &self.array)]);
                }
                state_bar => {
                    term.pullback(stage, state, residuals, velocity_bar, laplacian_bar, state_bar.as_deref_mut())
                }
            }
        }
    }

    fn leave(&mut self, state: S::Array) -> S::Array {
        state
    }

    fn leave_pullback(&mut self, _state: &S::Array, x_bar: S::Array) -> S::Array {
        x_bar
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<S::Array>) {
        let shares: Vec<_> = self.terms.into_iter().map(|term| term.enter_pullback(state_bar.clone()).1).collect();
        self.field.shares.get_or_init(|| shares.iter().map(Vec::len).collect());
        (state_bar, shares.into_iter().flatten().collect())
    }
}
