//! The potentials and maps of this backend by their settings.

use flow_core::{Bijector, BijectorSettings, Engine, Error, Potential, PotentialSettings, RidgeSettings, TimeBasis};

use crate::bijector::Layers;
use crate::ridge::Ridge;
use crate::tensors::Tch;
use crate::term::Term;

impl Engine for Tch {
    fn potential(
        &self,
        dim: usize,
        settings: &PotentialSettings,
        time: TimeBasis,
        seed: u64,
    ) -> Result<Box<dyn Potential<Self>>, Error> {
        use PotentialSettings as Of;
        let space = *self;
        Ok(Box::new(match settings {
            Of::Quadratic { linear } => Term::quadratic(space, dim, time, *linear)?,
            Of::FullQuadratic => Term::full_quadratic(space, dim, time)?,
            Of::Separable { centres, activation } => Term::separable(space, dim, *centres, *activation, time)?,
            // The paper's own is written out, and quicker.
            Of::Ridge { settings: RidgeSettings { hidden, activation, bias, gains: false, context: 0 }, orbit } => {
                let free = Ridge::new(space, dim, *hidden, *activation, *bias, seed)?.with_time(time);
                return Ok(match orbit {
                    Some(group) => Box::new(free.over_orbit(group.clone())?),
                    None => Box::new(free),
                });
            }
            Of::Ridge { orbit: Some(_), .. } => {
                return Err(Error::setting("group", "some", "none for a ridge potential with gains or a context"));
            }
            Of::Ridge { settings, orbit: None } => Term::ridge(space, dim, *settings, time, seed)?,
            Of::TwoLayer(settings) => Term::two_layer(space, dim, *settings, time, seed)?,
            Of::LatticeQuadratic { shape } => Term::lattice_quadratic(space, *shape, time)?,
            Of::LatticeRidge(settings) => Term::lattice_ridge(space, settings)?,
            Of::Particles(settings) => {
                settings.check_rows(dim)?;
                Term::particles(space, settings.clone(), time, seed)?
            }
            Of::Convolutional(network) => Term::convolutional(space, *network, time, seed)?,
            _ => return Err(Error::setting("potential", "of another kind", "one that this backend has")),
        }))
    }

    fn bijector(
        &self,
        dim: usize,
        context: usize,
        settings: &BijectorSettings,
        seed: u64,
    ) -> Result<Box<dyn Bijector<Self>>, Error> {
        Ok(Box::new(Layers::new(*self, dim, context, settings, seed)?))
    }
}
