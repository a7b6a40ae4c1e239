//! Numbers of targets.

use datasets::columns::Regression;

use super::range::{MOST_NUMBERS, at_least, at_most, finite, fits_toml, lattice, out_of_range, positive, within};
use crate::error::RecipeError;
use crate::schema::{
    EnergyTarget, IsingTarget, Pairing, ParticlesTarget, PointLayout, Scale, Standardise, TargetCoordinates, TargetKind,
};

impl TargetKind {
    pub(super) fn validate(&self) -> Result<(), RecipeError> {
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
                ising.temperature_fits()
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
            Self::Sets(sets) => {
                at_least("target.members", sets.members, 2)?;
                at_most("target.members", sets.members, 64)?;
                within("target.stretch", sets.stretch, 1.0, 100.0, "at 1 there is no axis")
            }
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

impl IsingTarget {
    fn temperature_fits(&self) -> Result<(), RecipeError> {
        let [low, high] = self.temperature.ends();
        [low, high].iter().try_for_each(|t| positive("target.temperature", *t, "or write \"critical\""))?;
        if self.temperature.range().is_none() {
            return Ok(());
        }
        let found = format!("[{low}, {high}]");
        if low >= high {
            let remedy = "the lower end comes first; give one number for one temperature";
            return Err(out_of_range("target.temperature", found, "two numbers, the second larger", remedy));
        }
        match self.coordinates {
            TargetCoordinates::Whitened => Ok(()),
            TargetCoordinates::X => Err(out_of_range(
                "target.temperature",
                found,
                "one temperature in the coordinates x",
                "set target.coordinates = \"whitened\" for a range",
            )),
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

    /// Particles have a space, and coordinates that are all alike.
    fn layout_fits(&self) -> Result<(), RecipeError> {
        if self.layout == PointLayout::Vector {
            let remedy = "give target.layout = \"particles\", or leave it out";
            return match (self.space, self.kinds.is_empty()) {
                (Some(space), _) => Err(out_of_range("target.space", space, "nothing without particles", remedy)),
                (None, _) if self.pairs != Pairing::default() => {
                    Err(out_of_range("target.pairs", "\"independent\"", "nothing without particles", remedy))
                }
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
