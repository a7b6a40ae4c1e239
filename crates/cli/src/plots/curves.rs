//! Measurements with their errors beside the curve that they should lie on.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::chart::{Axes, LINE, MARGIN, below_head, draw_legend};
use super::{BLUE, Drawn, Figure, Point, RED, Scale, title_text};

/// The figure.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    /// Title.
    pub title: String,
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// The curve, in order of x, and what it is.
    pub exact: (String, Vec<(f64, f64)>),
    /// The measurements, and what they are of.
    pub measured: (String, Vec<Point>),
}

impl Curve {
    /// The ends of both axes: the curve, all measurements with their errors, and some room.
    fn ranges(&self) -> [(f64, f64); 2] {
        let ends = self.measured.1.iter().flat_map(|p| [(p.x, p.mean - p.error), (p.x, p.mean + p.error)]);
        let all: Vec<(f64, f64)> = self.exact.1.iter().copied().chain(ends).collect();
        let range = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let values = || all.iter().map(of).filter(|value| value.is_finite());
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            match high > low {
                true => (low - 0.04 * (high - low), high + 0.04 * (high - low)),
                false if low.is_finite() => (low - 1.0, low + 1.0),
                false => (0.0, 1.0),
            }
        };
        [range(&|(x, _)| *x), range(&|(_, y)| *y)]
    }
}

impl Figure for Curve {
    fn size(&self) -> (u32, u32) {
        (900, 400)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        area.draw_text(&self.title, &title_text(scale), (scale.px(MARGIN), scale.px(MARGIN)))?;
        let axes = Axes { ranges: self.ranges(), labels: [&self.x_label, &self.y_label], marks: [10, 6] };
        let inner = below_head(area, scale, 2.0 * MARGIN);
        let mut chart = axes.draw(&inner, scale)?;
        let (name, exact) = &self.exact;
        chart.draw_series([PathElement::new(exact.clone(), RED.stroke_width(scale.width(1.5)))])?;
        let (measured_name, measured) = &self.measured;
        for point in measured.iter().filter(|point| point.mean.is_finite() && point.error.is_finite()) {
            let bar = [point.mean - point.error, point.mean + point.error].map(|end| (point.x, end)).to_vec();
            chart.draw_series([PathElement::new(bar, BLUE.stroke_width(scale.width(1.5)))])?;
            chart.draw_series([Circle::new((point.x, point.mean), scale.px(3.5), BLUE.filled())])?;
        }
        let entries = [(BLUE, measured_name), (RED, name)].map(|(color, name)| (color.mix(1.0), LINE, name.clone()));
        draw_legend(area, scale, &entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_hold_the_curve_and_the_bars() {
        let point = |x, mean, error| Point { x, mean, error };
        let curve = Curve {
            exact: (String::new(), vec![(1.0, 0.0), (2.0, 1.0)]),
            measured: (String::new(), vec![point(1.5, 0.9, 0.5), point(1.6, f64::NAN, 0.1)]),
            ..Curve::default()
        };
        let [x, y] = curve.ranges();
        assert!(x.0 < 1.0 && x.1 > 2.0 && y.0 < 0.0 && y.1 > 1.4 && y.1 < 1.6, "{x:?} {y:?}");
        let empty = Curve::default().ranges();
        assert_eq!(empty, [(0.0, 1.0); 2]);
        let drawn = crate::plots::svg(&crate::plots::Stacked(vec![curve, Curve::default()])).unwrap();
        assert_eq!(drawn.matches("<circle").count(), 1, "a figure that is none is not drawn");
    }
}
