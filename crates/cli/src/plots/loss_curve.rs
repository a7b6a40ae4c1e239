//! The loss while training: batch means with their standard error, a running mean, and the values to be reached.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::chart::{Axes, Chart, HEAD, MARGIN, below_head, draw_legend, number};
use super::{
    BLUE, CENTER, Drawn, Figure, GREEN, INK, LABEL, ORANGE, PAPER, PURPLE, RED, Scale, anchored, text, text_width,
    title_text,
};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Step or epoch.
    pub x: f64,
    /// Mean.
    pub mean: f64,
    /// Its standard error; 0 when not known.
    pub error: f64,
}

/// A horizontal line: an exact value, or what others have reached.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceLine {
    /// What it is.
    pub label: String,
    /// Where it is.
    pub value: f64,
}

/// The figure.
#[derive(Debug, Clone, Default)]
pub struct LossCurve {
    /// Title.
    pub title: String,
    /// Name of the horizontal axis: step or epoch.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// Training loss, in order of x.
    pub training: Vec<Point>,
    /// Points over which the running mean goes; 1 draws none.
    pub smoothing: usize,
    /// Validation figures, in order of x.
    pub validation: Vec<Point>,
    /// Values to be compared with.
    pub references: Vec<ReferenceLine>,
}

const REFERENCE_COLORS: [RGBColor; 4] = [RED, PURPLE, ORANGE, GREEN];

impl Figure for LossCurve {
    fn size(&self) -> (u32, u32) {
        (900, 540)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        let labels: Vec<String> = self.references.iter().map(ReferenceLine::text).collect();
        let style = text(LABEL, scale, INK);
        let mut right = 2.0 * MARGIN;
        for label in &labels {
            let width = text_width(area, label, &style)?;
            right = right.max(f64::from(width) / f64::from(scale.px(1.0)) + 2.0 * MARGIN);
        }
        let inner = below_head(area, scale, right);
        let (x, y) = self.ranges();
        let axes = Axes { ranges: [x, y], labels: [&self.x_label, &self.y_label], marks: [8, 8] };
        let mut chart = axes.draw(&inner, scale)?;
        self.draw_training(&mut chart, scale)?;
        // Corners of lines that are cut at the top may stand out above it.
        let (width, _) = area.dim_in_pixel();
        area.draw(&Rectangle::new([(0, 0), (width as i32, scale.px(HEAD) - 1)], PAPER.filled()))?;
        area.draw_text(&self.title, &title_text(scale), (scale.px(MARGIN), scale.px(MARGIN)))?;
        draw_legend(area, scale, &self.legend())?;
        self.draw_validation(&mut chart, scale)?;
        // Places on the chart are told from the corner of the whole picture.
        let (left, top) = area.get_base_pixel();
        let mut marks = Vec::new();
        for (reference, color) in self.references.iter().zip(REFERENCE_COLORS.iter().cycle()) {
            let ends = vec![(x.0, reference.value), (x.1, reference.value)];
            let style = color.stroke_width(scale.width(1.5));
            chart.draw_series([PathElement::new(ends, style)])?;
            let (px, py) = chart.backend_coord(&(x.1, reference.value));
            marks.push((px - left, py - top, reference.text(), *color));
        }
        let (_, floor) = chart.backend_coord(&(x.1, y.0));
        draw_marks(area, scale, marks, floor - top)
    }
}

impl ReferenceLine {
    fn text(&self) -> String {
        format!("{} {}", self.label, number(self.value, if self.value.abs() < 100.0 { 4 } else { 1 }))
    }
}

impl LossCurve {
    /// What the legend says: colour, thickness and words of each.
    fn legend(&self) -> Vec<(RGBAColor, f64, String)> {
        let mut entries = Vec::new();
        if self.training.iter().any(|p| p.error > 0.0) {
            entries.push((BLUE.mix(0.35), 7.0, "batch mean ± standard error".to_owned()));
        } else if !self.training.is_empty() {
            entries.push((BLUE.mix(0.6), 1.5, "batch mean".to_owned()));
        }
        if self.smoothing > 1 {
            entries.push((BLUE.mix(1.0), 2.5, format!("mean of {} batches", self.smoothing)));
        }
        if !self.validation.is_empty() {
            entries.push((GREEN.mix(1.0), 5.0, "validation".to_owned()));
        }
        entries
    }

    fn draw_training<DB: DrawingBackend>(&self, chart: &mut Chart<DB>, scale: Scale) -> Drawn<DB> {
        let (_, y) = self.ranges();
        let training = finite(&self.training);
        let upper = training.iter().map(|p| (p.x, p.mean + p.error));
        let lower = training.iter().rev().map(|p| (p.x, p.mean - p.error));
        let band = upper.chain(lower).map(|(px, py)| (px, py.clamp(y.0, y.1)));
        chart.draw_series([Polygon::new(band.collect::<Vec<_>>(), BLUE.mix(0.22))])?;
        let is_smoothed = self.smoothing > 1;
        let (opacity, width) = if is_smoothed { (0.4, 0.75) } else { (1.0, 1.75) };
        let means = training.iter().map(|p| (p.x, p.mean)).collect();
        let mut curves = vec![(means, BLUE.mix(opacity), width)];
        if is_smoothed {
            curves.push((running_mean(&training, self.smoothing), BLUE.mix(1.0), 2.0));
        }
        for (points, color, width) in curves {
            let style = color.stroke_width(scale.width(width));
            let pieces = inside(&points, y);
            chart.draw_series(pieces.into_iter().map(|piece| PathElement::new(piece, style)))?;
        }
        Ok(())
    }

    fn draw_validation<DB: DrawingBackend>(&self, chart: &mut Chart<DB>, scale: Scale) -> Drawn<DB> {
        let (_, y) = self.ranges();
        for point in finite(&self.validation).iter().filter(|p| (y.0..=y.1).contains(&p.mean)) {
            let ends = [point.mean - point.error, point.mean + point.error];
            let bar = ends.map(|end| (point.x, end.clamp(y.0, y.1))).to_vec();
            let style = GREEN.stroke_width(scale.width(1.25));
            chart.draw_series([PathElement::new(bar, style)])?;
            let dot = Circle::new((point.x, point.mean), scale.px(3.0), GREEN.filled());
            chart.draw_series([dot])?;
        }
        Ok(())
    }

    /// Axes that show the end of the training well: the steep descent at the start may leave the picture at the top.
    fn ranges(&self) -> ((f64, f64), (f64, f64)) {
        let points = finite(&self.training);
        let validation = finite(&self.validation);
        let xs = || points.iter().chain(&validation).map(|p| p.x);
        let (x0, x1) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
        let (x0, x1) = if x1 > x0 { (x0, x1) } else { (0.0, 1.0_f64.max(x1)) };
        let mut means: Vec<f64> = points.iter().map(|p| p.mean).collect();
        means.sort_by(f64::total_cmp);
        let quantile = |q: f64| means.get((q * (means.len().max(1) - 1) as f64) as usize).copied();
        let settled = [quantile(0.002), quantile(0.98)].into_iter().flatten();
        let references = self.references.iter().map(|line| line.value).filter(|v| v.is_finite());
        let values = || settled.clone().chain(references.clone()).chain(validation.iter().map(|p| p.mean));
        let low = values().fold(f64::INFINITY, f64::min);
        // Four times as high as the middle of the training: more would squeeze its end into a line.
        let roof = quantile(0.5).map_or(f64::INFINITY, |median| low + 4.0 * (median - low));
        let high = values().fold(f64::NEG_INFINITY, f64::max).min(roof);
        let high = references.fold(high, f64::max);
        match high > low {
            true => {
                let pad = 0.05 * (high - low);
                ((x0, x1), (low - pad, high + pad))
            }
            false if low.is_finite() => ((x0, x1), (low - 1.0, low + 1.0)),
            false => ((x0, x1), (0.0, 1.0)),
        }
    }
}

/// Labels beside the ends of their lines, pushed apart where they would overlap, all above `floor`.
fn draw_marks<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    scale: Scale,
    mut marks: Vec<(i32, i32, String, RGBColor)>,
    floor: i32,
) -> Drawn<DB> {
    marks.sort_by_key(|mark| mark.1);
    let apart = scale.px(LABEL + 4.0);
    for k in 1..marks.len() {
        marks[k].1 = marks[k].1.max(marks[k - 1].1 + apart);
    }
    let mut highest = floor;
    for mark in marks.iter_mut().rev() {
        mark.1 = mark.1.min(highest);
        highest = mark.1 - apart;
    }
    for (x, y, label, color) in marks {
        let style = anchored(text(LABEL, scale, color), HPos::Left, VPos::Center);
        area.draw_text(&label, &style, (x + scale.px(7.0), y + scale.px(CENTER)))?;
    }
    Ok(())
}

fn finite(points: &[Point]) -> Vec<Point> {
    points
        .iter()
        .copied()
        .filter(|p| p.x.is_finite() && p.mean.is_finite())
        .map(|p| Point { error: if p.error.is_finite() { p.error } else { 0.0 }, ..p })
        .collect()
}

/// The pieces of a line whose heights are within the range, cut where they cross its ends.
fn inside(points: &[(f64, f64)], range: (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = vec![Vec::new()];
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let at = |y: f64| (x0 + (x1 - x0) * (y - y0) / (y1 - y0), y);
        let cut = |(x, y): (f64, f64)| match y {
            y if y < range.0 => at(range.0),
            y if y > range.1 => at(range.1),
            _ => (x, y),
        };
        let misses = y0.max(y1) < range.0 || y0.min(y1) > range.1;
        if misses || !(y0 + y1).is_finite() {
            pieces.push(Vec::new());
            continue;
        }
        let (from, to) = (cut(pair[0]), cut(pair[1]));
        let last = pieces.last_mut().expect("there is always one piece");
        if last.last() == Some(&from) {
            last.push(to);
        } else {
            pieces.push(vec![from, to]);
        }
    }
    pieces.retain(|piece| piece.len() > 1);
    pieces
}

/// Mean over a centred window of `window` points: narrower at the start, where the loss falls steeply,
/// one-sided at the end, where it is level.
fn running_mean(points: &[Point], window: usize) -> Vec<(f64, f64)> {
    let half = window / 2;
    (0..points.len())
        .map(|k| {
            let reach = half.min(k);
            let around = &points[k - reach..=(k + reach).min(points.len() - 1)];
            (points[k].x, around.iter().map(|p| p.mean).sum::<f64>() / around.len() as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, mean: f64) -> Point {
        Point { x, mean, error: 0.1 }
    }

    #[test]
    fn the_running_mean_of_a_line_is_the_line() {
        let points: Vec<Point> = (0..50).map(|k| point(k as f64, 3.0 - k as f64)).collect();
        for (found, expected) in running_mean(&points, 9).iter().zip(&points).take(46) {
            assert!((found.1 - expected.mean).abs() < 1e-12);
        }
    }

    #[test]
    fn the_axis_holds_the_references_and_forgives_the_first_steps() {
        let mut training: Vec<Point> = (0..1000).map(|k| point(k as f64, -2.2)).collect();
        training[0].mean = 1e6;
        training[1].mean = f64::NAN;
        let references = vec![ReferenceLine { label: "exact".to_owned(), value: -2.3159 }];
        let curve = LossCurve { training, references, ..LossCurve::default() };
        let (x, y) = curve.ranges();
        assert_eq!(x, (0.0, 999.0));
        assert!(y.0 < -2.3159 && y.1 > -2.2 && y.1 < -2.0, "{y:?}");
    }

    #[test]
    fn a_line_is_cut_where_it_leaves_the_range() {
        let points = [(0.0, 0.0), (1.0, 4.0), (2.0, 4.0), (3.0, 0.0), (4.0, f64::NAN), (5.0, 1.0)];
        let pieces = inside(&points, (-1.0, 2.0));
        assert_eq!(pieces, [vec![(0.0, 0.0), (0.5, 2.0)], vec![(2.5, 2.0), (3.0, 0.0)]]);
        let through = inside(&[(0.0, -3.0), (1.0, 3.0)], (-1.5, 1.5));
        assert_eq!(through, [vec![(0.25, -1.5), (0.75, 1.5)]]);
    }
}
