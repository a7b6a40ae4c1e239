//! The pages of the book are right: generated ones are those of this program, and what others show can be typed.

mod commands;
mod keys;
mod pages;
mod source;

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The folder with the pages.
fn pages_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../book/src")
}

/// Compares a generated page with the one of the book, or writes it where `MAFLOW_WRITE_BOOK` is set.
fn same_page(name: &str, generated: &str) {
    let path = pages_folder().join(name);
    if env::var_os("MAFLOW_WRITE_BOOK").is_some() {
        return fs::write(&path, generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if let Some(line) = (0..).zip(generated.lines()).find(|(i, line)| committed.lines().nth(*i) != Some(line)) {
        panic!(
            "book/src/{name}, line {}, is no longer `{}`: MAFLOW_WRITE_BOOK=1 cargo test -p book",
            line.0 + 1,
            line.1
        );
    }
    assert_eq!(generated, committed, "book/src/{name} is longer: MAFLOW_WRITE_BOOK=1 cargo test -p book");
}
