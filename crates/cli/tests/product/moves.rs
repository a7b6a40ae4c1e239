//! Weights and runs that come from elsewhere: PyTorch, or another backend. Figures are those of where they came from.

use std::path::Path;

use flow_core::Precision;
use flow_core::Tensor;
use half::{bf16, f16};
use maflow::backend::Backend;
use maflow::tensor_file::TensorFile;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::lab::{Lab, TOY, content, on_every_backend, on_one_backend};
use crate::runs::{import, write_digits};

/// Asserts that two reports say the same, numbers to a tolerance relative to the greater of them and 1.
#[track_caller]
fn agree(found: &Value, expected: &Value, tolerance: f64) {
    let (found, expected) = (found.as_object().unwrap(), expected.as_object().unwrap());
    assert!(expected.len() > 5 && found.keys().eq(expected.keys()), "{found:?}, expected {expected:?}");
    for (key, value) in expected {
        match (found[key].as_f64(), value.as_f64()) {
            (Some(found), Some(value)) => {
                let allowed = tolerance * value.abs().max(1.0);
                assert!((found - value).abs() <= allowed, "{key} is {found}, expected {value} within {allowed:e}");
            }
            _ => assert_eq!(&found[key], value, "{key}"),
        }
    }
}

/// What `torch.save` of two linear layers holds, as safetensors: numbers about as large as PyTorch's first ones.
fn write_state(path: &Path, dim: usize, hidden: usize, bias: bool) {
    let layer = |name: &str, shape: &[usize], fan_in: usize| Tensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        precision: Precision::F32,
        values: (0..shape.iter().product::<usize>())
            .map(|i| {
                let spread = ((i as f64 + fan_in as f64) * 12.9898).sin() * 43758.5453;
                f64::from(((2.0 * spread.fract()) / (fan_in as f64).sqrt()) as f32)
            })
            .collect(),
    };
    let mut tensors = vec![layer("fc1.weight", &[hidden, dim], dim), layer("fc2.weight", &[1, hidden], hidden)];
    tensors.extend(bias.then(|| layer("fc1.bias", &[hidden], dim)));
    TensorFile { tensors, ..TensorFile::default() }.write(path).unwrap();
}

/// Imports a state of PyTorch into a model of the paper on every backend; figures in double precision agree with those
/// of the first backend, and those in single precision are the same to round-off.
fn import_agrees(recipe: &str, size: (usize, usize, bool), import: &[&str], evaluate: &[&str]) {
    let expected = std::cell::OnceCell::new();
    on_every_backend(|lab| {
        write_digits(lab, "digits", 24, 7);
        write_state(&lab.path("state.safetensors"), size.0, size.1, size.2);
        lab.does(&[&["import", "state.safetensors", "--recipe", recipe, "--out", "run"], import].concat());
        let double = lab.figures("run", &[evaluate, &["--precision", "f64"]].concat());
        let expected = expected.get_or_init(|| double.clone());
        agree(&double, expected, 1e-9);
        let single = lab.figures("run", evaluate);
        assert_ne!(single, double);
        agree(&single, expected, 1e-3);
    });
}

#[test]
fn a_state_of_pytorch_in_the_papers_mnist_model() {
    let evaluate = ["--data", "digits", "--samples", "4", "--steps", "10", "--refinements", "1"];
    import_agrees("mnist", (784, 1024, true), &["--set=target.content=any"], &evaluate);
}

#[test]
fn a_state_of_pytorch_in_the_papers_ising_model() {
    let evaluate = ["--samples", "16", "--steps", "10", "--refinements", "1"];
    import_agrees("ising-16-paper", (256, 512, false), &[], &evaluate);
}

/// A tensor of a file as others write it.
struct Raw {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Raw {
    fn new<const N: usize>(name: &str, shape: &[usize], dtype: Dtype, bytes: impl Fn(f64) -> [u8; N]) -> Self {
        // Numbers that 16 bits of either kind hold, others for other names.
        let value = |i: usize| ((7 * i + name.len()) % 17) as f64 / 16.0 - 0.5;
        let bytes = (0..shape.iter().product()).flat_map(|i| bytes(value(i))).collect();
        Self { name: name.to_owned(), shape: shape.to_vec(), dtype, bytes }
    }

    fn single(name: &str, shape: &[usize]) -> Self {
        Self::new(name, shape, Dtype::F32, |value| (value as f32).to_le_bytes())
    }

    fn under(self, prefix: &str) -> Self {
        Self { name: format!("{prefix}{}", self.name), ..self }
    }
}

/// Two linear layers of the shape of [`TOY`].
fn layers<const N: usize>(dtype: Dtype, bytes: impl Fn(f64) -> [u8; N]) -> Vec<Raw> {
    let layer = |name, shape: &[usize]| Raw::new(name, shape, dtype, &bytes);
    vec![layer("fc1.weight", &[8, 2]), layer("fc1.bias", &[8]), layer("fc2.weight", &[1, 8])]
}

fn singles() -> Vec<Raw> {
    layers(Dtype::F32, |value| (value as f32).to_le_bytes())
}

fn write_raw(lab: &Lab, tensors: &[Raw]) {
    let views = tensors.iter().map(|raw| {
        let view = TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).unwrap();
        (&raw.name, view)
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(lab.path("w.safetensors"), file).unwrap();
}

#[test]
fn weights_come_in_16_bits_behind_a_prefix_and_beside_what_is_no_weight() {
    let lab = Lab::on(Backend::Ndarray);
    write_raw(&lab, &singles());
    lab.does(&import("w.safetensors", "plain"));
    let expected = lab.figures("plain", &[]);
    let halves = layers(Dtype::F16, |value| f16::from_f64(value).to_le_bytes());
    let brains = layers(Dtype::BF16, |value| bf16::from_f64(value).to_le_bytes());
    let doubles = layers(Dtype::F64, f64::to_le_bytes);
    for (out, prefix, tensors) in
        [("a", "", halves), ("b", "module.", brains), ("c", "net.net.", doubles), ("d", "module._orig_mod.", singles())]
    {
        let counter = Raw::new("counter", &[], Dtype::I64, |_| 300_i64.to_le_bytes());
        let others = [Raw::single("fc2.bias", &[1]), counter];
        let tensors = tensors.into_iter().chain(others).map(|tensor| tensor.under(prefix));
        write_raw(&lab, &tensors.collect::<Vec<_>>());
        let output = lab.maflow(&import("w.safetensors", out)).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        assert_eq!(told.contains(&format!("prefix `{prefix}`")), !prefix.is_empty(), "{told}");
        for part in [format!("`{prefix}fc2.bias` (a constant"), format!("`{prefix}counter` (of type I64)")] {
            assert!(told.contains(&part), "{told}");
        }
        assert_eq!(lab.figures(out, &[]), expected, "{prefix}");
    }
}

#[test]
fn weights_under_other_names_are_answered_with_those_looked_for() {
    let lab = Lab::on(Backend::Ndarray);
    let words = import("w.safetensors", "run");
    let refused = |tensors: Vec<Raw>, parts: &[&str]| {
        write_raw(&lab, &tensors);
        let stderr = lab.refuses(&words, 1, parts);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(!lab.path("run").exists());
    };
    let looked_for =
        "looked for are fc1.weight [8, 2], fc1.bias [8], fc2.weight [1, 8] or weight [8, 2], bias [8], amplitude [8]";
    let others =
        || vec![Raw::single("0.weight", &[8, 2]), Raw::single("0.bias", &[8]), Raw::single("2.weight", &[1, 8])];
    refused(others(), &["none of the names", "it has 0.bias, 0.weight, 2.weight", looked_for]);
    refused(Vec::new(), &["none of the names", "no tensors", looked_for]);
    let without_bias =
        |prefix: &str| singles().into_iter().filter(|t| t.name != "fc1.bias").map(|t| t.under(prefix)).collect();
    refused(without_bias("module."), &["no tensor `module.fc1.bias`", looked_for]);
    let two = singles().into_iter().map(|t| t.under("a.")).chain(singles().into_iter().map(|t| t.under("b.")));
    refused(two.collect(), &["several models", "`a.` and `b.`"]);
    let more = |extra| singles().into_iter().chain([extra]).map(|t| t.under("module.")).collect::<Vec<_>>();
    refused(more(Raw::single("fc3.weight", &[1])), &["`module.fc3.weight`", "only module.fc1.weight"]);
    refused(more(Raw::single("fc2.bias", &[8])), &["`module.fc2.bias`"]);
    let whole = layers(Dtype::I32, |value| (value as i32).to_le_bytes());
    refused(whole, &["`fc1.weight`", "type I32", "F16, BF16, F32 or F64"]);
}

#[test]
fn numbers_that_are_not_finite_neither_come_in_nor_go_out() {
    let lab = Lab::on(Backend::Ndarray);
    let words = import("w.safetensors", "run");
    for (value, wrong) in [(f16::NAN, "NaN"), (f16::NEG_INFINITY, "-inf")] {
        write_raw(&lab, &layers(Dtype::F16, |v| if v == 0.5 { value } else { f16::from_f64(v) }.to_le_bytes()));
        let told = lab.refuses(&words, 1, &["fc1.", wrong, "position", "earlier point of their training"]);
        assert!(!told.contains("resume"), "{told}");
    }
    // More than single precision holds, and no more than double precision does.
    write_raw(&lab, &layers(Dtype::F64, |value| (1e200 * value).to_le_bytes()));
    lab.refuses(&words, 1, &["e199", "32 bits", "--precision f64"]);
    assert!(!lab.path("run").exists());
    lab.does(&[&words[..], &["--precision", "f64"]].concat());

    lab.trains(TOY, "broken", &[]);
    for path in lab.checkpoints("broken") {
        let mut checkpoint = TensorFile::read(&path).unwrap();
        let weight = checkpoint.tensors.iter_mut().find(|tensor| tensor.name == "amplitude").unwrap();
        weight.values[3] = f64::NAN;
        checkpoint.write(&path).unwrap();
    }
    let before = content(&lab.path("broken"));
    lab.refuses(&["export", "broken", "--out", "out.safetensors"], 1, &["not exported", "`amplitude`", "NaN"]);
    assert!(!lab.path("out.safetensors").exists());
    assert_eq!(content(&lab.path("broken")), before);
}

mod between_backends {
    use std::fs;

    use crate::lab::{CLUSTER, ISING, MATCHED, copy};

    use super::*;

    fn numbers(lab: &Lab, run: &str) -> Vec<(String, Vec<f64>)> {
        let bits = lab.final_bits(run);
        bits.into_iter().map(|(name, bits)| (name, bits.into_iter().map(f64::from_bits).collect())).collect()
    }

    #[test]
    #[ignore = "seconds: .ci/run"]
    fn a_run_goes_on_elsewhere() {
        for model in [TOY, ISING, MATCHED, CLUSTER] {
            on_one_backend(|lab| {
                lab.trains(model, "whole", &["--precision", "f64"]);
                let (expected, figures) = (numbers(lab, "whole"), lab.figures("whole", &[]));
                lab.does(&["sample", "whole", "--count", "3", "--out", "here.npy"]);
                let read = |name: &str| ndarray_npy::read_npy::<_, ndarray::ArrayD<f64>>(lab.path(name)).unwrap();
                let samples = read("here.npy");
                let mut others = 0;
                for other in lab.on_the_others() {
                    others += 1;
                    agree(&other.figures("whole", &[]), &figures, 1e-10);
                    other.does(&["sample", "whole", "--count", "3", "--out", "there.npy"]);
                    let there = read("there.npy");
                    assert_eq!(there.shape(), samples.shape());
                    assert!(there.iter().zip(&samples).all(|(a, b)| (a - b).abs() <= 1e-10 * (1.0 + b.abs())));

                    // From the first checkpoint on, trained there.
                    let moved = format!("moved-{}", other.backend());
                    copy(&lab.path("whole"), &lab.path(&moved));
                    let checkpoints = lab.checkpoints(&moved);
                    assert!(checkpoints.len() > 1, "{checkpoints:?}");
                    checkpoints[1..].iter().for_each(|file| fs::remove_file(file).unwrap());
                    other.does(&["train", "--resume", "--out", &moved]);
                    for ((name, found), (_, expected)) in numbers(lab, &moved).iter().zip(&expected) {
                        let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                        let worst = found.iter().zip(expected).fold(0.0f64, |m, (f, e)| m.max((f - e).abs()));
                        assert!(worst <= 1e-9 * scale, "{name}: {worst:e} of {scale:e}");
                    }
                    let config = fs::read_to_string(lab.path(&moved).join("config.toml")).unwrap();
                    assert!(config.contains(&format!("backend = \"{}\"", other.backend())), "{config}");
                }
                assert!(others > 0, "there is no other backend");
            });
        }
    }
}
