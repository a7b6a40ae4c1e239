//! Loading small synthetic files, every way in which they can be bad, and the real ones where they are at hand.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;

use super::idx::MAGIC;
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

/// 60 training and 9 test pictures of 2×3 pixels; picture i has all pixels i. One file is gzip, one has a dot in its
/// name.
fn write_synthetic(folder: &Path) {
    let pixels = |count: u8| (0..count).flat_map(|i| [i; 6]).collect::<Vec<_>>();
    let (train, test) = (idx(MAGIC, &[60, 2, 3], &pixels(60)), idx(MAGIC, &[9, 2, 3], &pixels(9)));
    std::fs::write(folder.join("train-images-idx3-ubyte.gz"), gzip(&train)).unwrap();
    std::fs::write(folder.join("t10k-images.idx3-ubyte"), test).unwrap();
}

fn synthetic() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_synthetic(folder.path());
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
    std::fs::remove_file(folder.path().join("t10k-images.idx3-ubyte")).unwrap();
    let error = load(&folder, 0).unwrap_err();
    assert!(matches!(error, MnistError::Missing { .. }));
    for part in ["t10k-images-idx3-ubyte", "MNIST/raw", "--data DIR"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn torchvision_s_layout_is_found() {
    let expected = load(&synthetic(), 5).unwrap();
    for below in ["MNIST/raw", "raw"] {
        let folder = TempDir::new().unwrap();
        let raw = folder.path().join(below);
        std::fs::create_dir_all(&raw).unwrap();
        write_synthetic(&raw);
        // Labels, whole or not, are not looked at.
        std::fs::write(raw.join("train-labels-idx1-ubyte"), "cut short").unwrap();
        assert_eq!(load(&folder, 5).unwrap(), expected);
        // What is in the folder itself comes first.
        std::fs::write(folder.path().join("train-images-idx3-ubyte"), "no pictures").unwrap();
        assert!(matches!(load(&folder, 5).unwrap_err(), MnistError::Magic { .. }));
    }
}

#[test]
fn other_pictures_have_another_digest() {
    let folder = synthetic();
    let digest = |seed| load(&folder, seed).unwrap().digest();
    let before = digest(5);
    assert_eq!((before.len(), &before), (64, &digest(5)));
    assert_ne!(before, digest(6), "another split");
    let mut pixels: Vec<u8> = (0..9).flat_map(|i| [i; 6]).collect();
    pixels[20] += 1;
    std::fs::write(folder.path().join("t10k-images.idx3-ubyte"), idx(MAGIC, &[9, 2, 3], &pixels)).unwrap();
    assert_ne!(before, digest(5), "another pixel");
}

#[test]
fn cut_files_say_how_much_is_there() {
    let whole = idx(MAGIC, &[60, 1, 1], &[0; 60]);
    for length in [0, 3, 7, 15, 16, 75] {
        match with_file("train-images-idx3-ubyte", &whole[..length]) {
            MnistError::Truncated { expected, found, .. } => {
                assert_eq!((expected, found), (if length < 16 { 16 } else { 76 }, length as u64));
            }
            other => panic!("{other}"),
        }
    }
    let noise: Vec<u8> = (0u32..60).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let compressed = gzip(&idx(MAGIC, &[60, 1, 1], &noise));
    match with_file("train-images-idx3-ubyte.gz", &compressed[..60]) {
        MnistError::Truncated { expected: 76, found, .. } => assert!((16..76).contains(&found), "{found}"),
        other => panic!("{other}"),
    }
    // Only the checksum at the end is missing: still not a whole file.
    let error = with_file("train-images-idx3-ubyte.gz", &compressed[..compressed.len() - 3]);
    assert!(matches!(error, MnistError::Truncated { expected: 76, found: 76, .. }), "{error}");
}

#[test]
fn other_bad_content_is_told_apart() {
    let error = with_file("train-images-idx3-ubyte", &idx(MAGIC, &[60, 1, 1], &[0; 61]));
    assert!(matches!(error, MnistError::Overlong { expected: 76, found: 77, .. }), "{error}");

    let error = with_file("train-images-idx3-ubyte", &idx(0x801, &[60], &[0; 60]));
    assert!(matches!(error, MnistError::Magic { expected: 0x803, found: 0x801, .. }), "{error}");
    assert!(error.to_string().contains("labels"), "{error}");

    let mut corrupt = gzip(&idx(MAGIC, &[60, 1, 1], &[0; 60]));
    let crc = corrupt.len() - 8;
    corrupt[crc] ^= 1;
    let error = with_file("train-images-idx3-ubyte.gz", &corrupt);
    assert!(matches!(error, MnistError::Read { .. }), "{error}");

    // Sides whose product does not fit anywhere must not overflow.
    let error = with_file("t10k-images-idx3-ubyte", &idx(MAGIC, &[u32::MAX; 3], &[0; 8]));
    assert!(matches!(error, MnistError::Truncated { expected: u64::MAX, found: 24, .. }), "{error}");

    let folder = synthetic();
    std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), idx(MAGIC, &[9, 3, 2], &[0; 54])).unwrap();
    let error = load(&folder, 0).unwrap_err();
    assert!(matches!(error, MnistError::Shape { expected: (2, 3), found: (3, 2), .. }), "{error}");
}

#[test]
fn too_few_pictures_to_split_are_refused() {
    let folder = synthetic();
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("train-images-idx3-ubyte", idx(MAGIC, &[5, 2, 3], &[0; 30]));
    let error = load(&folder, 0).unwrap_err();
    assert!(matches!(error, MnistError::TooFew { train: 5, test: 9, pixels: 6, .. }), "{error}");
    write("train-images-idx3-ubyte", idx(MAGIC, &[60, 0, 3], &[]));
    write("t10k-images-idx3-ubyte", idx(MAGIC, &[9, 0, 3], &[]));
    let error = load(&folder, 0).unwrap_err();
    assert!(matches!(error, MnistError::TooFew { train: 60, test: 9, pixels: 0, .. }), "{error}");
}

#[test]
fn published_content_is_insisted_on() {
    let folder = synthetic();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let error = Mnist::load(folder.path(), Content::Published, &mut rng).unwrap_err();
    assert!(matches!(error, MnistError::Count { expected: 60_000, found: 60, .. }), "{error}");

    let pictures = idx(MAGIC, &[10_000, 28, 28], &vec![0; 7_840_000]);
    std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), pictures).unwrap();
    let error = read_file(folder.path(), &TEST_PICTURES, Content::Published).err().unwrap();
    assert!(matches!(error, MnistError::Hash { .. }), "{error}");
    assert!(error.to_string().contains(TEST_PICTURES.sha256));
}

#[test]
fn the_real_files_load_where_they_are_at_hand() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mnist");
    let folder = std::env::var_os("MAFLOW_MNIST").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: set MAFLOW_MNIST to the folder with the MNIST files");
        return;
    }
    let mnist = Mnist::load(&folder, Content::Published, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    assert_eq!((mnist.train.len(), mnist.validation.len(), mnist.test.len()), (50_000, 10_000, 10_000));
    assert_eq!((mnist.shape, mnist.dimension()), ((28, 28), 784));
    let all = [&mnist.train, &mnist.validation].map(|part| part.pixels.iter().map(|&p| u64::from(p)).sum::<u64>());
    // The mean pixel of the training file is the well-known 0.1307 of normalisation recipes.
    assert!((all.iter().sum::<u64>() as f64 / (60_000.0 * 784.0 * 255.0) - 0.1307).abs() < 5e-5);
}
