//! Whether an energy can be trained on: finite where a training begins, with the gradient that its differences have.

use datasets::particles::Composition;
use flow_core::{Energy, RngKey};
use rand::RngExt;

use crate::error::Error;

/// Points at which energies must be finite.
pub(crate) const POINTS: usize = 256;
/// Points at which gradients are compared with differences.
const COMPARED: usize = 4;
/// The most coordinates of each of these points that are compared one by one. Where there are more, this many are, and
/// the derivative in a random direction stands for the others.
const COORDINATES: usize = 512;
/// Coordinates whose points are in memory at a time.
const AT_A_TIME: usize = 64;
/// Steps of the differences, in units of the points' deviations. The one that agrees best with another counts.
const STEPS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Relative difference that is allowed: an energy in single precision has it.
const RELATIVE: f64 = 1e-3;
/// Difference that is allowed whatever the entry, as a part of one nat and the largest entry, per scale.
const ABSOLUTE: f64 = 1e-6;

/// Checks an energy at points where a training begins, `rows × dim` row by row. What is drawn at random is a function
/// of the key.
///
/// # Errors
/// [`Error::EnergyNotFinite`] and [`Error::WrongGradient`]; those of the energy.
pub(crate) fn check(energy: &dyn Energy, points: &[f64], key: RngKey) -> Result<(), Error> {
    let n = energy.dim();
    let rows = points.len() / n;
    let (mut energies, mut gradients) = (vec![0.0; rows], vec![0.0; points.len()]);
    energy.energies_and_gradients(points, &[], &mut energies, &mut gradients)?;
    require_finite(points, &energies, &gradients)?;
    let scales = &spread(points, n);
    for (row, (x, gradient)) in points.chunks_exact(n).zip(gradients.chunks_exact(n)).take(COMPARED).enumerate() {
        Comparison { energy, x, gradient, scales }.at(key.rows_from(row))?;
    }
    Ok(())
}

/// Checks that an energy of particles does not change when all of them are moved together, nor when two of one kind
/// change places.
///
/// # Errors
/// [`Error::Argument`] with both energies; those of the energy.
pub(crate) fn require_symmetry(energy: &dyn Energy, points: &[f64], of: &Composition) -> Result<(), Error> {
    let (n, d) = (of.dimension(), of.space());
    let x = &points[..n];
    let energy_of = |x: &[f64]| -> Result<f64, Error> {
        let (mut found, mut gradient) = ([0.0], vec![0.0; n]);
        energy.energies_and_gradients(x, &[], &mut found, &mut gradient)?;
        Ok(found[0])
    };
    let here = energy_of(x)?;
    let require = |other: &[f64], what: String, remedy: &str| -> Result<(), Error> {
        let there = energy_of(other)?;
        if (there - here).abs() <= RELATIVE * here.abs().max(1.0) {
            return Ok(());
        }
        Err(Error::Argument(format!(
            "the energy of particles at x = {} changes from {here:.6} to {there:.6} when {what}; {remedy}",
            shown(x)
        )))
    };
    for a in 0..d {
        let moved: Vec<f64> = x.iter().enumerate().map(|(i, x)| if i % d == a { x + 1.0 } else { *x }).collect();
        let remedy = "let it depend on differences alone, as by ½ Σ |x_i − x̄|² in place of ½ Σ |x_i|²";
        require(&moved, format!("all are moved by 1 in direction {a}"), remedy)?;
    }
    for i in 0..of.particles() {
        let same = |j: &usize| of.kinds()[*j] == of.kinds()[i];
        let Some(j) = (i + 1..of.particles()).find(same) else { continue };
        let mut swapped = x.to_vec();
        (0..d).for_each(|a| swapped.swap(i * d + a, j * d + a));
        let remedy = "give them different numbers in target.kinds";
        require(&swapped, format!("particles {i} and {j} of one kind change places"), remedy)?;
    }
    Ok(())
}

fn require_finite(points: &[f64], energies: &[f64], gradients: &[f64]) -> Result<(), Error> {
    let (rows, n) = (energies.len(), points.len() / energies.len().max(1));
    let gradient = |row: usize| gradients[row * n..(row + 1) * n].iter().position(|g| !g.is_finite());
    let bad: Vec<usize> = (0..rows).filter(|row| !energies[*row].is_finite() || gradient(*row).is_some()).collect();
    let Some(&first) = bad.first() else { return Ok(()) };
    let what = match (energies[first].is_finite(), gradient(first)) {
        (true, Some(i)) => format!("the derivative by x{i} is {}", gradients[first * n + i]),
        _ => format!("it is {}", energies[first]),
    };
    let at = shown(&points[first * n..(first + 1) * n]);
    Err(Error::EnergyNotFinite { bad: bad.len(), points: rows, first: format!("{what} at x = {at}") })
}

/// The deviations of points, coordinate by coordinate: the scales on which steps are small. 1 where there is none.
fn spread(points: &[f64], n: usize) -> Vec<f64> {
    let rows = (points.len() / n) as f64;
    let deviation = |i: usize| {
        let values = || points.iter().skip(i).step_by(n);
        let mean = values().sum::<f64>() / rows;
        (values().map(|x| (x - mean).powi(2)).sum::<f64>() / rows).sqrt()
    };
    (0..n).map(deviation).map(|deviation| if deviation > 0.0 { deviation } else { 1.0 }).collect()
}

/// A point for a sentence: the first few numbers of a long one.
pub(crate) fn shown(x: &[f64]) -> String {
    const MOST: usize = 6;
    let number = |x: &f64| match x.abs() {
        0.0 | 1e-3..1e6 => format!("{x:.4}"),
        _ => format!("{x:.3e}"),
    };
    let numbers: Vec<String> = x.iter().take(MOST).map(number).collect();
    format!("[{}{}]", numbers.join(", "), if x.len() > MOST { ", ..." } else { "" })
}

/// A direction by its entries that are not zero, in units of the scales.
type Direction = Vec<(usize, f64)>;

/// A gradient that is compared with differences of its energy.
struct Comparison<'a> {
    energy: &'a dyn Energy,
    x: &'a [f64],
    gradient: &'a [f64],
    scales: &'a [f64],
}

/// A derivative by differences, and how much it changes with the step: from half of it, and to the next of the steps.
#[derive(Clone, Copy)]
struct Difference {
    value: f64,
    change: f64,
}

impl Comparison<'_> {
    fn at(&self, key: RngKey) -> Result<(), Error> {
        let n = self.x.len();
        let axes = |chosen: &[usize]| -> Vec<Direction> { chosen.iter().map(|i| vec![(*i, 1.0)]).collect() };
        if n <= COORDINATES {
            return self.along(&axes(&(0..n).collect::<Vec<_>>()));
        }
        let first = key.row(0).random_range(0..n);
        self.along(&axes(&(0..COORDINATES).map(|k| (first + k * n / COORDINATES) % n).collect::<Vec<_>>()))?;
        let random: Direction = key.normals(1..2, n).into_iter().enumerate().collect();
        if self.first_wrong(std::slice::from_ref(&random))?.is_none() {
            return Ok(());
        }
        // Some coordinate that was left out: which one is found by going through all.
        self.along(&axes(&(0..n).collect::<Vec<_>>()))
    }

    /// Compares along axes, some at a time: each takes many points.
    fn along(&self, axes: &[Direction]) -> Result<(), Error> {
        for axes in axes.chunks(AT_A_TIME) {
            let Some((k, found, expected)) = self.first_wrong(axes)? else { continue };
            let (coordinate, _) = axes[k][0];
            let scale = self.scales[coordinate];
            return Err(Error::WrongGradient {
                coordinate,
                point: shown(self.x),
                found: found / scale,
                expected: expected.value / scale,
                uncertainty: expected.change / scale,
            });
        }
        Ok(())
    }

    /// The direction whose derivative differs the most from what is allowed, where one does.
    fn first_wrong(&self, directions: &[Direction]) -> Result<Option<(usize, f64, Difference)>, Error> {
        let largest = self.gradient.iter().zip(self.scales).fold(0.0, |most: f64, (g, s)| most.max((g * s).abs()));
        let mut worst: Option<(f64, usize, f64, Difference)> = None;
        for (k, expected) in self.differences(directions)?.into_iter().enumerate() {
            let Some(expected) = expected else { continue };
            let found: f64 = directions[k].iter().map(|(i, v)| v * self.gradient[*i] * self.scales[*i]).sum();
            let allowed =
                RELATIVE * found.abs().max(expected.value.abs()) + ABSOLUTE * (1.0 + largest) + 2.0 * expected.change;
            let excess = (found - expected.value).abs() / allowed;
            if excess > worst.map_or(1.0, |(excess, ..)| excess) {
                worst = Some((excess, k, found, expected));
            }
        }
        Ok(worst.map(|(_, k, found, expected)| (k, found, expected)))
    }

    /// Central differences along directions, by two steps each; `None` where the energy is not finite nearby.
    fn differences(&self, directions: &[Direction]) -> Result<Vec<Option<Difference>>, Error> {
        const PLACES: [f64; 4] = [1.0, -1.0, 2.0, -2.0];
        let (n, each) = (self.x.len(), STEPS.len() * PLACES.len());
        let mut points = Vec::with_capacity(directions.len() * each * n);
        for direction in directions {
            for step in STEPS.iter().flat_map(|h| PLACES.map(|place| h * place)) {
                let from = points.len();
                points.extend_from_slice(self.x);
                direction.iter().for_each(|(i, v)| points[from + i] += step * v * self.scales[*i]);
            }
        }
        let rows = points.len() / n;
        let (mut energies, mut unused) = (vec![0.0; rows], vec![0.0; points.len()]);
        self.energy.energies_and_gradients(&points, &[], &mut energies, &mut unused)?;
        let of_step = |(h, e): (&f64, &[f64])| {
            let (near, far) = ((e[0] - e[1]) / (2.0 * h), (e[2] - e[3]) / (4.0 * h));
            Difference { value: (4.0 * near - far) / 3.0, change: (near - far).abs() }
        };
        let best = |energies: &[f64]| {
            let found = STEPS.iter().zip(energies.chunks_exact(PLACES.len())).map(of_step);
            let found: Vec<Difference> = found.filter(|d| d.value.is_finite()).collect();
            // Energies of few digits can be equally wrong at a step and at its half, but not at another step too.
            let next = |at: usize, d: &Difference| {
                let others = found.iter().enumerate().filter(|(other, _)| *other != at);
                others.map(|(_, other)| (other.value - d.value).abs()).fold(f64::INFINITY, f64::min)
            };
            let judged = found.iter().enumerate().map(|(at, d)| Difference { change: d.change.max(next(at, d)), ..*d });
            judged.filter(|d| d.change.is_finite()).min_by(|a, b| a.change.total_cmp(&b.change))
        };
        Ok(energies.chunks_exact(each).map(best).collect())
    }
}

#[cfg(test)]
mod tests {
    use flow_core::{PointEnergy, Purpose};

    use super::*;

    fn key() -> RngKey {
        RngKey::new(1, Purpose::Train, 0)
    }

    /// `Σ k x²/2 + Σ x⁴` with springs of their own, and whatever `spoil` makes of its gradient.
    fn springs(n: usize, spoil: impl Fn(&mut [f64]) + Send + Sync) -> impl Energy {
        PointEnergy::new(n, move |x, gradient| {
            let mut energy = 0.0;
            for (i, (x, g)) in x.iter().zip(gradient.iter_mut()).enumerate() {
                let k = 1.0 + i as f64;
                energy += 0.5 * k * x * x + x.powi(4);
                *g = k * x + 4.0 * x.powi(3);
            }
            spoil(gradient);
            Ok(energy)
        })
    }

    fn checked(energy: &dyn Energy, scale: f64) -> Result<(), Error> {
        let n = energy.dim();
        let points: Vec<f64> = key().normals(0..8, n).iter().map(|z| scale * z).collect();
        check(energy, &points, key())
    }

    #[test]
    fn right_gradients_pass_on_every_scale_and_in_any_dimension() {
        for n in [1, 3, 64, 300] {
            for scale in [1e-3, 1.0, 30.0] {
                checked(&springs(n, |_| ()), scale).unwrap_or_else(|error| panic!("{n} {scale}: {error}"));
            }
        }
        // A constant has the gradient zero; so has a coordinate that the energy does not know.
        let flat = PointEnergy::new(2, |x, gradient| {
            gradient.copy_from_slice(&[x[0], 0.0]);
            Ok(0.5 * x[0] * x[0])
        });
        checked(&flat, 1.0).unwrap();
    }

    #[test]
    fn energies_in_single_precision_pass() {
        let single = PointEnergy::new(3, |x, g| {
            let mut energy = 40.0_f32;
            for (x, g) in x.iter().zip(g) {
                let x = *x as f32;
                energy += 5.0 * x * x + x.powi(4);
                *g = f64::from(10.0 * x + 4.0 * x.powi(3));
            }
            Ok(f64::from(energy))
        });
        checked(&single, 1.0).unwrap();
    }

    #[test]
    fn the_wrong_coordinate_is_named_with_both_numbers() {
        let spoils = [|g: &mut f64| *g = -*g, |g: &mut f64| *g *= 1.01, |g: &mut f64| *g += 0.5];
        // Of many coordinates a random direction is compared, which large mistakes alone are seen in.
        for (n, wrong, spoils) in [(1, 0, &spoils[..]), (3, 2, &spoils), (300, 299, &spoils), (700, 650, &spoils[..1])]
        {
            for spoil in spoils {
                let energy = springs(n, move |g| spoil(&mut g[wrong]));
                let error = checked(&energy, 1.0).unwrap_err();
                let Error::WrongGradient { coordinate, found, expected, .. } = error else { panic!("{error}") };
                assert_eq!(coordinate, wrong);
                let mut again = expected;
                spoil(&mut again);
                assert!((found - again).abs() < 1e-5 * (1.0 + again.abs()), "{found} {again}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_counted_and_shown() {
        let half = PointEnergy::new(1, |x, gradient| {
            gradient[0] = 1.0;
            Ok(if x[0] > 0.0 { x[0] } else { f64::INFINITY })
        });
        let error = check(&half, &[1.0, -2.5, -3.0, 0.5], key()).unwrap_err();
        let Error::EnergyNotFinite { bad: 2, points: 4, first } = &error else { panic!("{error}") };
        assert_eq!(first, "it is inf at x = [-2.5000]");
        let nowhere = PointEnergy::new(2, |_, gradient| {
            gradient.copy_from_slice(&[1.0, f64::NAN]);
            Ok(0.0)
        });
        let error = check(&nowhere, &[0.0; 2], key()).unwrap_err().to_string();
        assert!(error.contains("the derivative by x1 is NaN at x = [0.0000, 0.0000]"), "{error}");
    }
}
