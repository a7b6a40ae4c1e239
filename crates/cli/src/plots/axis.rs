//! Marks and numbers along the edges of a panel.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{CENTER, Drawn, FAINT_INK, INK, Scale, anchored, text};

/// An axis between two places, in nominal pixels.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The numbers at its ends.
    pub range: (f64, f64),
    /// Where the first of them is.
    pub from: f64,
    /// Where the last of them is.
    pub to: f64,
    /// The numbers that are marked.
    pub ticks: Vec<f64>,
    /// The size of their labels, where there are any.
    pub labels: Option<f64>,
}

impl Axis {
    fn place(&self, tick: f64) -> f64 {
        self.from + (self.to - self.from) * (tick - self.range.0) / (self.range.1 - self.range.0)
    }

    /// Draws it below a panel that ends at this height.
    pub fn below<DB: DrawingBackend>(self, area: &DrawingArea<DB, Shift>, scale: Scale, bottom: f64) -> Drawn<DB> {
        for tick in &self.ticks {
            let (x, y) = (scale.px(self.place(*tick)), scale.px(bottom));
            let mark = vec![(x, y), (x, y + scale.px(4.0))];
            area.draw(&PathElement::new(mark, FAINT_INK.stroke_width(scale.width(1.0))))?;
            if let Some(size) = self.labels {
                let style = anchored(text(size, scale, INK), HPos::Center, VPos::Top);
                area.draw_text(&tick_label(*tick), &style, (x, y + scale.px(8.0)))?;
            }
        }
        Ok(())
    }

    /// Draws it to the left of a panel that begins here.
    pub fn beside<DB: DrawingBackend>(self, area: &DrawingArea<DB, Shift>, scale: Scale, left: f64) -> Drawn<DB> {
        for tick in &self.ticks {
            let (x, y) = (scale.px(left), scale.px(self.place(*tick)));
            let mark = vec![(x - scale.px(4.0), y), (x, y)];
            area.draw(&PathElement::new(mark, FAINT_INK.stroke_width(scale.width(1.0))))?;
            if let Some(size) = self.labels {
                let style = anchored(text(size, scale, INK), HPos::Right, VPos::Center);
                area.draw_text(&tick_label(*tick), &style, (x - scale.px(8.0), y + scale.px(CENTER)))?;
            }
        }
        Ok(())
    }
}

/// About five round numbers in the range.
pub(super) fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|s| *s >= rough);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|k| k as f64 * step).collect()
}

pub(super) fn tick_label(tick: f64) -> String {
    let text = format!("{}", (tick * 1e6).round() / 1e6 + 0.0);
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((-4.0, 4.0)), [-4.0, -2.0, 0.0, 2.0, 4.0]);
        assert_eq!(tick_label(-0.0), "0");
        assert_eq!(tick_label(-0.5), "−0.5");
    }
}
