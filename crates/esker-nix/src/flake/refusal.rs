//! Why Nix could not load a flake, in one line that a person can act upon.

use std::path::Path;

use crate::evaluator::{ErrorKind, read_error};

/// Why Nix refused a flake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What it is about.
    pub kind: RefusalKind,
    /// Nix's words, shortened, with the input and the place they are about.
    pub message: String,
    /// Path, line and column of that place, if it is in the flake itself. The path is relative to the
    /// source, or where the file really is.
    pub position: Option<(String, u64, u64)>,
}

/// What a [`Refusal`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no `flake.nix`.
    Missing,
    /// There is one, but git does not track it, so Nix does not see it.
    Untracked,
    /// It, or one of its inputs, cannot be fetched now.
    Unreachable,
    /// Whoever has it wants to know who asks.
    Forbidden,
    /// There is no room for it.
    Disk,
    /// `flake.nix` does not evaluate, or its lock file cannot be read.
    Code,
    /// None of these: most often a reference that names nothing, or a lock that may not change.
    Other,
}

/// Parts of messages of git and curl, which Nix passes on.
const UNREACHABLE: [&str; 6] = [
    "Could not connect",
    "timed out",
    "Network is unreachable",
    "Connection refused",
    "unable to access",
    "Failed to connect",
];

/// Parts of messages of the operating system and of SQLite.
const DISK: [&str; 5] = [
    "No space left on device",
    "Disk quota exceeded",
    "disk I/O error",
    "database or disk is full",
    "Input/output error",
];

/// Parts of messages on what is committed.
const CODE: [&str; 7] = [
    "while evaluating",
    "unsupported attribute",
    "lacks attribute",
    "`flake.lock` cannot be read",
    "in lock file",
    "symbolic link",
    "symlink",
];

/// Understands what `nix flake metadata` printed. `reference` is the flake that was asked for.
pub(super) fn read(text: &str, reference: &str) -> Refusal {
    let message = explain(text, reference);
    let error = read_error(text, None);
    let (about, position) = (error.kind, own_position(text, error.position));
    let says = |sign: &&str| message.contains(*sign);
    let kind = match about {
        _ if DISK.iter().any(says) => RefusalKind::Disk,
        _ if ["HTTP error 401", "HTTP error 403"].iter().any(says) => RefusalKind::Forbidden,
        ErrorKind::Fetch => RefusalKind::Unreachable,
        _ if UNREACHABLE.iter().any(says) => RefusalKind::Unreachable,
        _ if message.contains(UNTRACKED) => RefusalKind::Untracked,
        _ if message.contains(MISSING) => RefusalKind::Missing,
        ErrorKind::Syntax | ErrorKind::MissingAttribute | ErrorKind::InfiniteRecursion | ErrorKind::Type => {
            RefusalKind::Code
        }
        _ if CODE.iter().any(says) => RefusalKind::Code,
        _ => RefusalKind::Other,
    };
    Refusal { kind, message, position }
}

/// The place, unless it is in an input or nowhere in a source.
fn own_position(text: &str, position: Option<(String, u64, u64)>) -> Option<(String, u64, u64)> {
    let (path, line, column) = position.filter(|_| input(text).is_none())?;
    let path = match path.strip_prefix('«') {
        Some(path) => path.split_once("»/")?.1.to_owned(),
        None => without_store_folder(&path),
    };
    (!path.starts_with("/nix/store/")).then_some((path, line, column))
}

const UNTRACKED: &str = "`flake.nix` is not tracked by Git";
const MISSING: &str = "`flake.nix` does not exist there";

/// In one line.
fn explain(text: &str, reference: &str) -> String {
    let error = read_error(text, None);
    let first = error.message.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let mut message = without_store_folder(first.trim());
    if message.starts_with("program 'git' failed")
        && let Some(reason) = text.lines().find_map(|line| line.strip_prefix("fatal: "))
    {
        message = format!("git: {reason}");
    }
    // Nix 2.8 reads lock files with a library whose words it passes on.
    if message.contains("[json.exception") || message.contains("nlohmann") {
        message = format!("`flake.lock` cannot be read: {message}");
    }
    let no_flake = message.contains("flake.nix")
        && ["No such file", "does not exist", "could not find"].iter().any(|sign| message.contains(sign));
    if no_flake && !error.message.contains("input") {
        message = if in_untracked_folder(reference) { UNTRACKED } else { MISSING }.to_owned();
    }
    if message.contains("flake.nix") && message.contains("is not tracked by Git") {
        message = UNTRACKED.to_owned();
    }
    let place =
        error.position.map(|(path, line, column)| format!("{}:{line}:{column}", without_store_folder(&path)));
    if let Some(place) = place.as_ref().filter(|place| !message.contains(place.as_str())) {
        message = format!("{message} at {place}");
    }
    if let Some(input) = input(text) {
        message = format!("input `{input}`: {message}");
    } else if place.is_some() || message.contains("must be an attribute set") {
        message = format!("while evaluating its flake.nix: {message}");
    }
    message
}

/// The input in question, if it is not the flake itself.
fn input(text: &str) -> Option<&str> {
    let line = text.lines().rev().find_map(|line| line.split_once("while updating the flake input '"))?.1;
    line.split('\'').next()
}

/// A folder of this machine in a git tree, whose `flake.nix` exists.
fn in_untracked_folder(reference: &str) -> bool {
    let folder = Path::new(reference);
    folder.join("flake.nix").exists() && folder.ancestors().any(|folder| folder.join(".git").exists())
}

/// `/nix/store/HASH-source/x` becomes `x`: a person never sees that folder.
fn without_store_folder(text: &str) -> String {
    const MARK: &str = "/nix/store/";
    let (mut result, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(MARK) {
        result.push_str(before);
        let inside = after.get(32..).and_then(|name| name.strip_prefix("-source/"));
        result.push_str(if inside.is_some() { "" } else { MARK });
        rest = inside.unwrap_or(after);
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(explain(text, "/nowhere"), expected);
    }

    #[test]
    fn a_place_is_relative_to_the_flake() {
        let place = "/nix/store/jkmns8bjpnwylr9v8fwgkvj5z7pzim97-source/flake.nix:2:12";
        let expected = "while evaluating its flake.nix: syntax error, unexpected ';' at flake.nix:2:12";
        check(
            &format!("error: syntax error, unexpected ';'\n\n       at {place}:\n\n            1| {{\n"),
            expected,
        );
        let expected = "while evaluating its flake.nix: expected a set but got an integer at flake.nix:2:12";
        check(&format!("error: expected a set but got an integer at {place}\n"), expected);
    }

    #[test]
    fn a_place_in_the_flake_is_known_and_one_in_an_input_is_not() {
        let place = "/nix/store/jkmns8bjpnwylr9v8fwgkvj5z7pzim97-source/nix/flake.nix:2:12";
        let text = format!("error: syntax error, unexpected ';'\n\n       at {place}:\n");
        assert_eq!(read(&text, "/nowhere").position, Some(("nix/flake.nix".to_owned(), 2, 12)));
        let text = format!("error:\n       … while updating the flake input 'a'\n\n       {text}");
        assert_eq!(read(&text, "/nowhere").position, None);
        let text = "error: syntax error\n\n       at «path:/tmp/x?narHash=y»/flake.nix:1:7:\n";
        assert_eq!(read(text, "/nowhere").position, Some(("flake.nix".to_owned(), 1, 7)));
    }

    #[test]
    fn an_input_is_named() {
        let text = "error:\n       … while updating the flake input 'a'\n\n       error: cannot find flake 'flake:x' in the flake registries\n";
        check(text, "input `a`: cannot find flake 'flake:x' in the flake registries");
    }

    #[test]
    fn what_git_says_is_told() {
        let text = "fatal: '/no/such' does not appear to be a git repository\nfatal: Could not read\n\nerror: program 'git' failed with exit code 128\n";
        check(text, "git: '/no/such' does not appear to be a git repository");
    }

    #[test]
    fn a_missing_flake_is_called_that() {
        let path = "/nix/store/0ccnxa25whszw7mgbgyzdm4nqc0zwnm8-source/flake.nix";
        check(
            &format!("error: getting status of '{path}': No such file or directory"),
            "`flake.nix` does not exist there",
        );
        check(&format!("error: path '{path}' does not exist"), "`flake.nix` does not exist there");
        check("error: could not find a flake.nix file", "`flake.nix` does not exist there");
    }

    #[test]
    fn what_it_is_about_is_told_apart() {
        let kind = |text: &str| read(text, "/nowhere").kind;
        assert_eq!(kind("error: could not find a flake.nix file"), RefusalKind::Missing);
        let place = "/nix/store/jkmns8bjpnwylr9v8fwgkvj5z7pzim97-source/flake.nix:2:12";
        let syntax = format!("error: syntax error, unexpected ';'\n\n       at {place}:\n");
        assert_eq!(kind(&syntax), RefusalKind::Code);
        let download = "error: unable to download 'https://x/y': Couldn't resolve host name (6)";
        assert_eq!(kind(download), RefusalKind::Unreachable);
        let git = "fatal: unable to access 'https://x/': Failed to connect\n\nerror: program 'git' failed with exit code 128\n";
        assert_eq!(kind(git), RefusalKind::Unreachable);
        let untracked = "error: Path 'flake.nix' in the repository \"/x\" is not tracked by Git.\n";
        assert_eq!(kind(untracked), RefusalKind::Untracked);
        let registry = "error: cannot find flake 'flake:x' in the flake registries\n";
        assert_eq!(kind(registry), RefusalKind::Other);
        let forbidden = "error: unable to download 'http://x/y': HTTP error 401 ('Unauthorized')";
        assert_eq!(kind(forbidden), RefusalKind::Forbidden);
        let full = "error: writing to file '/nix/store/x': No space left on device";
        assert_eq!(kind(full), RefusalKind::Disk);
        let lock = "error: [json.exception.parse_error.101] parse error at line 1, column 1: x";
        assert_eq!(kind(lock), RefusalKind::Code);
    }
}
