//! Opens a file, decompresses it, and finds its format by name and content.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::TableError;

/// Formats of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Text with commas, or what the content says.
    Csv,
    /// Text with tabs, or what the content says.
    Tsv,
    /// An array of NumPy.
    Npy,
    /// An archive of arrays of NumPy.
    Npz,
    /// Tensors with names.
    Safetensors,
    /// Columns of Apache Parquet.
    Parquet,
    /// The format of the MNIST files.
    Idx,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Safetensors => "safetensors",
            Self::Parquet => "parquet",
            Self::Idx => "IDX",
        }
    }

    /// Whether it is of lines of text.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv)
    }

    /// By the ending of a name, without regard to `.gz`; `.txt` and `.dat` count as csv.
    pub fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let endings = [
            (".csv", Self::Csv),
            (".txt", Self::Csv),
            (".dat", Self::Csv),
            (".tsv", Self::Tsv),
            (".tab", Self::Tsv),
            (".npy", Self::Npy),
            (".npz", Self::Npz),
            (".safetensors", Self::Safetensors),
            (".parquet", Self::Parquet),
            (".idx", Self::Idx),
            ("-ubyte", Self::Idx),
        ];
        endings.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| *format)
    }

    /// By the first bytes, where they are those of a format of bytes.
    pub(super) fn of_content(head: &[u8]) -> Option<Self> {
        match head {
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(Self::Npy),
            [b'P', b'K', 3, 4, ..] => Some(Self::Npz),
            [b'P', b'A', b'R', b'1', ..] => Some(Self::Parquet),
            [0, 0, 8 | 9 | 0x0b..=0x0e, 1..=4, ..] => Some(Self::Idx),
            [_, _, _, _, _, 0, 0, 0, b'{', ..] => Some(Self::Safetensors),
            _ => None,
        }
    }
}

/// A file that has been opened: its first bytes, and all of them.
pub(super) struct Input {
    pub file: String,
    pub head: Vec<u8>,
    rest: Box<dyn Read + Send>,
}

/// Bytes that are read ahead, to see what a file is.
const HEAD: u64 = 1 << 17;

impl Input {
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let file = path.display().to_string();
        let raw = File::open(path).map_err(|source| TableError::Read { file: file.clone(), source })?;
        Self::new(file, Box::new(BufReader::new(raw)))
    }

    pub fn new(file: String, mut raw: Box<dyn Read + Send>) -> Result<Self, TableError> {
        let failed = |source| cannot_read(&file, source);
        let mut magic = Vec::new();
        raw.by_ref().take(2).read_to_end(&mut magic).map_err(failed)?;
        let zipped = magic == [0x1f, 0x8b];
        let raw = Cursor::new(magic).chain(raw);
        let mut rest: Box<dyn Read + Send> = match zipped {
            true => Box::new(BufReader::new(MultiGzDecoder::new(raw))),
            false => Box::new(raw),
        };
        let mut head = Vec::new();
        rest.by_ref().take(HEAD).read_to_end(&mut head).map_err(failed)?;
        match head.is_empty() {
            true => Err(TableError::Empty { file }),
            false => Ok(Self { file, head, rest }),
        }
    }

    /// All bytes, from the first.
    pub fn reader(self) -> Box<dyn Read + Send> {
        Box::new(BufReader::new(Cursor::new(self.head).chain(self.rest)))
    }

    /// All bytes at once.
    pub fn bytes(self) -> Result<Vec<u8>, TableError> {
        let (file, mut bytes) = (self.file.clone(), Vec::new());
        self.reader().read_to_end(&mut bytes).map_err(|source| cannot_read(&file, source))?;
        Ok(bytes)
    }

    /// The format, by the caller's word, the content and the name, in this order.
    pub fn format(&self, stated: Option<Format>) -> Result<Format, TableError> {
        let (named, found) = (Format::of_name(Path::new(&self.file)), Format::of_content(&self.head));
        let named = stated.or(named);
        match (named, found) {
            (Some(named), Some(found)) if named == found => Ok(named),
            (Some(named), None) if named.is_text() => self.text(named),
            // The content knows better than a name.
            (None, Some(found)) => Ok(found),
            (None, None) => self.text(Format::Csv),
            (Some(named), found) => {
                let found =
                    found.map_or("it does not begin as one".to_owned(), |f| format!("it begins as {} does", f.name()));
                Err(TableError::Malformed { file: self.file.clone(), format: named.name(), found })
            }
        }
    }

    /// `format` if the first bytes are text.
    fn text(&self, format: Format) -> Result<Format, TableError> {
        let found = match &self.head[..] {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                return Err(TableError::Encoding { file: self.file.clone(), line: 1 });
            }
            [0x80, 2..=5, ..] => "it looks like a pickle, which is never loaded",
            head if head.contains(&0) => "its bytes are not text",
            _ => return Ok(format),
        };
        Err(TableError::Format { file: self.file.clone(), found: found.to_owned() })
    }
}

/// An error of reading, with a sentence of its own for compressed data that were cut.
pub(super) fn cannot_read(file: &str, source: io::Error) -> TableError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => TableError::Cut { file: file.to_owned() },
        _ => TableError::Read { file: file.to_owned(), source },
    }
}
