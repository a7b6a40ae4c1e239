//! Files that are read: the same numbers from every format, bit for bit.

use super::*;

const HEADER: &str = "height,mass,ratio\n";

#[test]
fn every_kind_of_text_gives_the_same_numbers() {
    let values = rows(40);
    let plain = text(&values, ",", HEADER);
    let quoted = |line: &str| line.split(',').map(|cell| format!("\"{cell}\"")).collect::<Vec<_>>().join(",") + "\n";
    let german = plain.replace(',', ";").replace('.', ",");
    let columns = "# height mass ratio\n".to_owned() + &text(&values, "   ", "").replace('\n', " \n ");
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("plain.csv", plain.clone().into()),
        ("bom_crlf.csv", format!("\u{feff}{}", plain.replace('\n', "\r\n")).into()),
        ("quoted.csv", plain.lines().map(quoted).collect::<String>().into()),
        ("gzipped.csv.gz", gzip(plain.as_bytes())),
        ("semicolon.csv", german.clone().into()),
        ("unended.csv", plain.trim_end().into()),
        ("tabs.tsv", plain.replace(',', "\t").into()),
        ("bars.txt", plain.replace(',', "|").into()),
        ("blanks.txt", columns.into()),
    ];
    for (name, bytes) in files {
        let table = read(name, bytes).unwrap();
        assert_eq!(table.values(), values, "{name}");
        assert_eq!(table.names(), ["height", "mass", "ratio"], "{name}");
        assert!(table.columns().iter().all(|column| column.kind == Kind::Real && column.storage == Storage::Text));
    }
    let note = |name, bytes: &str| read(name, bytes).unwrap().notes()[0].clone();
    assert_eq!(note("a.csv", &german), "a.csv: delimiter semicolon, decimal comma, first line read as names");
    let bare = text(&values, "\t", "");
    assert_eq!(
        note("b.tsv", &bare),
        "b.tsv: delimiter tab, decimal point, no line of names: the columns are called x0 to x2"
    );
    assert_eq!(read("b.tsv", bare).unwrap().values(), values);
}

#[test]
fn what_the_caller_states_is_believed() {
    let options = ReadOptions { header: Some(true), ..Default::default() };
    let table = read_with("years.csv", "1990,2000\n1.5,2.5\n", &options).unwrap();
    assert_eq!((table.names(), table.values()), (vec!["1990", "2000"], &[1.5, 2.5][..]));
    let options = ReadOptions { delimiter: Some(';'), decimal: Some(','), header: Some(false), ..Default::default() };
    assert_eq!(read_with("a.csv", "1,5;2\n", &options).unwrap().values(), [1.5, 2.0]);
    // Without a word, a comma separates.
    assert_eq!(read("a.csv", "1,5\n2,5\n").unwrap().values(), [1.0, 5.0, 2.0, 5.0]);
    let options = ReadOptions { columns: Some(vec!["c".into(), "a".into()]), ..Default::default() };
    let table = read_with("a.csv", "a,b,c\n1,oops,2\n3,4,5\n6,7,8\n", &options).unwrap();
    assert_eq!((table.names(), table.values()), (vec!["c", "a"], &[2.0, 1.0, 5.0, 3.0, 8.0, 6.0][..]));
    let options = ReadOptions { text: vec!["b".into()], ..Default::default() };
    let table = read_with("a.csv", "a,b\n1,20\n3,10\n", &options).unwrap();
    assert_eq!(table.columns()[1].kind, Kind::Text(vec!["10".into(), "20".into()]));
    assert_eq!(table.values(), [1.0, 1.0, 3.0, 0.0]);
}

#[test]
fn columns_have_kinds() {
    let table = read("t.csv", "n,whole,real,word\n1,2.0,1.5,b\n-3,4e0,2,a\n5,6,7,b\n").unwrap();
    let kinds: Vec<Kind> = table.columns().iter().map(|column| column.kind.clone()).collect();
    assert_eq!(kinds, [Kind::Integer, Kind::Integer, Kind::Real, Kind::Text(vec!["a".into(), "b".into()])]);
    assert_eq!(table.column(3).collect::<Vec<_>>(), [1.0, 0.0, 1.0]);
    let error = table.require_numbers().unwrap_err().to_string();
    assert!(error.contains("\"word\" holds text (\"a\", \"b\")") && error.contains("`columns`"), "{error}");
    let chosen = table.select(&["real", "n"]).unwrap();
    assert_eq!((chosen.row(1), chosen.names()), (&[2.0, -3.0][..], vec!["real", "n"]));
    assert_eq!(table.take(&[2, 0]).column(0).collect::<Vec<_>>(), [5.0, 1.0]);
}

#[test]
fn arrays_of_every_order_and_type_are_read() {
    let values = rows(20);
    let reversed = |bytes: &[u8], size: usize| -> Vec<u8> {
        bytes.chunks_exact(size).flat_map(|element| element.iter().rev().copied().collect::<Vec<_>>()).collect()
    };
    let by_column: Vec<f64> =
        (0..3).flat_map(|c| values.iter().skip(c).step_by(3).copied().collect::<Vec<_>>()).collect();
    for (bytes, name) in [
        (npy("'<f8'", false, "(20, 3)", &le(&values)), "plain"),
        (npy("'>f8'", false, "(20, 3)", &reversed(&le(&values), 8)), "big"),
        (npy("'<f8'", true, "(20, 3)", &le(&by_column)), "fortran"),
        (npy("'>f8'", true, "(20, 3)", &reversed(&le(&by_column), 8)), "both"),
    ] {
        let table = read("a.npy", bytes.clone()).unwrap();
        assert_eq!((table.values(), table.names()), (&values[..], vec!["x0", "x1", "x2"]), "{name}");
        assert_eq!(read("a.npy.gz", gzip(&bytes)).unwrap().values(), values);
        assert_eq!(table.columns()[0].storage, Storage::Float(8));
    }
    let small = [-3.0, 0.0, 2.0, 100.0];
    let of = |descriptor: &str, content: Vec<u8>| read("a.npy", npy(descriptor, false, "(2, 2)", &content)).unwrap();
    let signed: [(&str, Vec<u8>); 6] = [
        ("'|i1'", small.iter().map(|x| *x as i8 as u8).collect()),
        ("'<i2'", small.iter().flat_map(|x| (*x as i16).to_le_bytes()).collect()),
        ("'>i4'", small.iter().flat_map(|x| (*x as i32).to_be_bytes()).collect()),
        ("'<i8'", small.iter().flat_map(|x| (*x as i64).to_le_bytes()).collect()),
        ("'<f2'", small.iter().flat_map(|x| half::f16::from_f64(*x).to_le_bytes()).collect()),
        ("'>f4'", small.iter().flat_map(|x| (*x as f32).to_be_bytes()).collect()),
    ];
    for (descriptor, content) in signed {
        let table = of(descriptor, content);
        assert_eq!(table.values(), small, "{descriptor}");
        assert!(table.columns().iter().all(|column| column.kind == Kind::Integer));
    }
    let big = [3.0, 0.0, 65000.0, 1.0];
    assert_eq!(of("'>u2'", big.iter().flat_map(|x| (*x as u16).to_be_bytes()).collect()).values(), big);
    assert_eq!(of("'<u8'", big.iter().flat_map(|x| (*x as u64).to_le_bytes()).collect()).values(), big);
    assert_eq!(of("'|b1'", vec![1, 0, 0, 1]).values(), [1.0, 0.0, 0.0, 1.0]);
    let table = read("a.npy", npy("'<f8'", false, "(3,)", &le(&[1.5, 2.5, 3.0]))).unwrap();
    assert_eq!((table.values(), table.columns().len()), (&[1.5, 2.5, 3.0][..], 1));
    assert!(table.notes()[0].contains("one dimension, read as one column of 3 rows"), "{:?}", table.notes());
}

#[test]
fn pictures_are_recognised() {
    let bytes: Vec<u8> = (0..48).collect();
    let table = read("p.npy", npy("'|u1'", false, "(2, 4, 6)", &bytes)).unwrap();
    assert_eq!(table.picture(), Some(PictureShape { height: 4, width: 6, channels: 1 }));
    assert_eq!((table.rows(), table.row(1)[0]), (2, 24.0));
    let table = read("p.npy", npy("'|u1'", false, "(2, 4, 2, 3)", &bytes)).unwrap();
    assert_eq!(table.picture(), Some(PictureShape { height: 4, width: 2, channels: 3 }));
    // In Fortran's order: element (i, j, k) at i + 2 j + 8 k.
    let table = read("p.npy", npy("'|u1'", true, "(2, 4, 6)", &bytes)).unwrap();
    assert_eq!(table.row(1)[..7], [1.0, 9.0, 17.0, 25.0, 33.0, 41.0, 3.0]);
    let idx = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 6][..], &bytes].concat();
    for (name, bytes) in [("t10k-images-idx3-ubyte.gz", gzip(&idx)), ("pictures", idx.clone())] {
        let table = read(name, bytes).unwrap();
        assert_eq!((table.picture().unwrap().width, table.row(1)[23]), (6, 47.0));
    }
    let floats = [&[0, 0, 0x0d, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &1.5f32.to_be_bytes(), &2.5f32.to_be_bytes()].concat();
    assert_eq!(read("f.idx", floats).unwrap().values(), [1.5, 2.5]);
}

#[test]
fn archives_hold_one_array_or_a_named_one_or_columns() {
    let values = rows(5);
    let (train, other) =
        (npy("'<f8'", false, "(5, 3)", &le(&values)), npy("'<f8'", false, "(1, 3)", &le(&values[..3])));
    for compressed in [false, true] {
        assert_eq!(read("one.npz", npz(&[("x", train.clone())], compressed)).unwrap().values(), values);
    }
    let two = npz(&[("train", train), ("other", other)], true);
    let error = read("two.npz", two.clone()).unwrap_err().to_string();
    assert!(error.contains("\"train\" (5, 3) of f64, \"other\" (1, 3) of f64; name one with `array`"), "{error}");
    let named = |name: &str| ReadOptions { array: Some(name.into()), ..Default::default() };
    assert_eq!(read_with("two.npz", two.clone(), &named("other")).unwrap().values(), &values[..3]);
    let error = read_with("two.npz", two, &named("test")).unwrap_err().to_string();
    assert!(error.contains("no array \"test\"; it holds \"train\""), "{error}");
    let whole = npy("'<i4'", false, "(2,)", &[7, 0, 0, 0, 8, 0, 0, 0]);
    let columns = npz(&[("b", npy("'<f8'", false, "(2,)", &le(&[0.5, 1.5]))), ("a", whole)], false);
    let table = read("columns.npz", columns).unwrap();
    assert_eq!((table.names(), table.values()), (vec!["b", "a"], &[0.5, 7.0, 1.5, 8.0][..]));
    assert_eq!(table.columns()[1].storage, Storage::Signed(4));
}

#[test]
fn blocks_are_the_table_in_pieces() {
    let values = rows(100);
    let csv = text(&values, ",", HEADER);
    let files = [("a.csv", csv.into_bytes()), ("a.npy", npy("'<f8'", false, "(100, 3)", &le(&values)))];
    for (name, bytes) in files {
        let mut reader = Reader::from_bytes(name, bytes, &ReadOptions::default()).unwrap();
        let (mut all, mut sizes) = (vec![], vec![]);
        while let Some(block) = reader.next_block(33).unwrap() {
            all.extend(block.values);
            sizes.push((block.numbers.len(), block.numbers[0]));
        }
        assert_eq!((all, sizes), (values.clone(), vec![(33, 1), (33, 34), (33, 67), (1, 100)]), "{name}");
    }
}

#[test]
fn missing_rows_are_left_out_on_request() {
    let options = ReadOptions { drop_missing: true, ..Default::default() };
    let table = read_with("m.csv", "a,b\n1,2\n,3\n4,5.5\nNA,6\n7,inf\n8,9\n", &options).unwrap();
    assert_eq!((table.values(), table.number(1), table.number(2)), (&[1.0, 2.0, 4.0, 5.5, 8.0, 9.0][..], 3, 6));
    assert!(table.notes().iter().any(|note| note.contains("3 of 6 rows have missing or infinite values")));
    let error = read_with("m.csv", "a,b\n1,\n,3\n", &options).unwrap_err().to_string();
    assert!(error.contains("every one of the 2 rows"), "{error}");
}
