//! Densities in the plane: heat maps of ln p with one common scale, and samples, side by side.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, tick_label, ticks};
use super::{BLUE, CENTER, Drawn, FAINT_INK, Figure, INK, LABEL, Scale, anchored, text, title_text};

/// The figure: square panels over the same part of the plane.
#[derive(Debug, Clone)]
pub struct Densities {
    /// Title.
    pub title: String,
    /// Left and right end of the panels.
    pub x_range: (f64, f64),
    /// Lower and upper end.
    pub y_range: (f64, f64),
    /// The panels.
    pub panels: Vec<Panel>,
}

/// One panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Heading.
    pub title: String,
    /// What is shown.
    pub content: Content,
}

/// What a panel shows.
#[derive(Debug, Clone)]
pub enum Content {
    /// ln p at the centres of `side × side` cells, row by row, the lowest row first.
    LogDensity {
        /// Cells in each direction.
        side: usize,
        /// The values.
        values: Vec<f64>,
    },
    /// Points (x, y).
    Samples(Vec<(f64, f64)>),
}

const PANEL: f64 = 270.0;
const GAP: f64 = 26.0;
const MARGIN: f64 = 20.0;
const LEFT: f64 = 42.0;
const HEAD: f64 = 66.0;
const FOOT: f64 = 38.0;
const BAR: f64 = 14.0;
const BAR_ROOM: f64 = 78.0;
/// Nats below the maximum at which the colour scale ends.
const DEPTH: f64 = 10.0;

impl Densities {
    fn maximum(&self) -> Option<f64> {
        let values = self.panels.iter().flat_map(|panel| match &panel.content {
            Content::LogDensity { values, .. } => values.as_slice(),
            Content::Samples(_) => &[],
        });
        values.copied().filter(|v| v.is_finite()).reduce(f64::max)
    }

    fn draw_frame<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: Scale,
        left: f64,
        first: bool,
    ) -> Drawn<DB> {
        let corners = [(scale.px(left), scale.px(HEAD)), (scale.px(left + PANEL), scale.px(HEAD + PANEL))];
        area.draw(&Rectangle::new(corners, FAINT_INK.stroke_width(scale.width(1.0))))?;
        Axis { range: self.x_range, from: left, to: left + PANEL, ticks: ticks(self.x_range), labels: Some(LABEL) }
            .below(area, scale, HEAD + PANEL)?;
        let labels = first.then_some(LABEL);
        Axis { range: self.y_range, from: HEAD + PANEL, to: HEAD, ticks: ticks(self.y_range), labels }
            .beside(area, scale, left)?;
        Ok(())
    }

    fn draw_samples<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: Scale,
        left: f64,
        points: &[(f64, f64)],
    ) -> Drawn<DB> {
        // Many points need to be faint for their density to show.
        let opacity = (600.0 / points.len().max(1) as f64).sqrt().clamp(0.12, 0.8);
        let radius = scale.px(1.4).max(1);
        for (x, y) in points {
            let u = (x - self.x_range.0) / (self.x_range.1 - self.x_range.0);
            let v = (self.y_range.1 - y) / (self.y_range.1 - self.y_range.0);
            if (0.005..0.995).contains(&u) && (0.005..0.995).contains(&v) {
                let center = (scale.px(left + PANEL * u), scale.px(HEAD + PANEL * v));
                area.draw(&Circle::new(center, radius, BLUE.mix(opacity).filled()))?;
            }
        }
        Ok(())
    }
}

impl Figure for Densities {
    fn size(&self) -> (u32, u32) {
        let count = self.panels.len().max(1) as f64;
        let bar = if self.maximum().is_some() { BAR_ROOM } else { 0.0 };
        let width = LEFT + MARGIN + count * PANEL + (count - 1.0) * GAP + bar;
        (width as u32, (HEAD + PANEL + FOOT) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        area.draw_text(&self.title, &title_text(scale), (scale.px(MARGIN), scale.px(14.0)))?;
        let maximum = self.maximum();
        let heading = anchored(text(LABEL + 0.5, scale, INK), HPos::Center, VPos::Bottom);
        let mut left = LEFT + MARGIN / 2.0;
        for (k, panel) in self.panels.iter().enumerate() {
            area.draw_text(&panel.title, &heading, (scale.px(left + PANEL / 2.0), scale.px(HEAD - 6.0)))?;
            match &panel.content {
                Content::LogDensity { side, values } => {
                    draw_heat(area, scale, left, *side, values, maximum.unwrap_or(0.0))?;
                }
                Content::Samples(points) => self.draw_samples(area, scale, left, points)?,
            }
            self.draw_frame(area, scale, left, k == 0)?;
            left += PANEL + GAP;
        }
        match maximum {
            Some(maximum) => draw_bar(area, scale, left - GAP + 16.0, maximum),
            None => Ok(()),
        }
    }
}

fn draw_heat<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    scale: Scale,
    left: f64,
    side: usize,
    values: &[f64],
    maximum: f64,
) -> Drawn<DB> {
    let cell = PANEL / side as f64;
    for (k, value) in values.iter().enumerate().take(side * side) {
        let (i, j) = ((side - 1 - k / side) as f64, (k % side) as f64);
        let corner = |i: f64, j: f64| (scale.px(left + j * cell), scale.px(HEAD + i * cell));
        let (low, high) = (corner(i, j), corner(i + 1.0, j + 1.0));
        area.draw(&Rectangle::new([low, high], heat(*value, maximum).filled()))?;
    }
    Ok(())
}

/// The common scale of all heat maps.
fn draw_bar<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, scale: Scale, left: f64, maximum: f64) -> Drawn<DB> {
    let shades = 200;
    for k in 0..shades {
        let fraction = |k: i32| f64::from(k) / f64::from(shades);
        let color = heat(maximum - DEPTH * fraction(k), maximum);
        let low = (scale.px(left), scale.px(HEAD + PANEL * fraction(k)));
        let high = (scale.px(left + BAR), scale.px(HEAD + PANEL * fraction(k + 1)));
        area.draw(&Rectangle::new([low, high], color.filled()))?;
    }
    let frame = [(scale.px(left), scale.px(HEAD)), (scale.px(left + BAR), scale.px(HEAD + PANEL))];
    area.draw(&Rectangle::new(frame, FAINT_INK.stroke_width(scale.width(1.0))))?;
    let style = anchored(text(LABEL, scale, INK), HPos::Left, VPos::Center);
    for tick in ticks((maximum - DEPTH, maximum)) {
        let y = scale.px(HEAD + PANEL * (maximum - tick) / DEPTH);
        let x = scale.px(left + BAR);
        let mark = vec![(x, y), (x + scale.px(4.0), y)];
        area.draw(&PathElement::new(mark, FAINT_INK.stroke_width(scale.width(1.0))))?;
        area.draw_text(&tick_label(tick), &style, (x + scale.px(7.0), y + scale.px(CENTER)))?;
    }
    let heading = anchored(text(LABEL, scale, INK), HPos::Left, VPos::Bottom);
    area.draw_text("ln p", &heading, (scale.px(left), scale.px(HEAD - 6.0)))
}

fn heat(log_density: f64, maximum: f64) -> RGBColor {
    let value = 1.0 - (maximum - log_density) / DEPTH;
    ViridisRGB.get_color(if value.is_finite() { value.clamp(0.0, 1.0) as f32 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_place_is_as_dark_as_the_scale_goes() {
        assert_eq!(heat(f64::NEG_INFINITY, 0.0), heat(-2.0 * DEPTH, 0.0));
        assert_ne!(heat(0.0, 0.0), heat(-DEPTH, 0.0));
    }
}
