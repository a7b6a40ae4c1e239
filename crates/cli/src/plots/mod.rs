//! Figures on plain numbers: drawn by plotters with an embedded font, so that nothing but this program is needed.
//!
//! A [`Figure`] draws itself at any scale. [`png()`] draws at four times its nominal size and averages down to
//! twice that, which smooths every edge; [`svg`] keeps lines as lines.

mod axis;
mod chart;
mod corner;
mod curves;
mod density;
mod histogram;
mod loss_curve;
mod tiles;

pub use chart::Stacked;
pub use corner::Corner;
pub use curves::Curve;
pub use density::{Content, Densities, Panel};
pub use histogram::{Histogram, Series};
pub use loss_curve::{LossCurve, Point, ReferenceLine};
pub use tiles::{ColumnGroup, Palette, Tiles};

use std::path::Path;
use std::sync::Once;

use plotters::backend::RGBPixel;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use maflow::Error;
use maflow::files::write_whole;

/// Result of drawing on any backend.
pub type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Something that can be drawn.
pub trait Figure {
    /// Nominal width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws it on an area of `scale` times the nominal size.
    ///
    /// # Errors
    /// Those of the drawing backend.
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: Scale) -> Drawn<DB>;
}

/// Real pixels per nominal pixel.
#[derive(Debug, Clone, Copy)]
pub struct Scale(f64);

impl Scale {
    /// Nominal pixels as real ones.
    fn px(self, nominal: f64) -> i32 {
        (nominal * self.0).round() as i32
    }

    /// The same as a width, never invisible.
    fn width(self, nominal: f64) -> u32 {
        self.px(nominal).max(1) as u32
    }

    fn font(self, nominal: f64) -> f64 {
        nominal * self.0
    }
}

const INK: RGBColor = RGBColor(38, 42, 51);
const FAINT_INK: RGBColor = RGBColor(110, 116, 128);
const GRID: RGBColor = RGBColor(232, 234, 238);
const PAPER: RGBColor = WHITE;
const BLUE: RGBColor = RGBColor(42, 111, 187);
const RED: RGBColor = RGBColor(200, 60, 60);
const GREEN: RGBColor = RGBColor(34, 139, 106);
const PURPLE: RGBColor = RGBColor(124, 82, 168);
const ORANGE: RGBColor = RGBColor(214, 122, 26);

const FONT: &str = "sans-serif";
const TITLE: f64 = 17.0;
const LABEL: f64 = 12.5;
/// How far below a text's centre, as plotters reckons it, the eye sees it.
const CENTER: f64 = 1.75;

fn text(size: f64, scale: Scale, color: RGBColor) -> TextStyle<'static> {
    register_fonts();
    let mut style = TextStyle::from((FONT, scale.font(size)).into_font());
    style.color = color.to_backend_color();
    style
}

fn title_text(scale: Scale) -> TextStyle<'static> {
    register_fonts();
    let font = (FONT, scale.font(TITLE), FontStyle::Bold).into_font();
    TextStyle::from(font).color(&INK)
}

fn anchored(style: TextStyle<'static>, h: HPos, v: VPos) -> TextStyle<'static> {
    style.pos(Pos::new(h, v))
}

/// DejaVu Sans (Bitstream Vera licence), which has the letters of mathematics.
fn register_fonts() {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        let regular = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        let bold = register_font(FONT, FontStyle::Bold, dejavu::sans::bold());
        debug_assert!(regular.is_ok() && bold.is_ok(), "the embedded fonts are valid");
    });
}

/// Width of `words` in real pixels.
fn text_width<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    words: &str,
    style: &TextStyle,
) -> Result<i32, DrawingAreaErrorKind<DB::ErrorType>> {
    area.estimate_text_size(words, style).map(|(width, _)| width as i32)
}

/// Pixels drawn for each one of a PNG, in either direction.
const OVER: u32 = 2;

/// The figure as a PNG of twice its nominal size.
///
/// # Errors
/// When drawing fails.
pub fn png(figure: &impl Figure) -> Result<Vec<u8>, Error> {
    const OUT: u32 = 2;
    let (width, height) = figure.size();
    let (w, h) = (width * OUT, height * OUT);
    let mut fine = vec![255_u8; (w * h * OVER * OVER * 3) as usize];
    {
        let backend =
            BitMapBackend::<RGBPixel>::with_buffer_and_format(&mut fine, (w * OVER, h * OVER)).map_err(failed)?;
        let area = backend.into_drawing_area();
        area.fill(&PAPER).map_err(failed)?;
        figure.draw(&area, Scale(f64::from(OUT * OVER))).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    encode(&average(&fine, w as usize), w, h)
}

/// The figure as SVG.
///
/// # Errors
/// When drawing fails.
pub fn svg(figure: &impl Figure) -> Result<String, Error> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, figure.size()).into_drawing_area();
        area.fill(&PAPER).map_err(failed)?;
        figure.draw(&area, Scale(1.0)).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(text)
}

/// Writes `folder/name.png`.
///
/// # Errors
/// When drawing or writing fails; an older file is then untouched.
pub fn save_png(figure: &impl Figure, folder: &Path, name: &str) -> Result<(), Error> {
    write_whole(&folder.join(format!("{name}.png")), &png(figure)?)
}

/// Writes `folder/name.png` and `folder/name.svg`.
///
/// # Errors
/// When drawing or writing fails; older files are then untouched.
pub fn save_both(figure: &impl Figure, folder: &Path, name: &str) -> Result<(), Error> {
    save_png(figure, folder, name)?;
    write_whole(&folder.join(format!("{name}.svg")), svg(figure)?.as_bytes())
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("cannot draw the figure: {error}"))
}

/// Mean over blocks of [`OVER`] × [`OVER`] pixels of a picture that will be `width` wide.
fn average(fine: &[u8], width: usize) -> Vec<u8> {
    const SIDE: usize = OVER as usize;
    let mut out = vec![0; fine.len() / (SIDE * SIDE)];
    let mut sums = vec![0_u16; width * 3];
    for (rows, out) in fine.chunks_exact(SIDE * SIDE * width * 3).zip(out.chunks_exact_mut(width * 3)) {
        sums.fill(0);
        for row in rows.chunks_exact(SIDE * width * 3) {
            for (sums, block) in sums.chunks_exact_mut(3).zip(row.chunks_exact(SIDE * 3)) {
                for (place, value) in block.iter().enumerate() {
                    sums[place % 3] += u16::from(*value);
                }
            }
        }
        const COUNT: u16 = (SIDE * SIDE) as u16;
        out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = ((sum + COUNT / 2) / COUNT) as u8);
    }
    out
}

fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averaging_keeps_a_flat_picture_and_halves_an_edge() {
        assert_eq!(average(&[7; 2 * 2 * 3], 1), [7; 3]);
        // Two pixels beside each other: an edge through the first, and colours of their own in the second.
        let row = [[0; 3], [255; 3], [10, 20, 30], [30, 40, 50]].concat();
        assert_eq!(average(&row.repeat(2), 2), [128, 128, 128, 20, 30, 40]);
    }
}
