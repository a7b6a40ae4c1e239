//! Samples of a trained flow, batch by batch, and points on their way through it.

use flow_core::{Batch, Direction, Purpose, RngKey, Space, Span};

use crate::error::Error;
use crate::target::FIGURE_ROWS;
use crate::trained::Carrier;

/// Batch number `i` of `count` samples, `rows × dim` row by row: the same numbers however many are asked for. Of a
/// conditional density, in the context of each of them, `count × k`; empty for others.
///
/// # Errors
/// When the integration fails.
pub fn batch<S: Space>(
    carrier: &Carrier<'_, S>,
    seed: u64,
    i: u64,
    count: usize,
    context: &[f64],
) -> Result<Vec<f64>, Error> {
    let [dim, width] = carrier.dims();
    let (base, key) = base(seed, Purpose::Sample, i, count, dim);
    let (first, rows) = (i as usize * FIGURE_ROWS, base.len() / dim);
    let context = context.get(first * width..(first + rows) * width).unwrap_or_default();
    let base = Batch::new(base, dim)?.with_context(context.to_vec());
    carrier.carry_points(&base, Direction::Forward, key)
}

/// Batch number `i` of `count` samples of the base density, `rows × dim` row by row, with its key: the same rows
/// however many are asked for.
pub fn base(seed: u64, purpose: Purpose, i: u64, count: usize, dim: usize) -> (Vec<f64>, RngKey) {
    let rows = FIGURE_ROWS.min(count - i as usize * FIGURE_ROWS);
    let key = RngKey::new(seed, purpose, i);
    (key.normals(0..rows, dim), key)
}

/// Number of batches that `count` samples come in.
pub fn batches(count: usize) -> u64 {
    count.div_ceil(FIGURE_ROWS) as u64
}

/// Points on their way through the flow: at each of `stops` equally spaced times, the start and the end included. A map
/// in closed form has no way, but the start and the end.
///
/// # Errors
/// When the integration fails.
pub fn journey<S: Space>(
    carrier: &Carrier<'_, S>,
    start: &[f64],
    direction: Direction,
    stops: usize,
    key: RngKey,
) -> Result<Vec<Vec<f64>>, Error> {
    let flow = match carrier {
        Carrier::Flow(flow) => flow,
        Carrier::Map(map, _) => {
            let end = carrier.carry_points(&Batch::new(start.to_vec(), map.dim())?, direction, key)?;
            return Ok(vec![start.to_vec(), end]);
        }
    };
    let Span { from, to } = flow.span(direction);
    let time = |k: usize| from + (to - from) * k as f64 / (stops - 1) as f64;
    let mut places = vec![start.to_vec()];
    for k in 1..stops {
        let span = Span { from: time(k - 1), to: time(k) };
        let start = Batch::new(places[k - 1].clone(), flow.potential.dim())?;
        places.push(flow.transport_points(&start, span, key)?);
    }
    Ok(places)
}
