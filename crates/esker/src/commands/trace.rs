//! `esker trace`: what was observed of builds, and what was reused because of it.
//!
//! The traces lie in the folder `traces` of the state folder; `esker check --trace` writes them.

mod diff;
mod prune;
mod repair;
mod show;
mod stats;
mod words;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use esker_nix::tool::NixError;
use esker_trace::store::{Observed, Store, StoreError, Summary, TraceId};

/// The folder of traces, in the state folder.
pub(crate) const FOLDER: &str = "traces";

/// Look at what was observed of builds, and tidy it
///
/// `esker check --trace record` or `reuse` observes what builds read of their inputs. Such a record
/// is a trace. When nothing that it observed has changed, its result is reused.
#[derive(clap::Args, Debug)]
pub(crate) struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(clap::Subcommand, Debug)]
enum TraceCommand {
    Stats(stats::StatsArgs),
    Show(show::ShowArgs),
    Diff(diff::DiffArgs),
    Prune(prune::PruneArgs),
    Repair(repair::RepairArgs),
}

/// Why nothing could be said of a trace, or done about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{name}` cannot be the beginning of a trace's name")]
    NoName { name: String },
    #[error("there is no trace `{name}`")]
    Unknown { name: String },
    #[error("`{name}` could be any of {}", candidates.join(", "))]
    Ambiguous { name: String, candidates: Vec<String> },
    #[error("what trace `{trace}` observed is no longer known")]
    Forgotten { trace: String },
    #[error("`--max-size {text}` is no amount like `512MiB` or `4GiB`, nor a number of bytes")]
    Size { text: String },
    #[error(transparent)]
    Nix(#[from] NixError),
    #[error("cannot ask the Nix store")]
    NixStore(#[source] esker_nix::protocol::ProtocolError),
    #[error("{left} of {of} paths could not be repaired")]
    Unrepaired { left: usize, of: usize },
    #[error("cannot write to the terminal or file")]
    Write(#[source] io::Error),
}

impl TraceError {
    /// What to try next.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => error.hint().to_owned(),
            Self::NoName { .. } => {
                "`esker explain ATTR` prints the name of the trace of a job, such as 7de86a3e2fdf".to_owned()
            }
            Self::Unknown { .. } => {
                "it may have been pruned, or replaced by a newer one: `esker explain ATTR` tells".to_owned()
            }
            Self::Ambiguous { .. } => "give more of its digits".to_owned(),
            Self::Forgotten { .. } => "`esker check --trace record` observes builds again".to_owned(),
            Self::Nix(error) => return error.hint().map(str::to_owned),
            Self::Unrepaired { .. } => {
                "`esker trace repair` tries again; `nix-store --query --roots PATH` tells what keeps a path"
                    .to_owned()
            }
            Self::NixStore(_) => {
                "`nix store ping` (or `nix store info`) tells whether Nix itself can reach its store"
                    .to_owned()
            }
            Self::Size { .. } | Self::Write(_) => return None,
        })
    }

    /// Whether the command was at fault, and not the machine.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::NoName { .. }
            | Self::Unknown { .. }
            | Self::Ambiguous { .. }
            | Self::Forgotten { .. }
            | Self::Size { .. } => true,
            Self::Store(_) | Self::Nix(_) | Self::NixStore(_) | Self::Unrepaired { .. } | Self::Write(_) => {
                false
            }
        }
    }
}

/// Takes the state folder.
///
/// # Errors
/// See [`TraceError`].
pub(crate) fn run(args: &TraceArgs, state: &Path) -> Result<ExitCode, TraceError> {
    let store = open(&state.join(FOLDER))?;
    let done = match &args.command {
        TraceCommand::Stats(args) => stats::run(args, store.as_ref()),
        TraceCommand::Show(args) => show::run(args, store.as_ref()),
        TraceCommand::Diff(args) => diff::run(args, store.as_ref()),
        TraceCommand::Prune(args) => prune::run(args, store.as_ref()),
        TraceCommand::Repair(args) => repair::run(args, store.as_ref()),
    };
    // Damage may also be found on the way.
    if let Some(store) = &store {
        tell_notices(store);
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// The traces in a folder; `None` if nothing was ever observed. To look must not make the folder.
///
/// # Errors
/// They cannot be read.
pub(crate) fn open(folder: &Path) -> Result<Option<Store>, StoreError> {
    match folder.is_dir() {
        true => Store::open(folder).map(Some),
        false => Ok(None),
    }
}

/// Tells on stderr that traces were lost, if they were.
pub(crate) fn tell_notices(store: &Store) {
    for notice in store.take_notices() {
        let _ = writeln!(io::stderr(), "note: {notice}");
    }
}

/// Writes to stdout. A reader that has seen enough is no error.
fn print(text: &str) -> Result<(), TraceError> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(TraceError::Write(error)),
        _ => Ok(()),
    }
}

/// A trace and all its observations, if they are still known.
struct Whole {
    summary: Summary,
    observations: Option<Vec<Observed>>,
}

impl Whole {
    /// The one whose name begins so.
    fn find(store: Option<&Store>, name: &str) -> Result<Self, TraceError> {
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TraceError::NoName { name: crate::screen::clean::name(name) });
        }
        let unknown = || TraceError::Unknown { name: name.to_owned() };
        let store = store.ok_or_else(unknown)?;
        let found = store.traces_named(name)?;
        let trace = match found[..] {
            [] => return Err(unknown()),
            [trace] => trace,
            _ => {
                let candidates = found.iter().map(TraceId::to_string).collect();
                return Err(TraceError::Ambiguous { name: name.to_owned(), candidates });
            }
        };
        let summary = store.trace(&trace)?;
        let summary = summary.ok_or_else(|| TraceError::Forgotten { trace: trace.to_string() })?;
        Ok(Self { summary, observations: store.observations(&trace)? })
    }
}

#[cfg(test)]
mod tests {
    use esker_trace::inputs::Inputs;
    use esker_trace::observation::{Answer, Digest, Kind};
    use esker_trace::store::{Produced, ProducedOutput, Reference};

    use super::*;

    /// A trace that asked the kinds of these paths of these inputs.
    pub(super) fn example(observations: &[(&str, &str, Option<Answer>)]) -> Whole {
        let output = ProducedOutput {
            name: "out".to_owned(),
            nar_hash: "0123456789abcdef".to_owned(),
            nar_size: 1234,
            references: vec![Reference::Slot("src".to_owned()), Reference::Output("out".to_owned())],
            is_empty: false,
            store_base_name: "x-unit".to_owned(),
        };
        let log = "/nix/store/x-unit.drv".to_owned();
        let pair = |key: &str, hash: &str| (key.to_owned(), hash.to_owned());
        let summary = Summary {
            trace: TraceId(Digest([0x7d; 32])),
            skeleton: Digest([0xab; 32]),
            produced: Produced { outputs: vec![output], seconds: 41.0, log },
            recorded: 1_700_000_000,
            reuses: 0,
            unstable: false,
            inputs: vec![pair("src", "s8g3"), pair("tools", "0p2x")],
            proven: vec!["src".to_owned()],
            refuted: vec!["tools".to_owned()],
        };
        let observed = |(key, path, answer): &(&str, &str, Option<Answer>)| Observed {
            key: (*key).to_owned(),
            path: path.as_bytes().to_vec(),
            kind: Kind::Stat,
            answer: *answer,
        };
        Whole { summary, observations: Some(observations.iter().map(observed).collect()) }
    }

    pub(super) fn folder() -> Option<Answer> {
        Some(Answer::Directory)
    }

    pub(super) fn file(size: u64) -> Option<Answer> {
        Some(Answer::Regular { executable: false, size })
    }

    fn refusal(name: &str, store: Option<&Store>) -> String {
        let Err(error) = Whole::find(store, name) else { panic!("`{name}` was found") };
        assert!(error.is_usage());
        format!("{error}; {}", error.hint().unwrap_or_default())
    }

    #[test]
    fn a_name_that_means_nothing_is_refused_with_what_to_do() {
        insta::assert_snapshot!(refusal("unit", None), @"`unit` cannot be the beginning of a trace's name; `esker explain ATTR` prints the name of the trace of a job, such as 7de86a3e2fdf");
        assert_eq!(refusal("", None), refusal("unit", None).replace("`unit`", "``"));
        insta::assert_snapshot!(refusal("7D", None), @"there is no trace `7D`; it may have been pruned, or replaced by a newer one: `esker explain ATTR` tells");
    }

    #[test]
    fn a_name_that_means_several_lists_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let produced = example(&[]).summary.produced;
        // Of 17 names, two begin with the same digit.
        let mut names = Vec::new();
        for number in 0..17 {
            let now = std::time::SystemTime::UNIX_EPOCH;
            store.record(Digest([number; 32]), &Inputs::default(), &[], &produced, now).unwrap();
            names.push(store.traces(1).unwrap()[0].trace.to_string());
        }
        names.sort();
        let pair = names.windows(2).find(|pair| pair[0][..1] == pair[1][..1]).unwrap();
        let said = refusal(&pair[0][..1], Some(&store));
        assert!(
            said.starts_with(&format!("`{}` could be any of {}, {}", &pair[0][..1], pair[0], pair[1])),
            "{said}"
        );
        assert!(said.ends_with("; give more of its digits"), "{said}");
        let found = Whole::find(Some(&store), &names[0].to_uppercase()).unwrap();
        assert_eq!(found.summary.trace.to_string(), names[0]);
    }

    #[test]
    fn to_look_makes_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(&dir.path().join(FOLDER)).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
