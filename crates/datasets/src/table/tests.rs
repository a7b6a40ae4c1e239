//! Every kind of good and bad file, made here.

mod bad;
mod good;
#[cfg(feature = "parquet")]
mod parquet;
mod written;

use super::*;

/// Rows that all tests use: three correlated columns, which no format changes.
fn rows(count: usize) -> Vec<f64> {
    (0..count)
        .flat_map(|i| {
            let t = f64::from(i as u32);
            let (a, b, c) = ((1.3 * t).sin() + 10.0, (2.1 * t).cos(), (0.7 * t).sin());
            // As many digits as are written below.
            [a, 2.0 * b - 3.0 + 0.5 * a, c].map(|x| (x * 1e6).round() / 1e6)
        })
        .collect()
}

/// The same as text.
fn text(values: &[f64], delimiter: &str, header: &str) -> String {
    let line = |row: &[f64]| row.iter().map(|x| format!("{x:.6}")).collect::<Vec<_>>().join(delimiter) + "\n";
    header.to_owned() + &values.chunks_exact(3).map(line).collect::<String>()
}

fn read(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Table, TableError> {
    read_with(name, bytes, &ReadOptions::default())
}

fn read_with(name: &str, bytes: impl Into<Vec<u8>>, options: &ReadOptions) -> Result<Table, TableError> {
    Reader::from_bytes(name, bytes.into(), options)?.collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An array of NumPy.
fn npy(descriptor: &str, fortran: bool, shape: &str, content: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': {descriptor}, 'fortran_order': {order}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(content);
    bytes
}

fn le(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// An archive of arrays.
fn npz(arrays: &[(&str, Vec<u8>)], compressed: bool) -> Vec<u8> {
    use std::io::Write;
    let method = if compressed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
