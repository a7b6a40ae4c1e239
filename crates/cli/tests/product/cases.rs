//! Files as they come: the same numbers in many forms have the same densities, and what is no table gets a sentence.

use std::fmt::Write as _;
use std::fs;

use datasets::table::{Format, ReadOptions, Table};
use flow_core::{Purpose, RngKey};
use maflow::backend::Backend;

use crate::lab::{Lab, on_one_backend};

const NAMES: [&str; 3] = ["height", "mass", "ratio"];

/// Three correlated normal columns of their own units.
fn rows(count: usize) -> Vec<[f64; 3]> {
    let noise = RngKey::new(5, Purpose::Sample, 0).normals(0..count, 3);
    let row = |z: &[f64]| [170.0 + 10.0 * z[0], 70.0 + 8.0 * z[0] + 5.0 * z[1], 0.1 * z[2] - 0.05 * z[1]];
    noise.chunks_exact(3).map(row).collect()
}

/// Lines of text: the names, unless there are none, and the rows with a delimiter between values.
fn text(names: &[&str], rows: &[[f64; 3]], delimiter: &str) -> String {
    let mut text = if names.is_empty() { String::new() } else { format!("{}\n", names.join(delimiter)) };
    for row in rows {
        writeln!(text, "{}", row.map(|value| format!("{value:?}")).join(delimiter)).unwrap();
    }
    text
}

/// An .npy file with a header of its own.
fn npy(kind: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
    header += &" ".repeat(63 - (10 + header.len()) % 64);
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// A fit of a moment.
fn fit<'a>(file: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["fit", file, "--minutes=0.001", "--out", out], more].concat()
}

/// What the program says on standard error of a fit that succeeds.
#[track_caller]
fn said(lab: &Lab, words: &[&str], parts: &[&str]) {
    let output = lab.maflow(words).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {stderr}");
    parts.iter().for_each(|part| assert!(stderr.contains(part), "{part:?} is not in\n{stderr}"));
}

#[test]
#[ignore = "seconds: .ci/run"]
fn the_same_rows_have_the_same_densities_in_every_form() {
    let lab = Lab::on(Backend::Ndarray);
    let rows = rows(300);
    fs::write(lab.path("plain.csv"), text(&NAMES, &rows, ",")).unwrap();
    lab.does(&fit("plain.csv", "named", &[]));
    let numbered = text(&["x0", "x1", "x2"], &rows, ",");
    fs::write(lab.path("numbered.csv"), &numbered).unwrap();
    lab.does(&fit("numbered.csv", "run", &[]));
    let scores = |run: &str, file: &str, more: &[&str]| lab.does(&[&["score", run, file], more].concat());
    let expected = scores("named", "plain.csv", &[]);
    assert_eq!(scores("run", "numbered.csv", &[]), expected, "names change nothing");

    let swapped: Vec<[f64; 3]> = rows.iter().map(|[a, b, c]| [*c, *a, *b]).collect();
    let quoted = text(&NAMES, &rows, ",").replacen("mass", "\"mass\"", 1);
    let comma = text(&NAMES, &rows, ";").replace('.', ",");
    for (name, text) in [
        ("bom_crlf.csv", format!("\u{feff}{}", text(&NAMES, &rows, ",").replace('\n', "\r\n"))),
        ("quoted.csv", quoted),
        ("decimal_comma.csv", comma),
        ("order.csv", text(&["ratio", "height", "mass"], &swapped, ",")),
    ] {
        fs::write(lab.path(name), text).unwrap();
        assert_eq!(scores("named", name, &[]), expected, "{name}");
    }
    fs::write(lab.path("no_header.tsv"), text(&[], &rows, "\t")).unwrap();
    let table = Table::new(&["x0", "x1", "x2"], rows.concat()).unwrap();
    for format in [Format::Npy, Format::Npz, Format::Safetensors] {
        let file = fs::File::create(lab.path(&format!("rows.{}", format.name()))).unwrap();
        table.write(format, file).unwrap();
    }
    let columns: Vec<f64> = (0..3).flat_map(|column| rows.iter().map(move |row| row[column])).collect();
    let bytes = |values: &[f64], bytes: fn(f64) -> [u8; 8]| values.iter().flat_map(|v| bytes(*v)).collect::<Vec<u8>>();
    fs::write(lab.path("fortran.npy"), npy("'<f8'", true, "(300, 3)", &bytes(&columns, f64::to_le_bytes))).unwrap();
    fs::write(lab.path("big.npy"), npy("'>f8'", false, "(300, 3)", &bytes(&rows.concat(), f64::to_be_bytes))).unwrap();
    for name in ["no_header.tsv", "rows.npy", "rows.npz", "rows.safetensors", "fortran.npy", "big.npy"] {
        assert_eq!(scores("run", name, &[]), expected, "{name}");
    }
    // A recipe that names another file of the same numbers trains to the same bits.
    let recipe = fs::read_to_string(lab.path("run/config.toml")).unwrap();
    fs::write(lab.path("npy.toml"), recipe.replace("numbered.csv", "rows.npy")).unwrap();
    lab.does(&["train", "npy.toml", "--out", "again"]);
    assert_eq!(lab.final_bits("again"), lab.final_bits("run"));
    #[cfg(feature = "parquet")]
    {
        let parquet = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/plain.parquet");
        let csv = fs::read_to_string(parquet.replace(".parquet", ".csv")).unwrap();
        fs::write(lab.path("plain.csv"), csv).unwrap();
        assert_eq!(scores("named", parquet, &[]), scores("named", "plain.csv", &[]));
    }
}

#[test]
#[ignore = "seconds: .ci/run"]
fn unusual_tables_are_fitted_with_a_word() {
    let lab = Lab::on(Backend::Ndarray);
    let rows = rows(240);
    // Units of 10¹⁵ and 10⁻⁹, and half precision.
    let huge: Vec<[f64; 3]> = rows.iter().map(|[a, b, c]| [1e15 + 1e11 * a, 1e-10 * b, *c]).collect();
    fs::write(lab.path("huge.csv"), text(&NAMES, &huge, ",")).unwrap();
    said(&lab, &fit("huge.csv", "huge", &[]), &["delimiter comma", "height: standardise"]);
    let halves: Vec<u8> = rows.concat().iter().flat_map(|v| half::f16::from_f64(*v).to_le_bytes()).collect();
    fs::write(lab.path("half.npy"), npy("'<f2'", false, "(240, 3)", &halves)).unwrap();
    said(&lab, &fit("half.npy", "half", &[]), &["x2: standardise"]);
    // One dimension is one column.
    let one: Vec<u8> = rows.iter().flat_map(|row| row[0].to_le_bytes()).collect();
    fs::write(lab.path("one.npy"), npy("'<f8'", false, "(240,)", &one)).unwrap();
    said(&lab, &fit("one.npy", "one", &[]), &["one dimension", "one column of 240 rows"]);
    // Text is given, not modelled.
    let labelled: String = text(&NAMES, &rows, ",")
        .lines()
        .enumerate()
        .map(|(i, line)| format!("{line},{}\n", if i == 0 { "species" } else { ["a", "b", "c"][i % 3] }))
        .collect();
    fs::write(lab.path("label.csv"), labelled).unwrap();
    said(&lab, &fit("label.csv", "label", &["--given", "species"]), &["\"species\" (3 categories)"]);
    lab.refuses(&fit("label.csv", "x", &[]), 1, &["\"species\"", "\"a\", \"b\"", "--columns", "--given"]);
    // Angles, bounds and heavy tails.
    let bounded: Vec<[f64; 3]> = rows
        .iter()
        .map(|[a, b, c]| [1.0 / (1.0 + (17.0 - a / 10.0).exp()), b.rem_euclid(std::f64::consts::TAU), (8.0 * c).sinh()])
        .collect();
    fs::write(lab.path("bounded.csv"), text(&["share", "angle", "jump"], &bounded, ",")).unwrap();
    said(
        &lab,
        &fit("bounded.csv", "bounded", &["--transform", "share=logit(0, 1)"]),
        &["\"angle\" looks like an angle"],
    );
    let mut edge = bounded;
    edge[70][0] = 1.0;
    fs::write(lab.path("edge.csv"), text(&["share", "angle", "jump"], &edge, ",")).unwrap();
    let asked = fit("edge.csv", "x", &["--transform", "share=logit(0, 1)"]);
    lab.refuses(&asked, 1, &["edge.csv", "\"share\"", "1"]);
    let tails: Vec<[f64; 3]> = rows.iter().map(|[a, b, c]| [((a - 170.0) / 4.0).sinh(), *b, *c]).collect();
    fs::write(lab.path("tails.csv"), text(&NAMES, &tails, ",")).unwrap();
    said(&lab, &fit("tails.csv", "tails", &[]), &["heavy tails", "tail: \"height\""]);
}

#[test]
#[ignore = "seconds: .ci/run"]
fn bytes_of_three_dimensions_are_pictures() {
    on_one_backend(|lab| {
        let pixels: Vec<u8> = (0..60 * 16).map(|i| (i * i % 251) as u8).collect();
        fs::write(lab.path("pictures.npy"), npy("'|u1'", false, "(60, 4, 4)", &pixels)).unwrap();
        said(lab, &fit("pictures.npy", "run", &[]), &["60 pictures of 4 × 4", "x0 to x15: dequantise(1) logit"]);
        let figures = lab.figures("run", &[]);
        assert!(figures["bits_per_dim"].as_f64().is_some_and(|bits| bits > 4.0 && bits < 12.0), "{figures}");
        // On libtorch by convolutions, with an estimate of the Laplacian whose scatter is told.
        let convolutional = fs::read_to_string(lab.path("run/config.toml")).unwrap().contains("\"convolutional\"");
        let scores = lab.does(&["score", "run", "pictures.npy"]);
        let head = scores.lines().next().unwrap();
        match lab.backend() {
            "ndarray" => assert!(!convolutional && head == "log_density,integration_error", "{head}"),
            _ => {
                assert!(convolutional && head == "log_density,integration_error,probe_error", "{head}");
                assert_eq!(figures["laplacian_probes"], 1);
                let error: f64 = scores.lines().nth(1).unwrap().split(',').nth(2).unwrap().parse().unwrap();
                assert!(error > 0.0 && error.is_finite());
            }
        }
        // Samples are pictures again.
        lab.does(&["sample", "run", "--count", "5", "--out", "samples.npy"]);
        let samples = Table::read(&lab.path("samples.npy"), &ReadOptions::default()).unwrap();
        let shape = samples.picture().map(|picture| (picture.height, picture.width, picture.channels));
        assert_eq!((samples.rows(), shape), (5, Some((4, 4, 1))));
        lab.does(&["sample", "run", "--count", "9", "--out", "samples.png"]);
        for picture in ["samples", "journey"] {
            assert!(fs::read(lab.path(&format!("run/plots/{picture}.png"))).unwrap().starts_with(b"\x89PNG"));
        }
    });
}

#[test]
fn files_that_are_no_tables_get_a_sentence() {
    let lab = Lab::on(Backend::Ndarray);
    let rows = rows(240);
    let plain = text(&NAMES, &rows, ",");
    let numbers: Vec<u8> = rows.concat().iter().flat_map(|v| v.to_le_bytes()).collect();
    let repeated: Vec<[f64; 3]> = (0..240).map(|i| rows[i % 5]).collect();
    let dependent: Vec<[f64; 3]> = rows.iter().map(|[a, b, _]| [*a, *b, 2.204_622_6 * b]).collect();
    let of_text = |text: String| text.into_bytes();
    let files: [(&str, Vec<u8>, &[&str]); 13] = [
        ("complex.npy", npy("'<c16'", false, "(180, 2)", &numbers), &["complex numbers"]),
        ("strings.npy", npy("'<U1'", false, "(2, 2)", &[0; 16]), &["holds text"]),
        ("records.npy", npy("[('a', '<f8'), ('b', '<f8')]", false, "(360,)", &numbers), &["named fields"]),
        (
            "pickled.npy",
            npy("'|O'", false, "(2,)", b"cos\nsystem\n"),
            &["pickled", "nothing in such a file is ever executed"],
        ),
        ("short.npy", npy("'<f8'", false, "(240, 3)", &numbers[..3000]), &["truncated", "3000 of 5760 bytes"]),
        ("deep.npy", npy("'<f4'", false, "(18, 4, 20)", &numbers), &["(18, 4, 20)", "no table", "flatten"]),
        ("duplicates.csv", of_text(text(&NAMES, &repeated, ",")), &["only 5 of", "distinct"]),
        ("dependent.csv", of_text(text(&NAMES, &dependent, ",")), &["\"ratio\"", "linear function of \"mass\""]),
        ("empty.csv", Vec::new(), &["is empty"]),
        ("header.csv", of_text(format!("{}\n", NAMES.join(","))), &["no rows"]),
        (
            "words.csv",
            of_text(plain.replacen(&format!("{:?}", rows[23][1]), "n/a?", 1)),
            &["row 24", "\"mass\"", "n/a?"],
        ),
        (
            "nan.csv",
            of_text(plain.replacen(&format!("{:?}", rows[5][0]), "nan", 1)),
            &["row 6", "\"height\"", "--drop-missing"],
        ),
        ("rates.parquet", b"PAR1....PAR1".to_vec(), &["parquet"]),
    ];
    for (name, content, parts) in files {
        fs::write(lab.path(name), content).unwrap();
        lab.refuses(&fit(name, "run", &[]), 1, &[&[name], parts].concat());
        assert!(!lab.path("run").exists(), "{name}");
    }
    let two = Table::new(&["train", "other"], vec![1.0, 2.0, 3.0, 5.0]).unwrap();
    two.write(Format::Npz, fs::File::create(lab.path("two.npz")).unwrap()).unwrap();
    let refused = lab.maflow(&fit("two.npz", "run", &["--array", "neither"])).output().unwrap();
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && stderr.contains("\"train\"") && stderr.contains("\"other\""), "{stderr}");
}
