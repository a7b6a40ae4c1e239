//! Files that are refused: one sentence with the place and a remedy.

use super::*;

/// The sentence, which must have these words, end without a stop, and be one line.
fn sentence(name: &str, bytes: impl Into<Vec<u8>>, words: &[&str]) {
    let error = read(name, bytes).expect_err(name).to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(error.contains(name) && !error.contains('\n') && !error.ends_with('.'), "{error}");
}

#[test]
fn values_that_are_no_numbers() {
    let values = |cell: &str| format!("height,mass\n1,2\n3,{cell}\n5,6\n7,8\n9,10\n");
    for missing in ["", "NA", "NaN", "nan", "null", "?", "n/a", "None"] {
        sentence("m.csv", values(missing), &["row 2 (line 3), column \"mass\"", "missing", "`drop_missing`"]);
    }
    for infinite in ["inf", "-Infinity", "1e999"] {
        sentence("i.csv", values(infinite), &["row 2 (line 3), column \"mass\"", infinite, "not finite"]);
    }
    let words = ["row 2 (line 3), column \"mass\"", "expected a number, found \"n/a?\"", "`columns`"];
    sentence("t.csv", values("n/a?"), &words);
    sentence("t.csv", values(&"long ".repeat(50)), &["long long", "…\""]);
    let mut numbers = rows(10);
    numbers[13] = f64::NAN;
    sentence(
        "n.npy",
        npy("'<f8'", false, "(10, 3)", &le(&numbers)),
        &["row 5, column \"x1\"", "missing (\"NaN\"", "`drop_missing`"],
    );
    numbers[13] = f64::NEG_INFINITY;
    sentence("n.npy", npy("'<f8'", false, "(10, 3)", &le(&numbers)), &["row 5, column \"x1\"", "-inf"]);
}

#[test]
fn text_that_is_no_table() {
    sentence("empty.csv", "", &["is empty"]);
    sentence("blank.csv", "\n\n\n", &["is empty"]);
    sentence("header.csv", "height,mass,ratio\n", &["columns height, mass, ratio, but no rows"]);
    sentence("ragged.csv", "a,b,c\n1,2,3\n1,2\n4,5,6\n", &["row 2 (line 3)", "expected 3 values, found 2", "comma"]);
    sentence("long.csv", "a,b\n1,2\n1,2,3\n4,5\n", &["row 2 (line 3)", "expected 2 values, found 3"]);
    sentence("same.csv", "a,b,a\n1,2,3\n", &["two columns called \"a\""]);
    sentence("latin.csv", b"a,b\n1,caf\xe9\n2,x\n".to_vec(), &["line 2", "UTF-8"]);
    sentence("utf16.csv", b"\xff\xfea\0,\0b\0\n\0".to_vec(), &["UTF-8"]);
    sentence("program.csv", b"\x7fELF\0\0\0\0".to_vec(), &["not text"]);
    sentence("model.pkl", b"\x80\x04\x95\0\0".to_vec(), &["pickle"]);
    let zipped = gzip(text(&rows(2000), ",", "a,b,c\n").as_bytes());
    sentence("cut.csv.gz", zipped[..zipped.len() / 2].to_vec(), &["ends in the middle of its compressed data"]);
    let mut damaged = zipped;
    damaged[200] ^= 0x55;
    assert!(read("damaged.csv.gz", damaged).is_err());
}

#[test]
fn arrays_that_are_no_table() {
    let shaped = |shape, count: usize| npy("'<f8'", false, shape, &le(&vec![0.5; count]));
    sentence("a.npy", npy("'<f4'", false, "(2, 4, 5)", &[0; 160]), &["shape (2, 4, 5) of f32", "flatten", "u8"]);
    sentence("a.npy", shaped("()", 1), &["shape ()"]);
    sentence("a.npy", shaped("(3, 0)", 0), &["no columns"]);
    sentence("a.npy", shaped("(0, 3)", 0), &["no rows"]);
    sentence("a.npy", npy("'|u1'", false, "(2, 3, 4, 5)", &[0; 120]), &["channels last"]);
    let element = |descriptor, words: &[&str]| sentence("a.npy", npy(descriptor, false, "(2,)", &[0; 64]), words);
    element("'|O'", &["pickled Python objects", "nothing", "unpickled"]);
    element("'<c16'", &["complex numbers", "real and imaginary parts"]);
    element("'<U1'", &["text"]);
    element("'|S3'", &["text"]);
    element("'<M8[s]'", &["times"]);
    element("[('a', '<f8'), ('b', '<f8')]", &["records of named fields"]);
    element("'<f16'", &["long floating-point"]);
}

#[test]
fn files_that_are_damaged() {
    let whole = npy("'<f8'", false, "(10, 3)", &le(&rows(10)));
    sentence("t.npy", whole[..whole.len() - 100].to_vec(), &["truncated: 140 of 240 bytes", "5 whole rows"]);
    let fortran = npy("'<f8'", true, "(10, 3)", &le(&rows(9)));
    sentence("t.npy", fortran, &["truncated: 216 of 240 bytes"]);
    for end in [1, 6, 9, 20, 60] {
        assert!(read("t.npy", whole[..end].to_vec()).is_err(), "{end}");
    }
    sentence("h.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{}".to_vec(), &["its header claims 2147483647 bytes"]);
    sentence("h.npy", npy("__import__('os')", false, "(1,)", &[]), &["header describes no array"]);
    sentence("huge.npy", npy("'<f8'", false, "(9000000000000000000, 3)", &[]), &["more than memory holds"]);
    // Nothing is allocated for what a header claims alone, and none keeps its parser busy with brackets in brackets.
    sentence(
        "wide.npy",
        npy("'<f8'", false, "(1, 1000000000000000)", &[]),
        &["truncated: 0 of 8000000000000000 bytes"],
    );
    sentence("wide.npy", npy("'<f8'", true, "(1000, 1000000000000)", &[]), &["truncated: 0 of"]);
    sentence("wide.npy", npy("'<f8'", false, "(0, 1000000000000000)", &[]), &["no rows"]);
    let claims = || npy("'<f8'", false, "(1000000000000000,)", &[]);
    sentence("long.npz", npz(&[("x", claims()), ("y", claims())], false), &["truncated: 0 of 8000000000000000 bytes"]);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    sentence("deep.npy", npy(&deep, false, "(1,)", &[]), &["header describes no array"]);
    sentence("csv.npy", "a,b\n1,2\n", &["not a whole npy file"]);
    sentence("npy.csv", whole.clone(), &["it begins as npy does"]);
    sentence("z.npz", npz(&[("x", whole)], true)[..60].to_vec(), &["not a whole npz file"]);
    sentence("i.idx", vec![0, 0, 8, 3, 0, 0], &["ends within its header"]);
    sentence("i.idx", vec![0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3], &["truncated: 3 of 4 bytes"]);
    sentence("s.safetensors", b"\x10\0\0\0\0\0\0\0{\"x\":".to_vec(), &["not a whole safetensors file"]);
    if !cfg!(feature = "parquet") {
        sentence("p.parquet", b"PAR1aaaaPAR1".to_vec(), &["feature parquet"]);
    }
    let error = Table::read(std::path::Path::new("no/such/file.csv"), &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read no/such/file.csv: "), "{error}");
}

#[test]
fn options_without_effect_or_sense() {
    let refused = |name: &str, bytes: Vec<u8>, options: ReadOptions, words: &[&str]| {
        let error = read_with(name, bytes, &options).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let csv = || b"a,b\n1,2\n".to_vec();
    let array = || npy("'<f8'", false, "(1, 1)", &le(&[1.5]));
    let base = ReadOptions::default;
    refused("a.csv", csv(), ReadOptions { array: Some("x".into()), ..base() }, &["`array` has no effect", "csv"]);
    refused("a.npy", array(), ReadOptions { delimiter: Some(';'), ..base() }, &["`delimiter` has no effect", "npy"]);
    refused("a.npy", array(), ReadOptions { header: Some(true), ..base() }, &["`header`"]);
    refused("a.csv", csv(), ReadOptions { delimiter: Some('→'), ..base() }, &["`delimiter`"]);
    refused("a.csv", csv(), ReadOptions { columns: Some(vec!["c".into()]), ..base() }, &["no column \"c\"", "a, b"]);
    refused("a.csv", csv(), ReadOptions { text: vec!["c".into()], ..base() }, &["no column \"c\""]);
    refused("a.csv", csv(), ReadOptions { columns: Some(vec!["b".into(), "b".into()]), ..base() }, &["\"b\""]);
    refused("a.csv", csv(), ReadOptions { columns: Some(vec![]), ..base() }, &["0"]);
    assert!(matches!(Table::new(&["a"], vec![f64::NAN]), Err(TableError::Missing { .. })));
    assert!(matches!(Table::new(&["a", "b"], vec![1.0]), Err(TableError::Shape { .. })));
    assert!(matches!(Table::new(&["a", "a"], vec![1.0, 2.0]), Err(TableError::SameName { .. })));
}
