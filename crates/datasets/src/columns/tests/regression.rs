//! Location and scale by regression: against a law that has them, differences, and what has none.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::Bijection;

/// Rows of two numbers with the context of each: a number, and one of three categories.
struct Sample {
    rows: Vec<f64>,
    context: Vec<f64>,
    /// Their mean `ln p` under the law that they are of.
    log_density: f64,
}

/// Location and logarithm of the scale of both columns, linear in the context.
const LAW: [([f64; 5], [f64; 5]); 2] = [
    ([100.0, 40.0, 0.0, -30.0, 60.0], [2.0, 0.8, 0.0, -0.5, 0.7]),
    ([-0.02, 0.01, 0.0, 0.03, 0.0], [-5.0, -0.6, 0.0, 0.0, 1.0]),
];

fn of_law(coefficients: &[f64; 5], context: &[f64]) -> f64 {
    coefficients[0] + coefficients[1..].iter().zip(context).map(|(a, c)| a * c).sum::<f64>()
}

fn sample(rows: Range<usize>) -> Sample {
    let count = rows.len() as f64;
    let mut found = Sample { rows: vec![], context: vec![], log_density: 0.0 };
    for row in rows {
        let mut context = [normal(3 * row), 0.0, 0.0, 0.0];
        context[1 + row % 3] = 1.0;
        for (column, (location, log_scale)) in LAW.iter().enumerate() {
            let (z, log) = (normal(3 * row + 1 + column), of_law(log_scale, &context));
            found.rows.push(of_law(location, &context) + log.exp() * z);
            found.log_density -= (0.5 * (z * z + std::f64::consts::TAU.ln()) + log) / count;
        }
        found.context.extend(context);
    }
    found
}

/// The mean `ln p` of rows that a map carries to the normal distribution.
fn mean_log_density(map: &dyn Bijection, sample: &Sample) -> f64 {
    let mut rows = sample.rows.clone();
    let mut densities = vec![0.0; rows.len() / map.dimension()];
    map.forward(&mut rows, &sample.context, &mut densities);
    let normal = rows.iter().map(|y| -0.5 * (y * y + std::f64::consts::TAU.ln())).sum::<f64>();
    (densities.iter().sum::<f64>() + normal) / densities.len() as f64
}

fn fitted(regression: Regression, sample: &Sample) -> Conditional {
    Conditional::fit(regression, &sample.rows, &["a", "b"], &sample.context).unwrap().unwrap()
}

#[test]
fn a_gaussian_whose_mean_and_scale_depend_on_the_context_is_found_in_full() {
    let (sample, fresh) = (sample(0..6000), sample(6000..12_000));
    let map = fitted(Regression::LocationScale, &sample);
    // 16 free coefficients gain half a nat each on the rows that they are fitted to, and lose as much on others.
    let (here, there) = (mean_log_density(&map, &sample), mean_log_density(&map, &fresh));
    assert!((here - sample.log_density - 8.0 / 6000.0).abs() < 2e-3, "{here}, {}", sample.log_density);
    assert!((there - fresh.log_density).abs() < 4e-3, "{there}, {}", fresh.log_density);
    for (found, (location, log_scale)) in map.columns().iter().zip(&LAW) {
        for context in sample.context.chunks_exact(4).take(30) {
            let exact = of_law(log_scale, context);
            let linear = |by: &[f64]| by[0] + by[1..].iter().zip(context).map(|(a, c)| a * c).sum::<f64>();
            assert!((linear(&found.log_scale) - exact).abs() < 0.15, "{found:?}");
            assert!((linear(&found.location) - of_law(location, context)).abs() < 0.15 * exact.exp(), "{found:?}");
        }
    }
    // The location alone knows less, but more than nothing.
    let location = mean_log_density(&whitened(Regression::Location, &sample), &sample);
    let nothing = mean_log_density(&whitened(Regression::None, &sample), &sample);
    assert!(nothing + 0.3 < location && location + 0.3 < here, "{nothing}, {location}, {here}");
}

/// The whole map of rows, whitened.
fn whitened(regression: Regression, sample: &Sample) -> Composed {
    let table = Table::new(&["a", "b"], sample.rows.clone()).unwrap();
    let transforms = [Transform::of(MapKind::Standardise); 2];
    let given = (regression, &sample.context[..]);
    Preparation::fit_given(&table, &transforms, given, Whitening::Full, 1).unwrap().bijection
}

#[test]
fn no_coefficients_near_those_found_are_more_likely() {
    let sample = sample(0..300);
    let map = fitted(Regression::LocationScale, &sample);
    let ordinary = fitted(Regression::Location, &sample);
    let mut rest = sample.rows.clone();
    ordinary.forward(&mut rest, &sample.context, &mut [0.0; 300]);
    // The likelihood of the rows, that of ten more for each number of the context alone, and the price of slopes.
    let log_likelihood = |columns: Vec<LocationScale>| {
        let mut beside = 0.0;
        for (place, column) in columns.iter().enumerate() {
            let deviation = moments(sample.rows.iter().skip(place).step_by(2).copied()).1;
            let square = rest.iter().skip(place).step_by(2).map(|rest| rest * rest).sum::<f64>() / 300.0;
            for number in 1..5 {
                let log = column.log_scale[0] + column.log_scale[number];
                beside -= 10.0 * (log + 0.5 * square * (-2.0 * log).exp());
                beside -= 0.5 * (column.location[number] / deviation).powi(2) + 0.5 * column.log_scale[number].powi(2);
            }
        }
        300.0 * mean_log_density(&Conditional::new(columns).unwrap(), &sample) + beside
    };
    let unbounded = || {
        let mut columns = map.columns().to_vec();
        columns.iter_mut().for_each(|column| column.bounds = None);
        columns
    };
    let best = log_likelihood(unbounded());
    for (column, place) in [(0, 0), (0, 1), (0, 3), (1, 0), (1, 2), (1, 4)] {
        for sign in [-1.0, 1.0] {
            let (mut location, mut scale) = (unbounded(), unbounded());
            let deviation = moments(sample.rows.iter().skip(column).step_by(2).copied()).1;
            location[column].location[place] += sign * 0.01 * deviation;
            scale[column].log_scale[place] += sign * 0.01;
            for other in [location, scale] {
                let found = log_likelihood(other);
                assert!(found < best, "column {column}, coefficient {place}: {found} above {best}");
            }
        }
    }
}

proptest! {
    #[test]
    fn they_return_and_have_the_jacobian_of_their_differences(
        rows in prop::collection::vec((-50.0..50.0f64, -5.0..5.0f64, -4.0..4.0f64, 0usize..3), 1..5),
        slope in -1.0..1.0f64,
    ) {
        let column = |by: f64| LocationScale {
            location: vec![by, 2.0, 0.0, -1.0, by],
            log_scale: vec![0.5, slope, 0.3, -by, 0.0],
            bounds: Some([-1.5, 2.5]),
        };
        let map = Conditional::new(vec![column(1.0), column(-0.5)]).unwrap();
        let start: Vec<f64> = rows.iter().flat_map(|(a, b, _, _)| [*a, *b]).collect();
        let one_hot = |place: usize| (0..3).map(move |k| f64::from(u8::from(k == place)));
        let context: Vec<f64> =
            rows.iter().flat_map(|(_, _, number, place)| std::iter::once(*number).chain(one_hot(*place))).collect();
        let (mut all, mut there, mut back) = (start.clone(), vec![0.0; rows.len()], vec![0.0; rows.len()]);
        map.forward(&mut all, &context, &mut there);
        map.inverse(&mut all, &context, &mut back);
        prop_assert!(all.iter().zip(&start).all(|(a, b)| (a - b).abs() < 1e-12 * b.abs().max(10.0)));
        prop_assert!(there.iter().zip(&back).all(|(a, b)| (a + b).abs() < 1e-12));
        // Affine in a row: differences of any size are exact, and the Jacobian is diagonal.
        let at = |row: [f64; 2]| {
            let mut y = row;
            map.forward(&mut y, &context[..4], &mut [0.0]);
            y
        };
        let (origin, first, second) = (at([0.0; 2]), at([1.0, 0.0]), at([0.0, 1.0]));
        let slopes = (first[0] - origin[0]) * (second[1] - origin[1]);
        prop_assert_eq!((first[1], second[0]), (origin[1], origin[0]));
        prop_assert!((slopes.ln() - there[0]).abs() < 1e-9, "{} and {}", slopes.ln(), there[0]);
    }
}

#[test]
fn scales_stay_within_those_of_training_rows_and_those_of_a_constant_category_finite() {
    let sample = sample(0..600);
    let map = fitted(Regression::LocationScale, &sample);
    let mut far = [0.0, 0.0];
    let mut log_jacobian = [0.0];
    map.forward(&mut far, &[1e6, 1.0, 0.0, 0.0], &mut log_jacobian);
    assert!(far.iter().chain(&log_jacobian).all(|number| number.is_finite()), "{far:?}, {log_jacobian:?}");
    // One of two categories has one value.
    let rows: Vec<f64> = (0..200).map(|row| if row % 2 == 0 { 3.0 } else { normal(row) }).collect();
    let context: Vec<f64> = (0..200).flat_map(|row| if row % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    let map = Conditional::fit(Regression::LocationScale, &rows, &["a"], &context).unwrap().unwrap();
    let mut at = [3.0];
    log_jacobian = [0.0];
    map.forward(&mut at, &[1.0, 0.0], &mut log_jacobian);
    assert!((0.3..3.0).contains(&log_jacobian[0]) && at[0].abs() < 1.0, "{at:?}, {log_jacobian:?}");
}

#[test]
fn a_location_alone_has_no_jacobian_and_what_the_context_determines_is_refused() {
    let sample = sample(0..600);
    assert_eq!(fitted(Regression::Location, &sample).constant_log_jacobian(), Some(0.0));
    assert_eq!(fitted(Regression::LocationScale, &sample).constant_log_jacobian(), None);
    assert_eq!(Conditional::fit(Regression::None, &sample.rows, &["a", "b"], &sample.context).unwrap(), None);
    let mut rows = sample.rows.clone();
    for (row, context) in rows.chunks_exact_mut(2).zip(sample.context.chunks_exact(4)) {
        row[1] = 7.0 - 3.0 * context[0] + 5.0 * context[2];
    }
    for regression in [Regression::None, Regression::Location, Regression::LocationScale] {
        let refused = Conditional::fit(regression, &rows, &["a", "b"], &sample.context).unwrap_err();
        assert!(matches!(&refused, ColumnError::Determined { column } if column == "b"), "{refused}");
    }
    let column = |location: Vec<f64>, log_scale: Vec<f64>| LocationScale { location, log_scale, bounds: None };
    for (bad, what) in [
        (vec![], "found 0"),
        (vec![column(vec![], vec![])], "found 0"),
        (vec![column(vec![0.0; 2], vec![0.0; 2]), column(vec![0.0; 3], vec![])], "found 3"),
        (vec![column(vec![0.0; 2], vec![0.0; 1])], "found 1"),
        (vec![column(vec![0.0, f64::NAN], vec![])], "not finite"),
    ] {
        let refused = Conditional::new(bad).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
    }
}
