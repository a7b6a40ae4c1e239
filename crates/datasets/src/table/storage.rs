//! How a file stores a number, and the shape of pictures.

/// How a file stores a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// Digits, or words.
    Text,
    /// True or false.
    Bool,
    /// A signed integer of this many bytes.
    Signed(usize),
    /// An unsigned integer of this many bytes.
    Unsigned(usize),
    /// A floating-point number of this many bytes.
    Float(usize),
    /// The upper half of an f32.
    Bf16,
}

impl Storage {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Signed(1) => "i8",
            Self::Signed(2) => "i16",
            Self::Signed(4) => "i32",
            Self::Signed(_) => "i64",
            Self::Unsigned(1) => "u8",
            Self::Unsigned(2) => "u16",
            Self::Unsigned(4) => "u32",
            Self::Unsigned(_) => "u64",
            Self::Float(2) => "f16",
            Self::Float(4) => "f32",
            Self::Float(_) => "f64",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Text => 0,
            Self::Bool => 1,
            Self::Signed(size) | Self::Unsigned(size) | Self::Float(size) => size,
            Self::Bf16 => 2,
        }
    }

    /// Whether elements have fractions.
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::Float(_) | Self::Bf16)
    }

    /// The number in `bytes`, which are as many as [`size`](Self::size) says, the least significant first.
    pub(super) fn decode(self, bytes: &[u8]) -> f64 {
        // Widened with zeros, or with the sign.
        let extended = |fill: u8| {
            let mut wide = [fill; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            wide
        };
        let negative = bytes.last().is_some_and(|top| top & 0x80 != 0);
        let unsigned = u64::from_le_bytes(extended(0));
        match self {
            Self::Text => f64::NAN,
            Self::Bool => f64::from(u8::from(unsigned != 0)),
            Self::Signed(_) => i64::from_le_bytes(extended(if negative { 0xff } else { 0 })) as f64,
            Self::Unsigned(_) => unsigned as f64,
            Self::Float(2) => half::f16::from_bits(unsigned as u16).to_f64(),
            Self::Float(4) => f64::from(f32::from_bits(unsigned as u32)),
            Self::Float(_) => f64::from_bits(unsigned),
            Self::Bf16 => half::bf16::from_bits(unsigned as u16).to_f64(),
        }
    }
}

/// Rows, columns and channels of pictures; a row of the table has the channels of a pixel together, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}
