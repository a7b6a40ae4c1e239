//! Every map returns, has the derivative of its differences, and increases.

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::Bijection;

fn quantile() -> ColumnMap {
    static FITTED: std::sync::OnceLock<ColumnMap> = std::sync::OnceLock::new();
    FITTED.get_or_init(fit_quantile).clone()
}

fn fit_quantile() -> ColumnMap {
    let values: Vec<f64> = (0..2000).map(|i| normal(i).exp() * if i % 3 == 0 { 1.0 } else { 5.0 }).collect();
    ColumnMap::Quantile(Quantile::fit(&values, None).unwrap())
}

fn maps() -> Vec<ColumnMap> {
    vec![
        ColumnMap::None,
        ColumnMap::Standardise { mean: 3.0, deviation: 0.2 },
        ColumnMap::Log,
        ColumnMap::Logit { low: 0.0, high: 7.0 },
        ColumnMap::Tail { centre: 1.0, scale: 0.3 },
        quantile(),
    ]
}

proptest! {
    #[test]
    fn maps_return_increase_and_have_their_derivative(x in 0.001..6.999f64, gap in 1e-6..1.0f64) {
        for map in maps() {
            let (y, log_slope) = map.apply(x);
            let (back, log_inverse) = map.invert(y);
            prop_assert!((back - x).abs() < 1e-12 * x.abs().max(1.0), "{map:?}: {back} for {x}");
            prop_assert!((log_slope + log_inverse).abs() < 1e-9, "{map:?}: {log_slope} and {log_inverse}");
            let above = (x + gap).min(6.9995);
            prop_assert!(above <= x || map.apply(above).0 > y, "{map:?}");
            // Central differences; the second derivative of a spline jumps at its knots.
            let h = 1e-6 * x;
            let slope = (map.apply(x + h).0 - map.apply(x - h).0) / (2.0 * h);
            prop_assert!((slope.ln() - log_slope).abs() < 1e-4, "{map:?} at {x}: {} against {log_slope}", slope.ln());
        }
    }

    #[test]
    fn tails_return_far_out(exponent in -3.0..250.0f64, sign: bool) {
        let x = if sign { 10f64.powf(exponent) } else { -(10f64.powf(exponent)) };
        for map in [ColumnMap::Tail { centre: 0.5, scale: 2.0 }, quantile()] {
            let (y, log_slope) = map.apply(x);
            let (back, log_inverse) = map.invert(y);
            prop_assert!((back - x).abs() < 1e-11 * x.abs().max(1.0), "{map:?}: {back} for {x}");
            prop_assert!((log_slope + log_inverse).abs() < 1e-9 && log_slope.is_finite());
        }
    }

    #[test]
    fn composed_maps_return_with_the_sum_of_their_jacobians(
        rows in prop::collection::vec((0.01..5.0f64, 0.01..0.99f64), 1..5),
    ) {
        let mut rows: Vec<f64> = rows.into_iter().flat_map(|(a, b)| [a, b]).collect();
        let start = rows.clone();
        let columns = Columns::new(vec![ColumnMap::Log, ColumnMap::Logit { low: 0.0, high: 1.0 }]);
        let whitening = crate::Standardisation::gaussian(vec![0.1, -0.2], &[2.0, 0.6, 0.6, 0.5]).unwrap();
        let composed = Composed::new(vec![Box::new(columns.clone()), Box::new(whitening.clone())]);
        prop_assert_eq!((composed.dimension(), composed.constant_log_jacobian()), (2, None));
        let (mut there, mut back) = (vec![0.0; rows.len() / 2], vec![0.0; rows.len() / 2]);
        composed.forward(&mut rows, &[], &mut there);
        let first = columns.maps()[0].apply(start[0]).1 + columns.maps()[1].apply(start[1]).1;
        prop_assert!((there[0] - first - whitening.log_jacobian()).abs() < 1e-12);
        composed.inverse(&mut rows, &[], &mut back);
        prop_assert!(rows.iter().zip(&start).all(|(a, b)| (a - b).abs() < 1e-12 * b.abs().max(1.0)));
        prop_assert!(there.iter().zip(&back).all(|(a, b)| (a + b).abs() < 1e-10));
    }

    #[test]
    fn noise_is_of_the_row_alone_and_goes_away(
        rows in prop::collection::vec((-1000i32..1000, -100i32..100), 1..20), seed: u64,
    ) {
        let noise = Dequantisation::new(vec![Some(1.0), Some(0.01)], seed);
        let start: Vec<f64> = rows.iter().flat_map(|(a, b)| [f64::from(*a), f64::from(*b) / 100.0]).collect();
        let mut together = start.clone();
        noise.keyed(&mut together);
        for (row, from) in together.chunks_exact(2).zip(start.chunks_exact(2)) {
            let mut alone = from.to_vec();
            noise.keyed(&mut alone);
            prop_assert_eq!(&alone[..], row);
            prop_assert!(row[0] >= from[0] && row[0] < from[0] + 1.0 && row[1] >= from[1] && row[1] < from[1] + 0.01);
        }
        noise.quantise(&mut together);
        prop_assert_eq!(&together, &start);
        let mut fresh = start.clone();
        noise.fresh(&mut fresh, &mut ChaCha8Rng::seed_from_u64(seed));
        noise.quantise(&mut fresh);
        prop_assert_eq!(fresh, start);
    }
}

#[test]
fn logits_keep_their_digits_near_both_bounds() {
    let map = ColumnMap::Logit { low: 0.0, high: 1.0 };
    for x in [1e-300, 1e-17, 0.25, 0.5, 1.0 - 1e-16] {
        let (y, log_slope) = map.apply(x);
        let (back, log_inverse) = map.invert(y);
        assert!((back / x - 1.0).abs() < 1e-12, "{x}: {back}");
        assert!((log_slope + log_inverse).abs() < 1e-9, "{x}");
    }
    assert!(!map.accepts(0.0) && !map.accepts(1.0) && map.accepts(0.5) && !ColumnMap::Log.accepts(0.0));
    assert_eq!(Columns::new(vec![ColumnMap::None, map]).first_outside(&[3.0, 0.5, 0.0, 1.0]), Some((1, 1)));
}

#[test]
fn quantiles_make_normal() {
    // Exponential values: the y of all rows have the moments of a normal distribution.
    let values: Vec<f64> = (0..5000).map(|i| -(1.0 - uniform(i)).ln()).collect();
    let map = Quantile::fit(&values, None).unwrap();
    let y: Vec<f64> = values.iter().map(|x| map.forward(*x).0).collect();
    let (mean, deviation) = moments(y.iter().copied());
    assert!(mean.abs() < 0.03 && (deviation - 1.0).abs() < 0.03, "{mean} {deviation}");
    assert!((kurtosis(y.iter().copied()) - 3.0).abs() < 0.4, "{}", kurtosis(y.iter().copied()));
    // Weights count as repetitions.
    let (few, weights) = (&values[..300], (0..300).map(|i| f64::from(1 + i % 3)).collect::<Vec<_>>());
    let repeated: Vec<f64> = few.iter().zip(&weights).flat_map(|(x, w)| vec![*x; *w as usize]).collect();
    let (weighted, repeated) = (Quantile::fit(few, Some(&weights)).unwrap(), Quantile::fit(&repeated, None).unwrap());
    for x in [0.1, 0.7, 2.0] {
        assert!((weighted.forward(x).0 - repeated.forward(x).0).abs() < 0.1);
    }
    let (x, y) = map.knots();
    assert_eq!(Quantile::from_knots(x.to_vec(), y.to_vec()).unwrap(), map);
    assert!(
        Quantile::fit(&[2.0; 50], None).is_none() && Quantile::from_knots(vec![1.0, 1.0], vec![0.0, 1.0]).is_none()
    );
    // Half of the values are one: the knots there become one.
    let half: Vec<f64> = (0..400).map(|i| if i % 2 == 0 { 0.0 } else { normal(i) }).collect();
    let map = Quantile::fit(&half, None).unwrap();
    assert!((map.inverse(map.forward(0.0).0).0).abs() < 1e-12);
}

#[test]
fn transforms_are_read_as_they_are_written() {
    for text in
        ["none", "standardise", "log", "logit(-1.5, 2)", "quantile", "tail", "dequantise(1)", "dequantise(0.01) tail"]
    {
        assert_eq!(text.parse::<Transform>().unwrap().to_string(), text);
    }
    assert_eq!(" dequantize( 2 )  LOG".to_lowercase().parse::<Transform>().unwrap().to_string(), "dequantise(2) log");
    for (text, why) in [
        ("", "empty"),
        ("loggit", "loggit with 0 numbers"),
        ("logit(1, 0)", "logit with 2 numbers"),
        ("logit(0 1)", "not numbers"),
        ("logit(0, 1", "a bracket is open"),
        ("log tail", "two maps"),
        ("log dequantise(1)", "two maps"),
        ("dequantise(0)", "dequantise with 1 numbers"),
        ("(1)", "a name was expected"),
        ("logit(0, inf)", "not numbers"),
    ] {
        let error = text.parse::<Transform>().unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("known are"), "{text}: {error}");
    }
}
