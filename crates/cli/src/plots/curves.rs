//! Measurements with their errors beside the curve that they should lie on, one panel below the other.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::histogram::draw_legend;
use super::loss_curve::{digits, number};
use super::{BLUE, CENTER, Drawn, FAINT_INK, Figure, GRID, LABEL, Point, RED, Scale, text, title_text};

/// One panel.
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

/// Panels one below the other.
#[derive(Debug, Clone, Default)]
pub struct Curves(pub Vec<Curve>);

const MARGIN: f64 = 16.0;
const HEAD: f64 = 62.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 44.0;

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
        let [x, y] = self.ranges();
        let inner = area.margin(scale.px(HEAD), scale.px(MARGIN / 2.0), scale.px(MARGIN), scale.px(2.0 * MARGIN));
        let mut chart = ChartBuilder::on(&inner)
            .x_label_area_size(scale.px(BOTTOM))
            .y_label_area_size(scale.px(LEFT))
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        let (x_digits, y_digits) = (digits(x.1 - x.0), digits(y.1 - y.0));
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(scale.width(1.0)))
            .axis_style(FAINT_INK.stroke_width(scale.width(1.0)))
            .set_all_tick_mark_size(scale.px(4.0))
            .y_label_offset(scale.px(CENTER))
            .x_labels(10)
            .y_labels(6)
            .x_label_formatter(&|x| number(*x, x_digits))
            .y_label_formatter(&|y| number(*y, y_digits))
            .label_style(text(LABEL, scale, super::INK))
            .axis_desc_style(text(LABEL + 1.0, scale, super::INK))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .draw()?;
        let (name, exact) = &self.exact;
        chart.draw_series([PathElement::new(exact.clone(), RED.stroke_width(scale.width(1.5)))])?;
        let (measured_name, measured) = &self.measured;
        for point in measured.iter().filter(|point| point.mean.is_finite() && point.error.is_finite()) {
            let bar = [point.mean - point.error, point.mean + point.error].map(|end| (point.x, end)).to_vec();
            chart.draw_series([PathElement::new(bar, BLUE.stroke_width(scale.width(1.5)))])?;
            chart.draw_series([Circle::new((point.x, point.mean), scale.px(3.5), BLUE.filled())])?;
        }
        draw_legend(area, scale, &[(BLUE, measured_name), (RED, name)])
    }
}

impl Figure for Curves {
    fn size(&self) -> (u32, u32) {
        let (width, height) = Curve::default().size();
        (width, height * self.0.len().max(1) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        let parts = area.split_evenly((self.0.len().max(1), 1));
        self.0.iter().zip(&parts).try_for_each(|(curve, part)| curve.draw(part, scale))
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
        let drawn = crate::plots::svg(&Curves(vec![curve, Curve::default()])).unwrap();
        assert_eq!(drawn.matches("<circle").count(), 1, "a figure that is none is not drawn");
    }
}
