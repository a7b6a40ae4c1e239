//! Weights and runs that come from elsewhere: PyTorch, or another backend. Figures are those of where they came from.

use std::path::Path;

use crate::lab::on_every_backend;
use crate::runs::write_digits;
use flow_core::Precision;
use flow_core::checkpoint::{Checkpoint, Tensor};
use serde_json::Value;

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
    Checkpoint { tensors, ..Checkpoint::default() }.write(path).unwrap();
}

/// Imports a state of PyTorch into a model of the paper on every backend; figures in double precision agree with those of
/// the first backend, and those in single precision are the same to round-off.
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

#[cfg(maflow_tch)]
mod between_backends {
    use std::fs;

    use crate::lab::{ISING, MATCHED, TOY};

    use super::*;
    use crate::lab::Lab;

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &to)
            } else {
                let _ = fs::copy(&path, to).unwrap();
            }
        }
    }

    fn numbers(lab: &Lab, run: &str) -> Vec<(String, Vec<f64>)> {
        let bits = lab.final_bits(run);
        bits.into_iter().map(|(name, bits)| (name, bits.into_iter().map(f64::from_bits).collect())).collect()
    }

    #[test]
    fn a_run_goes_on_elsewhere() {
        for model in [TOY, ISING, MATCHED] {
            on_every_backend(|lab| {
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
