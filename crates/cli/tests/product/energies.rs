//! Energies of one's own from a C library, from outside: trained from three lines, used, and what is refused.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use flow_core::{Purpose, RngKey};
use maflow::backend::Backend;
use serde_json::Value;

use crate::lab::{Lab, TOY};

/// The example in C.
const DOUBLE_WELL: &str = include_str!("../../../maflow/examples/double_well.c");

/// A small model that trains in a moment.
const SMALL: &[&str] = &[
    "--set=potential.terms.1.hidden=[16, 8]",
    "--set=potential.terms.0.time_terms=2",
    "--set=potential.terms.1.time_terms=2",
    "--set=train.batch=64",
    "--set=train.validation_samples=200",
    "--set=evaluate.samples=1000",
];

/// Compiles C into `NAME.so` of the folder.
pub fn compile(lab: &Lab, name: &str, source: &str) {
    let file = |ending: &str| lab.path(&format!("{name}.{ending}"));
    fs::write(file("c"), source).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../maflow/include");
    let compiled = Command::new("cc")
        .args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(include)
        .arg("-o")
        .args([file("so"), file("c")])
        .output()
        .expect("a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

/// A library whose function does this for each point x, with e and g to be written, after `before` the function.
pub fn compile_points(lab: &Lab, name: &str, before: &str, point: &str) {
    let source = format!(
        "#include \"maflow_energy.h\"\n{before}\n\
         int maflow_energy(size_t rows, size_t dim, const double *x, double *e, double *g, void *user) {{\n\
         if (user) return 9;\n\
         for (size_t r = 0; r < rows; r++, e++, x += dim, g += dim) {{ {point} }}\n\
         return 0;\n}}\n"
    );
    compile(lab, name, &source);
}

/// The energy of the standard normal density in two dimensions.
const NORMAL: &str = "*e = 0.5 * (x[0] * x[0] + x[1] * x[1]); g[0] = x[0]; g[1] = x[1];";

/// Its recipe, of as few lines as there can be.
pub fn recipe(lab: &Lab, name: &str, more: &str) {
    let lines = format!("[target]\nkind = \"energy\"\ndimension = 2\nlibrary = \"{name}.so\"\n{more}\n");
    fs::write(lab.path(&format!("{name}.toml")), lines).unwrap();
}

fn json(lab: &Lab, words: &[&str]) -> Value {
    serde_json::from_str(&lab.does(words)).unwrap()
}

#[track_caller]
fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("no {key} in {of}"))
}

/// Whether ln Z is what it should be, within an error that says something.
#[track_caller]
fn has_log_z(figures: &Value, exact: f64) {
    let (log_z, error) = (number(figures, "log_z_importance"), number(figures, "log_z_importance_error"));
    assert!((log_z - exact).abs() < 4.0 * error && error < 0.05, "{log_z} ± {error}, exactly {exact}");
}

#[test]
fn three_lines_and_a_c_function_are_a_run_with_every_figure() {
    let lab = Lab::on(Backend::Ndarray);
    compile(&lab, "well", DOUBLE_WELL);
    recipe(&lab, "well", "");
    lab.does(&[&["train", "well.toml", "--out", "run", "--set=train.steps=150"], SMALL].concat());
    let config = fs::read_to_string(lab.path("run/config.toml")).unwrap();
    let kept: toml::Table = config.parse().unwrap();
    assert_eq!(kept["target"]["library"].as_str(), lab.path("well.so").to_str());
    assert_eq!(kept["target"]["sha256"].as_str().map(str::len), Some(64));
    // By the midpoint rule, which converges faster than any power where all derivatives vanish at the ends.
    let cell = |k: i32| -4.0 + 8.0 * (f64::from(k) + 0.5) / 4000.0;
    let wells: f64 = (0..4000).map(|k| (-(cell(k).powi(2) - 1.0).powi(2)).exp() * 8.0 / 4000.0).sum();
    let exact = wells.ln() + 0.5 * std::f64::consts::TAU.ln();
    let figures = json(&lab, &["evaluate", "run", "--library", "well.so", "--json"]);
    has_log_z(&figures, exact);
    assert!(number(&figures, "ess") > 0.5, "{figures}");
    assert!(number(&figures, "free_energy_per_site") > -exact, "a bound: {figures}");
    let physics = ["physics", "run", "--library", "./well.so", "--samples=2000", "--chain=30", "--json"];
    let physics = json(&lab, &physics);
    has_log_z(&physics, exact);
    for way in ["metropolis", "latent_hybrid", "plain_hybrid"] {
        let (of, error) = (format!("energy_{way}"), format!("energy_{way}_error"));
        let difference = number(&physics, &of) - number(&physics, "energy_weighted");
        let error = number(&physics, &error).hypot(number(&physics, "energy_weighted_error"));
        assert!(difference.abs() < 4.0 * error && error < 0.1, "{way}: {difference} ± {error}");
        assert!(number(&physics, &format!("{way}_acceptance")) > 0.3, "{physics}");
        assert!(number(&physics, &format!("{way}_autocorrelation_energy")) >= 0.4, "{physics}");
    }
    // Densities and samples need no energy.
    lab.does(&["sample", "run", "--count", "500", "--out", "samples.csv"]);
    let samples = fs::read_to_string(lab.path("samples.csv")).unwrap();
    assert!(samples.starts_with("x0,x1\n") && samples.lines().count() == 501, "{samples}");
    let scores = lab.does(&["score", "run", "samples.csv"]);
    let mean = |text: &str| -> f64 {
        text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse::<f64>().unwrap()).sum::<f64>() / 500.0
    };
    assert!((-4.0..-1.0).contains(&mean(&scores)), "{}", mean(&scores));
    assert!(lab.does(&["plot", "run", "--library", "well.so"]).contains("weights.png"));
}

#[test]
#[ignore = "seconds: .ci/run"]
fn that_a_run_names_a_library_is_no_reason_to_run_its_code() {
    let lab = Lab::on(Backend::Ndarray);
    let ran = "#include <stdio.h>\n\
               __attribute__((constructor)) static void loaded(void) { fclose(fopen(\"ran\", \"w\")); }";
    compile_points(&lab, "normal", ran, NORMAL);
    compile_points(&lab, "other", &format!("{ran}\nint another = 1;"), NORMAL);
    recipe(&lab, "normal", "[train]\nsteps = 10\nvalidate_every = 0");
    lab.does(&[&["train", "normal.toml", "--out", "run"], SMALL].concat());
    let has_run = || fs::remove_file(lab.path("ran")).is_ok();
    assert!(has_run(), "a recipe that was typed is trusted");
    for words in [
        &["evaluate", "run"][..],
        &["physics", "run"],
        &["plot", "run"],
        &["train", "--resume", "--out", "run", "--set=train.steps=12"],
        &["train", "--from", "run", "--out", "next"],
        &["train", "run/config.toml", "--out", "next"],
    ] {
        lab.refuses(words, 2, &["normal.so", "because a run names it", "give --library"]);
        assert!(!has_run() && !lab.path("next").exists(), "{words:?}");
    }
    lab.does(&["sample", "run", "--count", "10", "--out", "samples.csv"]);
    lab.does(&["score", "run", "samples.csv"]);
    lab.does(&["transform", "run", "samples.csv", "--out", "base.csv"]);
    lab.does(&["export", "run", "--out", "weights.safetensors"]);
    assert!(!has_run());
    // Another library than that of the run is told by its hash, before any of its code runs.
    let sha256 = |file: &str| {
        let out = Command::new("sha256sum").arg(lab.path(file)).output().unwrap();
        String::from_utf8(out.stdout).unwrap()[..64].to_owned()
    };
    let both = [sha256("other.so"), sha256("normal.so")];
    for words in [
        &["evaluate", "run", "--library", "other.so"][..],
        &["train", "--resume", "--out", "run", "--library", "other.so", "--set=train.steps=12"],
    ] {
        lab.refuses(words, 2, &["other.so", &both[0], &both[1]]);
        assert!(!has_run(), "{words:?}");
    }
    // By its name, or by the recipe that was typed, it goes on.
    has_log_z(&json(&lab, &["evaluate", "run", "--library", "normal.so", "--json"]), std::f64::consts::TAU.ln());
    assert!(has_run());
    lab.does(&["train", "--resume", "--out", "run", "--library", "normal.so", "--set=train.steps=12"]);
    lab.does(&["train", "normal.toml", "--resume", "--out", "run", "--set=train.steps=14"]);
    lab.does(&["train", "--from", "run", "--out", "next", "--library", "normal.so"]);
    lab.trains(TOY, "toy", &[]);
    lab.refuses(&["evaluate", "toy", "--library", "normal.so"], 2, &["--library", "a density in the plane"]);
}

#[test]
fn what_cannot_be_trained_on_is_refused_before_anything_is_written() {
    let lab = Lab::on(Backend::Ndarray);
    let refused = |name: &str, more: &str, code: i32, parts: &[&str]| {
        recipe(&lab, name, more);
        lab.refuses(&["train", &format!("{name}.toml"), "--out", "run"], code, parts);
        assert!(!lab.path("run").exists(), "{name}");
    };
    refused("missing", "", 1, &["missing.so", "there is no such file"]);
    fs::write(lab.path("text.so"), "no library").unwrap();
    refused("text", "", 1, &["text.so", "no energy can be loaded"]);
    compile(&lab, "nameless", "int energy(void) { return 0; }\n");
    refused("nameless", "", 1, &["nameless.so", "no function maflow_energy"]);
    // The commonest mistake: a sign, a factor, an entry that was forgotten.
    let spring = "*e = 0.5 * x[0] * x[0] + 2.0 * x[1] * x[1]; g[0] = x[0];";
    for (name, entry, says) in [("sign", "g[1] = -4.0 * x[1];", "differences"), ("factor", "g[1] = 2.0 * x[1];", "x1")]
    {
        compile_points(&lab, name, "", &format!("{spring} {entry}"));
        refused(name, "", 1, &["gradient of the energy is wrong", "its entry for x1 is", "x1", says]);
    }
    compile_points(&lab, "forgotten", "", spring);
    refused("forgotten", "", 1, &["not finite at 256 of the 256 points", "the derivative by x1 is NaN"]);
    let wall = "double s = 1.0 / (x[0] > 1.0 ? x[0] - 1.0 : 0.0); *e = s * s; g[0] = -2 * s * s * s; g[1] = 0;";
    compile_points(&lab, "wall", "", wall);
    refused("wall", "", 1, &["is not finite at", "of the 256 points", "it is inf at x = [", "target.scale"]);
    compile(&lab, "well", DOUBLE_WELL);
    let three = "[target]\nkind = \"energy\"\ndimension = 3\nlibrary = \"well.so\"\n";
    fs::write(lab.path("three.toml"), three).unwrap();
    lab.refuses(
        &["train", "three.toml", "--out", "run"],
        1,
        &["returned 2", "points of 3 numbers", "target.dimension"],
    );
    // Keys that mean nothing.
    refused("well", "scale = [1, 2, 3]", 2, &["`target.scale`", "3 numbers", "2 coordinates"]);
    refused("well", "scale = -1", 2, &["`target.scale` = -1"]);
    refused("well", "scale = \"wide\"", 2, &["`target.scale`", "a number or a list of numbers"]);
    refused("well", "standardise = \"gaussian\"", 2, &["`target.standardise`", "target.samples"]);
    refused("well", "user = 3", 2, &["`target.user`", "library"]);
    refused("well", "[train]\nobjective = \"flow-matching\"", 2, &["target.samples"]);
    fs::write(lab.path("wide.csv"), "a,b,c\n1,2,3\n4,5,7\n").unwrap();
    refused("well", "samples = \"wide.csv\"", 2, &["wide.csv has 3 columns", "target.dimension is 2"]);
}

#[test]
fn a_training_that_meets_trouble_says_where_it_was() {
    let lab = Lab::on(Backend::Ndarray);
    // After some points there is no energy, or no answer.
    compile_points(&lab, "lost", "static int points;", &format!("{NORMAL} if (++points > 6000) *e = 0.0 / 0.0;"));
    compile_points(&lab, "ended", "static int points;", &format!("{NORMAL} if (++points > 6000) return 5;"));
    let short = "[train]\nsteps = 200\nmax_rollbacks = 2\nvalidate_every = 0";
    for name in ["lost", "ended"] {
        recipe(&lab, name, short);
    }
    let train = |name: &'static str, out: &'static str| [&["train", name, "--out", out], SMALL].concat();
    let parts = ["non-finite numbers 3 times", "lost.so was not finite, first at x = ["];
    let told = lab.refuses(&train("lost.toml", "lost"), 1, &parts);
    assert!(told.contains("learning rate times 0.5"), "{told}");
    lab.refuses(&train("ended.toml", "ended"), 1, &["ended.so returned 5"]);
}

#[test]
fn scales_and_samples_are_in_the_users_units() {
    let lab = Lab::on(Backend::Ndarray);
    // Deviations 20 and 3e-4 around 1000 and 0, correlated by 0.6.
    let point = "double a = (x[0] - 1000.0) / 20.0, b = (x[1] / 3e-4 - 0.6 * a) / 0.8;\
                 *e = 0.5 * (a * a + b * b);\
                 g[0] = (a - b * 0.6 / 0.8) / 20.0; g[1] = b / (0.8 * 3e-4);";
    compile_points(&lab, "units", "", point);
    let exact = (std::f64::consts::TAU * 20.0 * 3e-4 * 0.8).ln();
    let mut text = "a,b\n".to_owned();
    for z in RngKey::new(7, Purpose::Sample, 0).normals(0..2000, 2).chunks_exact(2) {
        writeln!(text, "{:?},{:?}", 1000.0 + 20.0 * z[0], 3e-4 * (0.6 * z[0] + 0.8 * z[1])).unwrap();
    }
    fs::write(lab.path("md.csv"), &text).unwrap();
    recipe(&lab, "units", "samples = \"md.csv\"\n[train]\nsteps = 60\n[fine_tune]\nsteps = 20\nbatch = 64");
    lab.does(&[&["train", "units.toml", "--out", "run"], SMALL].concat());
    has_log_z(&json(&lab, &["evaluate", "run", "--library", "units.so", "--json"]), exact);
    let moments = |run: &str| {
        lab.does(&["sample", run, "--count", "2000", "--out", "samples.csv"]);
        let text = fs::read_to_string(lab.path("samples.csv")).unwrap();
        let rows: Vec<Vec<f64>> =
            text.lines().skip(1).map(|row| row.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
        let mean = |of: &dyn Fn(&[f64]) -> f64| rows.iter().map(|row| of(row)).sum::<f64>() / 2000.0;
        (mean(&|row| row[0]), mean(&|row| row[1].powi(2)).sqrt())
    };
    let (mean, deviation) = moments("run");
    assert!((mean - 1000.0).abs() < 3.0 && (deviation / 3e-4 - 1.0).abs() < 0.15, "{mean} {deviation}");
    // The energy that a study tells of is the user's: one half for each coordinate.
    let physics = json(&lab, &["physics", "run", "--library", "units.so", "--samples=2000", "--chain=0", "--json"]);
    let (energy, error) = (number(&physics, "energy_weighted"), number(&physics, "energy_weighted_error"));
    assert!((energy - 1.0).abs() < 4.0 * error && error < 0.1, "{energy} ± {error}");
    // Other samples under the same name are not gone on with.
    fs::write(lab.path("md.csv"), text.replacen("\n1", "\n9", 1)).unwrap();
    let resume = ["train", "--resume", "--out", "run", "--library", "units.so"];
    lab.refuses(&resume, 2, &["md.csv", "begun with"]);
    // A scale alone, of an energy around zero.
    let wide = "double a = x[0] / 50.0, b = x[1] / 1e-3; *e = 0.5 * (a * a + b * b); g[0] = a / 50.0; g[1] = b / 1e-3;";
    compile_points(&lab, "wide", "", wide);
    recipe(&lab, "wide", "scale = [40, 1.2e-3]\n[train]\nsteps = 60");
    lab.does(&[&["train", "wide.toml", "--out", "wide"], SMALL].concat());
    let figures = json(&lab, &["evaluate", "wide", "--library", "wide.so", "--json"]);
    has_log_z(&figures, (std::f64::consts::TAU * 50.0 * 1e-3).ln());
    let (mean, deviation) = moments("wide");
    assert!(mean.abs() < 6.0 && (deviation / 1e-3 - 1.0).abs() < 0.2, "{mean} {deviation}");
}

#[test]
#[ignore = "seconds: .ci/run"]
fn a_library_is_called_from_several_threads_only_where_it_says_that_it_may_be() {
    let lab = Lab::on(Backend::Ndarray);
    // Waits a while for another call while it is inside, and writes down that one came. The first calls, which check
    // the energy, come one by one.
    let meeting = |patience: u32| {
        format!(
            "#include <stdatomic.h>\n#include <stdio.h>\n#include <unistd.h>\n\
             static atomic_int calls, inside, met;\n\
             static void enter(void) {{\n\
             if (atomic_fetch_add(&calls, 1) < 5) return;\n\
             atomic_fetch_add(&inside, 1);\n\
             for (int k = 0; k < {patience} && !met; k++) {{\n\
             if (inside > 1) {{ met = 1; fclose(fopen(\"met\", \"w\")); }}\n\
             usleep(100);\n}}\n\
             atomic_fetch_sub(&inside, 1);\n}}"
        )
    };
    let says = |word: u8| format!("int maflow_energy_is_thread_safe(void) {{ return {word}; }}");
    for (name, before, meets) in [
        ("silent", meeting(100), false),
        ("no", meeting(100) + "\n" + &says(0), false),
        ("yes", meeting(20_000) + "\n" + &says(1), true),
    ] {
        compile_points(&lab, name, &before, &format!("if (r == 0) enter(); {NORMAL}"));
        recipe(&lab, name, "[train]\nsteps = 2\nvalidate_every = 0\nwatch_every = 0");
        lab.does(
            &[&["train", &format!("{name}.toml"), "--out", name, "--set=evaluate.samples=64"], &SMALL[..5]].concat(),
        );
        assert_eq!(fs::remove_file(lab.path("met")).is_ok(), meets, "{name}");
    }
}

#[test]
fn named_observables_are_averaged_by_every_way_in_the_users_units() {
    let lab = Lab::on(Backend::Ndarray);
    let observables = "int maflow_observables(size_t rows, size_t dim, size_t count, const double *x, \
                       double *values, void *user) {\
                       for (size_t r = 0; r < rows; r++) {\
                       values[2 * r] = x[2 * r]; values[2 * r + 1] = x[2 * r] * x[2 * r + 1]; }\
                       return count == 2 && dim == 2 && user == 0 ? 0 : 7; }";
    compile_points(
        &lab,
        "measured",
        observables,
        "*e = 0.5 * (x[0] * x[0] + x[1] * x[1]) - x[0] - 0.5 * x[0] * x[1];\
                                                   g[0] = x[0] - 1.0 - 0.5 * x[1]; g[1] = x[1] - 0.5 * x[0];",
    );
    recipe(&lab, "measured", "observables = [\"first\", \"product\"]\nscale = 2.0\n[train]\nsteps = 100");
    lab.does(&[&["train", "measured.toml", "--out", "measured"], SMALL].concat());
    let words = ["physics", "measured", "--library", "measured.so", "--samples=4000", "--chain=50", "--json"];
    let physics = json(&lab, &words);
    // The inverse of [[1, −½], [−½, 1]] is [[4/3, 2/3], [2/3, 4/3]], and the mean that times (1, 0).
    for (name, exact) in [("first", 4.0 / 3.0), ("product", 8.0 / 9.0 + 2.0 / 3.0)] {
        for way in ["weighted", "metropolis", "latent_hybrid", "plain_hybrid"] {
            let of = |suffix: &str| number(&physics, &format!("{name}_{way}{suffix}"));
            let (found, error) = (of(""), of("_error"));
            assert!((found - exact).abs() < 5.0 * error && error < 0.4, "{name} by {way}: {found} ± {error}, {exact}");
        }
    }
    let refused = |names: &str, code: i32, parts: &[&str]| {
        recipe(&lab, "measured", &format!("observables = {names}\n[train]\nsteps = 10"));
        lab.refuses(&["train", "measured.toml", "--out", "refused"], code, parts);
    };
    refused("[\"energy\"]", 2, &["target.observables", "\"energy\""]);
    refused("[\"a b\"]", 2, &["target.observables", "letters"]);
    recipe(&lab, "plain", "observables = [\"first\"]\n[train]\nsteps = 10");
    compile_points(&lab, "plain", "", NORMAL);
    lab.refuses(&["train", "plain.toml", "--out", "refused"], 1, &["maflow_observables", "target.observables"]);
}
