//! `esker trace repair`: mends paths whose trace was revoked.
//!
//! Such a path may hold other bits than a build would give. Nix cannot see that: the bits are those
//! that were registered. (`nix-store --repair-path` and a daemon told to repair look for damage only.)
//! So Nix builds the path once more to compare; one that differs is deleted with all that refers to
//! it, as that may have been built with it, and built anew if something still needs it.
//!
//! Invariant: a path is noted as repaired only once it is right, or gone.

mod nix_store;

use std::io::{self, Write};

use esker_nix::StorePath;
use esker_nix::tool::Nix;
use esker_trace::store::{Entry, Standing, Store};
use serde_json::{Value, json};

use super::{TraceError, print, words};
use crate::screen::clean;
use crate::screen::style::{count, number};
use nix_store::{Again, NixStore};

/// Mend results that came from a revoked trace
///
/// When a build shows that a reused result was false, all results that were reused for the same
/// reason are unsure. Each is built again by Nix and compared. One that is false, or cannot be built
/// again, is deleted with all that refers to it; what is in use is built anew in its place.
#[derive(clap::Args, Debug)]
pub(super) struct RepairArgs {
    /// Tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Also let derivations be reused again whose results were false; their proofs begin anew
    ///
    /// A builder that was once found to depend on more than was observed may do so again. This is for one
    /// that had another reason, such as a machine that has been mended.
    #[arg(long, conflicts_with = "dry_run")]
    pardon: bool,
    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

/// What became of a path, or would.
#[derive(Debug, PartialEq)]
enum Outcome {
    Gone,
    Right,
    Deleted { why: String, others: usize },
    Replaced { why: String, others: usize },
    Kept { why: String, problem: String },
    Unclear { problem: String },
    WouldBuild { drv: StorePath },
    WouldDelete { why: String, others: usize },
}

pub(super) fn run(args: &RepairArgs, store: Option<&Store>) -> Result<(), TraceError> {
    let tell = |line: &str| if args.json { Ok(()) } else { say(line) };
    let entries = store.map(|store| store.ledger(Standing::Revoked)).transpose()?.unwrap_or_default();
    let mut paths = Vec::new();
    let mut left = 0;
    if let (Some(store), false) = (store, entries.is_empty()) {
        let nix = NixStore::new(Nix::find()?);
        for entry in &entries {
            let path = StorePath::from_base_name(&entry.path).ok();
            let outcome = match (&path, args.dry_run) {
                // No store can have it.
                (None, _) => Outcome::Gone,
                (Some(path), true) => plan(&nix, path)?,
                (Some(path), false) => repair(&nix, entry, path, &tell)?,
            };
            let name = path.map_or_else(|| clean::name(&entry.path), |path| path.to_string());
            tell(&outcome.line(&name))?;
            if outcome.is_repaired() && !args.dry_run {
                store.mark_repaired(&entry.path)?;
            }
            left += usize::from(!outcome.is_repaired());
            paths.push(outcome.value(&name, entry));
        }
    }
    let mut pardoned = Vec::new();
    if let (Some(store), true) = (store, args.pardon) {
        for revocation in store.revocations()? {
            if store.pardon(&revocation.skeleton)? {
                pardoned.push(words::hex(&revocation.skeleton));
            }
        }
    }
    let revoked = store.map(Store::revocations).transpose()?.unwrap_or_default().len();
    if args.json {
        let object =
            json!({ "v": 1, "paths": paths, "left": left, "pardoned": pardoned, "revoked": revoked });
        print(&format!("{object}\n"))?;
    }
    if left > 0 && !args.dry_run {
        return Err(TraceError::Unrepaired { left, of: entries.len() });
    }
    tell(&sentence(args.dry_run, entries.len(), left))?;
    let derivations = |number: usize| count(number as u64, "derivation");
    if !pardoned.is_empty() {
        tell(&format!("{} may be reused again, once proven anew", derivations(pardoned.len())))?;
    } else if revoked > 0 && !args.dry_run {
        let derivations = derivations(revoked);
        tell(&format!("nothing of {derivations} is reused any more; `--pardon` lets proofs begin anew"))?;
    }
    Ok(())
}

fn sentence(dry_run: bool, all: usize, left: usize) -> String {
    match (all, dry_run) {
        (0, _) => "nothing to repair: no path came from a revoked trace".to_owned(),
        (_, true) => format!("{} to repair", count(left as u64, "path")),
        (_, false) => format!("{} repaired", count(all as u64, "path")),
    }
}

fn plan(nix: &NixStore, path: &StorePath) -> Result<Outcome, TraceError> {
    if !nix.is_valid(path)? {
        return Ok(Outcome::Gone);
    }
    let why = match nix.maker(path)? {
        _ if nix.is_content_addressed(path)? => BY_CONTENT.to_owned(),
        Some(maker) => return Ok(Outcome::WouldBuild { drv: maker.store_path().clone() }),
        None => NO_MAKER.to_owned(),
    };
    Ok(Outcome::WouldDelete { why, others: nix.referrers(path)?.len().max(1) - 1 })
}

const NO_MAKER: &str = "its derivation is gone";
/// What Nix believes falsely then is that a derivation led to it; Nix forgets that with the path.
const BY_CONTENT: &str = "its path follows from its content, so a build cannot be compared with it";

fn repair(
    nix: &NixStore,
    entry: &Entry,
    path: &StorePath,
    tell: &dyn Fn(&str) -> Result<(), TraceError>,
) -> Result<Outcome, TraceError> {
    if !nix.is_valid(path)? {
        return Ok(Outcome::Gone);
    }
    let why = match nix.maker(path)? {
        _ if nix.is_content_addressed(path)? => BY_CONTENT.to_owned(),
        None => NO_MAKER.to_owned(),
        Some(maker) => {
            tell(&format!("building {} again, to compare its output {}", maker.store_path(), entry.output))?;
            match nix.build_again(&maker)? {
                Again::Same => return Ok(Outcome::Right),
                Again::Differs => "a build gives other bits".to_owned(),
                Again::Fails => "its builder fails".to_owned(),
                Again::Unclear(problem) => return Ok(Outcome::Unclear { problem }),
            }
        }
    };
    let closure = nix.referrers(path)?;
    let others = closure.len().max(1) - 1;
    let deleted = nix.delete(&closure)?;
    // Also when Nix says that all went well: Nix 2.8 may leave paths then.
    if !nix.is_valid(path)? {
        return Ok(Outcome::Deleted { why, others });
    }
    let problem = deleted.err().unwrap_or_else(|| "Nix does not delete it".to_owned());
    // Something keeps it. Its place must not stay empty, so all must be known to be buildable.
    let closure = nix.referrers(path)?;
    let mut makers = Vec::new();
    // A derivation that names it came of building another, and does so again.
    for path in closure.iter().filter(|path| !path.is_derivation()) {
        match nix.maker(path)? {
            Some(maker) => makers.push(maker),
            None => return Ok(Outcome::Kept { why, problem }),
        }
    }
    let deleted = nix.delete_in_use(&closure)?;
    if nix.is_valid(path)? {
        return Ok(Outcome::Kept { why, problem: deleted.err().unwrap_or(problem) });
    }
    Ok(match nix.build(&makers)? {
        Ok(()) => Outcome::Replaced { why, others },
        Err(problem) => {
            Outcome::Deleted { why: format!("{why}, and it cannot be built anew ({problem})"), others }
        }
    })
}

impl Outcome {
    fn is_repaired(&self) -> bool {
        matches!(self, Self::Gone | Self::Right | Self::Deleted { .. } | Self::Replaced { .. })
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Right => "right",
            Self::Deleted { .. } => "deleted",
            Self::Replaced { .. } => "replaced",
            Self::Kept { .. } => "kept",
            Self::Unclear { .. } => "unclear",
            Self::WouldBuild { .. } => "build",
            Self::WouldDelete { .. } => "delete",
        }
    }

    /// For a program.
    fn value(&self, path: &str, entry: &Entry) -> Value {
        let (mut why, mut problem, mut referrers, mut derivation) = (None, None, None, None);
        match self {
            Self::Gone | Self::Right => {}
            Self::Deleted { why: it, others }
            | Self::Replaced { why: it, others }
            | Self::WouldDelete { why: it, others } => (why, referrers) = (Some(it), Some(others)),
            Self::Kept { why: it, problem: its } => (why, problem) = (Some(it), Some(its)),
            Self::Unclear { problem: its } => problem = Some(its),
            Self::WouldBuild { drv } => derivation = Some(drv.to_string()),
        }
        json!({
            "path": path, "output": entry.output, "trace": entry.trace.to_string(), "outcome": self.word(),
            "why": why, "problem": problem, "referrers": referrers, "drv": derivation,
        })
    }

    fn line(&self, path: &str) -> String {
        let with = |why: &str, others: usize| match others {
            0 => why.to_owned(),
            1 => format!("{why}; with 1 path that refers to it"),
            others => format!("{why}; with {} paths that refer to it", number(others as u64)),
        };
        let said = match self {
            Self::Gone => "it is in the store no more".to_owned(),
            Self::Right => "a build gives the same bits".to_owned(),
            Self::Deleted { why, others }
            | Self::Replaced { why, others }
            | Self::WouldDelete { why, others } => with(why, *others),
            Self::Kept { why, problem } => format!("{why}, but {problem}"),
            Self::Unclear { problem } => format!("it cannot be built again now: {problem}"),
            Self::WouldBuild { drv } => format!("{drv} would be built again, to compare"),
        };
        // Nix's words are often several lines.
        format!("{:<9} {path}: {}", self.word(), clean::name(&said))
    }
}

fn say(line: &str) -> Result<(), TraceError> {
    writeln!(io::stderr(), "{line}").map_err(TraceError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_told_in_one_line() {
        let why = || "a build gives other bits".to_owned();
        let problem = || "a root\nkeeps it".to_owned();
        let drv = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a.drv".parse().unwrap();
        let outcomes = [
            Outcome::Gone,
            Outcome::Right,
            Outcome::Deleted { why: why(), others: 0 },
            Outcome::Replaced { why: why(), others: 2 },
            Outcome::Kept { why: why(), problem: problem() },
            Outcome::Unclear { problem: problem() },
            Outcome::WouldBuild { drv },
            Outcome::WouldDelete { why: NO_MAKER.to_owned(), others: 1 },
        ];
        let lines: Vec<String> = outcomes.iter().map(|outcome| outcome.line("PATH")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        gone      PATH: it is in the store no more
        right     PATH: a build gives the same bits
        deleted   PATH: a build gives other bits
        replaced  PATH: a build gives other bits; with 2 paths that refer to it
        kept      PATH: a build gives other bits, but a root keeps it
        unclear   PATH: it cannot be built again now: a root keeps it
        build     PATH: /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a.drv would be built again, to compare
        delete    PATH: its derivation is gone; with 1 path that refers to it
        ");
    }
}
