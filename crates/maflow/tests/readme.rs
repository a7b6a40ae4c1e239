//! The README's examples of the library are those that are compiled, and they run.

#[path = "../examples/own_data.rs"]
mod own_data;
#[path = "../examples/own_energy.rs"]
mod own_energy;
#[path = "../examples/own_target.rs"]
mod own_target;
#[path = "../examples/resume.rs"]
mod resume;

#[test]
fn the_readme_shows_the_examples_that_run() {
    let folder = tempfile::tempdir().unwrap();
    // They make their runs in the current folder. No other test of this program cares which that is.
    std::env::set_current_dir(folder.path()).unwrap();
    let readme = include_str!("../../../README.md");
    for (name, text, main) in [
        ("own_data", include_str!("../examples/own_data.rs"), own_data::main as fn() -> Result<(), maflow::Error>),
        ("own_energy", include_str!("../examples/own_energy.rs"), own_energy::main),
        ("own_target", include_str!("../examples/own_target.rs"), own_target::main),
        ("resume", include_str!("../examples/resume.rs"), resume::main),
    ] {
        let (_, code) = text.split_once("\n\n").expect("a first line of its own");
        assert!(readme.contains(code), "README.md shows other code than examples/{name}.rs");
        main().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
