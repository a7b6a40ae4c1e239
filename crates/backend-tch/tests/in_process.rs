//! A libtorch that somebody else has loaded into the process, as Python does: it is used, or refused in one sentence.
#![cfg(loader)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use backend_tch::{Device, Error, Options, Tch, VERSION_NEEDED};
use flow_core::{Precision, Space};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Loads the CPU part of a libtorch as Python does, which keeps its symbols to itself.
fn loaded(libtorch: &Path) -> Library {
    let library = libtorch.join("lib/libtorch_cpu.so");
    // SAFETY: the initialisers of libtorch may run at any time; a library without any is no matter at all.
    unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }.unwrap()
}

/// A library with the name of libtorch's and nothing in it, of a version that its folder tells, or does not.
fn fake(folder: &Path, version: Option<&str>) -> PathBuf {
    let path = folder.canonicalize().unwrap().join(version.unwrap_or("silent"));
    fs::create_dir_all(path.join("lib")).unwrap();
    if let Some(version) = version {
        fs::write(path.join("version.py"), format!("__version__ = '{version}'\n")).unwrap();
    }
    let source = folder.join("nothing.c");
    fs::write(&source, "int nothing;\n").unwrap();
    let library = path.join("lib/libtorch_cpu.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(made.unwrap().success());
    path
}

/// The variable by which the test tells a process of its own which libtorch to load as Python does.
const AS_PYTHON: &str = "MAFLOW_TEST_LOADED";

#[test]
fn a_libtorch_in_the_process_is_used_or_refused() {
    if let Some(path) = env::var_os(AS_PYTHON) {
        return computes_with(Path::new(&path));
    }
    let set_up = backend_tch::libtorch();
    let folder = tempfile::tempdir().unwrap();
    for version in [None, Some("2.5.1+cu124"), Some("12.11.0")] {
        let path = fake(folder.path(), version);
        let library = loaded(&path);
        let refused = Error::OtherLoaded { path: path.clone(), found: version.map(ToOwned::to_owned) };
        assert_eq!(backend_tch::libtorch(), Err(refused.clone()));
        assert_eq!(Device::ALL.map(backend_tch::load), [Err(refused.clone()), Err(refused.clone())]);
        let sentence = refused.to_string();
        let words = [version.unwrap_or("of an unknown version"), path.to_str().unwrap(), VERSION_NEEDED];
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        drop(library);
    }
    let path = fake(folder.path(), Some("2.11.0+cpu"));
    let library = loaded(&path);
    assert_eq!(backend_tch::libtorch().unwrap().path, path);
    // Who has replaced torch meanwhile has another one in the process than in the folder.
    fs::remove_file(path.join("lib/libtorch_cpu.so")).unwrap();
    assert!(matches!(backend_tch::libtorch(), Err(Error::OtherLoaded { .. })));
    drop(library);
    assert_eq!(backend_tch::libtorch(), set_up, "nothing is loaded any more");
    if let Ok(libtorch) = set_up {
        // The variable would name none.
        let mut process = Command::new(env::current_exe().unwrap());
        process.env(AS_PYTHON, libtorch.path).env("LIBTORCH", "nowhere");
        let output = process.args(["a_libtorch_in_the_process_is_used_or_refused", "--exact"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// The libtorch that was loaded first is the one that computes.
fn computes_with(path: &Path) {
    let _stays = loaded(path);
    let tch = Tch::new(Device::Cpu, Precision::F64, Options::default()).unwrap();
    assert_eq!(backend_tch::libtorch().unwrap().path, path.canonicalize().unwrap());
    let a = tch.upload(1, 2, &[3.0, 4.0]);
    assert_eq!(tch.dot(&a, &a), 25.0);
}
