//! Two sets of rows, pair by pair of their columns: points below the diagonal, histograms on it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, ticks};
use super::{BLUE, CENTER, Drawn, FAINT_INK, Figure, INK, LABEL, ORANGE, Scale, anchored, text, title_text};

/// The figure.
#[derive(Debug, Clone)]
pub struct Corner {
    /// Title.
    pub title: String,
    /// Names of the columns that are shown.
    pub names: Vec<String>,
    /// Name and rows of both sets, row by row.
    pub series: [(String, Vec<f64>); 2],
}

const MARGIN: f64 = 16.0;
const HEAD: f64 = 62.0;
const LEFT: f64 = 84.0;
const FOOT: f64 = 48.0;
const GAP: f64 = 10.0;
const BINS: usize = 24;
const COLORS: [RGBColor; 2] = [BLUE, ORANGE];

impl Corner {
    fn columns(&self) -> usize {
        self.names.len()
    }

    /// Side of a panel.
    fn panel(&self) -> f64 {
        match self.columns() {
            1 => 320.0,
            2 | 3 => 230.0,
            _ => 150.0,
        }
    }

    /// Left and upper end of the panel in a row and a column.
    fn corner(&self, row: usize, column: usize) -> (f64, f64) {
        let step = self.panel() + GAP;
        (LEFT + column as f64 * step, HEAD + row as f64 * step)
    }

    fn values(&self, set: usize, column: usize) -> impl Iterator<Item = f64> + '_ {
        self.series[set].1.iter().skip(column).step_by(self.columns()).copied()
    }

    /// Ends of the axis of a column: all but the outermost of both sets, and some room.
    fn range(&self, column: usize) -> (f64, f64) {
        let mut sorted: Vec<f64> = (0..2).flat_map(|set| self.values(set, column)).filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() {
            return (-1.0, 1.0);
        }
        let cut = sorted.len() / 200;
        let (low, high) = (sorted[cut], sorted[sorted.len() - 1 - cut]);
        let room = (0.06 * (high - low)).max(1e-6 * (1.0 + high.abs()));
        (low - room, high + room)
    }

    fn draw_points<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: Scale,
        (row, column): (usize, usize),
    ) -> Drawn<DB> {
        let (left, top) = self.corner(row, column);
        let (x_range, y_range) = (self.range(column), self.range(row));
        let count = self.series.iter().map(|(_, rows)| rows.len() / self.columns()).max().unwrap_or(0);
        // Many points need to be faint for their density to show.
        let opacity = (400.0 / count.max(1) as f64).sqrt().clamp(0.12, 0.8);
        let (radius, n) = (scale.px(1.2).max(1), self.columns());
        // In turn, so that neither set hides the other.
        for at in 0..count {
            for ((_, rows), color) in self.series.iter().zip(COLORS) {
                let Some(point) = rows.get(at * n..(at + 1) * n) else { continue };
                let u = (point[column] - x_range.0) / (x_range.1 - x_range.0);
                let v = (y_range.1 - point[row]) / (y_range.1 - y_range.0);
                if (0.01..0.99).contains(&u) && (0.01..0.99).contains(&v) {
                    let place = (scale.px(left + self.panel() * u), scale.px(top + self.panel() * v));
                    area.draw(&Circle::new(place, radius, color.mix(opacity).filled()))?;
                }
            }
        }
        Ok(())
    }

    /// Shares of the bins of a column.
    fn heights(&self, set: usize, column: usize) -> Vec<f64> {
        let (low, high) = self.range(column);
        let (mut heights, mut count) = (vec![0.0; BINS], 0.0);
        for value in self.values(set, column) {
            count += 1.0;
            let bin = (value - low) / (high - low) * BINS as f64;
            if (0.0..BINS as f64).contains(&bin) {
                heights[bin as usize] += 1.0;
            }
        }
        heights.iter_mut().for_each(|height| *height /= f64::max(count, 1.0));
        heights
    }

    fn draw_histograms<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: Scale,
        column: usize,
    ) -> Drawn<DB> {
        let (left, top) = self.corner(column, column);
        let heights = [0, 1].map(|set| self.heights(set, column));
        let most = heights.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max) * 1.1;
        for (heights, color) in heights.iter().zip(COLORS) {
            let mut line = Vec::with_capacity(2 * BINS);
            for (bin, height) in heights.iter().enumerate() {
                let y = scale.px(top + self.panel() * (1.0 - height / most));
                let x = |bin: usize| scale.px(left + self.panel() * bin as f64 / BINS as f64);
                line.extend([(x(bin), y), (x(bin + 1), y)]);
            }
            area.draw(&PathElement::new(line, color.stroke_width(scale.width(1.6))))?;
        }
        Ok(())
    }

    fn draw_frame<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: Scale,
        (row, column): (usize, usize),
    ) -> Drawn<DB> {
        let ((left, top), side) = (self.corner(row, column), self.panel());
        let corners = [(scale.px(left), scale.px(top)), (scale.px(left + side), scale.px(top + side))];
        area.draw(&Rectangle::new(corners, FAINT_INK.stroke_width(scale.width(1.0))))?;
        let axis = |column: usize, (from, to): (f64, f64)| {
            let range = self.range(column);
            Axis { range, from, to, ticks: few(ticks(inner(range))), labels: Some(LABEL - 1.5) }
        };
        if row + 1 == self.columns() {
            axis(column, (left, left + side)).below(area, scale, top + side)?;
            let name = anchored(text(LABEL, scale, INK), HPos::Center, VPos::Top);
            area.draw_text(&self.names[column], &name, (scale.px(left + side / 2.0), scale.px(top + side + 25.0)))?;
        }
        if column == 0 && row > 0 {
            axis(row, (top + side, top)).beside(area, scale, left)?;
            let name = anchored(text(LABEL, scale, INK), HPos::Center, VPos::Center);
            let name = name.transform(FontTransform::Rotate270);
            area.draw_text(&self.names[row], &name, (scale.px(MARGIN), scale.px(top + side / 2.0)))?;
        }
        Ok(())
    }
}

/// The part of an axis whose labels do not meet those of the next panel.
fn inner((low, high): (f64, f64)) -> (f64, f64) {
    let room = 0.07 * (high - low);
    (low + room, high - room)
}

/// At most three of the ticks, so that long labels do not meet.
fn few(ticks: Vec<f64>) -> Vec<f64> {
    let every = ticks.len().div_ceil(3).max(1);
    ticks.into_iter().step_by(every).collect()
}

impl Figure for Corner {
    fn size(&self) -> (u32, u32) {
        let n = self.columns() as f64;
        let side = n * self.panel() + (n - 1.0) * GAP;
        // Room for the title over few panels.
        ((LEFT + side + MARGIN).max(460.0) as u32, (HEAD + side + FOOT) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        area.draw_text(&self.title, &title_text(scale), (scale.px(MARGIN), scale.px(14.0)))?;
        let mut left = MARGIN;
        for ((name, _), color) in self.series.iter().zip(COLORS) {
            let dot = (scale.px(left + 5.0), scale.px(48.0));
            area.draw(&Circle::new(dot, scale.px(4.0), color.filled()))?;
            let style = anchored(text(LABEL, scale, INK), HPos::Left, VPos::Center);
            area.draw_text(name, &style, (scale.px(left + 14.0), scale.px(48.0 + CENTER)))?;
            left += 34.0 + 7.5 * name.chars().count() as f64;
        }
        for row in 0..self.columns() {
            for column in 0..row {
                self.draw_points(area, scale, (row, column))?;
                self.draw_frame(area, scale, (row, column))?;
            }
            self.draw_histograms(area, scale, row)?;
            self.draw_frame(area, scale, (row, row))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_bins_are_those_of_both_sets() {
        let rows = |shift: f64| (0..400).flat_map(|i| [f64::from(i) + shift, 1.0]).collect::<Vec<_>>();
        let series = [("data".to_owned(), rows(0.0)), ("flow".to_owned(), rows(100.0))];
        let corner = Corner { title: String::new(), names: vec!["a".to_owned(), "b".to_owned()], series };
        let (low, high) = corner.range(0);
        assert!(low < 4.0 && low > -60.0 && high > 495.0 && high < 560.0, "{low} {high}");
        let heights = corner.heights(1, 0);
        assert!((heights.iter().sum::<f64>() - 1.0).abs() < 0.02, "{heights:?}");
        // A column without spread has an axis all the same.
        let (low, high) = corner.range(1);
        assert!(low < 1.0 && high > 1.0);
        assert_eq!(few(vec![0.0, 1.0, 2.0, 3.0, 4.0]), [0.0, 2.0, 4.0]);
    }
}
