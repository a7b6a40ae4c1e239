//! Particles of a flow beside those of the target's own chains: energies and distances of pairs.

use maflow::physics::report::{Compared, Particles};

use crate::plots::{Histogram, Series, Stacked};

/// Room on either side of what the target has, in parts of its width: a flow has worse samples.
const ROOM: f64 = 0.4;

/// Histograms of the energy and of the distances of pairs (the pair correlation function without the factor of the
/// volume): of samples of the flow, of the same under importance weights, and of the reference chains.
pub fn beside_chains(of: &Particles, name: &str) -> Stacked<Histogram> {
    let energies = histogram(&of.energies, format!("Energies: {name}"), "energy U in units of the temperature");
    let distances = histogram(&of.distances, format!("Distances of pairs: {name}"), "distance r of two particles");
    let (low, high) = distances.range.unwrap_or((0.0, 1.0));
    Stacked(vec![energies, Histogram { range: Some((low.max(0.0), high)), ..distances }])
}

fn histogram(of: &Compared, title: String, x_label: &str) -> Histogram {
    let flow = Series::equal("samples of the flow", of.flow.clone());
    let weighted =
        Series { name: "the same, weighted".to_owned(), values: of.flow.clone(), weights: of.weights.clone() };
    let reference = Series::equal("reference chains", of.reference.clone());
    let range = span(if of.reference.is_empty() { &weighted } else { &reference });
    let beyond = of.flow.iter().filter(|value| !(range.0..=range.1).contains(*value)).count();
    let part = 100.0 * beyond as f64 / of.flow.len().max(1) as f64;
    let flow = Series { name: format!("{}, {part:.1} % of them beyond the axis", flow.name), ..flow };
    let mut series = vec![flow, weighted];
    if !of.reference.is_empty() {
        series.push(reference);
    }
    Histogram { title, x_label: x_label.to_owned(), series, reference: None, range: Some(range) }
}

/// Where most of the weight is, with room on either side.
fn span(of: &Series) -> (f64, f64) {
    let mut sorted: Vec<(f64, f64)> = of.values.iter().copied().zip(of.weights.iter().copied()).collect();
    sorted.retain(|(value, weight)| value.is_finite() && *weight > 0.0);
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let sum: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let at = |part: f64| {
        let mut before = 0.0;
        let found = sorted.iter().find(|(_, weight)| {
            before += weight;
            before >= part * sum
        });
        found.map_or(0.0, |(value, _)| *value)
    };
    let (low, high) = (at(0.001), at(0.999));
    let room = (ROOM * (high - low)).max(1e-6 * (1.0 + high.abs()));
    (low - room, high + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_that_of_the_target() {
        let reference: Vec<f64> = (0..1001).map(f64::from).collect();
        let flow = vec![500.0, 1e42, f64::INFINITY, 600.0];
        let of = Compared { flow: flow.clone(), weights: vec![1.0, 0.0, 0.0, 0.5], reference };
        let drawn = histogram(&of, String::new(), "");
        let near = |range: Option<(f64, f64)>, low: f64, high: f64| {
            range.is_some_and(|found| (found.0 - low).abs() < 1e-9 && (found.1 - high).abs() < 1e-9)
        };
        assert!(near(drawn.range, 1.0 - 399.2, 999.0 + 399.2), "{:?}", drawn.range);
        assert!(drawn.series[0].name.contains("50.0 %") && drawn.series.len() == 3);
        // Without chains it is that of the weighted samples.
        let alone = histogram(&Compared { reference: Vec::new(), ..of }, String::new(), "");
        assert!(near(alone.range, 460.0, 640.0) && alone.series.len() == 2, "{:?}", alone.range);
        assert!(
            beside_chains(&Particles { energies: Compared::default(), distances: Compared::default() }, "").0[1]
                .range
                .is_some_and(|(low, high)| low == 0.0 && high > low)
        );
    }
}
