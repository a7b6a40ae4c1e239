//! Reads an IDX file of bytes (plain or gzip) and checks every number of its header.
//!
//! The format is that of the MNIST page of LeCun, Cortes and Burges: a big-endian magic number whose last byte is the number
//! of dimensions, one 32-bit length for each dimension, then the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::MnistError;

/// Magic number of unsigned bytes in three dimensions (pictures).
pub(crate) const PICTURES_MAGIC: u32 = 0x0803;
/// Magic number of unsigned bytes in one dimension (labels).
pub(crate) const LABELS_MAGIC: u32 = 0x0801;

/// The decompressed bytes of one file and where they came from.
pub(crate) struct IdxFile {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub shape: Vec<usize>,
}

impl IdxFile {
    /// The values after the header, last dimension fastest.
    pub fn values(&self) -> &[u8] {
        &self.bytes[header_len(self.shape.len())..]
    }

    /// Reads `path`, decompressing when it starts as gzip does.
    pub fn read(path: &Path, magic: u32) -> Result<Self, MnistError> {
        let read_error = |source| MnistError::Read { path: path.to_owned(), source };
        let mut raw = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut raw)).map_err(read_error)?;
        let (bytes, cut) = match decompress(&raw, u64::MAX) {
            Ok(bytes) => (bytes, false),
            // A cut gzip file still yields what came before the cut, so the sentence can say how much is missing.
            Err(Decompression { so_far, source }) if source.kind() == io::ErrorKind::UnexpectedEof => (so_far, true),
            Err(Decompression { source, .. }) => return Err(read_error(source)),
        };
        Self::parse(path, bytes, magic, cut)
    }

    /// Checks magic number and length of already decompressed `bytes`; `cut` says that the compressed stream ended early.
    pub fn parse(path: &Path, bytes: Vec<u8>, magic: u32, cut: bool) -> Result<Self, MnistError> {
        let word = |i: usize| bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let truncated =
            |expected: u64| MnistError::Truncated { path: path.to_owned(), expected, found: bytes.len() as u64 };

        let dimensions = (magic & 0xff) as usize;
        let header = header_len(dimensions);
        let found = word(0).ok_or_else(|| truncated(header as u64))?;
        if found != magic {
            return Err(MnistError::Magic { path: path.to_owned(), expected: magic, found });
        }
        let shape: Vec<u32> =
            (1..=dimensions).map(word).collect::<Option<_>>().ok_or_else(|| truncated(header as u64))?;
        let values = shape.iter().fold(1u64, |product, &side| product.saturating_mul(u64::from(side)));
        let expected = values.saturating_add(header as u64);
        if cut || (bytes.len() as u64) < expected {
            return Err(truncated(expected));
        }
        if bytes.len() as u64 > expected {
            return Err(MnistError::Overlong { path: path.to_owned(), expected, found: bytes.len() as u64 });
        }
        let shape = shape.into_iter().map(|side| side as usize).collect();
        Ok(Self { path: path.to_owned(), bytes, shape })
    }
}

fn header_len(dimensions: usize) -> usize {
    4 * (1 + dimensions)
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
