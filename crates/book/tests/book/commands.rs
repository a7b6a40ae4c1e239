//! The page of all commands: the long help that the program prints.

use clap::CommandFactory;
use cli::args::Cli;

const HEAD: &str = "\
# Every command

This page is generated from the command line itself: it is what `maflow --help` and `maflow COMMAND --help` print.
";

#[test]
fn the_page_of_commands_is_the_help_of_the_program() {
    let mut program = Cli::command().term_width(100);
    program.build();
    let mut page = HEAD.to_owned();
    let mut section = |title: &str, help: String| {
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        page += &format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n"));
    };
    section("maflow", program.render_long_help().to_string());
    for command in program.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        section(&format!("maflow {}", command.get_name()), command.render_long_help().to_string());
    }
    crate::same_page("commands.md", &page);
}
