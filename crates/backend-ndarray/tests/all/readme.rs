//! The README's example is the one that is compiled, and it runs.

#[path = "../../examples/first_training.rs"]
mod first_training;

#[test]
fn the_readme_shows_the_example_that_runs() {
    let (_, code) =
        include_str!("../../examples/first_training.rs").split_once("\n\n").expect("a first line of its own");
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(code), "README.md shows other code than examples/first_training.rs");
    first_training::main().expect("it trains");
}
