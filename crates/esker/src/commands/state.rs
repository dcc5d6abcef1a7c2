//! `esker state`: the folder that remembers past runs.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::screen::style::{bytes, count};
use crate::state::{Keep, Pruned, State, StateError};

/// Show or tidy what Esker remembers on this machine
///
/// Esker remembers past runs, their logs, and how long derivations took to build. The folder is
/// $ESKER_STATE_DIR, else $XDG_STATE_HOME/esker, else ~/.local/state/esker. It may be removed at
/// any time: nothing in it can change a verdict.
#[derive(clap::Args, Debug)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(clap::Subcommand, Debug)]
enum StateCommand {
    /// Remove old runs and their logs
    ///
    /// With both options, a run must be beyond both to be removed; with none, the newest 50 runs of
    /// each flake are kept. A run that is under way is never removed, and how long derivations took
    /// stays known.
    Prune(PruneArgs),
    /// Print the folder
    Path,
}

#[derive(clap::Args, Debug)]
struct PruneArgs {
    /// Keep the newest N runs of each flake
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Keep the runs of the last DAYS days
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
}

/// Why the state could not be shown or tidied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateCommandError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot write to the terminal or file")]
    Write(#[source] io::Error),
}

/// How many runs of each flake are kept when nothing else is said.
const KEPT_RUNS: usize = 50;

/// Takes the folder rather than an open state: `path` must also work when it cannot be opened.
///
/// # Errors
/// The state cannot be opened or changed, or stdout cannot be written.
pub(crate) fn run(args: &StateArgs, dir: &Path) -> Result<(), StateCommandError> {
    match &args.command {
        StateCommand::Path => writeln!(io::stdout(), "{}", dir.display()).map_err(StateCommandError::Write),
        StateCommand::Prune(args) => {
            let state = State::open(dir)?;
            let pruned = state.prune(&args.keep(), SystemTime::now())?;
            writeln!(io::stderr(), "{}", sentence(&pruned)).map_err(StateCommandError::Write)
        }
    }
}

impl PruneArgs {
    fn keep(&self) -> Keep {
        let younger_than = self.older_than.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60));
        match (self.keep, younger_than) {
            (None, None) => Keep { newest: Some(KEPT_RUNS), younger_than: None },
            (newest, younger_than) => Keep { newest, younger_than },
        }
    }
}

fn sentence(pruned: &Pruned) -> String {
    let Pruned { runs, orphans, bytes: freed } = *pruned;
    let mut text = format!("removed {}", count(runs as u64, "run"));
    if orphans > 0 {
        text.push_str(&format!(" and {} without a run", count(orphans as u64, "folder")));
    }
    format!("{text}; {} of logs", bytes(freed))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: StateArgs,
    }

    #[track_caller]
    fn keep(line: &str) -> Keep {
        let program = Program::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        match program.args.command {
            StateCommand::Prune(args) => args.keep(),
            StateCommand::Path => panic!("not prune"),
        }
    }

    #[test]
    fn prune_keeps_what_it_is_told_to() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(keep("state prune"), Keep { newest: Some(50), younger_than: None });
        assert_eq!(keep("state prune --keep 0"), Keep { newest: Some(0), younger_than: None });
        assert_eq!(keep("state prune --older-than 7"), Keep { newest: None, younger_than: Some(7 * day) });
        assert_eq!(
            keep("state prune --keep 3 --older-than 1"),
            Keep { newest: Some(3), younger_than: Some(day) }
        );
    }

    #[test]
    fn what_was_removed_is_told() {
        let pruned = Pruned { runs: 1, orphans: 0, bytes: 5 << 20 };
        insta::assert_snapshot!(sentence(&pruned), @"removed 1 run; 5.0 MiB of logs");
        let pruned = Pruned { runs: 0, orphans: 2, bytes: 12 };
        insta::assert_snapshot!(sentence(&pruned), @"removed 0 runs and 2 folders without a run; 12 B of logs");
    }
}
