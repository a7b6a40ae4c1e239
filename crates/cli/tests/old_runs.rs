//! Runs that an older program made: their figures come out as they did, and they go on where they stopped.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// The runs. Beside each is a JSON file of the same name with what the program of its time told; `make.py` made both.
fn old_runs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/old-runs")
}

/// A copy of an old run, to be worked with.
struct OldRun {
    folder: tempfile::TempDir,
    name: String,
    recorded: Value,
    /// Largest relative difference of a figure: processors round differently.
    tolerance: f64,
}

impl OldRun {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&old_runs().join(name), &folder.path().join(name));
        let recorded = fs::read_to_string(old_runs().join(format!("{name}.json"))).unwrap();
        let config = fs::read_to_string(old_runs().join(name).join("config.toml")).unwrap();
        let tolerance = match config.parse::<toml::Table>().unwrap()["train"]["precision"].as_str().unwrap() {
            "f64" => 1e-9,
            _ => 2e-5,
        };
        Self { folder, name: name.to_owned(), recorded: serde_json::from_str(&recorded).unwrap(), tolerance }
    }

    #[track_caller]
    fn does(&self, words: &[&str]) -> String {
        let mut command = Command::cargo_bin("maflow").unwrap();
        let output = command.current_dir(self.folder.path()).args(["--threads", "2"]).args(words).output().unwrap();
        assert!(output.status.success(), "{} {words:?}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn figures(&self) -> Value {
        let mut words = vec!["evaluate", &self.name, "--json"];
        if self.name == "digits" {
            write_digits(&self.folder.path().join("data"));
            words.extend(["--data", "data"]);
        }
        serde_json::from_str(&self.does(&words)).unwrap()
    }

    /// The last row of the metrics; what is no number is left out.
    fn last_row(&self) -> Value {
        let mut rows = csv::Reader::from_path(self.folder.path().join(&self.name).join("metrics.csv")).unwrap();
        let names = rows.headers().unwrap().clone();
        let last = rows.records().last().unwrap().unwrap();
        let cells = names
            .iter()
            .zip(&last)
            .filter_map(|(name, cell)| Some((name.to_owned(), cell.parse::<f64>().ok()?.into())));
        Value::Object(cells.collect())
    }

    /// Compares every key; what is not a number must be equal.
    #[track_caller]
    fn expect(&self, recorded: &Value, found: &Value) {
        let name = &self.name;
        let number = |key: &str| recorded[key].as_f64();
        let of_all = || ["nll_nats", "free_energy_per_site", "loss"].into_iter().find_map(number).unwrap();
        assert!(!recorded.as_object().unwrap().is_empty(), "{name}");
        for (key, before) in recorded.as_object().unwrap() {
            let after = &found[key];
            // An error that the weights do not allow is told no more.
            if key == "log_z_importance_error" && after.is_null() {
                assert!(found["pareto_k"].as_f64().is_some_and(|shape| shape > 0.5), "{name}: {found}");
                continue;
            }
            let (Some(old), Some(new)) = (before.as_f64(), after.as_f64()) else {
                assert_eq!(before, after, "{name}: {key} in {found}");
                continue;
            };
            // A difference of two large numbers is as exact as they are.
            let scale = if key == "integration_error" { of_all() } else { old };
            assert!((new - old).abs() <= self.tolerance * scale.abs(), "{name}: {key} was {old} and is {new}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The made-up pictures that `make.py` trained on.
fn write_digits(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (name, count) in [("train", 24), ("t10k", 7_usize)] {
        let mut pictures = [0x803_u32, count as u32, 28, 28].map(u32::to_be_bytes).concat();
        pictures.extend((0..count as u64 * 784).map(|k| (k.wrapping_mul(2_654_435_761) >> 9) as u8));
        let mut labels = [0x801_u32, count as u32].map(u32::to_be_bytes).concat();
        labels.extend((0..count).map(|k| (k % 10) as u8));
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), pictures).unwrap();
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn figures_of_old_runs_come_out_as_they_did() {
    let entries = fs::read_dir(old_runs()).unwrap().map(|entry| entry.unwrap().path());
    let names: Vec<String> =
        entries.filter(|path| path.is_dir()).map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    for run in names.iter().map(|name| OldRun::new(name)) {
        run.expect(&run.recorded["figures"], &run.figures());
    }
}

#[test]
fn interrupted_old_runs_go_on_to_the_end_they_had() {
    for run in ["interrupted", "interrupted-two-trainings"].map(OldRun::new) {
        run.does(&["train", "--resume", "--out", &run.name]);
        let resumed = &run.recorded["resumed"];
        run.expect(&resumed["metrics"], &run.last_row());
        run.expect(&resumed["figures"], &run.figures());
    }
}
