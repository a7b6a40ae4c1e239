//! Says which systems there is a loader of libtorch for and, to the tests alone, whether libtorch is set up.

use std::env;
use std::path::PathBuf;

include!("src/setup_file.rs");

fn main() {
    println!("cargo::rustc-check-cfg=cfg(loader)");
    println!("cargo::rustc-check-cfg=cfg(set_up)");
    println!("cargo::rerun-if-changed=src/setup_file.rs");
    println!("cargo::rerun-if-env-changed={SETUP_VARIABLE}");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("OS") == "linux" && ["x86_64", "aarch64"].contains(&target("ARCH").as_str()) {
        println!("cargo::rustc-cfg=loader");
    }
    if let Some(file) = setup_file() {
        println!("cargo::rerun-if-changed={}", file.display());
        if file.is_file() {
            println!("cargo::rustc-cfg=set_up");
        }
    }
}
