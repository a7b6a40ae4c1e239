//! Loading small synthetic files, every way in which they can be bad, and the real ones where they are at hand.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;

use super::*;

fn idx(magic: u32, shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(shape.iter().flat_map(|side| side.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 60 training and 9 test pictures of 2×3 pixels; picture i has all pixels i and label i mod 10. Two files are gzip.
fn synthetic() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let pixels = |count: u8| (0..count).flat_map(|i| [i; 6]).collect::<Vec<_>>();
    let labels = |count: u8| (0..count).map(|i| i % 10).collect::<Vec<_>>();
    write("train-images-idx3-ubyte.gz", &gzip(&idx(PICTURES_MAGIC, &[60, 2, 3], &pixels(60))));
    write("train-labels.idx1-ubyte", &idx(LABELS_MAGIC, &[60], &labels(60)));
    write("t10k-images-idx3-ubyte", &idx(PICTURES_MAGIC, &[9, 2, 3], &pixels(9)));
    write("t10k-labels.idx1-ubyte.gz", &gzip(&idx(LABELS_MAGIC, &[9], &labels(9))));
    folder
}

fn load(folder: &TempDir, seed: u64) -> Result<Mnist, MnistError> {
    Mnist::load(folder.path(), Content::Any, &mut ChaCha8Rng::seed_from_u64(seed))
}

/// Replaces one file of the synthetic set and returns what loading says.
fn with_file(name: &str, bytes: &[u8]) -> MnistError {
    let folder = synthetic();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    let error = load(&folder, 0).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
    error
}

#[test]
fn the_split_is_a_permutation_fixed_by_the_generator() {
    let folder = synthetic();
    let mnist = load(&folder, 5).unwrap();
    assert_eq!((mnist.train.len(), mnist.validation.len(), mnist.test.len()), (50, 10, 9));
    assert_eq!((mnist.shape, mnist.dimension()), ((2, 3), 6));
    let mut seen = [0; 60];
    for part in [&mnist.train, &mnist.validation] {
        for i in 0..part.len() {
            let picture = part.picture(i);
            assert!(picture.iter().all(|&pixel| pixel == picture[0]));
            assert_eq!(part.label(i), picture[0] % 10, "labels move with their pictures");
            seen[usize::from(picture[0])] += 1;
        }
    }
    assert_eq!(seen, [1; 60]);
    assert_eq!(mnist.test.picture(8), [8; 6]);
    assert_eq!(mnist, load(&folder, 5).unwrap());
    assert_ne!(mnist.validation, load(&folder, 6).unwrap().validation);
}

#[test]
fn a_missing_file_is_named() {
    let folder = synthetic();
    std::fs::remove_file(folder.path().join("t10k-labels.idx1-ubyte.gz")).unwrap();
    let error = load(&folder, 0).unwrap_err();
    assert!(matches!(error, MnistError::Missing { .. }));
    assert!(
        error.to_string().contains("t10k-labels-idx1-ubyte") && error.to_string().contains("--data DIR"),
        "{error}"
    );
}

#[test]
fn cut_files_say_how_much_is_there() {
    let whole = idx(LABELS_MAGIC, &[60], &[0; 60]);
    for length in [0, 3, 7, 8, 67] {
        match with_file("train-labels-idx1-ubyte", &whole[..length]) {
            MnistError::Truncated { expected, found, .. } => {
                assert_eq!((expected, found), (if length < 8 { 8 } else { 68 }, length as u64));
            }
            other => panic!("{other}"),
        }
    }
    let noise: Vec<u8> = (0u32..60).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let compressed = gzip(&idx(LABELS_MAGIC, &[60], &noise));
    match with_file("train-labels-idx1-ubyte.gz", &compressed[..60]) {
        MnistError::Truncated { expected: 68, found, .. } => assert!((8..68).contains(&found), "{found}"),
        other => panic!("{other}"),
    }
    // Only the checksum at the end is missing: still not a whole file.
    let error = with_file("train-labels-idx1-ubyte.gz", &compressed[..compressed.len() - 3]);
    assert!(matches!(error, MnistError::Truncated { expected: 68, found: 68, .. }), "{error}");
}

#[test]
fn other_bad_content_is_told_apart() {
    let error = with_file("train-labels-idx1-ubyte", &idx(LABELS_MAGIC, &[60], &[0; 61]));
    assert!(matches!(error, MnistError::Overlong { expected: 68, found: 69, .. }), "{error}");

    let error = with_file("train-labels-idx1-ubyte", &idx(PICTURES_MAGIC, &[60, 2, 3], &[0; 360]));
    assert!(matches!(error, MnistError::Magic { expected: 0x801, found: 0x803, .. }), "{error}");

    let error = with_file("train-labels-idx1-ubyte", &idx(LABELS_MAGIC, &[59], &[0; 59]));
    assert!(matches!(error, MnistError::Count { expected: 60, found: 59, .. }), "{error}");

    let mut corrupt = gzip(&idx(LABELS_MAGIC, &[60], &[0; 60]));
    let crc = corrupt.len() - 8;
    corrupt[crc] ^= 1;
    let error = with_file("train-labels-idx1-ubyte.gz", &corrupt);
    assert!(matches!(error, MnistError::Read { .. }), "{error}");

    // Sides whose product does not fit anywhere must not overflow.
    let error = with_file("t10k-images-idx3-ubyte", &idx(PICTURES_MAGIC, &[u32::MAX; 3], &[0; 8]));
    assert!(matches!(error, MnistError::Truncated { expected: u64::MAX, found: 24, .. }), "{error}");

    let folder = synthetic();
    std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), idx(PICTURES_MAGIC, &[9, 3, 2], &[0; 54])).unwrap();
    let error = load(&folder, 0).unwrap_err();
    assert!(matches!(error, MnistError::Shape { expected: (2, 3), found: (3, 2), .. }), "{error}");
}

#[test]
fn too_few_pictures_to_split_are_refused() {
    let folder = synthetic();
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("train-images-idx3-ubyte", idx(PICTURES_MAGIC, &[5, 2, 3], &[0; 30]));
    write("train-labels-idx1-ubyte", idx(LABELS_MAGIC, &[5], &[0; 5]));
    let error = load(&folder, 0).unwrap_err();
    assert!(matches!(error, MnistError::TooFew { train: 5, test: 9, pixels: 6, .. }), "{error}");
}

#[test]
fn published_content_is_insisted_on() {
    let folder = synthetic();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let error = Mnist::load(folder.path(), Content::Published, &mut rng).unwrap_err();
    assert!(matches!(error, MnistError::Count { expected: 60_000, found: 60, .. }), "{error}");

    let labels = idx(LABELS_MAGIC, &[60_000], &[0; 60_000]);
    std::fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).unwrap();
    let error = read_file(folder.path(), &TRAIN_LABELS, Content::Published).err().unwrap();
    assert!(matches!(error, MnistError::Hash { .. }), "{error}");
    assert!(error.to_string().contains(TRAIN_LABELS.sha256));
}

#[test]
fn the_real_files_load_where_they_are_at_hand() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mnist");
    let folder = std::env::var_os("MAFLOW_MNIST").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: set MAFLOW_MNIST to the folder with the four MNIST files");
        return;
    }
    let mnist = Mnist::load(&folder, Content::Published, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    assert_eq!((mnist.train.len(), mnist.validation.len(), mnist.test.len()), (50_000, 10_000, 10_000));
    assert_eq!((mnist.shape, mnist.dimension()), ((28, 28), 784));
    assert_eq!((mnist.test.label(0), mnist.test.label(1)), (7, 2));
    let all = [&mnist.train, &mnist.validation].map(|part| part.pixels.iter().map(|&p| u64::from(p)).sum::<u64>());
    // The mean pixel of the training file is the well-known 0.1307 of normalisation recipes.
    assert!((all.iter().sum::<u64>() as f64 / (60_000.0 * 784.0 * 255.0) - 0.1307).abs() < 5e-5);
}
