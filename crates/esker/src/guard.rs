//! `esker __guard PROGRAM ARGS…`: becomes another program, which then cannot outlive Esker or take
//! more memory than it was given.
//!
//! Limits of a process can only be set by itself. So an evaluator is started as this program,
//! which sets them and then replaces itself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use esker_nix::tool::GUARD_SIGNAL;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The name of the hidden subcommand.
pub(crate) const NAME: &str = "__guard";

/// By this variable the hard limit is told, in bytes.
const MEMORY: &str = "ESKER_GUARD_MEMORY";

/// Never returns when all goes well.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = arguments.next() else { return ExitCode::from(crate::failure::USAGE) };
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        let gently = std::env::var_os(GUARD_SIGNAL).is_some_and(|signal| signal == "TERM");
        // If this fails, the program ends when it next reads from or writes to us.
        let _ = set_parent_process_death_signal(Some(if gently { Signal::TERM } else { Signal::KILL }));
    }
    let memory = std::env::var(MEMORY).ok().and_then(|bytes| bytes.parse::<u64>().ok());
    if let Some(bytes) = memory {
        let now = getrlimit(Resource::Data);
        let bytes = now.maximum.map_or(bytes, |most| most.min(bytes));
        let _ = setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: now.maximum });
    }
    let error = Command::new(&program).args(arguments).env_remove(MEMORY).env_remove(GUARD_SIGNAL).exec();
    anstream::eprintln!("error: cannot run {}: {error}", program.display());
    ExitCode::from(crate::failure::BROKEN)
}
