//! MNIST: 50,000 training, 10,000 validation and 10,000 test pictures of 28×28 bytes, from two IDX files.

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
use idx::IdxFile;
pub use logit::{InvalidLambda, LogitTransform};

/// One of the two files as published: its name without `.gz`, and the size and SHA-256 of its decompressed content.
struct Published {
    name: &'static str,
    count: usize,
    bytes: u64,
    sha256: &'static str,
}

const TRAIN_PICTURES: Published = Published {
    name: "train-images-idx3-ubyte",
    count: 60_000,
    bytes: 47_040_016,
    sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
};
const TEST_PICTURES: Published = Published {
    name: "t10k-images-idx3-ubyte",
    count: 10_000,
    bytes: 7_840_016,
    sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
};
const FILES: [&Published; 2] = [&TRAIN_PICTURES, &TEST_PICTURES];
/// Where torchvision puts the files, below the folder that it is given and below that of the data set.
const BELOW: [&str; 2] = ["MNIST/raw", "raw"];

/// What the content of the files must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// MNIST as published: counts and SHA-256 of the decompressed files are checked.
    Published,
    /// Any two IDX files of these names with pictures of one size (a subset, Fashion-MNIST).
    /// Figures on them are not comparable with published ones.
    Any,
}

/// Pictures of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    pixels: Vec<u8>,
    /// Not 0.
    pixels_per_picture: usize,
}

impl Pictures {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.pixels_per_picture
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The pixels of picture `index`, row by row, 0 (background) to 255.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn picture(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.pixels_per_picture..(index + 1) * self.pixels_per_picture]
    }

    fn gather(&self, indices: &[usize]) -> Self {
        Self {
            pixels: indices.iter().flat_map(|&i| self.picture(i)).copied().collect(),
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
    /// Reads the two files in `directory`, or where torchvision puts them below it (`MNIST/raw`), `.gz` or plain
    /// (`train-images-idx3-ubyte` and `t10k-images-idx3-ubyte`, also spelt `train-images.idx3-ubyte`). Which pictures
    /// of the training file become validation is a permutation drawn from `rng`: the same generator state gives the
    /// same split.
    ///
    /// # Errors
    /// One [`MnistError`] for each way in which a file can be missing, unreadable, cut short, of another kind or of
    /// other content.
    pub fn load(directory: &Path, content: Content, rng: &mut impl Rng) -> Result<Self, MnistError> {
        let directory = &holding(directory);
        let training = read_file(directory, &TRAIN_PICTURES, content)?;
        let test = read_file(directory, &TEST_PICTURES, content)?;
        let [train, rows, cols] = training.shape;
        let (shape, test_shape, pixels) = ((rows, cols), (test.shape[1], test.shape[2]), rows * cols);
        if test_shape != shape {
            let path = directory.to_owned();
            return Err(MnistError::Shape { path, expected: shape, found: test_shape });
        }
        if train < 6 || test.shape[0] == 0 || pixels == 0 {
            return Err(MnistError::TooFew { path: directory.to_owned(), train, test: test.shape[0], pixels });
        }
        let pictures = |file: IdxFile| Pictures { pixels: file.values().to_vec(), pixels_per_picture: pixels };
        let (training, test) = (pictures(training), pictures(test));
        let mut order: Vec<usize> = (0..training.len()).collect();
        order.shuffle(rng);
        let (train, validation) = order.split_at(training.len() - training.len() / 6);
        Ok(Self { train: training.gather(train), validation: training.gather(validation), test, shape })
    }

    /// SHA-256 of all pictures, split as they are, in hexadecimal digits: two data sets with the same are the same.
    pub fn digest(&self) -> String {
        let parts = [&self.train, &self.validation, &self.test];
        let sizes = [self.shape.0, self.shape.1].into_iter().chain(parts.map(Pictures::len));
        let mut hash = Sha256::new();
        sizes.for_each(|size| hash.update((size as u64).to_le_bytes()));
        parts.iter().for_each(|part| hash.update(&part.pixels));
        hexadecimal(&hash.finalize())
    }

    /// Pixels of one picture: 784.
    pub fn dimension(&self) -> usize {
        self.shape.0 * self.shape.1
    }
}

/// The folder itself or one below it, whichever holds the training pictures first.
fn holding(directory: &Path) -> PathBuf {
    let holds = |folder: &PathBuf| find(folder, TRAIN_PICTURES.name).is_ok();
    let below = BELOW.map(|below| directory.join(below));
    [directory.to_owned()].into_iter().chain(below).find(holds).unwrap_or_else(|| directory.to_owned())
}

fn read_file(directory: &Path, published: &Published, content: Content) -> Result<IdxFile, MnistError> {
    let path = find(directory, published.name)?;
    let file = IdxFile::read(&path)?;
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
    let found = hexadecimal(&Sha256::digest(bytes));
    if found == published.sha256 {
        Ok(())
    } else {
        Err(MnistError::Hash { path: path.to_owned(), expected: published.sha256.to_owned(), found })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
