//! What can go wrong with the MNIST files, one sentence each.

use std::io;
use std::path::PathBuf;

/// Why MNIST could not be read or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MnistError {
    /// A file is not in the folder.
    #[error(
        "{name} (plain or .gz) is not in {}, nor in MNIST/raw below it; pass --data DIR with the folder that holds the \
         MNIST pictures",
        directory.display()
    )]
    Missing {
        /// Name of the file without `.gz`.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A file is there but cannot be read, or is not valid gzip.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// A file ends before its header says it should.
    #[error(
        "{} is truncated: {found} of {expected} bytes are there (decompressed); copy or fetch it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the header (or the header's own length) asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A file goes on after its header says it ends.
    #[error(
        "{} has {found} bytes (decompressed) where its header announces {expected}; copy or fetch it again",
        path.display()
    )]
    Overlong {
        /// The file.
        path: PathBuf,
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A file is not IDX of the wanted kind.
    #[error(
        "{} starts with the magic number {found:#010x} instead of {expected:#010x}: it holds no pictures, but labels \
         or something else",
        path.display()
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// The magic number of the wanted kind.
        expected: u32,
        /// The first four bytes.
        found: u32,
    },
    /// A file holds another number of items than it should.
    #[error("{} holds {found} items instead of {expected}; it is not the MNIST file of that name", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// Items wanted.
        expected: usize,
        /// Items announced by the header.
        found: usize,
    },
    /// Training and test pictures differ in size.
    #[error(
        "the test pictures in {} are {}×{}, the training pictures {}×{}",
        path.display(), found.0, found.1, expected.0, expected.1
    )]
    Shape {
        /// The folder.
        path: PathBuf,
        /// Rows and columns of the training pictures.
        expected: (usize, usize),
        /// Rows and columns of the test pictures.
        found: (usize, usize),
    },
    /// There is nothing to train on, to validate with or to test with.
    #[error(
        "{} holds {train} training and {test} test pictures of {pixels} pixels; at least 6, 1 and 1 are needed to \
         split them",
        path.display()
    )]
    TooFew {
        /// The folder.
        path: PathBuf,
        /// Pictures in the training file.
        train: usize,
        /// Pictures in the test file.
        test: usize,
        /// Pixels of a picture.
        pixels: usize,
    },
    /// The content is not the published one.
    #[error(
        "{} has SHA-256 {found} instead of {expected}: its content is not that of MNIST; fetch it again",
        path.display()
    )]
    Hash {
        /// The file, or the address it came from.
        path: PathBuf,
        /// Hexadecimal SHA-256 of the published decompressed file.
        expected: String,
        /// Hexadecimal SHA-256 of this one.
        found: String,
    },
    /// No mirror delivered the file.
    #[error(
        "{name} could not be fetched from any mirror ({tried}); check the network, or pass --data DIR with the folder \
         that holds the MNIST pictures"
    )]
    Unreachable {
        /// Name of the file without `.gz`.
        name: String,
        /// Each mirror and what it said.
        tried: String,
    },
    /// The system does not say where caches go.
    #[error(
        "this user has no cache folder to fetch MNIST into; pass --data DIR with the folder that holds the MNIST \
         pictures"
    )]
    NoCacheFolder,
    /// The cache folder cannot be written.
    #[error(
        "cannot write {}: {source}; make room or pass --data DIR with the folder that holds the MNIST pictures",
        path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
