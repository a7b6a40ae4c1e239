//! Finds the C++ sources of torch-sys, which the extension carries so that `maflow.setup_torch` can compile them.

use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn main() {
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let cargo = env::var("CARGO").expect("cargo runs build scripts");
    let target = env::var("TARGET").expect("cargo names the target");
    // Packages of other targets need not be there.
    let words = ["metadata", "--locked", "--format-version", "1", "--filter-platform", &target];
    let output = Command::new(cargo).args(words).output().expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let torch_sys = packages.into_iter().find(|package| package["name"] == "torch-sys");
    match torch_sys.and_then(|package| package["manifest_path"].as_str()) {
        Some(manifest) => {
            println!("cargo::rustc-env=TORCH_SYS={}", Path::new(manifest).with_file_name("libtch").display())
        }
        // For systems that there is no loader of libtorch for.
        None => println!("cargo::rustc-cfg=without_torch_sys"),
    }
    println!("cargo::rustc-check-cfg=cfg(without_torch_sys)");
}
