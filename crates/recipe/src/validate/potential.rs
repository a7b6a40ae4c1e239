//! Sizes of potentials and their terms, and what each needs of the target.

use datasets::lattice::Boundary;

use super::range::{MOST_NUMBERS, at_least, at_most, out_of_range, positive, within};
use crate::error::RecipeError;
use crate::layout::Layout;
use crate::schema::{
    ConvolutionalTerm, Generator, LatticeRidgeTerm, ParticlesTerm, Potential, Recipe, SeparableTerm, Symmetry,
    TargetKind, Term, TermKind,
};

impl Recipe {
    /// The sizes of a potential, and whether the target has what it needs.
    pub(super) fn potential_fits(&self, potential: &Potential) -> Result<(), RecipeError> {
        match potential {
            Potential::Ridge(_) if self.target.is_conditional() => {
                return Err(out_of_range(
                    "potential.kind",
                    "\"ridge\"",
                    "\"sum\", whose terms take a context",
                    "choose a sum with a term of kind \"ridge\" or \"two-layer\", or a target without columns given",
                ));
            }
            Potential::Ridge(ridge) => {
                at_least("potential.hidden", ridge.hidden, 1)?;
                at_most("potential.hidden", ridge.hidden, self.most_hidden())?;
                within("potential.sharpness", ridge.sharpness, 1e-3, 1e3, "1 is the start of PyTorch's linear layers")?;
                time_terms(ridge.time_terms)?;
                if let Some(symmetry) = &ridge.symmetry {
                    symmetry.validate(&self.target, self.dimension())?;
                }
            }
            Potential::Sum(sum) => {
                at_least("potential.terms", sum.terms.len(), 1)?;
                sum.terms.iter().try_for_each(|term| self.term_fits(term))?;
            }
        }
        Ok(())
    }

    /// The most hidden units whose weights can be held.
    fn most_hidden(&self) -> usize {
        (MOST_NUMBERS / self.dimension().max(1)).min(1 << 20)
    }

    /// The sizes of a term, and whether the target has what it needs.
    fn term_fits(&self, term: &Term) -> Result<(), RecipeError> {
        time_terms(term.time.time_terms)?;
        match &term.kind {
            TermKind::Quadratic(_) => Ok(()),
            TermKind::ContextQuadratic => self.has_context(),
            TermKind::FullQuadratic => self.full_quadratic_fits(term.time.time_terms),
            TermKind::Separable(term) => term.validate(),
            TermKind::Ridge(term) => {
                at_least("potential.terms.hidden", term.hidden, 1)?;
                at_most("potential.terms.hidden", term.hidden, self.most_hidden())?;
                within("potential.terms.sharpness", term.sharpness, 1e-3, 1e3, "1 is usual")?;
                within("potential.terms.reach", term.reach, 0.0, 1e3, "1 is usual")
            }
            TermKind::TwoLayer(term) => {
                for hidden in term.hidden {
                    at_least("potential.terms.hidden", hidden, 1)?;
                    at_most("potential.terms.hidden", hidden, self.most_hidden())?;
                }
                at_most("potential.terms.hidden", term.hidden[1], MOST_NUMBERS / term.hidden[0])?;
                at_most("potential.terms.probes", term.probes, 1 << 16)
            }
            TermKind::Particles(term) => self.particles_fit(term),
            TermKind::Convolutional(term) => self.convolutional_fits(term),
            TermKind::LatticeQuadratic => self.is_on_a_torus(term),
            TermKind::LatticeRidge(of) => self.lattice_ridge_fits(of).and_then(|()| self.is_on_a_torus(term)),
        }
    }

    fn full_quadratic_fits(&self, time_terms: usize) -> Result<(), RecipeError> {
        let dimension = self.dimension();
        match dimension.saturating_mul(dimension).saturating_mul(time_terms) {
            ..=MOST_NUMBERS => Ok(()),
            _ => Err(out_of_range(
                "potential.terms.kind",
                "\"full-quadratic\"",
                format!("at most {MOST_NUMBERS} numbers, not {time_terms} matrices of {dimension} by {dimension}"),
                "choose another term, or a smaller target",
            )),
        }
    }

    fn has_context(&self) -> Result<(), RecipeError> {
        match self.target.is_conditional() {
            true => Ok(()),
            false => Err(out_of_range(
                "potential.terms.kind",
                "\"context-quadratic\"",
                "a target that is a density given something",
                "choose \"quadratic\", or name columns in target.given",
            )),
        }
    }

    fn particles_fit(&self, term: &ParticlesTerm) -> Result<(), RecipeError> {
        at_least("potential.terms.centres", term.centres, 2)?;
        at_most("potential.terms.centres", term.centres, 1 << 10)?;
        let [from, to] = term.interval;
        if !(from >= 0.0 && to > from && to.is_finite()) {
            return Err(out_of_range(
                "potential.terms.interval",
                format!("[{from}, {to}]"),
                "two distances, the lower first",
                "choose those between which particles are found",
            ));
        }
        if let Some([from, to]) = term.cutoff
            && !(from >= 0.0 && to > from && to.is_finite())
        {
            return Err(out_of_range(
                "potential.terms.cutoff",
                format!("[{from}, {to}]"),
                "two distances, the lower first",
                "leave it out where all particles see each other",
            ));
        }
        positive("potential.terms.core", term.core, "a third of the least distance is usual")?;
        for (key, found) in [("potential.terms.sums", term.sums), ("potential.terms.vectors", term.vectors)] {
            at_most(key, found, 1 << 12)?;
        }
        for hidden in term.hidden {
            at_least("potential.terms.hidden", hidden, 1)?;
            at_most("potential.terms.hidden", hidden, 1 << 16)?;
        }
        match self.target.layout() {
            Layout::Particles(..) => Ok(()),
            _ => Err(out_of_range(
                "potential.terms.kind",
                "\"particles\"",
                "particles as the target",
                "choose another term, target.kind = \"particles\" or \"sets\", or target.layout = \"particles\" of an \
                 energy",
            )),
        }
    }

    fn convolutional_fits(&self, term: &ConvolutionalTerm) -> Result<(), RecipeError> {
        for channels in term.channels {
            at_least("potential.terms.channels", channels, 1)?;
            at_most("potential.terms.channels", channels, 1 << 12)?;
        }
        at_least("potential.terms.hidden", term.hidden, 1)?;
        at_most("potential.terms.hidden", term.hidden, 1 << 20)?;
        at_most("potential.terms.probes", term.probes, 1 << 16)?;
        match self.target.layout().suits_convolutions() {
            true => Ok(()),
            false => Err(out_of_range(
                "potential.terms.kind",
                "\"convolutional\"",
                "square pictures as the target, whose side is a multiple of 4",
                "choose another term or target.kind = \"mnist\"",
            )),
        }
    }

    fn lattice_ridge_fits(&self, term: &LatticeRidgeTerm) -> Result<(), RecipeError> {
        at_least("potential.terms.kernels", term.kernels, 1)?;
        at_most("potential.terms.kernels", term.kernels, 1 << 12)?;
        within("potential.terms.fall_off", term.fall_off, 0.0, 8.0, "0 is none, 2 is usual")?;
        let square = self.target.lattice().is_some_and(|(rows, cols, _)| rows == cols);
        if term.d4 && !square {
            return Err(out_of_range(
                "potential.terms.d4",
                true,
                "a square lattice as the target",
                "set it to false: this target doesn't have that symmetry",
            ));
        }
        Ok(())
    }

    fn is_on_a_torus(&self, term: &Term) -> Result<(), RecipeError> {
        match self.target.lattice() {
            Some((_, _, Boundary::Periodic)) => Ok(()),
            _ => Err(out_of_range(
                "potential.terms.kind",
                format!("\"{}\"", term.kind.name()),
                "a periodic lattice as the target",
                "choose another term or target.boundary = \"periodic\"",
            )),
        }
    }
}

impl SeparableTerm {
    fn validate(&self) -> Result<(), RecipeError> {
        at_least("potential.terms.centres", self.centres, 2)?;
        at_most("potential.terms.centres", self.centres, 1 << 10)?;
        within("potential.terms.sharpness", self.sharpness, 1e-3, 4.0, "2 is usual")?;
        let [from, to] = self.interval;
        if to > from && (to - from).is_finite() {
            return Ok(());
        }
        Err(out_of_range(
            "potential.terms.interval",
            format!("[{from}, {to}]"),
            "two finite numbers, the lower first",
            "[-3.0, 3.0] is usual",
        ))
    }
}

/// Numbers in the table of a symmetry group that memory is lent to: 256 MB.
const GROUP_NUMBERS: usize = 1 << 26;

impl Symmetry {
    fn validate(&self, target: &TargetKind, sites: usize) -> Result<(), RecipeError> {
        if self.group.is_empty() {
            return Err(out_of_range(
                "potential.symmetry.group",
                "[]",
                "at least one of \"translations\", \"transpose\", \"d4\", \"z2\"",
                "name one or leave the section [potential.symmetry] out",
            ));
        }
        let elements = self.group.iter().fold(1, |elements: usize, generator| match generator {
            Generator::Translations => elements.saturating_mul(sites),
            Generator::Transpose | Generator::Z2 => elements.saturating_mul(2),
            Generator::D4 => elements.saturating_mul(8),
        });
        if elements.saturating_mul(sites) > GROUP_NUMBERS {
            return Err(out_of_range(
                "potential.symmetry.group",
                format!("{elements} permutations of {sites} sites"),
                format!("at most {GROUP_NUMBERS} numbers in its table"),
                "leave a generator out or choose a smaller lattice",
            ));
        }
        let (square, periodic) = target
            .lattice()
            .map_or((false, false), |(rows, cols, boundary)| (rows == cols, boundary == Boundary::Periodic));
        for generator in &self.group {
            let (word, allowed, needs) = match generator {
                Generator::Translations => ("translations", periodic, "a periodic lattice"),
                Generator::Transpose => ("transpose", square, "a square lattice"),
                Generator::D4 => ("d4", square, "a square lattice"),
                Generator::Z2 => ("z2", true, ""),
            };
            if !allowed {
                return Err(out_of_range(
                    "potential.symmetry.group",
                    format!("\"{word}\""),
                    format!("{needs} as the target"),
                    "take it out of the group: this target doesn't have that symmetry",
                ));
            }
        }
        Ok(())
    }
}

fn time_terms(found: usize) -> Result<(), RecipeError> {
    at_least("potential.time_terms", found, 1)?;
    at_most("potential.time_terms", found, 64)
}
