//! Reads an IDX file of pictures (plain or gzip) and checks every number of its header.
//!
//! The format is that of the MNIST page of LeCun, Cortes and Burges: a big-endian magic number whose last byte is the
//! number of dimensions, one 32-bit length for each dimension, then the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::MnistError;

/// Magic number of unsigned bytes in three dimensions: pictures.
pub(crate) const MAGIC: u32 = 0x0803;
/// Bytes before the values: the magic number and the three lengths.
const HEADER: usize = 16;

/// The decompressed bytes of one file.
pub(crate) struct IdxFile {
    pub bytes: Vec<u8>,
    /// Pictures, and the rows and columns of each.
    pub shape: [usize; 3],
}

impl IdxFile {
    /// The values after the header, last dimension fastest.
    pub fn values(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// Reads `path`, decompressing when it starts as gzip does.
    pub fn read(path: &Path) -> Result<Self, MnistError> {
        let read_error = |source| MnistError::Read { path: path.to_owned(), source };
        let mut raw = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut raw)).map_err(read_error)?;
        let (bytes, cut) = match decompress(&raw, u64::MAX) {
            Ok(bytes) => (bytes, false),
            // A cut gzip file still yields what came before the cut, so the sentence can say how much is missing.
            Err(Decompression { so_far, source }) if source.kind() == io::ErrorKind::UnexpectedEof => (so_far, true),
            Err(Decompression { source, .. }) => return Err(read_error(source)),
        };
        Self::parse(path, bytes, cut)
    }

    /// Checks magic number and length of already decompressed `bytes`; `cut` says that the compressed stream ended
    /// early.
    fn parse(path: &Path, bytes: Vec<u8>, cut: bool) -> Result<Self, MnistError> {
        let word = |i: usize| bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let truncated =
            |expected: u64| MnistError::Truncated { path: path.to_owned(), expected, found: bytes.len() as u64 };

        let found = word(0).ok_or_else(|| truncated(HEADER as u64))?;
        if found != MAGIC {
            return Err(MnistError::Magic { path: path.to_owned(), expected: MAGIC, found });
        }
        let (Some(count), Some(rows), Some(cols)) = (word(1), word(2), word(3)) else {
            return Err(truncated(HEADER as u64));
        };
        let shape = [count, rows, cols];
        let values = shape.iter().fold(1u64, |product, &side| product.saturating_mul(u64::from(side)));
        let expected = values.saturating_add(HEADER as u64);
        if cut || (bytes.len() as u64) < expected {
            return Err(truncated(expected));
        }
        if bytes.len() as u64 > expected {
            return Err(MnistError::Overlong { path: path.to_owned(), expected, found: bytes.len() as u64 });
        }
        Ok(Self { bytes, shape: shape.map(|side| side as usize) })
    }
}

/// Why gzip content could not be read to its end, with the part that could.
#[derive(Debug)]
pub(crate) struct Decompression {
    pub so_far: Vec<u8>,
    pub source: io::Error,
}

/// `raw` as it is, or decompressed when it is gzip; at most `limit` bytes.
pub(crate) fn decompress(raw: &[u8], limit: u64) -> Result<Vec<u8>, Decompression> {
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok(raw.to_vec());
    }
    let mut bytes = Vec::new();
    match MultiGzDecoder::new(raw).take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(Decompression { so_far: bytes, source }),
    }
}
