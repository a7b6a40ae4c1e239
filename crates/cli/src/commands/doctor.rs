//! `maflow doctor`: what this machine offers and what is missing, each finding with its remedy.

use std::thread::available_parallelism;

use datasets::mnist::{Content, Download, Mnist};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::error::CliError;
use crate::{engine, output};

/// Prints the findings.
pub fn print() -> Result<(), CliError> {
    let findings = [
        ("maflow", version()),
        ("threads", threads()),
        ("cpu", cpu()),
        ("backends", backends()),
        ("libtorch", libtorch()),
        ("mnist", mnist()),
    ];
    let lines: Vec<String> = findings.iter().map(|(name, finding)| format!("{name:10}{finding}")).collect();
    output::line(&lines.join("\n"))
}

fn version() -> String {
    let profile = if cfg!(debug_assertions) {
        "development build; build with --release for the full speed"
    } else {
        "release build"
    };
    format!("{} on {} {}, {profile}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS)
}

fn threads() -> String {
    match available_parallelism() {
        Ok(count) => format!("{count}; --threads N uses fewer"),
        Err(error) => format!("unknown ({error}); give their number with --threads N"),
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> String {
    let features = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    let found: Vec<&str> = features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    match found.is_empty() {
        true => "none of avx2, fma, avx512f: matrix products will be slow; use a newer processor".to_owned(),
        false => found.join(", "),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> String {
    std::env::consts::ARCH.to_owned()
}

fn backends() -> String {
    let names: Vec<&str> = engine::COMPILED.iter().map(|backend| backend.name()).collect();
    names.join(", ")
}

/// Whether the user's cache folder holds MNIST, unharmed.
fn mnist() -> String {
    let download = match Download::into_user_cache() {
        Ok(download) => download,
        Err(error) => return error.to_string(),
    };
    let folder = download.folder.display();
    if !download.folder.exists() {
        return format!("not fetched yet; `maflow train mnist` fetches 11 MB into {folder}, or give --data DIR");
    }
    match Mnist::load(&download.folder, Content::Published, &mut ChaCha8Rng::seed_from_u64(0)) {
        Ok(_) => format!("ready in {folder}"),
        Err(error) => format!("not usable: {error}; `maflow train mnist` fetches what is missing"),
    }
}

fn libtorch() -> String {
    "not part of this build; use --backend ndarray".to_owned()
}
