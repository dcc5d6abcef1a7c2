//! The `esker` program: arguments, terminal, exit codes, wiring.

mod commands;
mod exec_traced;
mod failure;
mod guard;
mod screen;
mod state;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use commands::{check, completions, explain, history, log, serve, state as state_command, trace};
use failure::Failure;

/// Nix-native CI: evaluates a flake's checks and builds them, here exactly as on the server
#[derive(Parser, Debug)]
#[command(name = "esker", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Check(Box<check::CheckArgs>),
    Log(log::LogArgs),
    History(history::HistoryArgs),
    Explain(explain::ExplainArgs),
    Trace(trace::TraceArgs),
    Serve(serve::ServeArgs),
    State(state_command::StateArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(completions::ManArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
  0    all passed
  1    a job failed: the code is at fault
  2    wrong usage or configuration
  3    broken: Nix, network, disk or Esker; worth a retry
  130  interrupted";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    match arguments.nth(1) {
        Some(first) if first == guard::NAME => return guard::run(arguments),
        Some(first) if first == exec_traced::NAME => return exec_traced::run(),
        _ => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    let result = match cli.command {
        Command::Check(args) => check::run(*args),
        Command::Log(args) => with_state(|state| log::run(&args, state).map_err(Failure::from)),
        Command::History(args) => with_state(|state| history::run(&args, state).map_err(Failure::from)),
        Command::Explain(args) => with_state(|state| explain::run(&args, state).map_err(Failure::from)),
        Command::Trace(args) => state::default_dir()
            .map_err(Failure::from)
            .and_then(|folder| trace::run(&args, &folder).map_err(Failure::from)),
        Command::State(args) => state::default_dir()
            .map_err(Failure::from)
            .and_then(|folder| state_command::run(&args, &folder).map(done).map_err(Failure::from)),
        Command::Serve(args) => serve::run(&args),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()).map(done),
        Command::Man(args) => completions::run_man(&args, Cli::command()).map(done),
    };
    result.unwrap_or_else(|failure| {
        failure.print();
        ExitCode::from(failure.code)
    })
}

fn with_state(command: impl FnOnce(&state::State) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
    let state = state::State::open(&state::default_dir()?)?;
    command(&state).map(done)
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
