//! Parquet files, written by the crate that reads them.

use std::sync::Arc;

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

/// Three columns: reals, one missing on request, integers, and text.
fn write(path: &Path, compression: Compression, missing: bool) {
    let schema = "message t { OPTIONAL DOUBLE real; REQUIRED INT64 whole; REQUIRED BINARY word (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let (values, levels) = if missing { (vec![0.5, 2.5], [1, 0, 1]) } else { (vec![0.5, 1.5, 2.5], [1, 1, 1]) };
    column.typed::<DoubleType>().write_batch(&values, Some(&levels), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[7, -8, 9], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let words: Vec<ByteArray> = ["b", "a", "b"].map(ByteArray::from).to_vec();
    column.typed::<ByteArrayType>().write_batch(&words, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn flat_columns_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd] {
        write(&path, compression, false);
        let table = Table::read(&path, &ReadOptions::default()).unwrap();
        assert_eq!(table.names(), ["real", "whole", "word"]);
        assert_eq!(table.values(), [0.5, 7.0, 1.0, 1.5, -8.0, 0.0, 2.5, 9.0, 1.0]);
        assert_eq!(table.columns()[1].kind, Kind::Integer);
        assert_eq!(table.columns()[2].kind, Kind::Text(vec!["a".into(), "b".into()]));
    }
    write(&path, zstd, true);
    let error = Table::read(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("row 2, column \"real\"") && error.contains("missing"), "{error}");
    let options = ReadOptions { columns: Some(vec!["whole".into()]), ..Default::default() };
    assert_eq!(Table::read(&path, &options).unwrap().values(), [7.0, -8.0, 9.0]);
    let options = ReadOptions { drop_missing: true, ..Default::default() };
    assert_eq!(Table::read(&path, &options).unwrap().rows(), 2);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = Table::read(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("not a whole parquet file"), "{error}");
}

#[test]
fn every_changed_bit_leaves_a_table_or_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    write(&path, Compression::SNAPPY, false);
    let whole = std::fs::read(&path).unwrap();
    for bit in 0..8 * whole.len() {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, changed).unwrap();
        if let Err(error) = Table::read(&path, &ReadOptions::default()) {
            assert!(!error.to_string().is_empty(), "bit {bit}");
        }
    }
}
