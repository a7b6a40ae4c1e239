//! MNIST: 50,000 training, 10,000 validation and 10,000 test pictures of 28×28 bytes, from the four IDX files.

mod download;
mod error;
mod idx;
mod logit;
mod moments;

use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

pub use download::{Download, MIRRORS};
pub use error::MnistError;
use idx::{IdxFile, LABELS_MAGIC, PICTURES_MAGIC};
pub use logit::{InvalidLambda, LogitTransform};

/// One of the four files as published: its name without `.gz`, what it holds, and the SHA-256 of its decompressed content.
struct Published {
    name: &'static str,
    magic: u32,
    count: usize,
    bytes: u64,
    sha256: &'static str,
}

const TRAIN_PICTURES: Published = Published {
    name: "train-images-idx3-ubyte",
    magic: PICTURES_MAGIC,
    count: 60_000,
    bytes: 47_040_016,
    sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
};
const TRAIN_LABELS: Published = Published {
    name: "train-labels-idx1-ubyte",
    magic: LABELS_MAGIC,
    count: 60_000,
    bytes: 60_008,
    sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
};
const TEST_PICTURES: Published = Published {
    name: "t10k-images-idx3-ubyte",
    magic: PICTURES_MAGIC,
    count: 10_000,
    bytes: 7_840_016,
    sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
};
const TEST_LABELS: Published = Published {
    name: "t10k-labels-idx1-ubyte",
    magic: LABELS_MAGIC,
    count: 10_000,
    bytes: 10_008,
    sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
};
const FILES: [&Published; 4] = [&TRAIN_PICTURES, &TRAIN_LABELS, &TEST_PICTURES, &TEST_LABELS];

/// What the content of the four files must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// MNIST as published: counts and SHA-256 of the decompressed files are checked.
    Published,
    /// Any four IDX files of these names whose headers agree with each other (a subset, Fashion-MNIST).
    /// Figures on them are not comparable with published ones.
    Any,
}

/// Pictures of one size with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    pixels_per_picture: usize,
}

impl Pictures {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of picture `index`, row by row, 0 (background) to 255.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn picture(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.pixels_per_picture..(index + 1) * self.pixels_per_picture]
    }

    /// The digit of picture `index`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }

    fn gather(&self, indices: &[usize]) -> Self {
        Self {
            pixels: indices.iter().flat_map(|&i| self.picture(i)).copied().collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            pixels_per_picture: self.pixels_per_picture,
        }
    }
}

/// The whole data set, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mnist {
    /// Five sixths of the training file: 50,000 pictures.
    pub train: Pictures,
    /// One sixth of the training file: 10,000 pictures.
    pub validation: Pictures,
    /// The test file: 10,000 pictures.
    pub test: Pictures,
    /// Rows and columns of a picture: 28 and 28.
    pub shape: (usize, usize),
}

impl Mnist {
    /// Reads the four files in `directory`, `.gz` or plain (`train-images-idx3-ubyte`, also spelt `train-images.idx3-ubyte`,
    /// and so on). Which pictures of the training file become validation is a permutation drawn from `rng`: the same
    /// generator state gives the same split.
    ///
    /// # Errors
    /// One [`MnistError`] for each way in which a file can be missing, unreadable, cut short, of another kind or of other content.
    pub fn load(directory: &Path, content: Content, rng: &mut impl Rng) -> Result<Self, MnistError> {
        let (training, shape) = read_pictures(directory, &TRAIN_PICTURES, &TRAIN_LABELS, content)?;
        let (test, test_shape) = read_pictures(directory, &TEST_PICTURES, &TEST_LABELS, content)?;
        if test_shape != shape {
            let path = directory.to_owned();
            return Err(MnistError::Shape { path, expected: shape, found: test_shape });
        }
        let (train, pixels) = (training.len(), shape.0 * shape.1);
        if train < 6 || test.is_empty() || pixels == 0 {
            return Err(MnistError::TooFew { path: directory.to_owned(), train, test: test.len(), pixels });
        }
        let mut order: Vec<usize> = (0..training.len()).collect();
        order.shuffle(rng);
        let (train, validation) = order.split_at(training.len() - training.len() / 6);
        Ok(Self { train: training.gather(train), validation: training.gather(validation), test, shape })
    }

    /// Pixels of one picture: 784.
    pub fn dimension(&self) -> usize {
        self.shape.0 * self.shape.1
    }
}

fn read_pictures(
    directory: &Path,
    pictures: &Published,
    labels: &Published,
    content: Content,
) -> Result<(Pictures, (usize, usize)), MnistError> {
    let pictures = read_file(directory, pictures, content)?;
    let labels = read_file(directory, labels, content)?;
    if labels.shape[0] != pictures.shape[0] {
        return Err(MnistError::Count { path: labels.path, expected: pictures.shape[0], found: labels.shape[0] });
    }
    let shape = (pictures.shape[1], pictures.shape[2]);
    let both = Pictures {
        pixels: pictures.values().to_vec(),
        labels: labels.values().to_vec(),
        pixels_per_picture: shape.0 * shape.1,
    };
    Ok((both, shape))
}

fn read_file(directory: &Path, published: &Published, content: Content) -> Result<IdxFile, MnistError> {
    let path = find(directory, published.name)?;
    let file = IdxFile::read(&path, published.magic)?;
    if content == Content::Published {
        if file.shape[0] != published.count {
            return Err(MnistError::Count { path, expected: published.count, found: file.shape[0] });
        }
        verify(&path, &file.bytes, published)?;
    }
    Ok(file)
}

fn find(directory: &Path, name: &str) -> Result<PathBuf, MnistError> {
    let dotted = name.replacen("-idx", ".idx", 1);
    [name, &dotted]
        .iter()
        .flat_map(|spelling| [directory.join(spelling), directory.join(format!("{spelling}.gz"))])
        .find(|path| path.is_file())
        .ok_or_else(|| MnistError::Missing { name: name.to_owned(), directory: directory.to_owned() })
}

fn verify(path: &Path, bytes: &[u8], published: &Published) -> Result<(), MnistError> {
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == published.sha256 {
        Ok(())
    } else {
        Err(MnistError::Hash { path: path.to_owned(), expected: published.sha256.to_owned(), found })
    }
}

#[cfg(test)]
mod tests;
