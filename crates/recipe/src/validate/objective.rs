//! Which objectives a target can be trained by, and settings that belong to one of them.

use flow_core::Estimator;

use super::range::{out_of_range, rows, within};
use crate::error::RecipeError;
use crate::schema::{Density, Objective, Pairing, PointLayout, Recipe, TargetKind};

impl Recipe {
    /// Data are fitted by likelihood, energies by free energy, and whatever can be sampled by flow matching.
    pub(super) fn objective_fits(&self) -> Result<(), RecipeError> {
        let (what, fits) = self.own_objective();
        self.first_training_fits(what, fits)?;
        match self.fine_tune.as_ref().and_then(|tune| tune.objective) {
            Some(Objective::ForwardKl) => self.divergence_fits("fine_tune.objective", fits)?,
            Some(objective) if objective != fits => {
                let remedy = "leave it out for the target's own objective";
                return Err(out_of_range("fine_tune.objective", quoted(objective), quoted(fits), remedy));
            }
            _ => {}
        }
        self.distance_is_meant()?;
        self.target_forces_fit()?;
        self.gradient_fits(fits)?;
        self.clipped_forces_fit()?;
        self.forces_fit(fits)?;
        self.epochs_fit()
    }

    /// What the target is known by, in words, and the objective of its figures.
    fn own_objective(&self) -> (&'static str, Objective) {
        match &self.target {
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
            TargetKind::Toy(_) | TargetKind::Sets(_) | TargetKind::Own(_) => {
                ("this target is given by samples", Objective::Nll)
            }
        }
    }

    /// The objective of the first training, for a target whose own is `fits`.
    fn first_training_fits(&self, what: &str, fits: Objective) -> Result<(), RecipeError> {
        let objective = self.train.objective;
        match objective {
            Objective::FlowMatching => self.matching_fits(fits),
            Objective::ForwardKl => self.divergence_fits("train.objective", fits),
            _ if objective.is_distance() => self.distance_fits(what, fits),
            _ if objective == fits => Ok(()),
            _ => Err(out_of_range(
                "train.objective",
                quoted(objective),
                quoted(fits),
                format!("{what}; change train.objective or target"),
            )),
        }
    }

    /// Flow matching needs samples. It integrates nothing, so that there is no transport cost.
    fn matching_fits(&self, fits: Objective) -> Result<(), RecipeError> {
        let remedy = match &self.target {
            TargetKind::Mnist(_) | TargetKind::Table(_) | TargetKind::Particles(_) | TargetKind::Sets(_) => None,
            TargetKind::Toy(toy) if !toy.name.is_energy() => None,
            TargetKind::Ising(_) | TargetKind::Phi4(_) if self.target.whitened() => None,
            TargetKind::Ising(_) => Some("set target.coordinates = \"whitened\", where samples are spins and noise"),
            TargetKind::Phi4(_) => Some("set target.coordinates = \"whitened\", where samples are nearly normal"),
            TargetKind::Energy(energy) if energy.samples.is_some() => None,
            TargetKind::Energy(_) => Some("flow matching needs samples: name a file of them as target.samples"),
            TargetKind::Own(own) if own.samples => None,
            TargetKind::Toy(_) | TargetKind::Own(_) => {
                Some("flow matching needs samples, and this target has no sampler")
            }
        };
        if let Some(remedy) = remedy {
            return Err(out_of_range("train.objective", quoted(self.train.objective), quoted(fits), remedy));
        }
        if self.train.transport_cost != 0.0 {
            let expected = "0 for flow matching, which integrates nothing";
            return Err(out_of_range("train.transport_cost", self.train.transport_cost, expected, "leave it out"));
        }
        Ok(())
    }

    /// Epochs are times through a finite set of rows.
    fn epochs_fit(&self) -> Result<(), RecipeError> {
        let endless = match &self.target {
            TargetKind::Mnist(_) | TargetKind::Table(_) | TargetKind::Own(_) => false,
            TargetKind::Energy(energy) => energy.samples.is_none() || energy.layout == PointLayout::Particles,
            TargetKind::Ising(_)
            | TargetKind::Toy(_)
            | TargetKind::Phi4(_)
            | TargetKind::Particles(_)
            | TargetKind::Sets(_) => true,
        };
        match self.train.epochs.filter(|_| endless) {
            Some(epochs) => {
                let expected = "no value for a target without a finite data set";
                Err(out_of_range("train.epochs", epochs, expected, "give train.steps instead"))
            }
            None => Ok(()),
        }
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

    /// Refuses the settings of a distance that is not trained by.
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

    /// Forces take noise from flow matching between samples of a known energy and independent points, along straight
    /// paths.
    fn target_forces_fit(&self) -> Result<(), RecipeError> {
        if !self.train.target_forces {
            return Ok(());
        }
        let (known, pairing) = match &self.target {
            TargetKind::Particles(of) => (true, Some(of.pairs)),
            TargetKind::Energy(of) if of.layout == PointLayout::Particles => (of.samples.is_some(), Some(of.pairs)),
            TargetKind::Energy(of) => (of.samples.is_some(), None),
            TargetKind::Own(own) => (own.energy && own.samples, None),
            TargetKind::Phi4(_) => (self.target.whitened(), None),
            TargetKind::Mnist(_)
            | TargetKind::Ising(_)
            | TargetKind::Toy(_)
            | TargetKind::Table(_)
            | TargetKind::Sets(_) => (false, None),
        };
        let remedy = match (self.train.objective, known, pairing) {
            (Objective::FlowMatching, true, Some(Pairing::Aligned)) => "set target.pairs = \"independent\"",
            (Objective::FlowMatching, true, _) => return Ok(()),
            (Objective::FlowMatching, false, _) => {
                "it needs an energy, and samples that end straight paths: leave it out"
            }
            _ => "it is of flow matching: leave it out",
        };
        Err(out_of_range("train.target_forces", "true", "false here", remedy))
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
}

/// The name of an objective as a recipe has it.
fn quoted(objective: Objective) -> String {
    format!("\"{}\"", objective.name())
}
