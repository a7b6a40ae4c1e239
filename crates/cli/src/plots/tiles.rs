//! Pictures side by side: generated spins or digits, and the way of pictures through the flow (columns are times).

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Drawn, FAINT_INK, Figure, INK, LABEL, Scale, anchored, text, title_text};

/// Colours of the values from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// Black to white, for digits.
    Grey,
    /// Dark blue (0, spin down) to sand (1, spin up).
    Spins,
    /// Viridis, for fields.
    Viridis,
}

impl Palette {
    fn color(self, value: f32) -> RGBColor {
        let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
        let mix = |from: [f32; 3], to: [f32; 3]| {
            let channel = |k: usize| (from[k] + value * (to[k] - from[k])).round() as u8;
            RGBColor(channel(0), channel(1), channel(2))
        };
        match self {
            Self::Grey => mix([0.0; 3], [255.0; 3]),
            Self::Spins => mix([27.0, 48.0, 84.0], [238.0, 224.0, 190.0]),
            Self::Viridis => ViridisRGB.get_color(value),
        }
    }
}

/// Neighbouring columns with a common heading.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnGroup {
    /// Heading over the whole group; may be empty.
    pub label: String,
    /// One label for each column; may be empty words.
    pub columns: Vec<String>,
}

impl ColumnGroup {
    /// `count` columns without words.
    pub fn plain(count: usize) -> Self {
        Self { label: String::new(), columns: vec![String::new(); count] }
    }
}

/// The figure: pictures in rows and columns.
#[derive(Debug, Clone)]
pub struct Tiles {
    /// Title.
    pub title: String,
    /// A line below the title; may be empty.
    pub note: String,
    /// The columns, group by group, with a gap between groups.
    pub groups: Vec<ColumnGroup>,
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
    /// The pictures row by row, each `height × width` values from 0 to 1, row by row.
    pub pictures: Vec<Vec<f32>>,
    /// Colours.
    pub palette: Palette,
}

const MARGIN: f64 = 18.0;
const GAP: f64 = 6.0;
const GROUP_GAP: f64 = 26.0;
const LINE: f64 = 19.0;

impl Tiles {
    fn columns(&self) -> usize {
        self.groups.iter().map(|group| group.columns.len()).sum::<usize>().max(1)
    }

    fn rows(&self) -> usize {
        self.pictures.len().div_ceil(self.columns())
    }

    /// Nominal pixels of one value: pictures of about 80, and the whole figure at most about 1200 wide.
    fn pixel(&self) -> f64 {
        let longest = self.height.max(self.width).max(1) as f64;
        let room = 1200.0 / self.columns() as f64 - GAP;
        // Quarters stay whole pixels at the scale that PNGs are drawn at.
        ((80.0_f64.min(room.max(16.0)) / longest * 4.0).round() / 4.0).max(0.25)
    }

    fn head(&self) -> f64 {
        let has_labels = |words: &dyn Fn(&ColumnGroup) -> bool| self.groups.iter().any(words);
        let mut lines = 1.3;
        lines += if self.note.is_empty() { 0.0 } else { 1.0 };
        lines += if has_labels(&|g| !g.label.is_empty()) { 1.2 } else { 0.0 };
        lines += if has_labels(&|g| g.columns.iter().any(|c| !c.is_empty())) { 1.0 } else { 0.0 };
        MARGIN + LINE * lines + 4.0
    }

    /// Left edges of all columns.
    fn lefts(&self) -> Vec<f64> {
        let step = self.width as f64 * self.pixel() + GAP;
        let mut left = MARGIN;
        let mut lefts = Vec::new();
        for group in &self.groups {
            for _ in &group.columns {
                lefts.push(left);
                left += step;
            }
            left += GROUP_GAP - GAP;
        }
        lefts
    }

    fn draw_words<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        let left = scale.px(MARGIN);
        area.draw_text(&self.title, &title_text(scale), (left, scale.px(MARGIN - 4.0)))?;
        if !self.note.is_empty() {
            let note = text(LABEL, scale, FAINT_INK);
            area.draw_text(&self.note, &note, (left, scale.px(MARGIN + 1.2 * LINE)))?;
        }
        let bottom = self.head() - 6.0;
        let lefts = self.lefts();
        let width = self.width as f64 * self.pixel();
        let style = anchored(text(LABEL, scale, INK), HPos::Center, VPos::Bottom);
        let has_columns = self.groups.iter().any(|g| g.columns.iter().any(|c| !c.is_empty()));
        let mut first = 0;
        for group in &self.groups {
            let last = first + group.columns.len().max(1) - 1;
            for (column, left) in group.columns.iter().zip(&lefts[first..]) {
                area.draw_text(column, &style, (scale.px(left + width / 2.0), scale.px(bottom)))?;
            }
            if !group.label.is_empty() {
                let middle = (lefts[first] + lefts[last] + width) / 2.0;
                let y = bottom - if has_columns { LINE + 3.0 } else { 0.0 };
                area.draw_text(&group.label, &style, (scale.px(middle), scale.px(y)))?;
            }
            first = last + 1;
        }
        Ok(())
    }
}

impl Figure for Tiles {
    fn size(&self) -> (u32, u32) {
        let pixel = self.pixel();
        let right = self.lefts().last().copied().unwrap_or(MARGIN) + self.width as f64 * pixel;
        let bottom = self.head() + self.rows() as f64 * (self.height as f64 * pixel + GAP) - GAP;
        ((right + MARGIN).ceil().max(420.0) as u32, (bottom + MARGIN).ceil() as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        self.draw_words(area, scale)?;
        let pixel = self.pixel();
        let lefts = self.lefts();
        for (k, picture) in self.pictures.iter().enumerate() {
            let (row, column) = (k / self.columns(), k % self.columns());
            let top = self.head() + row as f64 * (self.height as f64 * pixel + GAP);
            let left = lefts.get(column).copied().unwrap_or(MARGIN);
            for (index, value) in picture.iter().enumerate().take(self.height * self.width) {
                let (i, j) = ((index / self.width) as f64, (index % self.width) as f64);
                // Edges are rounded one by one, so that neighbours neither overlap nor leave seams.
                let corner = |i: f64, j: f64| (scale.px(left + j * pixel), scale.px(top + i * pixel));
                let (low, high) = (corner(i, j), corner(i + 1.0, j + 1.0));
                area.draw(&Rectangle::new([low, high], self.palette.color(*value).filled()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_the_range_and_nan_have_a_color() {
        for palette in [Palette::Grey, Palette::Spins, Palette::Viridis] {
            assert_eq!(palette.color(-3.0), palette.color(0.0));
            assert_eq!(palette.color(f32::NAN), palette.color(0.0));
            assert_eq!(palette.color(7.0), palette.color(1.0));
            assert_ne!(palette.color(0.0), palette.color(1.0));
        }
    }

    #[test]
    fn a_picture_is_drawn_where_it_belongs() {
        let tiles = Tiles {
            title: String::new(),
            note: String::new(),
            groups: vec![ColumnGroup::plain(2)],
            height: 2,
            width: 2,
            pictures: vec![vec![0.0; 4], vec![1.0, 1.0, 1.0, 0.0]],
            palette: Palette::Grey,
        };
        let (width, _) = tiles.size();
        let bytes = super::super::png(&tiles).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let at = |x: f64, y: f64| {
            let (x, y) = ((2.0 * x) as usize, (2.0 * y) as usize);
            pixels[(y * 2 * width as usize + x) * 3]
        };
        let (size, top) = (tiles.pixel(), tiles.head());
        let second = MARGIN + 2.0 * size + GAP;
        assert_eq!(at(MARGIN + 0.5 * size, top + 0.5 * size), 0);
        assert_eq!(at(second + 0.5 * size, top + 0.5 * size), 255);
        assert_eq!(at(second + 1.5 * size, top + 1.5 * size), 0);
        assert_eq!(at(second + 1.5 * size, top + 0.5 * size), 255);
    }
}
