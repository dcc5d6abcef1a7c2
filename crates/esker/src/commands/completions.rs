//! `esker completions` and the manual pages, from the same definitions as `--help`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap_complete::Shell;

use crate::failure::{BROKEN, Failure};

/// Print a completion script for a shell
///
/// Examples:
///
///   esker completions bash > ~/.local/share/bash-completion/completions/esker
///   esker completions fish > ~/.config/fish/completions/esker.fish
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Write the manual pages to a folder
#[derive(clap::Args, Debug)]
pub(crate) struct ManArgs {
    /// Where to
    folder: PathBuf,
}

pub(crate) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "esker", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::of(BROKEN, &error, None)),
        _ => Ok(()),
    }
}

pub(crate) fn run_man(args: &ManArgs, command: clap::Command) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(command, &args.folder))
        .map_err(|error| Failure::of(BROKEN, &error, None))
}
