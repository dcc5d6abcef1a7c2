//! One file for each subcommand: its arguments, which are its help and manual page, and its `run`.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod serve;
pub(crate) mod state;
pub(crate) mod subject;
pub(crate) mod trace;
