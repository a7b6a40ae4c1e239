//! The functions that this crate defines for torch-sys are those that it declares, and every mention of its version is
//! of the one that the workspace uses.
#![cfg(loader)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The names that a file of torch-sys declares in its blocks `extern "C" { … }`.
fn declared(source: &str) -> Vec<&str> {
    let blocks = source.split("\nextern \"C\" {\n").skip(1).map(|rest| rest.split("\n}\n").next().unwrap());
    let functions = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("    pub fn "));
    functions.map(|line| line.split(['(', '<']).next().unwrap()).collect()
}

/// Where two lists begin to differ.
fn first_difference<'a>(a: &[&'a str], b: &[&'a str]) -> [Option<&'a str>; 2] {
    let place = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    [a, b].map(|of| of.get(place).copied())
}

#[test]
fn the_stubs_are_the_functions_of_the_torch_sys_in_use() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Packages of other platforms are not there where nothing wanted them.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(&workspace)
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let of_torch_sys: Vec<_> = packages.iter().filter(|package| package["name"] == "torch-sys").collect();
    let [package] = of_torch_sys[..] else { panic!("several torch-sys: {of_torch_sys:?}") };

    let folder = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("src");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    // What is for Python's interpreter is a feature of its own.
    let sources: Vec<_> =
        files.filter(|file| !file.ends_with("python.rs")).map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut expected: Vec<_> = sources.iter().flat_map(|source| declared(source)).collect();
    expected.sort_unstable();
    let stubs = include_str!("../src/loading/functions.s");
    let found: Vec<_> = stubs.lines().filter_map(|line| line.strip_prefix("stub ")).collect();
    assert!(found == expected, "src/loading/functions.s: {:?}", first_difference(&found, &expected));

    let version = package["version"].as_str().unwrap();
    assert_eq!(version, backend_tch::set_up::TORCH_SYS);
    let set_up = fs::read_to_string(workspace.join(backend_tch::set_up::SCRIPT)).unwrap();
    let for_python = fs::read_to_string(workspace.join("scripts/test-python.sh")).unwrap();
    for (text, mention) in [
        (&*for_python, format!(" torch=={}\n", backend_tch::VERSION_NEEDED)),
        (stubs, format!("torch-sys {version} declares")),
        (&set_up, format!("\nTORCH_SYS={version} ")),
        (&set_up, format!("\nTORCH={} ", backend_tch::VERSION_NEEDED)),
        (&set_up, format!("\nCUDA={}.{} ", backend_tch::CUDA_NEEDED.0, backend_tch::CUDA_NEEDED.1)),
    ] {
        assert!(text.contains(&mention), "{mention:?} is not said");
    }
}
