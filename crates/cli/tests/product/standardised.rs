//! Data that enter the flow standardised: figures, samples and pictures are those of the data all the same, and the run
//! keeps the map.

use std::fs;

use maflow::backend::Backend;
use maflow::tensor_file::TensorFile;

use crate::lab::Lab;
use crate::runs::{number, write_digits};

/// A potential that is zero and stays there: the flow changes nothing, and the model is the base density.
const UNMOVED: &[&str] = &[
    "mnist-fast",
    "--data=digits",
    "--set=target.content=any",
    "--set=potential.terms=[{kind=\"quadratic\", time_terms=1}]",
    "--set=flow.steps=2",
    "--set=train.batch=4",
    "--set=train.steps=4",
    "--set=train.learning_rate=1e-30",
    "--set=train.schedule={kind=\"constant\"}",
    "--set=train.validate_every=4",
    "--set=train.checkpoint_every=2",
];

fn trained(lab: &Lab, kind: &str) {
    lab.trains(UNMOVED, kind, &[&format!("--set=target.standardise={kind}")]);
}

#[test]
fn figures_and_samples_are_those_of_the_data() {
    let lab = Lab::on(Backend::Ndarray);
    write_digits(&lab, "digits", 24, 7);
    let kinds = ["none", "scale", "per-coordinate"];
    let figures = kinds.map(|kind| {
        trained(&lab, kind);
        lab.figures(kind, &["--data", "digits"])
    });
    // What bits per pixel take off the likelihood is a number of the data alone.
    let jacobian = |k: usize| {
        let bits = number(&figures[k], "nll_nats") / (784.0 * std::f64::consts::LN_2);
        bits - number(&figures[k], "bits_per_dim")
    };
    let samples = kinds.map(|kind| {
        lab.does(&["sample", kind, "--count", "3", "--out", &format!("{kind}.npy")]);
        ndarray_npy::read_npy::<_, ndarray::Array3<f32>>(lab.path(&format!("{kind}.npy"))).unwrap()
    });
    for k in [1, 2] {
        assert!((jacobian(k) - jacobian(0)).abs() < 1e-5, "{}: {figures:?}", kinds[k]);
        // The moments of uniform pixels make a better Gaussian than those of the base density.
        assert!(number(&figures[k], "nll_nats") < number(&figures[0], "nll_nats") - 100.0, "{figures:?}");
        let kept = TensorFile::read(&lab.path(&format!("{}/standardisation.safetensors", kinds[k]))).unwrap();
        let values = |name: &str| kept.tensors.iter().find(|tensor| tensor.name == name).unwrap().values.clone();
        let (mean, deviations) = (values("mean"), values("deviations"));
        for (i, (base, sample)) in samples[0].iter().zip(&samples[k]).enumerate() {
            let expected = mean[i % 784] + deviations[i % 784] * f64::from(*base);
            assert!((f64::from(*sample) - expected).abs() < 1e-5 * expected.abs().max(1.0), "{sample}, not {expected}");
        }
    }
}

/// The negative log-likelihood of the Gaussian with the moments of the training pictures: by the flow, and by its
/// formula over many draws of the noise of the same pictures.
#[test]
fn an_unmoved_flow_is_the_gaussian_of_the_training_pictures() {
    let lab = Lab::on(Backend::Ndarray);
    write_digits(&lab, "digits", 24, 7);
    trained(&lab, "per-coordinate");
    let kept = TensorFile::read(&lab.path("per-coordinate/standardisation.safetensors")).unwrap();
    let values = |name: &str| &kept.tensors.iter().find(|tensor| tensor.name == name).unwrap().values;
    let pixels = fs::read(lab.path("digits/t10k-images-idx3-ubyte")).unwrap().split_off(16);
    let levels = datasets::mnist::LogitTransform::MNIST.level_moments();
    let moments = values("mean").iter().zip(values("deviations")).cycle();
    let terms = pixels.iter().zip(moments).map(|(pixel, (mean, deviation))| {
        let (level, variance) = levels[usize::from(*pixel)];
        let square = (variance + (level - mean).powi(2)) / deviation.powi(2);
        0.5 * (square + std::f64::consts::TAU.ln()) + deviation.ln()
    });
    let expected = terms.sum::<f64>() / 7.0;
    let figures = lab.figures("per-coordinate", &["--data", "digits"]);
    // Noise of 784 pixels in 7 pictures, each with a variance of its term of order 1.
    assert!(
        (number(&figures, "nll_nats") - expected).abs() < 5.0 * (784.0f64 / 7.0).sqrt(),
        "{figures}, not {expected}"
    );
    assert!(number(&figures, "integration_error") < 1e-3);
}

#[test]
fn a_run_keeps_its_standardisation() {
    let lab = Lab::on(Backend::Ndarray);
    write_digits(&lab, "digits", 24, 7);
    write_digits(&lab, "others", 600, 7);
    trained(&lab, "scale");
    let kept = |run: &str| TensorFile::read(&lab.path(run).join("standardisation.safetensors")).unwrap();
    let before = kept("scale");
    let figures = lab.figures("scale", &["--data", "digits"]);
    // Other training pictures have other moments, which a finished run does not care about.
    assert_eq!(lab.figures("scale", &["--data", "others"]), figures);
    lab.does(&["train", "--from", "scale", "--data", "others", "--out", "further"]);
    assert_eq!((kept("further").tensors, kept("further").metadata), (before.tensors.clone(), before.metadata.clone()));
    lab.does(&["train", "--resume", "--out", "scale", "--data", "digits", "--set=train.steps=6"]);
    assert_eq!(kept("scale"), before);
    lab.does(&["plot", "scale", "--data", "digits"]);
    let other = "--set=target.standardise=none";
    lab.refuses(&["train", "--from", "scale", "--data", "digits", other], 2, &["standardised by \"scale\""]);
    lab.refuses(&["evaluate", "scale", "--data", "digits", other], 2, &["standardised by \"scale\""]);
    let told = lab.does(&["export", "scale", "--out", "weights.safetensors"]);
    assert!(told.contains("standardisation.mean [784]"), "{told}");
    fs::write(lab.path("w.safetensors"), "").unwrap();
    lab.refuses(&["import", "w.safetensors", "--recipe", "mnist-fast", "--out", "x"], 2, &["target.standardise"]);
    let file = lab.path("scale/standardisation.safetensors");
    fs::write(&file, "cut short").unwrap();
    lab.refuses(&["evaluate", "scale", "--data", "digits"], 1, &["standardisation.safetensors"]);
}
