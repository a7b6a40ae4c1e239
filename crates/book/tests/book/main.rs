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
    let mut there = committed.lines();
    for (i, line) in (1..).zip(generated.lines()) {
        let same = there.next() == Some(line);
        assert!(same, "book/src/{name}, line {i}, should be `{line}`: MAFLOW_WRITE_BOOK=1 cargo test -p book");
    }
    assert_eq!(generated, committed, "book/src/{name} has more: MAFLOW_WRITE_BOOK=1 cargo test -p book");
}
