//! What is written returns bit for bit.

use proptest::num::f64::{NORMAL, SUBNORMAL, ZERO};
use proptest::prelude::*;

use super::*;

fn table(reals: &[f64], whole: &[i32]) -> Table {
    let values = reals.iter().zip(whole).flat_map(|(real, whole)| [*real, f64::from(*whole)]).collect();
    Table::new(&["real, \"so\"", "whole"], values).unwrap()
}

fn written(table: &Table, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    table.write(format, &mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn tables_return(
        rows in prop::collection::vec((NORMAL | SUBNORMAL | ZERO, any::<i32>()), 1..20)
    ) {
        let (reals, whole): (Vec<f64>, Vec<i32>) = rows.into_iter().unzip();
        let table = table(&reals, &whole);
        for format in [Format::Csv, Format::Tsv, Format::Npy, Format::Npz, Format::Safetensors] {
            let name = format!("a.{}", format.name());
            let header = format.is_text().then_some(true);
            let options = ReadOptions { header, ..Default::default() };
            let whole = written(&table, format);
            // In two blocks it is the same file, but for the order of names in the metadata of some.
            let mut blocks = Vec::new();
            let mut writer = Writer::new(table.columns().to_vec(), format, &mut blocks).unwrap();
            let (first, rest) = table.values().split_at(2 * (reals.len() / 2));
            writer.push(first).unwrap();
            writer.push(rest).unwrap();
            prop_assert!(writer.push(&rest[..1]).is_err());
            prop_assert_eq!(writer.finish().unwrap(), reals.len());
            if format != Format::Safetensors {
                prop_assert_eq!(&blocks, &whole, "{}", name);
            }
            let back = read_with(&name, blocks, &options).unwrap();
            prop_assert_eq!(back.values(), table.values(), "{}", name);
            if format != Format::Npy {
                prop_assert_eq!(back.names(), table.names());
            }
        }
    }
}

#[test]
fn integers_are_written_as_integers_and_text_as_text() {
    let table = read("t.csv", "n,x,word\n1,0.5,b\n2,1.0,\"a,c\"\n").unwrap();
    assert_eq!(String::from_utf8(written(&table, Format::Csv)).unwrap(), "n,x,word\n1,0.5,b\n2,1.0,\"a,c\"\n");
    for format in [Format::Npy, Format::Npz, Format::Safetensors] {
        let error = table.write(format, Vec::new()).unwrap_err().to_string();
        assert!(error.contains("\"word\" holds text"), "{error}");
    }
    assert!(table.write(Format::Parquet, Vec::new()).is_err());
    let numbers = table.select(&["n"]).unwrap();
    let bytes = written(&numbers, Format::Npy);
    assert!(
        bytes.windows(3).any(|w| w == b"<i8") && bytes.ends_with(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])
    );
    let pictures = read("p.npy", npy("'|u1'", false, "(2, 2, 3)", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])).unwrap();
    let back = read("p.npy", written(&pictures, Format::Npy)).unwrap();
    assert_eq!((back.picture(), back.values()), (pictures.picture(), pictures.values()));
}

#[test]
fn context_is_encoded_by_name() {
    let train = read("train.csv", "x,word,n\n1.5,b,10\n2.5,a,20\n").unwrap();
    let context = Context::fit(&train, &["n", "word"], &[] as &[&str]).unwrap();
    assert_eq!((context.width(), context.encode(&train).unwrap()), (3, vec![-1.0, 0.0, 1.0, 1.0, 1.0, 0.0]));
    let other = read("other.csv", "word,n\na,15\na,15\n").unwrap();
    assert_eq!(context.encode(&other).unwrap(), [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    let unknown = read("new.csv", "word,n\na,15\nc,15\n").unwrap();
    let error = context.encode(&unknown).unwrap_err().to_string();
    let known = "the category \"c\" is not among those of the training rows (a, b)";
    assert!(error.starts_with(&format!("new.csv, row 2, column \"word\": {known}")), "{error}");
    // Numbers may be categories too, and the last of them follows from the others.
    let context = Context::fit(&train, &["n", "word"], &["n"]).unwrap();
    assert_eq!(context.encode(&train).unwrap(), [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    assert_eq!(context.free(&context.encode(&train).unwrap()), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(context.typical(vec![0.2, 0.7, -1.0, -2.0]), [0.0, 1.0, 1.0, 0.0]);
    let context = Context::fit(&train, &["n", "word"], &[] as &[&str]).unwrap();
    let table = Reader::from_bytes("r.csv", b"n,word\n15,a\n".to_vec(), &ReadOptions::default());
    let mut reader = table.unwrap();
    let block = reader.next_block(5).unwrap().unwrap();
    assert_eq!(context.encode(&reader.table(block)).unwrap(), [0.0, 1.0, 0.0]);
    // Columns beside each other.
    let beside = train.select(&["x"]).unwrap().beside(&train.select(&["word"]).unwrap()).unwrap();
    assert_eq!((beside.names(), beside.row(0)), (vec!["x", "word"], &[1.5, 1.0][..]));
    assert!(train.beside(&train).is_err());
    let text = read("bad.csv", "word,n\na,low\nb,high\n").unwrap();
    assert!(matches!(context.encode(&text), Err(ContextError::Table(TableError::TextColumn { .. }))));
}
