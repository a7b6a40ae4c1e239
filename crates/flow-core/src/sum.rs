//! Sums of potentials: gradients, Laplacians and cotangents add up.

use std::ops::Range;
use std::sync::OnceLock;

use crate::error::Error;
use crate::parameter::Parameter;
use crate::potential::{
    Block, BlockField, Coordinates, Field, Motion, Potential, Pullback, Residuals, ScoredCotangent, ScoredMotion,
    ScoredPoint, ScoredPointBar, Share, Solve, Stage, new_cache_key,
};
use crate::space::Space;

/// `φ(x, t) = Σ_k φ_k(x, t)`, integrated in x.
pub struct Sum<S: Space> {
    space: S,
    dim: usize,
    context_dim: usize,
    terms: Vec<Box<dyn Potential<S>>>,
    cache_key: u64,
}

impl<S: Space> Sum<S> {
    /// A sum of terms, each with a name; the parameters of a term are called `name.parameter` from now on.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are no terms, two have the same name, or one has layers of its own;
    /// [`Error::Shape`] when they take different numbers of coordinates.
    pub fn new(space: S, terms: Vec<(String, Box<dyn Potential<S>>)>) -> Result<Self, Error> {
        let Some(dim) = terms.first().map(|(_, term)| term.dim()) else {
            return Err(Error::setting("the number of terms", 0, "at least 1"));
        };
        for (i, (name, term)) in terms.iter().enumerate() {
            if term.dim() != dim {
                let what = format!("the term `{name}` of the potential");
                return Err(Error::Shape { what, found: vec![term.dim()], expected: vec![dim] });
            }
            if !term.buffers().is_empty() {
                return Err(Error::setting(
                    "a term",
                    name,
                    "no chain with normalisation layers, which is a whole flow",
                ));
            }
            if terms[..i].iter().any(|(other, _)| other == name) {
                return Err(Error::setting("the name of a term", name, "another name for each term"));
            }
        }
        // Terms without context take no part in it.
        let context_dim = terms.iter().map(|(_, term)| term.context_dim()).max().unwrap_or(0);
        for (name, term) in &terms {
            if ![0, context_dim].contains(&term.context_dim()) {
                let what = format!("the context of the term `{name}` of the potential");
                return Err(Error::Shape { what, found: vec![term.context_dim()], expected: vec![context_dim] });
            }
        }
        let named = |(name, mut term): (String, Box<dyn Potential<S>>)| {
            term.parameters_mut().into_iter().for_each(|p| p.name = format!("{name}.{}", p.name));
            term
        };
        let terms = terms.into_iter().map(named).collect();
        Ok(Self { space, dim, context_dim, terms, cache_key: new_cache_key() })
    }
}

impl<S: Space> Potential<S> for Sum<S> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn context_dim(&self) -> usize {
        self.context_dim
    }

    fn parameters(&self) -> Vec<&Parameter<S>> {
        self.terms.iter().flat_map(|term| term.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<S>> {
        self.terms.iter_mut().flat_map(|term| term.parameters_mut()).collect()
    }

    fn freeze(&self, solve: &Solve) -> Box<dyn Field<S> + '_> {
        let solve = Solve { coordinates: Coordinates::X, ..*solve };
        let terms = self.terms.iter().map(|term| FrozenTerm {
            draws: term.draw_width(&solve),
            context: term.context_dim() > 0,
            field: term.freeze(&solve),
        });
        Box::new(Frozen { space: &self.space, terms: terms.collect(), shares: OnceLock::new() })
    }

    fn random_in_time(&self) -> bool {
        self.terms.iter().any(|term| term.random_in_time())
    }

    fn draw_width(&self, solve: &Solve) -> usize {
        self.terms.iter().map(|term| term.draw_width(solve)).sum()
    }

    /// Those of the first term, then those of the next, in every row.
    fn draw(&self, solve: &Solve, rows: Range<usize>) -> Vec<f64> {
        let widths = self.terms.iter().map(|term| term.draw_width(solve));
        let of_terms: Vec<_> =
            widths.zip(&self.terms).map(|(width, term)| (width, term.draw(solve, rows.clone()))).collect();
        let row = |r: usize| of_terms.iter().flat_map(move |(width, of)| &of[r * width..(r + 1) * width]);
        (0..rows.len()).flat_map(row).copied().collect()
    }

    fn has_score_pullback(&self) -> bool {
        self.terms.iter().all(|term| term.has_score_pullback())
    }

    fn cache_key(&self) -> Option<u64> {
        self.terms.iter().all(|term| term.cache_key().is_some()).then_some(self.cache_key)
    }
}

struct Frozen<'a, S: Space> {
    space: &'a S,
    terms: Vec<FrozenTerm<'a, S>>,
    /// How many arrays the share of each term has, as the first block to come back found.
    shares: OnceLock<Vec<usize>>,
}

struct FrozenTerm<'a, S: Space> {
    field: Box<dyn Field<S> + 'a>,
    /// Random numbers of every row that are this term's.
    draws: usize,
    /// Whether it takes the context.
    context: bool,
}

impl<S: Space> Frozen<'_, S> {
    /// What of a block enters each term.
    fn blocks(&self, block: &Block<S>) -> Vec<Block<S>> {
        let mut first = 0;
        let of_term = |term: &FrozenTerm<'_, S>| {
            let columns = first..first + term.draws;
            first = columns.end;
            let draws = block.draws.as_ref().filter(|_| term.draws > 0).map(|all| {
                let mut own = self.space.zeros(block.rows.len(), term.draws);
                self.space.copy_columns(&mut own, 0, all, columns.clone());
                own
            });
            let context = block.context.clone().filter(|_| term.context);
            Block { rows: block.rows.clone(), x: block.x.clone(), context, draws, times: block.times.clone() }
        };
        self.terms.iter().map(of_term).collect()
    }
}

impl<S: Space> Field<S> for Frozen<'_, S> {
    fn enter(&self, block: Block<S>) -> (Box<dyn BlockField<S> + '_>, S::Array) {
        let of_terms = self.terms.iter().zip(self.blocks(&block));
        let terms = of_terms.map(|(term, block)| term.field.enter(block).0).collect();
        let (n, dim) = self.space.shape(&block.x);
        let (array, column) = (self.space.zeros(n, dim), self.space.column_zeros(n));
        (Box::new(SumBlock { field: self, terms, residual_ends: Vec::new(), array, column }), block.x)
    }

    fn rows_may_have_times(&self) -> bool {
        self.terms.iter().all(|term| term.field.rows_may_have_times())
    }

    fn value(&self, stage: Stage, block: Block<S>) -> S::Column {
        let mut sum = self.space.column_zeros(block.rows.len());
        for (term, block) in self.terms.iter().zip(self.blocks(&block)) {
            self.space.column_accumulate(&mut sum, 1.0, &[(1.0, &term.field.value(stage, block))]);
        }
        sum
    }

    fn gradient(&self, sums: Vec<Share<S>>) -> Vec<S::Array> {
        let shares = self.shares.get().expect("sums come from blocks");
        let mut sums = sums.into_iter();
        let terms = self.terms.iter().zip(shares);
        terms.flat_map(|(term, share)| term.field.gradient(sums.by_ref().take(*share).collect())).collect()
    }
}

struct SumBlock<'a, S: Space> {
    field: &'a Frozen<'a, S>,
    terms: Vec<Box<dyn BlockField<S> + 'a>>,
    /// Where the residuals of each term ends; the same at every evaluation.
    residual_ends: Vec<usize>,
    array: S::Array,
    column: S::Column,
}

impl<S: Space> BlockField<S> for SumBlock<'_, S> {
    fn evaluate(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Motion { velocity, mut laplacian, mut residuals }: Motion<'_, S>,
    ) {
        let space = self.field.space;
        let start = residuals.as_ref().map_or(0, |residuals| residuals.len());
        if residuals.is_some() {
            self.residual_ends.clear();
        }
        for (k, term) in self.terms.iter_mut().enumerate() {
            if k == 0 {
                term.evaluate(
                    stage,
                    state,
                    Motion { velocity, laplacian: laplacian.as_deref_mut(), residuals: residuals.as_deref_mut() },
                );
            } else {
                let column = laplacian.is_some().then_some(&mut self.column);
                term.evaluate(
                    stage,
                    state,
                    Motion { velocity: &mut self.array, laplacian: column, residuals: residuals.as_deref_mut() },
                );
                space.accumulate(velocity, 1.0, &[(1.0, &self.array)]);
                if let Some(laplacian) = &mut laplacian {
                    space.column_accumulate(laplacian, 1.0, &[(1.0, &self.column)]);
                }
            }
            self.residual_ends.extend(residuals.as_ref().map(|residuals| residuals.len() - start));
        }
    }

    fn pullback(
        &mut self,
        stage: Stage,
        state: &S::Array,
        Pullback { residuals, velocity_bar, laplacian_bar, mut state_bar }: Pullback<'_, S>,
    ) {
        let mut first = 0;
        for (k, term) in self.terms.iter_mut().enumerate() {
            let residuals = &residuals[first..self.residual_ends[k]];
            first = self.residual_ends[k];
            match &mut state_bar {
                Some(state_bar) if k > 0 => {
                    term.pullback(
                        stage,
                        state,
                        Pullback { residuals, velocity_bar, laplacian_bar, state_bar: Some(&mut self.array) },
                    );
                    self.field.space.accumulate(state_bar, 1.0, &[(1.0, &self.array)]);
                }
                state_bar => term.pullback(
                    stage,
                    state,
                    Pullback { residuals, velocity_bar, laplacian_bar, state_bar: state_bar.as_deref_mut() },
                ),
            }
        }
    }

    fn evaluate_scored(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, S>,
        ones: &S::Column,
        scratch: &mut Residuals<S>,
        out: ScoredMotion<'_, S>,
    ) {
        let (space, ScoredMotion { velocity, mut laplacian, change }) = (self.field.space, out);
        let mut own = (self.terms.len() > 1).then(|| space.empty_like(change));
        for (k, term) in self.terms.iter_mut().enumerate() {
            let Some(own) = own.as_mut().filter(|_| k > 0) else {
                let laplacian = laplacian.as_deref_mut();
                term.evaluate_scored(stage, at, ones, scratch, ScoredMotion { velocity, laplacian, change });
                continue;
            };
            let column = laplacian.is_some().then_some(&mut self.column);
            let out = ScoredMotion { velocity: &mut self.array, laplacian: column, change: own };
            term.evaluate_scored(stage, at, ones, scratch, out);
            space.accumulate(velocity, 1.0, &[(1.0, &self.array)]);
            space.accumulate(change, 1.0, &[(1.0, own)]);
            if let Some(laplacian) = &mut laplacian {
                space.column_accumulate(laplacian, 1.0, &[(1.0, &self.column)]);
            }
        }
    }

    fn score_pullback(
        &mut self,
        stage: Stage,
        at: ScoredPoint<'_, S>,
        bar: ScoredCotangent<'_, S>,
        out: ScoredPointBar<'_, S>,
    ) {
        let (space, ScoredPointBar { x, score }) = (self.field.space, out);
        let mut own = space.empty_like(score);
        for (k, term) in self.terms.iter_mut().enumerate() {
            if k == 0 {
                term.score_pullback(stage, at, bar, ScoredPointBar { x: &mut *x, score: &mut *score });
                continue;
            }
            term.score_pullback(stage, at, bar, ScoredPointBar { x: &mut self.array, score: &mut own });
            space.accumulate(x, 1.0, &[(1.0, &self.array)]);
            space.accumulate(score, 1.0, &[(1.0, &own)]);
        }
    }

    fn enter_pullback(self: Box<Self>, state_bar: S::Array) -> (S::Array, Vec<Share<S>>) {
        let shares: Vec<_> = self.terms.into_iter().map(|term| term.enter_pullback(state_bar.clone()).1).collect();
        self.field.shares.get_or_init(|| shares.iter().map(Vec::len).collect());
        (state_bar, shares.into_iter().flatten().collect())
    }
}
