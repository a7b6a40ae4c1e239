//! What the pages show: recipes are read, commands are those of the program, links lead somewhere, code is compiled.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use cli::args::{Cli, Command};
use maflow::recipes;
use maflow_recipe::{Setting, complete, from_table};
use toml::Table;

/// A block of code on a page.
struct Block {
    page: String,
    line: usize,
    language: String,
    text: String,
}

/// All pages, by their path in the book.
fn pages() -> Vec<(String, String)> {
    let root = crate::pages_folder();
    let mut folders = vec![root.clone()];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                pages.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 20, "the book has {} pages", pages.len());
    pages
}

/// The blocks of a page. Rustdoc takes a block without a language, and indented lines, for Rust: there are none.
fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut inside, mut in_list) = (false, false);
    for (i, line) in text.lines().enumerate() {
        let place = format!("book/src/{page}, line {}", i + 1);
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside;
            if inside {
                assert!(!language.is_empty(), "{place}: a block of code without a language");
                let (page, language) = (page.to_owned(), language.to_owned());
                blocks.push(Block { page, line: i + 1, language, text: String::new() });
            }
        } else if inside {
            let block = blocks.last_mut().expect("a block is open");
            block.text += line;
            block.text.push('\n');
        } else {
            in_list = line.starts_with(['-', '1', '2', '3', '4', '5']) || in_list && !line.is_empty();
            assert!(in_list || !line.starts_with("    "), "{place}: indented code, which has no language");
        }
    }
    assert!(!inside, "{page}: a block of code that does not end");
    blocks
}

fn all_blocks(language: &str) -> Vec<Block> {
    let pages = pages();
    let blocks = pages.iter().flat_map(|(page, text)| blocks(page, text));
    blocks.filter(|block| block.language == language).collect()
}

#[test]
fn every_recipe_on_a_page_is_one() {
    let recipes = all_blocks("toml");
    assert!(recipes.len() > 5, "{} recipes", recipes.len());
    for Block { page, line, text, .. } in recipes {
        let place = format!("book/src/{page}, line {line}");
        let mut table: Table = text.parse().unwrap_or_else(|error| panic!("{place}: {error}"));
        complete(&mut table);
        let recipe = from_table(table, "name").unwrap_or_else(|error| panic!("{place}: {error}"));
        recipe.validate().unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}

/// The words of the program in a line of a shell, if it is called there.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.split(" # ").next().unwrap_or_default().split([';', '|', '>', '&']).next().unwrap_or_default();
    let mut words = shlex::split(line).expect("quotes are closed");
    let program = words.iter().position(|word| word == "maflow" || word.ends_with("/maflow"))?;
    let launched = program == 0 || ["mpirun", "nohup", "srun"].contains(&&*words[0]);
    launched.then(|| words.split_off(program))
}

#[test]
fn every_command_on_a_page_is_one_of_the_program() {
    let mut seen = 0;
    for Block { page, line, text, .. } in all_blocks("sh") {
        for (i, shown) in text.lines().enumerate() {
            let Some(words) = words(shown) else { continue };
            seen += 1;
            let place = format!("book/src/{page}, line {}: {shown}", line + 1 + i);
            match Cli::try_parse_from(&words) {
                Ok(typed) => settings_are_keys(typed, &place),
                Err(told) => assert!(!told.use_stderr(), "{place}: {told}"),
            }
        }
    }
    assert!(seen > 30, "{seen} commands");
}

/// A built-in recipe takes the settings; those of other commands are keys of one that has them.
fn settings_are_keys(typed: Cli, place: &str) {
    if let Some(Command::Train(train)) = typed.command
        && let Some(name) = train.recipe.filter(|name| !name.ends_with(".toml"))
    {
        let settings: Vec<Setting> = train.settings;
        recipes::load(&name, &settings).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}

#[test]
fn every_link_and_picture_is_there_and_every_page_in_the_summary() {
    let pages = pages();
    let summary = fs::read_to_string(crate::pages_folder().join("SUMMARY.md")).unwrap();
    for (page, text) in &pages {
        assert!(page == "SUMMARY.md" || summary.contains(&format!("({page})")), "{page} is not in SUMMARY.md");
        let here = crate::pages_folder().join(page);
        let folder: PathBuf = here.parent().unwrap().to_owned();
        let prose: String = text.split("```").step_by(2).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !link.starts_with("http") && !path.is_empty() {
                assert!(folder.join(path).exists(), "book/src/{page} leads to {link}, which is not there");
            }
        }
        for included in text.split("{{#include ").skip(1).filter_map(|rest| rest.split([':', '}']).next()) {
            assert!(folder.join(included).exists(), "book/src/{page} shows {included}, which is not there");
        }
    }
}

#[test]
fn the_code_of_every_page_is_compiled() {
    let list = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let rust: Vec<Block> = all_blocks("rust");
    assert!(rust.len() > 5, "{} examples", rust.len());
    for block in rust {
        assert!(
            list.contains(&format!("\"{}\"", block.page)),
            "book/src/{} is not in crates/book/src/lib.rs",
            block.page
        );
    }
    // What rustdoc does not take for Rust is an example of a crate, which is compiled and run there.
    for block in all_blocks("rs") {
        let file = block.text.trim().strip_prefix("{{#include ").expect("an example that is included");
        assert!(file.contains("/examples/"), "book/src/{}: {file}", block.page);
    }
}

/// Pictures of the book that are those of `results`, by their names in either.
const PICTURES: [(&str, &str); 8] = [
    ("two-moons-density.png", "two-moons/density.png"),
    ("two-moons-path.png", "two-moons/path.png"),
    ("ising-16-weights.png", "ising-16/weights.png"),
    ("ising-16-clusters.png", "ising-16/clusters.png"),
    ("ising-64-weights.png", "ising-64/weights.png"),
    ("ising-16-paper-loss.png", "ising-16-paper/loss.png"),
    ("mnist-journey.png", "mnist/journey.png"),
    ("mnist-conv-samples.png", "mnist-conv/samples.png"),
];

#[test]
fn pictures_of_results_are_those_of_the_results() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results");
    for (picture, result) in PICTURES {
        let here = fs::read(crate::pages_folder().join("images").join(picture)).unwrap();
        assert!(here == fs::read(results.join(result)).unwrap(), "copy results/{result} to book/src/images/{picture}");
    }
}
