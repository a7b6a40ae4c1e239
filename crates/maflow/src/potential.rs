//! From a recipe to the potential that it names.

use datasets::lattice::{Boundary, Lattice, LatticeSymmetry};
use flow_core::potentials::{ContextMap, ContextQuadratic, MappedContext, Modulated};
use flow_core::{
    Centres, Chain, Engine, Group, LatticeRidgeSettings, NetworkSettings, ParticlesSettings, Potential,
    PotentialSettings, RidgeSettings, Space, Sum, Symmetrised, SymmetryDraw, TimeBasis, TimeFamily, TwoLayerSettings,
};

use crate::error::Error;
use crate::recipe::{
    self, ConvolutionalTerm, Generator, LatticeRidgeTerm, ParticlesTerm, Recipe, RidgePotential, RidgeTerm, Symmetry,
    TargetKind, TermKind, TwoLayerTerm,
};
use crate::target::Layout;

/// Polynomials of the temperature that the strengths of terms are made of, where a recipe has a range of temperatures:
/// 1/T of T from 1.8 to 3 is one of so many degrees to 3e-5.
const TEMPERATURE_DEGREE: usize = 4;

/// The potential of a recipe with its first parameters, for a target with `context` numbers of context per row.
///
/// # Errors
/// Sizes that are out of range.
pub fn potential<E: Engine>(
    space: &E,
    recipe: &Recipe,
    of: (&recipe::Potential, &recipe::Flow),
    context: usize,
) -> Result<Box<dyn Potential<E>>, Error> {
    let Some([from, to]) = recipe.target.temperatures() else { return chained(space, recipe, of, context) };
    let inner = chained(space, recipe, of, TEMPERATURE_DEGREE)?;
    Ok(Box::new(MappedContext::new(space.clone(), inner, ContextMap::Chebyshev { from, to })?))
}

/// The potential of all segments of a flow.
fn chained<E: Engine>(
    space: &E,
    recipe: &Recipe,
    (potential, flow): (&recipe::Potential, &recipe::Flow),
    context: usize,
) -> Result<Box<dyn Potential<E>>, Error> {
    let segments = flow.segments;
    if segments == 1 {
        return segment(space, recipe, (potential, flow), context);
    }
    let of_part = recipe::Flow { time: flow.time / segments as f64, ..flow.clone() };
    let mut part = recipe.clone();
    let of_segment = |k: usize| {
        // No two segments start with the same numbers, nor do terms of theirs.
        part.train.seed = recipe.train.seed.wrapping_add((k as u64) << 48);
        segment(space, &part, (potential, &of_part), context)
    };
    let chained = (0..segments).map(of_segment).collect::<Result<_, _>>()?;
    Ok(Box::new(Chain::new(space.clone(), chained, flow.time, flow.normalisation)?))
}

/// The potential of one segment of a flow.
fn segment<E: Engine>(
    space: &E,
    recipe: &Recipe,
    (potential, flow): (&recipe::Potential, &recipe::Flow),
    context: usize,
) -> Result<Box<dyn Potential<E>>, Error> {
    let ridge = match potential {
        recipe::Potential::Ridge(ridge) => ridge,
        recipe::Potential::Sum(sum) => return Ok(Box::new(sum_of(space, recipe, (&sum.terms, flow.time), context)?)),
    };
    let free = |orbit| {
        let time = TimeBasis::new(TimeFamily::Cosine, ridge.time_terms, flow.time)?;
        let RidgePotential { hidden, activation, bias, .. } = *ridge;
        let settings = RidgeSettings { hidden, activation, bias, gains: false, context: 0 };
        let settings = PotentialSettings::Ridge { settings, orbit };
        let potential = space.potential(recipe.dimension(), &settings, time, recipe.train.seed)?;
        Ok::<_, Error>(sharpened(space, potential, ridge.sharpness, 1.0))
    };
    let Some(symmetry) = &ridge.symmetry else { return free(None) };
    let group = group(symmetry, &recipe.target, recipe.dimension())?;
    if symmetry.draw == SymmetryDraw::Never {
        return free(Some(group));
    }
    Ok(Box::new(Symmetrised::new(space.clone(), free(None)?, group, symmetry.draw)?))
}

/// The sum of terms, named by their kinds and, from the second of a kind on, their numbers. The strength of terms that
/// have no other place for a context depends on it.
fn sum_of<E: Engine>(
    space: &E,
    recipe: &Recipe,
    (terms, duration): (&[recipe::Term], f64),
    context: usize,
) -> Result<Sum<E>, Error> {
    let dim = recipe.dimension();
    let sides = match recipe.target.layout() {
        Layout::Picture(rows, cols) | Layout::Lattice(rows, cols) => Some((rows, cols)),
        Layout::Particles(particles, space) => Some((particles, space)),
        Layout::Vector(_) => None,
    };
    let mut named = Vec::with_capacity(terms.len());
    for (i, term) in terms.iter().enumerate() {
        let kind = term.kind.name();
        let before = terms[..i].iter().filter(|other| other.kind.name() == kind).count();
        let name = if before == 0 { kind.to_owned() } else { format!("{kind}-{}", before + 1) };
        // Terms of a kind must not start with the same numbers.
        let seed = recipe.train.seed.wrapping_add((i as u64) << 32);
        let time = term.time.basis(duration)?;
        let potential = match settings_of(&term.kind, (sides, recipe.target.kinds()), context, (time, seed))? {
            Some(settings) => space.potential(dim, &settings, time, seed)?,
            None => Box::new(ContextQuadratic::new(space.clone(), dim, context, time)?),
        };
        let potential = match &term.kind {
            TermKind::Ridge(ridge) => sharpened(space, potential, ridge.sharpness, ridge.reach),
            _ => potential,
        };
        let potential = match potential.context_dim() < context {
            true => {
                let modulated = Modulated::new(space.clone(), potential, context, time)?;
                // Quadratic terms of a lattice start alike, and would stay so.
                Box::new(match recipe.target.temperatures().and(before.checked_sub(1)) {
                    Some(later) => modulated.starting_with(later % context),
                    None => modulated,
                })
            }
            false => potential,
        };
        named.push((name, potential));
    }
    Ok(Sum::new(space.clone(), named)?)
}

/// The group that the generators make: translations after elements of the point group, with or without x → −x.
fn group(symmetry: &Symmetry, target: &TargetKind, dimension: usize) -> Result<Group, Error> {
    let has = |generator| symmetry.group.contains(&generator);
    let identity: Vec<u32> = (0..dimension as u32).collect();
    let (mut translations, mut points) = (vec![identity.clone()], vec![identity]);
    if let Some(lattice) = lattice(target)? {
        let lattice = LatticeSymmetry::new(lattice);
        if has(Generator::Translations) {
            translations = lattice.translations();
        }
        if has(Generator::D4) {
            points = lattice.point_group();
        } else if has(Generator::Transpose) {
            points.extend(lattice.transpose());
        }
    }
    let mut elements = Vec::with_capacity(translations.len() * points.len());
    for translation in &translations {
        elements.extend(points.iter().map(|point| LatticeSymmetry::compose(translation, point)));
    }
    let signs = vec![1.0; elements.len()];
    let group = Group::new(elements, signs)?;
    Ok(if has(Generator::Z2) { group.with_reflection() } else { group })
}

fn lattice(target: &TargetKind) -> Result<Option<Lattice>, Error> {
    let Some((rows, cols, boundary)) = target.lattice() else { return Ok(None) };
    Ok(Some(Lattice::new(rows, cols, boundary)?))
}

/// A term in the words of the backends; none for the one that needs no backend.
fn settings_of(
    kind: &TermKind,
    (sides, kinds): (Option<(usize, usize)>, &[usize]),
    context: usize,
    (time, seed): (TimeBasis, u64),
) -> Result<Option<PotentialSettings>, Error> {
    let shape = || sides.expect("a validated recipe has terms of two sides where there are two");
    Ok(Some(match kind {
        TermKind::ContextQuadratic => return Ok(None),
        TermKind::Quadratic(term) => PotentialSettings::Quadratic { linear: term.linear },
        TermKind::FullQuadratic => PotentialSettings::FullQuadratic,
        TermKind::Separable(term) => {
            let [from, to] = term.interval;
            let centres = Centres { count: term.centres, from, to, sharpness: term.sharpness };
            PotentialSettings::Separable { centres, activation: term.activation }
        }
        TermKind::Ridge(term) => {
            let RidgeTerm { hidden, activation, bias, gains, .. } = *term;
            let settings = RidgeSettings { hidden, activation, bias, gains, context };
            PotentialSettings::Ridge { settings, orbit: None }
        }
        TermKind::TwoLayer(term) => {
            let TwoLayerTerm { hidden, activation, bias, probes } = *term;
            PotentialSettings::TwoLayer(TwoLayerSettings { hidden, activation, bias, probes, context })
        }
        TermKind::LatticeQuadratic => PotentialSettings::LatticeQuadratic { shape: shape() },
        TermKind::LatticeRidge(term) => PotentialSettings::LatticeRidge(lattice_ridge(term, shape(), time, seed)?),
        TermKind::Particles(term) => {
            let (particles, space) = shape();
            let ParticlesTerm { centres, interval, core, cutoff, sums, vectors, hidden, activation } = *term;
            PotentialSettings::Particles(ParticlesSettings {
                particles,
                space,
                kinds: kinds.to_vec(),
                centres,
                interval,
                core,
                cutoff,
                sums,
                vectors,
                hidden,
                activation,
            })
        }
        TermKind::Convolutional(term) => {
            let ConvolutionalTerm { channels, hidden, probes } = *term;
            PotentialSettings::Convolutional(NetworkSettings { side: shape().0, channels, hidden, probes })
        }
    }))
}

/// The symmetries of a periodic lattice that fix the origin.
fn point_group((rows, cols): (usize, usize)) -> Result<Group, Error> {
    let lattice = Lattice::new(rows, cols, Boundary::Periodic)?;
    let elements = LatticeSymmetry::new(lattice).point_group();
    let signs = vec![1.0; elements.len()];
    Ok(Group::new(elements, signs)?)
}

/// Kernels of a periodic lattice in the words of flow-core.
fn lattice_ridge(
    term: &LatticeRidgeTerm,
    shape: (usize, usize),
    time: TimeBasis,
    seed: u64,
) -> Result<LatticeRidgeSettings, Error> {
    Ok(LatticeRidgeSettings {
        shape,
        kernels: term.kernels,
        activation: term.activation,
        bias: term.bias,
        time,
        tied: term.d4.then(|| point_group(shape)).transpose()?,
        fall_off: term.fall_off,
        seed,
    })
}

/// Multiplies weights and biases by the sharpness, biases by the reach too, and divides amplitudes by the square of the
/// sharpness.
fn sharpened<S: Space>(
    space: &S,
    mut ridge: Box<dyn Potential<S>>,
    sharpness: f64,
    reach: f64,
) -> Box<dyn Potential<S>> {
    for parameter in ridge.parameters_mut() {
        let factor = match parameter.name.as_str() {
            "amplitude" => sharpness.powi(-2),
            "gain" => 1.0,
            "bias" => sharpness * reach,
            _ => sharpness,
        };
        if factor != 1.0 {
            space.accumulate(&mut parameter.value, factor, &[]);
        }
    }
    ridge
}
