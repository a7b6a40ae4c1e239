//! The potentials of this backend by their settings, compiled here for both precisions.

use flow_core::{Engine, Error, Potential, PotentialSettings, RidgeSettings, TimeBasis};

use crate::cpu::Cpu;
use crate::lattice_quadratic::LatticeQuadratic;
use crate::lattice_ridge::LatticeRidge;
use crate::particles::Particles;
use crate::quadratic::{FullQuadratic, Quadratic};
use crate::real::Real;
use crate::ridge::Ridge;
use crate::separable::Separable;
use crate::two_layer::TwoLayer;

macro_rules! engine {
    ($($real:ty)*) => {$(
        impl Engine for Cpu<$real> {
            fn potential(
                &self,
                dim: usize,
                settings: &PotentialSettings,
                time: TimeBasis,
                seed: u64,
            ) -> Result<Box<dyn Potential<Self>>, Error> {
                make(self, dim, settings, time, seed)
            }
        }
    )*};
}

engine!(f32 f64);

fn make<T: Real>(
    cpu: &Cpu<T>,
    dim: usize,
    settings: &PotentialSettings,
    time: TimeBasis,
    seed: u64,
) -> Result<Box<dyn Potential<Cpu<T>>>, Error> {
    use PotentialSettings as Of;
    let own = || cpu.clone();
    Ok(match settings {
        Of::Quadratic { linear } => Box::new(Quadratic::new(own(), dim, time, *linear)?),
        Of::FullQuadratic => Box::new(FullQuadratic::new(own(), dim, time)?),
        Of::Separable { centres, activation } => Box::new(Separable::new(own(), dim, *centres, *activation, time)?),
        Of::Ridge { settings, orbit } => {
            let RidgeSettings { hidden, activation, bias, gains, context } = *settings;
            let ridge = Ridge::new(own(), dim, hidden, activation, bias, seed)?.with_time(time);
            let ridge = ridge.with_context(context, seed)?;
            let ridge = if gains { ridge.with_gains() } else { ridge };
            match orbit {
                Some(group) => Box::new(ridge.over_orbit(group.clone())?),
                None => Box::new(ridge),
            }
        }
        Of::TwoLayer(settings) => Box::new(TwoLayer::new(own(), dim, *settings, time, seed)?),
        Of::LatticeQuadratic { shape } => Box::new(LatticeQuadratic::new(cpu, *shape, time)?),
        Of::LatticeRidge(settings) => Box::new(LatticeRidge::new(cpu, settings.clone())?),
        Of::Particles(settings) => {
            settings.check_rows(dim)?;
            Box::new(Particles::new(own(), settings.clone(), time, seed)?)
        }
        _ => return Err(Error::setting("potential", "convolutional", "one that this backend has")),
    })
}
