//! Readers of tables and of pictures.

use std::io::Write;
use std::path::Path;

use datasets::mnist::{Content, Mnist};
use datasets::table::{Format, Kind, ReadOptions, Reader, Table, TableError};
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub fn csv(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.csv", input, folder)
}

pub fn csv_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "x,y\n1.5,2\n-3e-5,4\n0.25,inf\n",
        "height;mass\n9,5;3\n10,25;4\n",
        "1 2 3\n4 5 6\n",
        "\u{feff}name,arm,x\n\"a, b\",left,1\n\"say \"\"no\"\"\",right,2\n",
        "a|b\r\n1|\r\n2|3\r\n4|NA\r\n",
        "x,y,z\n1,2,3\n,5,nan\n7,8,9\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub fn tsv(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.tsv", input, folder)
}

pub fn tsv_seeds() -> Vec<Vec<u8>> {
    ["x\ty\n1\t2\n3\t4.5\n", "kind\tx\nred\t1\n\tblue\t2\n"].map(|text| text.as_bytes().to_vec()).to_vec()
}

pub fn gz(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.csv.gz", input, folder)
}

pub fn gz_seeds() -> Vec<Vec<u8>> {
    let zipped = |text: &str| {
        let mut to = GzEncoder::new(Vec::new(), Compression::fast());
        to.write_all(text.as_bytes()).expect("memory takes bytes");
        to.finish().expect("memory takes bytes")
    };
    vec![zipped("x,y\n1,2\n3,4.5\n"), [zipped("x,y\n1,2\n"), zipped("3,4\n")].concat()]
}

pub fn npy(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.npy", input, folder)
}

/// An array of NumPy with this description of its elements and its shape.
fn array(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).expect("a short header");
    [b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], header.as_bytes(), data].concat()
}

pub fn npy_seeds() -> Vec<Vec<u8>> {
    let doubles: Vec<u8> = (0..6).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    let singles: Vec<u8> = (0..6).flat_map(|i| (i as f32 + 0.5).to_be_bytes()).collect();
    vec![
        array("<f8", false, "(3, 2)", &doubles),
        array(">f4", true, "(2, 3)", &singles),
        array("<f8", false, "(6,)", &doubles),
        array("|u1", false, "(2, 3, 4)", &[7; 24]),
        array("|b1", false, "(2, 2)", &[0, 1, 1, 0]),
        array("<i8", false, "(2, 3)", &doubles),
        array("<f2", false, "(4, 3)", &[0x11; 24]),
    ]
}

/// A table of two columns.
fn small() -> Table {
    Table::new(&["x", "n"], vec![0.5, 1.0, -1.5, 2.0, 2.5, 3.0]).expect("rows of two numbers")
}

fn written(format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    small().write(format, &mut bytes).expect("numbers can be written");
    bytes
}

pub fn npz(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.npz", input, folder)
}

pub fn npz_seeds() -> Vec<Vec<u8>> {
    vec![written(Format::Npz)]
}

pub fn safetensors(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.safetensors", input, folder)
}

pub fn safetensors_seeds() -> Vec<Vec<u8>> {
    vec![written(Format::Safetensors)]
}

pub fn idx(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.idx", input, folder)
}

/// An IDX file of elements of this type.
fn idx_file(kind: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
    let axes = u8::try_from(shape.len()).expect("few axes");
    let sides = shape.iter().flat_map(|side| side.to_be_bytes());
    [0, 0, kind, axes].into_iter().chain(sides).chain(data.iter().copied()).collect()
}

pub fn idx_seeds() -> Vec<Vec<u8>> {
    vec![idx_file(8, &[2, 3, 2], &[5; 12]), idx_file(0x0d, &[3, 2], &[0x3f; 24]), idx_file(0x0b, &[4], &[1; 8])]
}

#[cfg(feature = "parquet")]
pub fn parquet(input: &[u8], folder: &Path) -> Result<(), String> {
    read("a.parquet", input, folder)
}

#[cfg(feature = "parquet")]
pub fn parquet_seeds() -> Vec<Vec<u8>> {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = "message rows { required double x; required int64 n; required binary kind (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::default())).expect("a file");
    let mut group = file.next_row_group().expect("a group");
    let mut place = 0;
    while let Some(mut column) = group.next_column().expect("a column") {
        let done = match place {
            0 => column.typed::<DoubleType>().write_batch(&[0.5, 1.5], None, None),
            1 => column.typed::<Int64Type>().write_batch(&[3, -4], None, None),
            _ => column.typed::<ByteArrayType>().write_batch(&["a", "b"].map(ByteArray::from), None, None),
        };
        done.expect("memory takes values");
        column.close().expect("a column");
        place += 1;
    }
    group.close().expect("a group");
    file.close().expect("a file");
    vec![bytes]
}

pub fn mnist(input: &[u8], folder: &Path) -> Result<(), String> {
    for name in ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"] {
        std::fs::write(folder.join(name), input).expect("the folder can be written");
    }
    let found = Mnist::load(folder, Content::Any, &mut ChaCha8Rng::seed_from_u64(0));
    let found = found.map_err(|error| error.to_string())?;
    let (rows, columns) = found.shape;
    for part in [&found.train, &found.validation, &found.test] {
        assert!(!part.is_empty() && part.picture(part.len() - 1).len() == rows * columns);
    }
    Ok(())
}

pub fn mnist_seeds() -> Vec<Vec<u8>> {
    vec![idx_file(8, &[6, 2, 2], &[9; 24]), idx_file(8, &[12, 1, 3], &[200; 36])]
}

/// Reads a file of that name: in blocks, whole, and with rows left out that have no value, which must agree.
fn read(name: &str, input: &[u8], folder: &Path) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::write(&path, input).expect("the folder can be written");
    let [whole, dropped] = [false, true].map(|drop_missing| {
        let options = ReadOptions { drop_missing, ..ReadOptions::default() };
        let table = Table::read(&path, &options);
        assert_eq!(in_blocks(&path, &options).ok(), table.as_ref().ok().map(|table| table.values().len()));
        table.inspect(comes_back)
    });
    if let Ok(whole) = &whole {
        let dropped = dropped.as_ref().expect("nothing is to be dropped");
        assert_eq!(whole.values(), dropped.values());
    }
    let taken =
        if matches!(whole, Err(TableError::Missing { .. } | TableError::Infinite { .. })) { dropped } else { whole };
    taken.map(drop).map_err(|error| error.to_string())
}

/// The count of numbers.
fn in_blocks(path: &Path, options: &ReadOptions) -> Result<usize, TableError> {
    let (mut reader, mut count) = (Reader::open(path, options)?, 0);
    while let Some(block) = reader.next_block(3)? {
        assert_eq!(block.values.len(), block.numbers.len() * reader.columns().len());
        count += block.values.len();
    }
    Ok(count)
}

/// A table that was read is whole, and comes back as it was written.
fn comes_back(table: &Table) {
    assert_eq!(table.values().len(), table.rows() * table.columns().len());
    assert!(table.rows() > 0 && table.values().iter().all(|value| value.is_finite()));
    if table.columns().iter().any(|column| matches!(column.kind, Kind::Text(_))) {
        return;
    }
    let mut written = Vec::new();
    table.write(Format::Npy, &mut written).expect("numbers can be written");
    let name = "again.npy";
    let mut again = Reader::from_bytes(name, written, &ReadOptions::default()).expect("what was written is read");
    let block = again.next_block(table.rows()).expect("finite numbers").expect("as many rows");
    assert_eq!(block.values, table.values());
}
