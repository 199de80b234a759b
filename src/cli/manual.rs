//! `logitcache completions` and `logitcache man`: what the arguments say of themselves, for shells and for `man`.

use super::{
    Status,
    args::{Cli, CompletionsArgs, ManArgs},
    print,
};
use crate::{
    Error, Result, fsio,
    outputs::{self, OutputFile},
    words::counted,
};
use clap::{Command, CommandFactory};
use clap_mangen::Man;

const NAME: &str = "logitcache";

pub fn completions(args: &CompletionsArgs) -> Result<Status> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Status::Done)
}

pub fn pages(args: &ManArgs) -> Result<Status> {
    let mut program = Cli::command();
    // Makes the commands inherit what all of them have.
    program.build();
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help").cloned();
    let of_commands = commands.flat_map(|command| {
        let page = |command: Command, above: &str| {
            let name = format!("{above}-{}", command.get_name());
            (name.clone(), command.name(name.clone()).bin_name(name.replace('-', " ")))
        };
        let below: Vec<Command> = command.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect();
        let (name, of_command) = page(command, NAME);
        let below: Vec<_> = below.into_iter().map(|command| page(command, &name)).collect();
        [(name, of_command)].into_iter().chain(below)
    });
    let mut pages = Vec::new();
    for (name, command) in of_commands.chain([(NAME.to_owned(), program.clone())]) {
        let path = args.out.join(format!("{name}.1"));
        outputs::refuse_foreign_file(&path, OutputFile::ManPage, args.overwrite)?;
        let mut page = Vec::new();
        Man::new(command.version(env!("CARGO_PKG_VERSION")))
            .render(&mut page)
            .map_err(|e| Error::io(&path, "render", e))?;
        pages.push((path, page));
    }
    fsio::create_folder(&args.out)?;
    pages.iter().try_for_each(|(path, page)| fsio::write_atomic(path, page))?;
    print(&format!("{} in {}", counted(pages.len(), "page"), args.out.display()))?;
    Ok(Status::Done)
}
