//! The life of a run from outside: trained, evaluated, sampled, drawn, exported and imported.

use std::fs;

use flow_core::Precision;
use flow_core::Tensor;
use maflow::backend::Backend;
use maflow::tensor_file::TensorFile;
use serde_json::Value;

use crate::lab::{ISING, Lab, TOY, content, on_every_backend, on_one_backend};

fn keys(figures: &Value) -> Vec<&str> {
    figures.as_object().unwrap().keys().map(String::as_str).collect()
}

pub fn number(figures: &Value, key: &str) -> f64 {
    figures[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {figures}"))
}

fn is_picture(path: &std::path::Path) -> bool {
    let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels.iter().any(|p| *p != pixels[0])
}

#[test]
fn a_density_in_the_plane_from_training_to_pictures() {
    on_every_backend(|lab| {
        let told = lab.trains(TOY, "run", &[]);
        // The recipe is changed, and no longer what its description says.
        assert!(told.trim_start().starts_with("rings · 12 steps"), "{told}");
        for words in ["negative log-likelihood", "entropy of the data", "gap", "integration error", "12 steps"] {
            assert!(told.contains(words), "{words:?} is missing in\n{told}");
        }
        let figures = lab.figures("run", &[]);
        for key in ["objective", "samples", "steps", "standard_error", "integration_error", "nll_nats", "kl_nats"] {
            assert!(keys(&figures).contains(&key), "{key} is missing in {figures}");
        }
        assert_eq!((figures["objective"].as_str(), figures["samples"].as_u64()), (Some("nll"), Some(300)));
        let entropy = datasets::plane::PlaneDensity::Rings.entropy();
        assert!((number(&figures, "nll_nats") - number(&figures, "kl_nats") - entropy).abs() < 1e-9);
        assert!(number(&figures, "kl_nats") > 0.1, "twelve steps cannot be enough");
        // The way of the points is longer than the shortest, and by how much is told.
        let of_transport = |key: &str| number(&figures, &format!("transport_{key}"));
        assert!((of_transport("cost") / of_transport("bound") - of_transport("ratio")).abs() < 1e-9, "{figures}");
        assert!(of_transport("ratio") >= 1.0 && of_transport("samples") == 2000.0, "{figures}");
        assert!(told.contains("transport cost") && told.contains("over the least"), "{told}");
        assert_eq!(figures, lab.figures("run", &[]), "figures are taken on the same rows every time");
        assert_ne!(figures, lab.figures("run", &["--seed", "9"]));
        // The text shows the same figure.
        let nll = format!("{:.3}", number(&figures, "nll_nats"));
        assert!(told.contains(&nll[..4]), "{nll} is not in\n{told}");

        // The target has no files.
        for words in [&["evaluate", "run"][..], &["plot", "run"], &["train", "--resume", "--out", "run"]] {
            let before = content(&lab.path("run"));
            lab.refuses(&[words, &["--data", "."]].concat(), 2, &["rings has no files", "leave --data out"]);
            assert_eq!(content(&lab.path("run")), before);
        }

        let drawn = lab.does(&["plot", "run"]);
        assert!(["loss.png", "density.png", "path.png"].iter().all(|name| drawn.contains(name)), "{drawn}");
        assert!(drawn.lines().all(|name| lab.path(name).is_file()), "{drawn}");
        assert!(is_picture(&lab.path("run/plots/loss.png")) && is_picture(&lab.path("run/plots/density.png")));

        // The same figures and pictures on one page.
        assert_eq!(lab.does(&["report", "run"]).trim(), "run/report.html");
        lab.does(&["report", "run", "--out", "page.html"]);
        let page = std::fs::read_to_string(lab.path("page.html")).unwrap();
        assert_eq!(page, std::fs::read_to_string(lab.path("run/report.html")).unwrap());
        assert_eq!(page.matches("<img alt=").count(), 3, "loss, density, path");
        assert!(page.contains(&nll[..4]) && page.contains("hidden = ") && !page.contains("<script"));
    });
}

#[test]
fn figures_hold_with_other_methods_and_finer_steps() {
    on_one_backend(|lab| {
        // A learning rate that moves the points enough for one step to be coarse.
        lab.trains(TOY, "run", &["--precision", "f64", "--set=train.learning_rate=0.05"]);
        let fixed = lab.figures("run", &["--steps", "40"]);
        assert_eq!(fixed["steps"], 80, "{fixed}");
        assert!(number(&fixed, "integration_error") < 1e-6, "{fixed}");
        let adaptive = lab.figures("run", &["--method", "dopri5"]);
        assert!(
            adaptive["steps"].is_null() && adaptive["integrator"].as_str().unwrap().contains("dopri5"),
            "{adaptive}"
        );
        let difference = number(&fixed, "nll_nats") - number(&adaptive, "nll_nats");
        assert!(difference.abs() < 1e-4, "{fixed} {adaptive}");
        // In single precision the same to round-off.
        let single = lab.figures("run", &["--steps", "40", "--precision", "f32"]);
        let difference = number(&fixed, "nll_nats") - number(&single, "nll_nats");
        assert!(difference != 0.0 && difference.abs() < 1e-5, "{difference:e}");
        let coarse = lab.figures("run", &["--method", "euler", "--steps", "1", "--refinements", "1"]);
        assert_eq!((coarse["steps"].as_u64(), coarse["converged"].as_bool()), (Some(2), Some(false)));
        assert!(
            lab.does(&["evaluate", "run", "--method", "euler", "--steps", "1", "--refinements", "1"])
                .contains("give more --steps")
        );
    });
}

#[test]
fn an_ising_model_is_compared_with_its_exact_value() {
    on_one_backend(|lab| {
        for (out, boundary, more) in [
            ("torus", ising_exact::Boundary::PERIODIC, &[][..]),
            (
                "sheet",
                ising_exact::Boundary::OPEN,
                &["--set=target.boundary=open", "--set=potential.symmetry.group=[\"d4\", \"z2\"]"],
            ),
        ] {
            let told = lab.trains(ISING, out, more);
            assert!(told.contains("exact value") && told.contains("free energy per site"), "{told}");
            let figures = lab.figures(out, &[]);
            for key in [
                "objective",
                "samples",
                "steps",
                "standard_error",
                "integration_error",
                "free_energy_per_site",
                "exact_free_energy_per_site",
                "kl_nats",
                "ess",
                "log_z_importance",
            ] {
                assert!(keys(&figures).contains(&key), "{key} is missing in {figures}");
            }
            let lattice = ising_exact::Lattice::square(4).unwrap().boundary(boundary);
            let exact = lattice.continuous(ising_exact::critical_temperature(1.0, 1.0)).unwrap();
            let (found, exact) = (number(&figures, "exact_free_energy_per_site"), exact.free_energy_per_site);
            assert!((found - exact).abs() < 1e-12, "{found} {exact}");
            let gap = 16.0 * (number(&figures, "free_energy_per_site") - exact);
            assert!((gap - number(&figures, "kl_nats")).abs() < 1e-9 && gap > 0.0, "{figures}");
            let ess = number(&figures, "ess");
            assert!(ess > 1.0 / 300.0 && ess < 1.0, "{figures}");
            for picture in ["samples", "path", "clusters", "weights"] {
                assert!(is_picture(&lab.path(out).join(format!("plots/{picture}.png"))), "{picture}");
            }
        }
        // A potential that is symmetric itself, with amplitudes that depend on time.
        let symmetric =
            ["--set=potential.symmetry.draw=never", "--set=potential.hidden=2", "--set=potential.time_terms=3"];
        lab.trains(ISING, "symmetric", &symmetric);
        assert!(number(&lab.figures("symmetric", &[]), "kl_nats") > 0.0);
        // The loss while training is per site: the last batch is near the final figure.
        let last: Vec<String> = lab.metrics("torus").last().unwrap().split(',').map(str::to_owned).collect();
        let loss: f64 = last[2].parse().unwrap();
        let free_energy = number(&lab.figures("torus", &[]), "free_energy_per_site");
        assert!((loss - free_energy).abs() < 0.3, "{loss} {free_energy}");
    });
}

#[test]
fn samples_come_as_numbers_and_as_pictures() {
    on_one_backend(|lab| {
        lab.trains(TOY, "toy", &[]);
        lab.trains(ISING, "ising", &["--precision", "f64"]);
        lab.does(&["sample", "toy", "--count", "1500", "--out", "toy.npy"]);
        lab.does(&["sample", "ising", "--count", "3", "--out", "ising.npy"]);
        let toy: ndarray::Array2<f32> = ndarray_npy::read_npy(lab.path("toy.npy")).unwrap();
        let ising: ndarray::Array3<f64> = ndarray_npy::read_npy(lab.path("ising.npy")).unwrap();
        assert_eq!((toy.shape(), ising.shape()), (&[1500, 2][..], &[3, 4, 4][..]));
        assert!(toy.iter().all(|x| x.is_finite()) && ising.iter().all(|x| x.is_finite()));
        // Nearly untrained, the flow is still about as wide as its base; no number is left at zero.
        let spread = toy.iter().map(|x| x * x).sum::<f32>() / 3000.0;
        assert!((0.3..3.0).contains(&spread) && toy.iter().all(|x| *x != 0.0), "{spread}");
        // Fewer samples are the first of more, and another seed gives others.
        lab.does(&["sample", "toy", "--count", "7", "--out", "few.npy"]);
        lab.does(&["sample", "toy", "--count", "7", "--out", "other.npy", "--seed", "3"]);
        let few: ndarray::Array2<f32> = ndarray_npy::read_npy(lab.path("few.npy")).unwrap();
        let other: ndarray::Array2<f32> = ndarray_npy::read_npy(lab.path("other.npy")).unwrap();
        assert!(few.iter().zip(&toy).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_ne!(few, other);
        for (run, out) in [("toy", "toy.png"), ("ising", "ising.png")] {
            lab.does(&["sample", run, "--count", "10", "--out", out]);
            assert!(is_picture(&lab.path(out)));
        }
        let words = ["sample", "ising", "--count", "5000", "--out", "many.png"];
        lab.refuses(&words, 2, &["at most 1024", ".npy"]);
        assert!(!lab.path("many.png").exists());
    });
}

/// The words that import weights of the shape of [`TOY`].
pub fn import<'a>(file: &'a str, out: &'a str) -> Vec<&'a str> {
    [&["import", file, "--recipe"], TOY, &["--out", out]].concat()
}

#[test]
fn weights_go_out_and_come_back() {
    on_one_backend(|lab| {
        lab.trains(TOY, "run", &[]);
        lab.does(&["export", "run", "--out", "weights.safetensors"]);
        let weights = TensorFile::read(&lab.path("weights.safetensors")).unwrap();
        let shapes: Vec<_> = weights.tensors.iter().map(|t| (t.name.as_str(), t.shape.clone())).collect();
        let expected = [("fc1.bias", vec![8]), ("fc1.weight", vec![8, 2]), ("fc2.weight", vec![1, 8])];
        assert_eq!(shapes, expected);

        lab.does(&import("weights.safetensors", "back"));
        assert_eq!(lab.figures("run", &[]), lab.figures("back", &[]));

        // Under our own names, and in double precision.
        let ours = weights.tensors.iter().map(|tensor| {
            let (name, shape) = match tensor.name.as_str() {
                "fc1.weight" => ("weight", vec![8, 2]),
                "fc1.bias" => ("bias", vec![8]),
                _ => ("amplitude", vec![8]),
            };
            Tensor { name: name.to_owned(), shape, precision: Precision::F64, values: tensor.values.clone() }
        });
        let ours = TensorFile { tensors: ours.collect(), ..TensorFile::default() };
        ours.write(&lab.path("ours.safetensors")).unwrap();
        lab.does(&import("ours.safetensors", "ours"));
        assert_eq!(lab.figures("run", &[]), lab.figures("ours", &[]));

        // A symmetry is no weight, and is told of.
        let told =
            |run| String::from_utf8(lab.maflow(&["export", run, "--out", "w"]).output().unwrap().stderr).unwrap();
        assert_eq!(told("run"), "");
        lab.trains(TOY, "even", &["--set=potential.symmetry.group=[\"z2\"]"]);
        assert!(told("even").contains("[potential.symmetry]"), "{}", told("even"));

        // Amplitudes that depend on time are one output of the second layer for each term.
        lab.trains(TOY, "timed", &["--set=potential.time_terms=3"]);
        lab.does(&["export", "timed", "--out", "timed.safetensors"]);
        lab.does(&[&import("timed.safetensors", "timed-back")[..], &["--set=potential.time_terms=3"]].concat());
        assert_eq!(lab.figures("timed", &[]), lab.figures("timed-back", &[]));

        // An imported run can be drawn without a loss curve, and trained further.
        assert!(!lab.does(&["plot", "back"]).contains("loss"));
        lab.does(&["train", "--resume", "--out", "back"]);
        assert_eq!(lab.metrics("back").len(), 1 + 12);
        assert_ne!(lab.figures("run", &[]), lab.figures("back", &[]));
    });
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    on_one_backend(|lab| {
        let tensor = |name: &str, shape: &[usize], value: f64| Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            precision: Precision::F32,
            values: vec![value; shape.iter().product()],
        };
        let good =
            [tensor("fc1.weight", &[8, 2], 0.1), tensor("fc1.bias", &[8], 0.0), tensor("fc2.weight", &[1, 8], 0.2)];
        let write = |tensors: &[Tensor]| {
            let file = TensorFile { tensors: tensors.to_vec(), ..TensorFile::default() };
            file.write(&lab.path("w.safetensors")).unwrap();
        };
        let words = import("w.safetensors", "run");
        let refused = |tensors: &[Tensor], parts: &[&str]| {
            write(tensors);
            let stderr = lab.refuses(&words, 1, parts);
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(!lab.path("run").exists());
        };
        refused(&[good[0].clone(), good[1].clone()], &["w.safetensors", "no tensor `fc2.weight`", "fc1.weight"]);
        refused(
            &[good[0].clone(), good[1].clone(), tensor("fc2.weight", &[8], 0.2)],
            &["`fc2.weight`", "[8]", "[1, 8]"],
        );
        refused(&[tensor("fc1.weight", &[4, 2], 0.1), good[1].clone(), good[2].clone()], &["[4, 2]", "[8, 2]"]);
        refused(&[good[0].clone(), tensor("fc1.bias", &[8], f64::NAN), good[2].clone()], &["NaN", "position 0"]);
        refused(&[&good[..], &[tensor("fc3.weight", &[1], 0.0)]].concat(), &["`fc3.weight`", "only fc1.weight"]);
        fs::write(lab.path("w.safetensors"), b"not weights").unwrap();
        lab.refuses(&words, 1, &["w.safetensors", "no safetensors file"]);
        write(&good);
        lab.does(&words);
        let before = content(&lab.path("run"));
        lab.refuses(&words, 2, &["already holds a run"]);
        assert_eq!(before, content(&lab.path("run")));
    });
}

/// Two IDX files of random pictures.
pub fn write_digits(lab: &Lab, folder: &str, training: usize, test: usize) {
    let folder = lab.path(folder);
    fs::create_dir_all(&folder).unwrap();
    for (name, count) in [("train", training), ("t10k", test)] {
        let mut pictures = [0x803_u32, count as u32, 28, 28].map(u32::to_be_bytes).concat();
        pictures.extend((0..count * 784).map(|k| (k.wrapping_mul(2_654_435_761) >> 9) as u8));
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), pictures).unwrap();
    }
}

const DIGITS: &[&str] = &[
    "mnist",
    "--data=digits",
    "--set=target.content=any",
    "--set=potential.hidden=4",
    "--set=flow.time=0.1",
    "--set=flow.steps=2",
    "--set=train.max_flow_steps=2",
    "--set=train.batch=5",
    "--set=train.epochs=2",
];

#[test]
fn pictures_are_trained_on_by_epochs() {
    on_one_backend(|lab| {
        write_digits(lab, "digits", 24, 7);
        let told = lab.trains(DIGITS, "run", &[]);
        assert!(told.contains("bits per dimension"), "{told}");
        // 20 of 24 pictures train: 2 epochs of 4 batches, each validated at its end.
        let metrics = lab.metrics("run");
        let columns: Vec<Vec<&str>> = metrics.iter().skip(1).map(|line| line.split(',').collect()).collect();
        let epochs: Vec<&str> = columns.iter().map(|row| row[1]).collect();
        assert_eq!(epochs, ["0", "0", "0", "0", "1", "1", "1", "1"]);
        let validated: Vec<bool> = columns.iter().map(|row| !row[8].is_empty()).collect();
        assert_eq!(validated, [false, false, false, true, false, false, false, true]);
        assert!(lab.path("run/checkpoints/best.safetensors").is_file());
        let figures = lab.figures("run", &["--data", "digits"]);
        assert_eq!(figures["samples"], 7);
        // The same files where torchvision puts them.
        write_digits(lab, "data/MNIST/raw", 24, 7);
        assert_eq!(lab.figures("run", &["--data", "data"]), figures);
        // Uniform pixels cannot be told in fewer than 8 bits.
        assert!(number(&figures, "bits_per_dim") > 8.0, "{figures}");
        for picture in ["loss", "samples", "journey"] {
            assert!(is_picture(&lab.path(&format!("run/plots/{picture}.png"))), "{picture}");
        }
        lab.does(&["sample", "run", "--count", "2", "--out", "digits.npy"]);
        let digits: ndarray::Array3<f32> = ndarray_npy::read_npy(lab.path("digits.npy")).unwrap();
        assert_eq!(digits.shape(), [2, 28, 28]);
        lab.refuses(&["evaluate", "run", "--data", "digits", "--samples", "8"], 2, &["7 rows", "--samples"]);
    });
}

#[test]
fn a_batch_of_more_than_the_training_pictures_is_told_of() {
    let lab = Lab::on(Backend::Ndarray);
    write_digits(&lab, "digits", 24, 7);
    let noted = |batch: &str, out: &str| {
        let batch = format!("--set=train.batch={batch}");
        let settings = [&batch[..], "--set=train.epochs=1"];
        let output = lab.maflow(&[&["train"], DIGITS, &settings, &["--out", out]].concat()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let (fits, large) = (noted("20", "fits"), noted("21", "large"));
    assert!(!fits.contains("more than once"), "{fits}");
    for part in ["train.batch = 21 is more than the 20 training rows", "set train.batch = 20 or less"] {
        assert!(large.contains(part), "{large}");
    }
}

#[test]
fn one_picture_has_no_standard_error() {
    let lab = Lab::on(Backend::Ndarray);
    // One of six validates, and one tests.
    write_digits(&lab, "digits", 6, 1);
    let output = lab.maflow(&[&["train"], DIGITS, &["--out", "run"]].concat()).output().unwrap();
    let (told, noted) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && told.contains("(without a standard error)"), "{told}{noted}");
    assert!(noted.contains(": validation ") && !format!("{told}{noted}").contains("NaN"), "{told}{noted}");
    let rows = lab.metrics("run");
    let last: Vec<&str> = rows.last().unwrap().split(',').collect();
    assert!(last[8].parse::<f64>().unwrap().is_finite() && last[9].is_empty(), "{last:?}");
    assert!(lab.figures("run", &["--data", "digits"])["standard_error"].is_null());
}

#[test]
fn a_training_is_not_resumed_with_other_pictures() {
    let lab = Lab::on(Backend::Ndarray);
    write_digits(&lab, "digits", 24, 7);
    lab.trains(DIGITS, "whole", &["--set=train.checkpoint_every=4"]);
    // The same number of other pictures: of one picture, another pixel.
    write_digits(&lab, "others", 24, 7);
    let file = lab.path("others/train-images-idx3-ubyte");
    let mut pictures = fs::read(&file).unwrap();
    pictures[5000] ^= 1;
    fs::write(&file, pictures).unwrap();
    let config = fs::read_to_string(lab.path("whole/config.toml")).unwrap();
    for (run, remembers) in [("now", true), ("before", false)] {
        lab.trains(DIGITS, run, &["--set=train.checkpoint_every=4"]);
        fs::remove_file(lab.checkpoints(run).last().unwrap()).unwrap();
        if !remembers {
            // A run of an earlier version.
            let without: Vec<&str> = config.lines().filter(|line| !line.starts_with("data = ")).collect();
            assert_eq!(without.len() + 1, config.lines().count(), "{config}");
            fs::write(lab.path(run).join("config.toml"), without.join("\n")).unwrap();
        }
        let resume = |data| ["train", "--resume", "--out", run, "--data", data];
        if remembers {
            let before = content(&lab.path(run));
            lab.refuses(&resume("others"), 2, &["in others are not those", "maflow train --from now --data others"]);
            assert_eq!(content(&lab.path(run)), before);
        }
        lab.does(&resume("digits"));
        assert_eq!((lab.final_bits(run), lab.metrics(run)), (lab.final_bits("whole"), lab.metrics("whole")));
        assert_eq!(fs::read_to_string(lab.path(run).join("config.toml")).unwrap(), config);
    }
    // A new run may begin from the weights with any data, and remembers these.
    lab.does(&["train", "--from", "now", "--data", "others", "--out", "further"]);
    lab.refuses(&["train", "--resume", "--out", "further", "--data", "digits"], 2, &["--data digits"]);
}

/// The recipe of the convolutional potential, at a size that trains in a moment.
const CONVOLUTIONAL: &[&str] = &[
    "mnist-conv",
    "--data=digits",
    "--set=target.content=any",
    "--set=potential.terms.2.channels=[2, 3]",
    "--set=potential.terms.2.hidden=4",
    "--set=potential.terms.1.centres=3",
    "--set=flow.steps=2",
    "--set=train.batch=8",
    "--set=train.steps=4",
    "--set=train.schedule.warmup=1",
    "--set=evaluate.samples=5",
    "--set=evaluate.refinements=1",
];

#[test]
#[ignore = "seconds: .ci/run"]
fn a_convolutional_potential_is_trained_on_libtorch_and_its_probes_are_told() {
    on_every_backend(|lab| {
        // Fewer test pictures than a figure has room for.
        write_digits(lab, "digits", 24, 5);
        if lab.backend() == "ndarray" {
            let words = [&["train"], CONVOLUTIONAL, &["--out", "run"]].concat();
            let stderr =
                lab.refuses(&words, 2, &["\"convolutional\"", "--backend tch-cpu", "scripts/setup-libtorch.sh"]);
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(!lab.path("run").exists());
            return;
        }
        let told = lab.trains(CONVOLUTIONAL, "run", &[]);
        assert!(told.contains("Laplacian by 1 probe per row"), "{told}");
        let figures = lab.figures("run", &["--data=digits"]);
        assert_eq!(figures["laplacian_probes"], 1, "{figures}");
        // More probes, and other figures within their errors.
        let more = lab.figures("run", &["--data=digits", "--set=potential.terms.2.probes=3"]);
        assert_eq!(more["laplacian_probes"], 3, "{more}");
        let difference = number(&more, "nll_nats") - number(&figures, "nll_nats");
        assert!(difference != 0.0 && difference.abs() < 5.0 * number(&figures, "standard_error"), "{figures} {more}");
    });
}

#[test]
fn pictures_that_cannot_be_used_are_refused() {
    on_one_backend(|lab| {
        fs::create_dir(lab.path("digits")).unwrap();
        let words = [&["train"], DIGITS, &["--out", "run"]].concat();
        let refused = |parts: &[&str]| {
            let stderr = lab.refuses(&words, 1, parts);
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(!lab.path("run").exists());
        };
        refused(&["train-images-idx3-ubyte", "--data DIR"]);
        write_digits(lab, "digits", 24, 7);
        let file = lab.path("digits/train-images-idx3-ubyte");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..1000]).unwrap();
        refused(&["truncated", "1000"]);
        fs::write(&file, b"P5 24 784").unwrap();
        refused(&["magic number"]);
        fs::write(&file, &whole).unwrap();
        let published = [&words[..], &["--set=target.content=published"]].concat();
        lab.refuses(&published, 1, &["24 items instead of 60000", "target.content=any"]);
        assert!(!lab.path("run").exists());
    });
}
