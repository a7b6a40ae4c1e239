//! Histograms of a number by several ways to come to it: what an effective sample size is made of, or what two samplers
//! find.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::chart::{Axes, LINE, MARGIN, below_head, draw_legend};
use super::{BLUE, Drawn, Figure, INK, RED, Scale, title_text};

/// The figure.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Title.
    pub title: String,
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// The histograms, three at most.
    pub series: Vec<Series>,
    /// A vertical line, and what it is.
    pub reference: Option<(String, f64)>,
    /// Ends of the axis, where they are not to be those of most numbers.
    pub range: Option<(f64, f64)>,
}

/// One histogram.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// The numbers; those that are not finite are left out.
    pub values: Vec<f64>,
    /// What each of them counts.
    pub weights: Vec<f64>,
}

impl Series {
    /// A histogram of numbers of equal weight.
    pub fn equal(name: &str, values: Vec<f64>) -> Self {
        Self { name: name.to_owned(), weights: vec![1.0; values.len()], values }
    }

    /// The density of each bin between the ends of an axis.
    fn heights(&self, (low, high): (f64, f64)) -> Vec<f64> {
        let width = (high - low) / BINS as f64;
        let (mut heights, mut sum) = (vec![0.0; BINS], 0.0);
        for (value, weight) in self.values.iter().zip(&self.weights).filter(|(v, w)| v.is_finite() && w.is_finite()) {
            sum += weight;
            let bin = (value - low) / width;
            if (0.0..BINS as f64).contains(&bin) {
                heights[bin as usize] += weight;
            }
        }
        heights.iter_mut().for_each(|height| *height /= if sum > 0.0 { sum * width } else { 1.0 });
        heights
    }
}

const BINS: usize = 60;
const COLORS: [RGBColor; 3] = [BLUE, RED, INK];

impl Histogram {
    /// Ends of the axis: all numbers but the outermost in a thousand on either side, the reference, and some room.
    fn range(&self) -> (f64, f64) {
        if let Some(range) = self.range {
            return range;
        }
        let all = self.series.iter().flat_map(|series| &series.values);
        let mut sorted: Vec<f64> = all.copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() {
            return (-1.0, 1.0);
        }
        let cut = sorted.len() / 1000;
        let (mut low, mut high) = (sorted[cut], sorted[sorted.len() - 1 - cut]);
        if let Some((_, at)) = self.reference {
            (low, high) = (low.min(at), high.max(at));
        }
        let room = (0.04 * (high - low)).max(1e-6 * (1.0 + high.abs()));
        (low - room, high + room)
    }
}

impl Figure for Histogram {
    fn size(&self) -> (u32, u32) {
        (900, 440)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB> {
        area.draw_text(&self.title, &title_text(scale), (scale.px(MARGIN), scale.px(MARGIN)))?;
        let x = self.range();
        let series: Vec<Vec<f64>> = self.series.iter().map(|series| series.heights(x)).collect();
        let top = series.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max) * 1.08;
        let axes = Axes { ranges: [x, (0.0, top)], labels: [&self.x_label, "density"], marks: [10, 6] };
        let inner = below_head(area, scale, 2.0 * MARGIN);
        let mut chart = axes.draw(&inner, scale)?;
        let width = (x.1 - x.0) / BINS as f64;
        for (heights, color) in series.iter().zip(COLORS) {
            // The outline goes up and down at the edges of the bins.
            let edges = heights.iter().enumerate().flat_map(|(k, height)| {
                let left = x.0 + k as f64 * width;
                [(left, *height), (left + width, *height)]
            });
            let outline: Vec<(f64, f64)> = [(x.0, 0.0)].into_iter().chain(edges).chain([(x.1, 0.0)]).collect();
            // The third is a line, through which the others are seen.
            if color != INK {
                chart.draw_series([Polygon::new(outline.clone(), color.mix(0.2))])?;
            }
            chart.draw_series([PathElement::new(outline, color.stroke_width(scale.width(1.5)))])?;
        }
        let entry = |color: RGBColor, words: &String| (color.mix(1.0), LINE, words.clone());
        let mut entries: Vec<_> =
            COLORS.into_iter().zip(&self.series).map(|(color, series)| entry(color, &series.name)).collect();
        if let Some((name, at)) = &self.reference {
            chart.draw_series([PathElement::new(vec![(*at, 0.0), (*at, top)], INK.stroke_width(scale.width(1.25)))])?;
            entries.push(entry(INK, name));
        }
        draw_legend(area, scale, &entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_densities_under_their_weights() {
        let values: Vec<f64> = (0..5000).map(|k| f64::from(k) / 5000.0).chain([f64::NAN]).collect();
        let equal = Series::equal("", values.clone());
        let histogram = Histogram { series: vec![equal.clone()], ..Histogram::default() };
        let range = histogram.range();
        let width = (range.1 - range.0) / BINS as f64;
        let flat = equal.heights(range);
        // Two in a thousand may lie outside.
        assert!((flat.iter().sum::<f64>() * width - 1.0).abs() < 0.003, "{flat:?}");
        assert!(flat[10..50].iter().all(|height| (height - 1.0).abs() < 0.05), "{flat:?}");
        let rising = Series { weights: values, ..equal }.heights(range);
        assert!((rising[45] / rising[20] - (45.5 * width + range.0) / (20.5 * width + range.0)).abs() < 0.1);
    }
}
