//! Ranges and contradictions: every number checked before any work begins.

use std::fmt::Display;

use datasets::columns::Regression;
use datasets::lattice::Boundary;
use flow_core::{Estimator, Memory, Reversible, Schedule, SymmetryDraw};

use super::{
    ConvolutionalTerm, Density, EnergyTarget, Evaluate, FineTune, Flow, Generator, LatticeRidgeTerm, Layout, Model,
    Objective, ParticlesTarget, ParticlesTerm, PointLayout, Potential, Recipe, RecipeError, Scale, SeparableTerm,
    Standardise, Symmetry, TargetCoordinates, TargetKind, Term, TermKind, Train, readable,
};

impl Recipe {
    /// Dimension N of the data.
    pub fn dimension(&self) -> usize {
        self.target.layout().dimension()
    }

    /// Checks every number and every pair of keys that must agree.
    ///
    /// # Errors
    /// [`RecipeError::OutOfRange`] with the value, the range and the remedy.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.target.validate()?;
        match &self.density {
            Density::Flow { potential, flow } => {
                self.potential_fits(potential)?;
                flow.validate()?;
                self.watch_fits(flow)?;
                self.coupling_fits(flow)?;
                self.segments_fit(potential, flow)?;
                continuous_adjoint_fits(potential, flow)?;
            }
            Density::Model { model } => self.model_fits(model)?,
        }
        self.train.validate()?;
        self.fine_tune.as_ref().map_or(Ok(()), FineTune::validate)?;
        self.evaluate.validate()?;
        self.objective_fits()
    }

    /// The sizes of a potential, and whether the target has what it needs.
    fn potential_fits(&self, potential: &Potential) -> Result<(), RecipeError> {
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

    /// Layers learn from data that come by, and know nothing of symmetries; a symmetry drawn per stage knows nothing of
    /// segments.
    fn segments_fit(&self, potential: &Potential, flow: &Flow) -> Result<(), RecipeError> {
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

    /// The sizes of a model in closed form, and whether it is trained in a way that it can be.
    fn model_fits(&self, model: &Model) -> Result<(), RecipeError> {
        let (layers, hidden, components) = match model {
            Model::Made(made) => (1, &made.hidden, made.components),
            Model::Maf(maf) => (maf.layers, &maf.hidden, maf.components),
            Model::RealNvp(of) => (of.layers, &of.hidden, 1),
            Model::NeuralRg(of) => (of.layers, &of.hidden, 1),
        };
        for (key, size, most) in [("model.layers", layers, 1 << 10), ("model.components", components, 1 << 10)] {
            at_least(key, size, 1)?;
            at_most(key, size, most)?;
        }
        at_least("model.hidden", hidden.len(), 1)?;
        let dimension = self.dimension();
        let outputs = dimension.saturating_mul(2.max(3 * components));
        for (units, before) in hidden.iter().zip(std::iter::once(&dimension).chain(hidden)) {
            at_least("model.hidden", *units, 1)?;
            at_most("model.hidden", *units, MOST_NUMBERS / before.max(&1))?;
        }
        at_most("model.hidden", hidden[hidden.len() - 1], MOST_NUMBERS / outputs.max(1))?;
        let name = format!("\"{}\"", model.name());
        if matches!(model, Model::RealNvp(_)) && dimension < 2 {
            let remedy = "couplings move some coordinates by the others: choose \"maf\" or \"made\"";
            return Err(out_of_range("model.kind", name, "a target of at least 2 coordinates", remedy));
        }
        if matches!(model, Model::NeuralRg(_)) && !self.has_scales() {
            let remedy = "choose another model, or such a size";
            let expected = "a periodic square lattice as the target, whose side is a power of two";
            return Err(out_of_range("model.kind", name, expected, remedy));
        }
        if self.target.has_energy() && matches!(model, Model::Made(_) | Model::Maf(_)) {
            let remedy = "autoregressive models are sampled one coordinate after the other, without a gradient: choose \
                          \"real-nvp\", or a potential";
            return Err(out_of_range("model.kind", name, "\"real-nvp\" for a target given by its energy", remedy));
        }
        self.train_fits_a_model()
    }

    /// Whether the target is a periodic square lattice that can be halved down to a site.
    fn has_scales(&self) -> bool {
        self.target.lattice().is_some_and(|(rows, cols, boundary)| {
            boundary == Boundary::Periodic && rows == cols && rows.is_power_of_two()
        })
    }

    /// Nothing that only a flow has.
    fn train_fits_a_model(&self) -> Result<(), RecipeError> {
        let own = [Objective::Nll, Objective::FreeEnergy];
        if !own.contains(&self.train.objective) {
            let objective = format!("\"{}\"", self.train.objective.name());
            let remedy = "it is of flows that are integrated, and a model in closed form is none";
            return Err(out_of_range("train.objective", objective, "\"nll\" or \"free-energy\"", remedy));
        }
        if self.train.transport_cost != 0.0 {
            let expected = "0 for a model in closed form, which moves along no path";
            return Err(out_of_range("train.transport_cost", self.train.transport_cost, expected, "leave it out"));
        }
        if self.train.force_weight != 0.0 {
            let remedy = "the score is carried along flows: leave it out, or train a potential";
            return Err(out_of_range(
                "train.force_weight",
                self.train.force_weight,
                "0 for a model in closed form",
                remedy,
            ));
        }
        let tuned = self.fine_tune.as_ref().map(|tune| tune.gradient);
        for (key, gradient) in [("train.gradient", Some(self.train.gradient)), ("fine_tune.gradient", tuned)] {
            if gradient == Some(Estimator::Path) {
                let remedy = "the gradient through the path is one of flows: leave it out";
                return Err(out_of_range(key, "\"path\"", "\"total\" for a model in closed form", remedy));
            }
        }
        let remedy = "a model in closed form integrates nothing: leave it out";
        if let Some(steps) = self.evaluate.steps {
            return Err(out_of_range("evaluate.steps", steps, "no value", remedy));
        }
        if self.evaluate.refinements != Evaluate::default().refinements {
            return Err(out_of_range("evaluate.refinements", self.evaluate.refinements, "no value", remedy));
        }
        self.evaluate.method.map_or(Ok(()), |method| {
            Err(out_of_range("evaluate.method", format!("\"{}\"", method.name()), "no value", remedy))
        })
    }

    /// Reversible steps: a coupling near enough to 1 for all steps that a training may make, and an
    /// adjoint that keeps nothing.
    fn coupling_fits(&self, flow: &Flow) -> Result<(), RecipeError> {
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
                "choose another term, target.kind = \"particles\", or target.layout = \"particles\" of an energy",
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

    /// Data are fitted by likelihood, energies by free energy, and whatever can be sampled by flow matching.
    fn objective_fits(&self) -> Result<(), RecipeError> {
        let (what, fits) = match &self.target {
            TargetKind::Mnist(_) => ("mnist is given by data", Objective::Nll),
            TargetKind::Table(_) => ("a table is given by its rows", Objective::Nll),
            TargetKind::Ising(_) | TargetKind::Phi4(_) => {
                ("a lattice model is given by its energy", Objective::FreeEnergy)
            }
            TargetKind::Toy(toy) if toy.name.is_energy() => {
                ("this target is given by its energy", Objective::FreeEnergy)
            }
            TargetKind::Energy(_) | TargetKind::Particles(_) => {
                ("this target is given by its energy", Objective::FreeEnergy)
            }
            TargetKind::Own(own) if own.energy => ("this target is given by its energy", Objective::FreeEnergy),
            TargetKind::Toy(_) | TargetKind::Own(_) => ("this target is given by samples", Objective::Nll),
        };
        let word = |objective: Objective| format!("\"{}\"", objective.name());
        if self.train.objective == Objective::FlowMatching {
            let remedy = match &self.target {
                TargetKind::Mnist(_) | TargetKind::Table(_) | TargetKind::Particles(_) => None,
                TargetKind::Toy(toy) if !toy.name.is_energy() => None,
                TargetKind::Ising(_) | TargetKind::Phi4(_) if self.target.whitened() => None,
                TargetKind::Ising(_) => {
                    Some("set target.coordinates = \"whitened\", where samples are spins and noise")
                }
                TargetKind::Phi4(_) => Some("set target.coordinates = \"whitened\", where samples are nearly normal"),
                TargetKind::Energy(energy) if energy.samples.is_some() => None,
                TargetKind::Energy(_) => Some("flow matching needs samples: name a file of them as target.samples"),
                TargetKind::Own(own) if own.samples => None,
                TargetKind::Toy(_) | TargetKind::Own(_) => {
                    Some("flow matching needs samples, and this target has no sampler")
                }
            };
            if let Some(remedy) = remedy {
                return Err(out_of_range("train.objective", word(self.train.objective), word(fits), remedy));
            }
            if self.train.transport_cost != 0.0 {
                return Err(out_of_range(
                    "train.transport_cost",
                    self.train.transport_cost,
                    "0 for flow matching, which integrates nothing",
                    "leave it out",
                ));
            }
        } else if self.train.objective.is_distance() {
            self.distance_fits(what, fits)?;
        } else if self.train.objective == Objective::ForwardKl {
            self.divergence_fits("train.objective", fits)?;
        } else if self.train.objective != fits {
            return Err(out_of_range(
                "train.objective",
                word(self.train.objective),
                word(fits),
                format!("{what}; change train.objective or target"),
            ));
        }
        match self.fine_tune.as_ref().and_then(|tune| tune.objective) {
            Some(Objective::ForwardKl) => self.divergence_fits("fine_tune.objective", fits)?,
            Some(objective) if objective != fits => {
                let remedy = "leave it out for the target's own objective";
                return Err(out_of_range("fine_tune.objective", word(objective), word(fits), remedy));
            }
            _ => {}
        }
        self.distance_is_meant()?;
        self.gradient_fits(fits)?;
        self.clipped_forces_fit()?;
        self.forces_fit(fits)?;
        let endless = match &self.target {
            TargetKind::Mnist(_) | TargetKind::Table(_) | TargetKind::Own(_) => false,
            TargetKind::Energy(energy) => energy.samples.is_none() || energy.layout == PointLayout::Particles,
            TargetKind::Ising(_) | TargetKind::Toy(_) | TargetKind::Phi4(_) | TargetKind::Particles(_) => true,
        };
        if self.train.epochs.is_some() && endless {
            return Err(out_of_range(
                "train.epochs",
                self.train.epochs.unwrap_or_default(),
                "no value for a target without a finite data set",
                "give train.steps instead",
            ));
        }
        Ok(())
    }

    /// Distances are taken between samples and rows of data.
    fn distance_fits(&self, what: &str, fits: Objective) -> Result<(), RecipeError> {
        let objective = format!("\"{}\"", self.train.objective.name());
        if fits != Objective::Nll {
            let remedy = format!("{what}, and this compares rows of data; change train.objective or target");
            return Err(out_of_range("train.objective", objective, format!("\"{}\"", fits.name()), remedy));
        }
        if self.target.is_conditional() {
            let remedy = "samples given different values are of different densities: choose \"nll\"";
            return Err(out_of_range("train.objective", objective, "a target without columns given", remedy));
        }
        if self.train.transport_cost != 0.0 {
            let expected = format!("0 for {}", self.train.objective.name());
            return Err(out_of_range("train.transport_cost", self.train.transport_cost, expected, "leave it out"));
        }
        self.train.blur.map_or(Ok(()), |blur| within("train.blur", blur, 1e-3, 10.0, "0.05 is usual"))?;
        self.train.projections.map_or(Ok(()), |projections| rows("train.projections", projections, 1))
    }

    /// A divergence from the target needs its samples, its energy and a flow.
    fn divergence_fits(&self, key: &'static str, fits: Objective) -> Result<(), RecipeError> {
        let known = match &self.target {
            TargetKind::Particles(_) => true,
            TargetKind::Energy(energy) => energy.samples.is_some(),
            TargetKind::Own(own) => own.energy && own.samples,
            _ => false,
        };
        if !known || !matches!(self.density, Density::Flow { .. }) {
            let (found, expected) = ("\"forward-kl\"", format!("\"{}\"", fits.name()));
            let remedy = "it is of a flow, from a target that is known by samples and by its energy";
            return Err(out_of_range(key, found, expected, remedy));
        }
        if self.train.transport_cost != 0.0 {
            let expected = "0 with \"forward-kl\"";
            return Err(out_of_range("train.transport_cost", self.train.transport_cost, expected, "leave it out"));
        }
        Ok(())
    }

    /// Settings of a distance are there where it is trained by.
    fn distance_is_meant(&self) -> Result<(), RecipeError> {
        let settings = [
            ("train.blur", self.train.blur, Objective::Sinkhorn),
            ("train.projections", self.train.projections.map(|n| n as f64), Objective::SlicedWasserstein),
        ];
        for (key, value, objective) in settings {
            if let Some(value) = value.filter(|_| self.train.objective != objective) {
                let expected = format!("no value but with train.objective = \"{}\"", objective.name());
                return Err(out_of_range(key, value, expected, "leave it out"));
            }
        }
        Ok(())
    }

    /// The gradient through the path is one of the free energy.
    fn gradient_fits(&self, target: Objective) -> Result<(), RecipeError> {
        let tuned = self.fine_tune.as_ref().map(|tune| (tune.gradient, tune.objective.unwrap_or(target)));
        let trainings =
            [("train.gradient", Some((self.train.gradient, self.train.objective))), ("fine_tune.gradient", tuned)];
        for (key, training) in trainings {
            if let Some((Estimator::Path, objective)) = training
                && objective != Objective::FreeEnergy
            {
                let remedy = "the gradient through the path is one of the free energy: leave it out";
                return Err(out_of_range(key, "\"path\"", "\"total\"", remedy));
            }
        }
        Ok(())
    }

    /// Forces are clipped where a training goes by them.
    fn clipped_forces_fit(&self) -> Result<(), RecipeError> {
        let by_forces = |gradient, objective| gradient == Estimator::Path || objective == Some(Objective::ForwardKl);
        let first = by_forces(self.train.gradient, Some(self.train.objective));
        let tuned = self.fine_tune.as_ref().is_some_and(|tune| by_forces(tune.gradient, tune.objective));
        match self.train.clip_force {
            Some(limit) if !first && !tuned => {
                let remedy = "leave it out, or train or fine-tune with gradient = \"path\" or by \"forward-kl\"";
                Err(out_of_range("train.clip_force", limit, "no value but with the gradient through the path", remedy))
            }
            _ => Ok(()),
        }
    }

    /// Forces are those of an energy, in a training by its free energy.
    fn forces_fit(&self, target: Objective) -> Result<(), RecipeError> {
        let weight = self.train.force_weight;
        if weight == 0.0 {
            return Ok(());
        }
        let by_energy = |objective: Option<Objective>| objective.unwrap_or(target) == Objective::FreeEnergy;
        let tuned = self.fine_tune.as_ref().is_some_and(|tune| tune.steps > 0 && by_energy(tune.objective));
        if target != Objective::FreeEnergy || (self.train.objective != Objective::FreeEnergy && !tuned) {
            return Err(out_of_range(
                "train.force_weight",
                weight,
                "0 but in a training by a free energy",
                "forces are those of an energy: leave it out, or train or fine-tune by the free energy",
            ));
        }
        if self.train.transport_cost != 0.0 {
            return Err(out_of_range(
                "train.force_weight",
                weight,
                format!("0 with train.transport_cost = {}", self.train.transport_cost),
                "leave one of the two out",
            ));
        }
        Ok(())
    }

    fn watch_fits(&self, flow: &Flow) -> Result<(), RecipeError> {
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
fn continuous_adjoint_fits(potential: &Potential, flow: &Flow) -> Result<(), RecipeError> {
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

impl TargetKind {
    /// Whether the flow works in the whitened coordinates of a lattice model.
    pub fn whitened(&self) -> bool {
        match self {
            Self::Ising(ising) => ising.coordinates == TargetCoordinates::Whitened,
            Self::Phi4(phi4) => phi4.coordinates == TargetCoordinates::Whitened,
            Self::Mnist(_) | Self::Toy(_) | Self::Particles(_) | Self::Table(_) | Self::Energy(_) | Self::Own(_) => {
                false
            }
        }
    }

    /// Sites in either direction and the boundary, where it is a lattice.
    pub fn lattice(&self) -> Option<(usize, usize, Boundary)> {
        match self {
            Self::Ising(ising) => Some((ising.size, ising.size_y.unwrap_or(ising.size), ising.boundary)),
            Self::Phi4(phi4) => Some((phi4.size, phi4.size, Boundary::Periodic)),
            Self::Mnist(_) | Self::Toy(_) | Self::Particles(_) | Self::Table(_) | Self::Energy(_) | Self::Own(_) => {
                None
            }
        }
    }

    fn validate(&self) -> Result<(), RecipeError> {
        match self {
            Self::Mnist(mnist) => {
                within("target.lambda", mnist.lambda, 1e-12, 0.1, "the paper uses 1e-6")?;
                fits_toml("target.split_seed", mnist.split_seed)
            }
            Self::Ising(ising) => {
                lattice("target.size", ising.size)?;
                if let Some(size_y) = ising.size_y {
                    lattice("target.size_y", size_y)?;
                }
                let temperature = ising.temperature.value();
                positive("target.temperature", temperature, "or write \"critical\"")
            }
            Self::Toy(_) => Ok(()),
            Self::Table(table) => {
                at_least("target.columns", table.columns.len(), 1)?;
                if table.transforms.len() != table.columns.len() {
                    return Err(out_of_range(
                        "target.transforms",
                        format!("{} transforms", table.transforms.len()),
                        format!("one for each of the {} columns", table.columns.len()),
                        "\"standardise\" is usual",
                    ));
                }
                if let Some([height, width]) = table.picture
                    && height.checked_mul(width) != Some(table.columns.len())
                {
                    return Err(out_of_range(
                        "target.picture",
                        format!("{height} × {width}"),
                        format!("the {} columns as pixels", table.columns.len()),
                        "leave it out for a table like any other",
                    ));
                }
                if table.given.is_empty() && table.regression != Regression::None {
                    return Err(out_of_range(
                        "target.regression",
                        "a regression",
                        "\"none\" where no columns are given",
                        "name some in target.given, or leave it out",
                    ));
                }
                fits_toml("target.split_seed", table.split_seed)
            }
            Self::Particles(particles) => particles.validate(),
            Self::Energy(energy) => energy.validate(),
            Self::Own(own) => dimension(own.dimension),
            Self::Phi4(phi4) => {
                lattice("target.size", phi4.size)?;
                finite("target.kappa", phi4.kappa)?;
                positive("target.lambda", phi4.lambda, "without it the energy has no minimum")
            }
        }
    }
}

impl ParticlesTarget {
    fn validate(&self) -> Result<(), RecipeError> {
        at_least("target.particles", self.particles, 2)?;
        at_most("target.particles", self.particles, 1 << 12)?;
        at_least("target.space", self.space, 1)?;
        at_most("target.space", self.space, 3)?;
        kinds(&self.kinds, self.particles)?;
        positive("target.strength", self.strength, "1 is usual")
    }
}

fn kinds(found: &[usize], particles: usize) -> Result<(), RecipeError> {
    if found.is_empty() || found.len() == particles {
        return Ok(());
    }
    Err(out_of_range(
        "target.kinds",
        format!("{} numbers", found.len()),
        "one number for each particle",
        format!("there are {particles}; leave it out where all are equal"),
    ))
}

fn dimension(found: usize) -> Result<(), RecipeError> {
    at_least("target.dimension", found, 1)?;
    at_most("target.dimension", found, MOST_NUMBERS)
}

impl EnergyTarget {
    fn validate(&self) -> Result<(), RecipeError> {
        dimension(self.dimension)?;
        self.layout_fits()?;
        if let Some(scale) = &self.scale {
            let scales = scale.of_coordinates(self.dimension);
            let remedy = "it is the size of the base density in the units of x";
            scales.iter().try_for_each(|scale| positive("target.scale", *scale, remedy))?;
            if scales.len() != self.dimension {
                let expected = format!("one number, or one for each of the {} coordinates", self.dimension);
                return Err(out_of_range("target.scale", format!("{} numbers", scales.len()), expected, remedy));
            }
        }
        for (i, name) in self.observables.iter().enumerate() {
            let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let taken = ["energy", "energy_variance"].contains(&name.as_str()) || self.observables[..i].contains(name);
            if !plain || taken {
                let expected = "letters, digits and _, each name once, and not those of the energy";
                let remedy = "they begin keys of JSON, as in radius_weighted";
                return Err(out_of_range("target.observables", format!("{name:?}"), expected, remedy));
            }
        }
        match (self.standardise, &self.samples, &self.scale) {
            (Standardise::None, ..) | (_, Some(_), None) => Ok(()),
            (kind, samples, _) => Err(out_of_range(
                "target.standardise",
                format!("\"{}\"", kind.name()),
                "\"none\" where there are no samples, or a scale",
                if samples.is_some() { "leave target.scale out, or this" } else { "name a file as target.samples" },
            )),
        }
    }
}

impl EnergyTarget {
    /// Particles have a space, and coordinates that are all alike.
    fn layout_fits(&self) -> Result<(), RecipeError> {
        if self.layout == PointLayout::Vector {
            let remedy = "give target.layout = \"particles\", or leave it out";
            return match (self.space, self.kinds.is_empty()) {
                (Some(space), _) => Err(out_of_range("target.space", space, "nothing without particles", remedy)),
                (None, false) => Err(out_of_range("target.kinds", "a list", "nothing without particles", remedy)),
                (None, true) => Ok(()),
            };
        }
        let Some(space) = self.space else {
            let remedy = "give the dimensions of the space that the particles are in";
            return Err(out_of_range(
                "target.space",
                "nothing",
                "1, 2 or 3 where target.layout is \"particles\"",
                remedy,
            ));
        };
        at_least("target.space", space, 1)?;
        at_most("target.space", space, 3)?;
        if !self.dimension.is_multiple_of(space) || self.dimension / space < 2 {
            let expected = format!("a multiple of target.space ({space}), of at least 2 particles");
            return Err(out_of_range("target.dimension", self.dimension, expected, "it is n d"));
        }
        kinds(&self.kinds, self.dimension / space)?;
        let remedy = "all coordinates of particles are alike";
        if let Some(Scale::Each(scales)) = &self.scale {
            let found = format!("{} numbers", scales.len());
            return Err(out_of_range("target.scale", found, "one number for particles", remedy));
        }
        if self.standardise != Standardise::None {
            let found = format!("\"{}\"", self.standardise.name());
            return Err(out_of_range("target.standardise", found, "\"none\" for particles", "give target.scale"));
        }
        Ok(())
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

impl Flow {
    fn validate(&self) -> Result<(), RecipeError> {
        positive("flow.time", self.time, "the paper uses 10 (MNIST) and 5 (Ising)")?;
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
                "a method of fixed step: euler, midpoint, heun, ralston3, rk4, rk38, fixed-tsit5, fixed-dopri5, or reversible- before any name",
                "an adaptive method serves evaluation and sampling, by evaluate.method; with fixed- before its name it takes equal steps",
            ));
        }
        Ok(())
    }
}

impl Train {
    fn validate(&self) -> Result<(), RecipeError> {
        rows("train.batch", self.batch, 1)?;
        match (self.epochs, self.steps) {
            (Some(epochs), None) => rows("train.epochs", epochs, 1)?,
            (None, Some(steps)) => at_least("train.steps", steps, 1)?,
            (found, _) => {
                return Err(out_of_range(
                    "train.steps",
                    if found.is_some() { "given beside train.epochs" } else { "not given, nor train.epochs" },
                    "exactly one of train.steps and train.epochs",
                    "the length of the training must be given once",
                ));
            }
        }
        positive("train.learning_rate", self.learning_rate, "1e-3 is a good start")?;
        if let Schedule::Cosine(cosine) = &self.schedule {
            within("train.schedule.final_fraction", cosine.final_fraction, 0.0, 1.0, "0 ends at rest")?;
            if let Some(steps) = self.steps.filter(|steps| cosine.warmup >= *steps as u64) {
                return Err(out_of_range(
                    "train.schedule.warmup",
                    cosine.warmup,
                    format!("fewer than train.steps = {steps}"),
                    "shorten the warm-up or train longer",
                ));
            }
        }
        within("train.weight_decay", self.weight_decay, 0.0, 1e3, "0 turns it off")?;
        for beta in self.betas {
            if !(0.0..1.0).contains(&beta) {
                return Err(out_of_range(
                    "train.betas",
                    format!("{:?}", self.betas),
                    "two numbers from 0 to below 1",
                    "Adam's usual ones are [0.9, 0.999]",
                ));
            }
        }
        if let Some(norm) = self.clip_norm {
            positive("train.clip_norm", norm, "leave it out to turn clipping off")?;
        }
        if let Some(decay) = self.average {
            within("train.average", decay, 0.0, 0.999_999, "0.999 is usual; leave it out to turn the average off")?;
        }
        self.blocks.map_or(Ok(()), |blocks| at_least("train.blocks", blocks, 1))?;
        at_least("train.times", self.times, 1)?;
        self.focus.map_or(Ok(()), |focus| within("train.focus", focus, 1e-6, 1e6, "leave it out for uniform times"))?;
        at_least("train.pool", self.pool, 1)?;
        at_most("train.pool", self.pool, 1 << 24)?;
        if let Some(limit) = self.clip_force {
            positive("train.clip_force", limit, "10 is a good start; leave it out to turn clipping off")?;
        }
        within("train.transport_cost", self.transport_cost, 0.0, 1e12, "0 turns it off")?;
        within("train.force_weight", self.force_weight, 0.0, 1e12, "0 turns it off")?;
        fits_toml("train.seed", self.seed)?;
        at_least("train.checkpoint_every", self.checkpoint_every, 1)?;
        at_least("train.keep", self.keep, 1)?;
        self.patience.map_or(Ok(()), |patience| at_least("train.patience", patience, 1))?;
        self.validation_samples.map_or(Ok(()), |samples| rows("train.validation_samples", samples, 2))?;
        positive("train.watch_tolerance", self.watch_tolerance, "train.watch_every = 0 turns the watch off")
    }
}

impl FineTune {
    fn validate(&self) -> Result<(), RecipeError> {
        rows("fine_tune.batch", self.batch, 1)?;
        positive("fine_tune.learning_rate", self.learning_rate, "1e-3 is a good start")?;
        if let Some(norm) = self.clip_norm {
            positive("fine_tune.clip_norm", norm, "leave it out to turn clipping off")?;
        }
        self.average.map_or(Ok(()), |decay| within("fine_tune.average", decay, 0.0, 0.999_999, "0.99 is usual"))
    }
}

impl Evaluate {
    fn validate(&self) -> Result<(), RecipeError> {
        if let Some(samples) = self.samples {
            at_least("evaluate.samples", samples, 2)?;
            at_most("evaluate.samples", samples, MOST_SAMPLES)?;
        }
        if let Some(steps) = self.steps {
            at_least("evaluate.steps", steps, 1)?;
            at_most("evaluate.steps", steps, MOST_STEPS)?;
        }
        at_least("evaluate.refinements", self.refinements, 1)?;
        at_most("evaluate.refinements", self.refinements, 10)?;
        within("evaluate.rtol", self.rtol, 1e-15, 1.0, "1e-5 is usual")?;
        within("evaluate.atol", self.atol, 1e-15, 1.0, "1e-5 is usual")
    }
}

fn time_terms(found: usize) -> Result<(), RecipeError> {
    at_least("potential.time_terms", found, 1)?;
    at_most("potential.time_terms", found, 64)
}

fn out_of_range(
    key: &'static str,
    found: impl Display,
    expected: impl Into<String>,
    remedy: impl Into<String>,
) -> RecipeError {
    let (found, expected) = (readable(&found.to_string()), readable(&expected.into()));
    RecipeError::OutOfRange { key, found, expected, remedy: remedy.into() }
}

fn memory_word(memory: Memory) -> &'static str {
    match memory {
        Memory::Stages => "stages",
        Memory::Recompute => "recompute",
        Memory::Continuous => "continuous",
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

/// The most integration steps that figures and trainings start from.
const MOST_STEPS: usize = 1_000_000;
/// The most samples that a command draws: their numbers are counted by 64 bits.
pub const MOST_SAMPLES: usize = 1 << 36;
/// The most numbers that one array of parameters has.
const MOST_NUMBERS: usize = 1 << 31;

fn at_least(key: &'static str, found: usize, least: usize) -> Result<(), RecipeError> {
    match found >= least {
        true => Ok(()),
        false => Err(out_of_range(key, found, format!("at least {least}"), "choose a larger number")),
    }
}

fn at_most(key: &'static str, found: usize, most: usize) -> Result<(), RecipeError> {
    match found <= most {
        true => Ok(()),
        false => Err(out_of_range(key, found, format!("at most {most}"), "choose a smaller number")),
    }
}

/// A number of rows, or of times through all of them, and no more than any training has.
fn rows(key: &'static str, found: usize, least: usize) -> Result<(), RecipeError> {
    at_least(key, found, least)?;
    at_most(key, found, 1 << 24)
}

fn lattice(key: &'static str, size: usize) -> Result<(), RecipeError> {
    at_least(key, size, 2)?;
    at_most(key, size, 1024)
}

fn within(key: &'static str, found: f64, low: f64, high: f64, remedy: &str) -> Result<(), RecipeError> {
    match (low..=high).contains(&found) {
        true => Ok(()),
        false => Err(out_of_range(key, found, format!("a number from {low} to {high}"), remedy)),
    }
}

fn finite(key: &'static str, found: f64) -> Result<(), RecipeError> {
    match found.is_finite() {
        true => Ok(()),
        false => Err(out_of_range(key, found, "a finite number", "choose another value")),
    }
}

fn positive(key: &'static str, found: f64, remedy: &str) -> Result<(), RecipeError> {
    match found.is_finite() && found > 0.0 {
        true => Ok(()),
        false => Err(out_of_range(key, found, "a positive number", remedy)),
    }
}

/// TOML's integers have 63 bits.
fn fits_toml(key: &'static str, found: u64) -> Result<(), RecipeError> {
    match i64::try_from(found) {
        Ok(_) => Ok(()),
        Err(_) => Err(out_of_range(key, found, format!("at most {}", i64::MAX), "choose a smaller seed")),
    }
}
