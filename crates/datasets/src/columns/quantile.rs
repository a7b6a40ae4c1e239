//! A smooth monotone map that makes a column normal, with its exact Jacobian.

/// A monotone rational-quadratic spline from quantiles of the rows to those of the standard normal distribution.
///
/// Between knots it is that of Gregory and Delbourgo (IMA J. Numer. Anal. 2, 123, 1982): continuous with its first
/// derivative, inverted in closed form. Beyond the outermost knots it goes on as a straight line with the slope of the
/// outermost interval, so that the tails of a normal y are normal tails of x.
///
/// Inner knots are evenly spaced in y, one for every 20 rows and 33 at most, up to the place beyond which 5 rows lie on
/// either side (at least 1 in 1000). The smallest and the largest value are the outermost knots, so that a few values
/// far out widen the tails.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Knots", into = "Knots"))]
pub struct Quantile {
    x: Vec<f64>,
    y: Vec<f64>,
    slopes: Vec<f64>,
}

/// Rows for each knot.
const ROWS_PER_KNOT: usize = 20;
const MOST_KNOTS: usize = 33;
/// Rows beyond the outermost knots.
const ROWS_BEYOND: f64 = 5.0;

impl Quantile {
    /// From values and their weights (or one for each). `None` where there are not two different quantiles.
    ///
    /// # Panics
    /// If there are weights, but not one for each value.
    pub fn fit(values: &[f64], weights: Option<&[f64]>) -> Option<Self> {
        assert!(weights.is_none_or(|weights| weights.len() == values.len()), "a weight for each value");
        let mut rows: Vec<(f64, f64)> =
            values.iter().enumerate().map(|(i, value)| (*value, weights.map_or(1.0, |weights| weights[i]))).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = rows.iter().map(|(_, weight)| weight).sum();
        // The share of rows below the middle of each.
        let mut below = 0.0;
        let shares: Vec<f64> = rows
            .iter()
            .map(|(_, weight)| {
                below += weight;
                (below - 0.5 * weight) / total
            })
            .collect();
        let count = (values.len() / ROWS_PER_KNOT).clamp(2, MOST_KNOTS);
        let beyond = (ROWS_BEYOND / values.len() as f64).clamp(1e-3, 0.25);
        let last = normal_quantile(1.0 - beyond);
        // Half a row lies beyond the smallest and the largest value, as for every other row of its own.
        let half = (0.5 / values.len() as f64).clamp(1e-9, 0.25);
        let ends = normal_quantile(1.0 - half);
        let mut places: Vec<f64> =
            (0..count).map(|knot| last * (2.0 * knot as f64 / (count - 1) as f64 - 1.0)).collect();
        if ends > last {
            places.insert(0, -ends);
            places.push(ends);
        }
        let mut knots: Vec<(f64, f64, f64)> = Vec::new();
        for (place, &y) in places.iter().enumerate() {
            let x = match place {
                0 => rows[0].0,
                place if place + 1 == places.len() => rows[rows.len() - 1].0,
                _ => interpolate(&rows, &shares, normal_cdf(y)),
            };
            // Equal quantiles are one knot, in the middle of their places.
            match knots.last_mut() {
                Some((at, sum, many)) if x - *at <= 1e-12 * at.abs().max(x.abs()) => {
                    (*sum, *many) = (*sum + y, *many + 1.0)
                }
                _ => knots.push((x, y, 1.0)),
            }
        }
        Self::from_knots(knots.iter().map(|knot| knot.0).collect(), knots.iter().map(|knot| knot.1 / knot.2).collect())
    }

    /// From the knots that [`knots`](Self::knots) returns. `None` unless both increase strictly and there are two.
    pub fn from_knots(x: Vec<f64>, y: Vec<f64>) -> Option<Self> {
        let increases = |v: &[f64]| v.iter().all(|v| v.is_finite()) && v.windows(2).all(|pair| pair[0] < pair[1]);
        if x.len() < 2 || x.len() != y.len() || !increases(&x) || !increases(&y) {
            return None;
        }
        let widths: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let secants: Vec<f64> = y.windows(2).zip(&widths).map(|(pair, width)| (pair[1] - pair[0]) / width).collect();
        let last = secants.len() - 1;
        // Inside, the geometric mean of both secants, the nearer one with the larger weight.
        let slope = |knot: usize| match knot {
            0 => secants[0],
            knot if knot > last => secants[last],
            knot => {
                let (left, right) = (widths[knot - 1], widths[knot]);
                ((right * secants[knot - 1].ln() + left * secants[knot].ln()) / (left + right)).exp()
            }
        };
        let slopes: Vec<f64> = (0..x.len()).map(slope).collect();
        slopes.iter().all(|slope| slope.is_finite() && *slope > 0.0).then_some(Self { x, y, slopes })
    }

    /// The knots: places x, and the y that they go to.
    pub fn knots(&self) -> (&[f64], &[f64]) {
        (&self.x, &self.y)
    }

    /// `(y, ln dy/dx)` at x.
    pub fn forward(&self, x: f64) -> (f64, f64) {
        let last = self.x.len() - 1;
        if x <= self.x[0] {
            return (self.y[0] + self.slopes[0] * (x - self.x[0]), self.slopes[0].ln());
        }
        if x >= self.x[last] {
            return (self.y[last] + self.slopes[last] * (x - self.x[last]), self.slopes[last].ln());
        }
        let bin = self.x.partition_point(|knot| *knot <= x).clamp(1, last) - 1;
        let piece = self.piece(bin);
        let place = (x - self.x[bin]) / (self.x[bin + 1] - self.x[bin]);
        (self.y[bin] + piece.height * piece.rise(place), piece.log_slope(place))
    }

    /// `(x, ln dx/dy)` at y.
    pub fn inverse(&self, y: f64) -> (f64, f64) {
        let last = self.x.len() - 1;
        if y <= self.y[0] {
            return (self.x[0] + (y - self.y[0]) / self.slopes[0], -self.slopes[0].ln());
        }
        if y >= self.y[last] {
            return (self.x[last] + (y - self.y[last]) / self.slopes[last], -self.slopes[last].ln());
        }
        let bin = self.y.partition_point(|knot| *knot <= y).clamp(1, last) - 1;
        let piece = self.piece(bin);
        let place = piece.place(y - self.y[bin]);
        (self.x[bin] + place * (self.x[bin + 1] - self.x[bin]), -piece.log_slope(place))
    }

    fn piece(&self, bin: usize) -> Piece {
        let height = self.y[bin + 1] - self.y[bin];
        let secant = height / (self.x[bin + 1] - self.x[bin]);
        Piece { height, secant, left: self.slopes[bin], right: self.slopes[bin + 1] }
    }
}

/// The map between two knots, in units of the interval: `ξ` from 0 to 1.
struct Piece {
    height: f64,
    secant: f64,
    left: f64,
    right: f64,
}

impl Piece {
    fn denominator(&self, place: f64) -> f64 {
        self.secant + (self.left + self.right - 2.0 * self.secant) * place * (1.0 - place)
    }

    fn rise(&self, place: f64) -> f64 {
        place * (self.secant * place + self.left * (1.0 - place)) / self.denominator(place)
    }

    fn log_slope(&self, place: f64) -> f64 {
        let rest = 1.0 - place;
        let numerator = self.right * place * place + 2.0 * self.secant * place * rest + self.left * rest * rest;
        let ratio = self.secant / self.denominator(place);
        numerator.ln() + 2.0 * ratio.ln()
    }

    /// The root of a quadratic equation, in the form that loses no digits.
    fn place(&self, above: f64) -> f64 {
        let bend = above * (self.left + self.right - 2.0 * self.secant);
        let a = self.height * (self.secant - self.left) + bend;
        let b = self.height * self.left - bend;
        let c = -self.secant * above;
        (2.0 * c / (-b - (b * b - 4.0 * a * c).max(0.0).sqrt())).clamp(0.0, 1.0)
    }
}

/// The value below which this share of rows lies.
fn interpolate(rows: &[(f64, f64)], shares: &[f64], share: f64) -> f64 {
    let after = shares.partition_point(|known| *known < share);
    if after == 0 {
        return rows[0].0;
    }
    if after == rows.len() {
        return rows[rows.len() - 1].0;
    }
    let (low, high) = (shares[after - 1], shares[after]);
    let part = if high > low { (share - low) / (high - low) } else { 0.5 };
    rows[after - 1].0 + part * (rows[after].0 - rows[after - 1].0)
}

/// The distribution function of the standard normal distribution, by Simpson's rule.
fn normal_cdf(y: f64) -> f64 {
    const PIECES: i32 = 400;
    let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
    let h = y / f64::from(PIECES);
    let weight = |i: i32| match i {
        0 | PIECES => 1.0,
        i if i % 2 == 1 => 4.0,
        _ => 2.0,
    };
    0.5 + (0..=PIECES).map(|i| weight(i) * density(h * f64::from(i))).sum::<f64>() * h / 3.0
}

/// Its inverse for shares from 1/2 to 1 − 1e-9, by bisection.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 6.5);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if normal_cdf(middle) < share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// A [`Quantile`] as files have it.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Knots {
    x: Vec<f64>,
    y: Vec<f64>,
}

#[cfg(feature = "serde")]
impl From<Quantile> for Knots {
    fn from(quantile: Quantile) -> Self {
        let (x, y) = quantile.knots();
        Self { x: x.to_vec(), y: y.to_vec() }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Knots> for Quantile {
    type Error = &'static str;

    fn try_from(Knots { x, y }: Knots) -> Result<Self, Self::Error> {
        Self::from_knots(x, y).ok_or("knots of a quantile map must rise")
    }
}
