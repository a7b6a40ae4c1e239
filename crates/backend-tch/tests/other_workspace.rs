//! A program in a workspace of its own depends on this crate, and trains.
#![cfg(loader)]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const PROGRAM: &str = include_str!("../src/example.rs");

/// What a stranger writes, with the crates by their paths.
fn manifest(crates: &Path, profiles: &str) -> String {
    let path = |name: &str| crates.join(name).display().to_string();
    format!(
        "[package]\nname = \"stranger\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         backend-tch = {{ path = {:?} }}\nflow-core = {{ path = {:?}, package = \"maflow-core\" }}\n{profiles}",
        path("backend-tch"),
        path("flow-core")
    )
}

#[test]
#[ignore = "long, since it builds: .ci/run"]
fn a_program_of_another_workspace_trains() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let of_ours = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    // Crates that are built already serve again where versions and profiles are the same.
    let (ours, target) = (of_ours("Cargo.toml"), Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap());
    let profiles = &ours[ours.find("[profile.dev]").expect("the workspace has profiles")..];
    // Always the same folder, so that one program is built and not ever more.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stranger");
    let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
    fs::create_dir_all(folder.join("src")).unwrap();
    write("src/main.rs", PROGRAM);
    write("Cargo.toml", &manifest(&root.join("crates"), profiles));
    write("Cargo.lock", &of_ours("Cargo.lock"));
    let output = Command::new(env!("CARGO"))
        .args(["run", "--offline", "--quiet"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{told:?}");
    let expected = if cfg!(set_up) { "ln p = -" } else { "setup-libtorch.sh" };
    assert!(told[0].contains(expected), "{told:?}");
}
