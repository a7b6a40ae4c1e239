//! How a potential is integrated: segments, layers, reversible steps, the continuous adjoint and the watch.

use flow_core::{Memory, Reversible, SymmetryDraw};

use super::range::{MOST_STEPS, at_least, at_most, out_of_range, within};
use crate::error::RecipeError;
use crate::schema::{Flow, Objective, Potential, Recipe, Term, TermKind};

impl Recipe {
    /// Refuses a symmetry drawn per stage where there are several segments. Refuses normalisation layers where they
    /// would break a symmetry, or have no rows of data to learn from.
    pub(super) fn segments_fit(&self, potential: &Potential, flow: &Flow) -> Result<(), RecipeError> {
        let Flow { segments, normalisation, .. } = *flow;
        let on_lattice = |term: &Term| matches!(term.kind, TermKind::LatticeQuadratic | TermKind::LatticeRidge(_));
        let (symmetry, lattice) = match potential {
            Potential::Ridge(ridge) => (ridge.symmetry.as_ref(), false),
            Potential::Sum(sum) => (None, sum.terms.iter().any(on_lattice)),
        };
        if segments > 1 && symmetry.is_some_and(|symmetry| symmetry.draw == SymmetryDraw::PerStage) {
            let remedy = "set potential.symmetry.draw = \"per-solve\"";
            return Err(out_of_range("flow.segments", segments, "1 with a symmetry drawn per stage", remedy));
        }
        let Some(decay) = normalisation else { return Ok(()) };
        let refused = |expected: &str, remedy: &str| Err(out_of_range("flow.normalisation", decay, expected, remedy));
        if symmetry.is_some() || lattice {
            let remedy = "means and deviations of every site apart would break its symmetry: leave it out";
            return refused("no value for a symmetric potential", remedy);
        }
        if segments < 2 {
            return refused("no value with flow.segments = 1", "layers are between segments: have more of them");
        }
        if self.train.objective != Objective::Nll {
            let remedy = "layers learn from rows of data on their way to the base: leave it out";
            return refused("no value but with train.objective = \"nll\"", remedy);
        }
        if self.train.transport_cost != 0.0 {
            return refused(
                "no value with train.transport_cost",
                "layers move points at no cost: leave one of the two out",
            );
        }
        Ok(())
    }

    /// Reversible steps: a coupling near enough to 1 for all steps that a training may make, and an
    /// adjoint that keeps nothing.
    pub(super) fn coupling_fits(&self, flow: &Flow) -> Result<(), RecipeError> {
        let methods = [Some(flow.method), self.evaluate.method];
        if let Some(coupling) = flow.coupling
            && !methods.iter().flatten().any(|method| method.is_reversible())
        {
            return Err(out_of_range(
                "flow.coupling",
                coupling,
                format!("no value with flow.method = \"{}\"", flow.method.name()),
                "leave it out, or choose a method like \"reversible-rk4\"",
            ));
        }
        let coupling = flow.coupling_or_default();
        if !(coupling > 0.0 && coupling <= 1.0) {
            let remedy = format!("{} is usual", Reversible::COUPLING);
            return Err(out_of_range("flow.coupling", coupling, "a number above 0, at most 1", remedy));
        }
        if !flow.method.is_reversible() {
            return Ok(());
        }
        if flow.memory != Memory::default() {
            return Err(out_of_range(
                "flow.memory",
                format!("\"{}\"", memory_word(flow.memory)),
                format!("no value with flow.method = \"{}\"", flow.method.name()),
                "leave it out: a reversible method keeps the end alone",
            ));
        }
        let watched = self.train.watch_every > 0;
        let steps = if watched { flow.steps.max(self.train.max_flow_steps) } else { flow.steps };
        let precision = self.train.precision;
        let round_off = precision.round_off();
        let least = Reversible::least_coupling(steps, round_off);
        if coupling < least {
            let (word, key) = (precision.name(), if watched { "train.max_flow_steps" } else { "flow.steps" });
            return Err(out_of_range(
                "flow.coupling",
                coupling,
                format!("at least {} for {steps} steps in {word}", (least * 1e6).ceil() / 1e6),
                format!("undoing a step divides round-off by it: raise it, or lower {key}"),
            ));
        }
        Ok(())
    }

    pub(super) fn watch_fits(&self, flow: &Flow) -> Result<(), RecipeError> {
        if self.train.watch_every > 0 && self.train.max_flow_steps < flow.steps {
            return Err(out_of_range(
                "train.max_flow_steps",
                self.train.max_flow_steps,
                format!("at least flow.steps = {}", flow.steps),
                "raise it, lower flow.steps, or turn the watch off with train.watch_every = 0",
            ));
        }
        Ok(())
    }
}

/// The continuous adjoint goes back by other stages than there were.
pub(super) fn continuous_adjoint_fits(potential: &Potential, flow: &Flow) -> Result<(), RecipeError> {
    let per_stage = potential.symmetry().is_some_and(|symmetry| symmetry.draw == SymmetryDraw::PerStage);
    if flow.memory == Memory::Continuous && per_stage {
        return Err(out_of_range(
            "flow.memory",
            "\"continuous\"",
            "\"stages\" or \"recompute\" with a symmetry drawn per stage, which would be another on the way back",
            "change it, or set potential.symmetry.draw = \"per-solve\"",
        ));
    }
    Ok(())
}

impl Flow {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
        // Beyond these, products with the time of a few derivatives are no longer numbers of 32 bits.
        within("flow.time", self.time, 1e-6, 1e6, "the paper uses 10 (MNIST) and 5 (Ising)")?;
        at_least("flow.steps", self.steps, 1)?;
        at_most("flow.steps", self.steps, MOST_STEPS)?;
        at_least("flow.segments", self.segments, 1)?;
        at_most("flow.segments", self.segments, 64)?;
        let decay = self.normalisation;
        decay.map_or(Ok(()), |decay| within("flow.normalisation", decay, 0.0, 0.999_999, "0.99 is usual"))?;
        if self.method.is_adaptive() {
            return Err(out_of_range(
                "flow.method",
                self.method.name(),
                "a method of fixed step: euler, midpoint, heun, ralston3, rk4, rk38, fixed-tsit5, fixed-dopri5, or \
                 reversible- before any name",
                "an adaptive method serves evaluation and sampling, by evaluate.method; with fixed- before its name \
                 it takes equal steps",
            ));
        }
        Ok(())
    }
}

fn memory_word(memory: Memory) -> &'static str {
    match memory {
        Memory::Stages => "stages",
        Memory::Recompute => "recompute",
        Memory::Continuous => "continuous",
    }
}
