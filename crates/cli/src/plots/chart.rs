//! A panel with axes of plain numbers, its legend above it, and panels one below the other: what curves and histograms
//! have in common.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{CENTER, Drawn, FAINT_INK, Figure, GRID, INK, LABEL, Scale, anchored, text, text_width};

use maflow::numbers::fixed;

pub(super) const MARGIN: f64 = 16.0;
/// Height of the title and the legend, above the axes so that they cover no data.
pub(super) const HEAD: f64 = 62.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 44.0;

pub(super) type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The part of a picture below its head, so much in from its right edge.
pub(super) fn below_head<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    scale: Scale,
    right: f64,
) -> DrawingArea<DB, Shift> {
    area.margin(scale.px(HEAD), scale.px(MARGIN / 2.0), scale.px(MARGIN), scale.px(right))
}

/// The two axes of a panel.
pub(super) struct Axes<'a> {
    /// The ends of the horizontal and of the vertical one.
    pub ranges: [(f64, f64); 2],
    /// Their names and units.
    pub labels: [&'a str; 2],
    /// About how many numbers stand along each.
    pub marks: [usize; 2],
}

impl Axes<'_> {
    /// Draws them, for a chart between them.
    pub fn draw<'a, DB: DrawingBackend>(
        &self,
        area: &'a DrawingArea<DB, Shift>,
        scale: Scale,
    ) -> Result<Chart<'a, DB>, DrawingAreaErrorKind<DB::ErrorType>> {
        let [x, y] = self.ranges;
        let mut chart = ChartBuilder::on(area)
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
            .x_labels(self.marks[0])
            .y_labels(self.marks[1])
            .x_label_formatter(&|x| number(*x, x_digits))
            .y_label_formatter(&|y| number(*y, y_digits))
            .label_style(text(LABEL, scale, INK))
            .axis_desc_style(text(LABEL + 1.0, scale, INK))
            .x_desc(self.labels[0])
            .y_desc(self.labels[1])
            .draw()?;
        Ok(chart)
    }
}

/// The thickness of the swatch of a line.
pub(super) const LINE: f64 = 3.0;

/// Draws a legend above the axes: colours, the thickness of their swatches, and what they stand for.
pub(super) fn draw_legend<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    scale: Scale,
    entries: &[(RGBAColor, f64, String)],
) -> Drawn<DB> {
    let style = anchored(text(LABEL, scale, INK), HPos::Left, VPos::Center);
    let (mut x, y) = (scale.px(LEFT + MARGIN), scale.px(HEAD - 14.0));
    for (color, thickness, label) in entries {
        let half = scale.px(thickness / 2.0).max(1);
        area.draw(&Rectangle::new([(x, y - half), (x + scale.px(22.0), y + half)], color.filled()))?;
        x += scale.px(28.0);
        area.draw_text(label, &style, (x, y + scale.px(CENTER)))?;
        x += text_width(area, label, &style)? + scale.px(22.0);
    }
    Ok(())
}

/// Figures of one kind, one below the other.
#[derive(Debug, Clone, Default)]
pub struct Stacked<F>(pub Vec<F>);

impl<F: Figure + Default> Figure for Stacked<F> {
    fn size(&self) -> (u32, u32) {
        let (width, height) = F::default().size();
        (width, height * self.0.len().max(1) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        let parts = area.split_evenly((self.0.len().max(1), 1));
        self.0.iter().zip(&parts).try_for_each(|(figure, part)| figure.draw(part, scale))
    }
}

/// Decimals that tell ticks apart on an axis of this length.
fn digits(length: f64) -> usize {
    (1.0 - length.log10().floor()).clamp(0.0, 9.0) as usize
}

/// A number without a negative zero, with a true minus sign.
pub(super) fn number(value: f64, digits: usize) -> String {
    let text = fixed(value, digits);
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_minus_and_no_negative_zero() {
        assert_eq!(number(-0.001, 2), "0.00");
        assert_eq!(number(-2.31592, 4), "−2.3159");
        assert_eq!(number(-1e300, 0), "−1.000e300");
    }
}
