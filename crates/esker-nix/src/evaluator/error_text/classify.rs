//! Which kind of error a message is about.

use super::Frames;

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// `throw`
    Throw,
    /// `abort`
    Abort,
    /// `assert`
    Assertion,
    /// An attribute (or a variable) that is not there.
    MissingAttribute,
    /// A value of the wrong type.
    Type,
    /// Endless recursion or a full stack.
    InfiniteRecursion,
    /// A file that does not parse.
    Syntax,
    /// Refused in pure evaluation.
    Impure,
    /// Import-from-derivation that was refused.
    ImportFromDerivation,
    /// A build during the evaluation failed.
    Build,
    /// Out of memory.
    OutOfMemory,
    /// Something could not be fetched.
    Fetch,
    /// None of these.
    Other,
}

/// Parts of messages, and what they tell. The first that fits counts.
const SIGNS: [(&str, ErrorKind); 35] = [
    ("allow-import-from-derivation", ErrorKind::ImportFromDerivation),
    ("evaluation aborted with the following error", ErrorKind::Abort),
    ("infinite recursion encountered", ErrorKind::InfiniteRecursion),
    ("stack overflow", ErrorKind::InfiniteRecursion),
    ("max-call-depth", ErrorKind::InfiniteRecursion),
    ("pure evaluation mode", ErrorKind::Impure),
    ("pure eval mode", ErrorKind::Impure),
    ("use --impure", ErrorKind::Impure),
    ("use '--impure'", ErrorKind::Impure),
    ("'currentSystem' missing", ErrorKind::Impure),
    ("'currentTime' missing", ErrorKind::Impure),
    ("undefined variable '", ErrorKind::MissingAttribute),
    ("failed with exit code", ErrorKind::Build),
    ("builder for '", ErrorKind::Build),
    ("Cannot build '", ErrorKind::Build),
    ("dependencies of derivation", ErrorKind::Build),
    ("failed to build", ErrorKind::Build),
    ("unable to download", ErrorKind::Fetch),
    ("resolve host", ErrorKind::Fetch),
    ("cannot fetch", ErrorKind::Fetch),
    ("failed to fetch", ErrorKind::Fetch),
    ("out of memory", ErrorKind::OutOfMemory),
    ("Out of memory", ErrorKind::OutOfMemory),
    ("Out of Memory", ErrorKind::OutOfMemory),
    ("std::bad_alloc", ErrorKind::OutOfMemory),
    (" was expected", ErrorKind::Type),
    ("expected a ", ErrorKind::Type),
    ("cannot coerce", ErrorKind::Type),
    ("cannot add ", ErrorKind::Type),
    ("cannot convert", ErrorKind::Type),
    ("cannot compare", ErrorKind::Type),
    ("which is not a function", ErrorKind::Type),
    ("called without required argument", ErrorKind::Type),
    ("called with unexpected argument", ErrorKind::Type),
    ("cannot decode", ErrorKind::Other),
];

/// Sentences of Nix 2.8 that are no `throw`, which has no sign of its own there.
const NIX_SAYS: [&str; 22] = [
    "getting status of '",
    "opening file '",
    "reading file '",
    "path '",
    "list index ",
    "cannot call '",
    "required attribute '",
    "store path '",
    "invalid ",
    "'builtins.",
    "cannot look up",
    "file '",
    "unable to",
    "hash ",
    "value ",
    "derivation '",
    "division by zero",
    "not a ",
    "attribute '",
    "[json.exception",
    "flake '",
    "the string '",
];

/// What kind of error it is. In new versions frames tell some of it, in old ones only the message.
pub(super) fn classify(message: &str, frames: &Frames<'_>) -> ErrorKind {
    if frames.innermost().is_some_and(|frame| frame.starts_with("while calling the 'throw' builtin")) {
        return ErrorKind::Throw;
    }
    if message.starts_with("attribute '")
        && (message.contains("missing") || message.contains("not found"))
        && !message.contains("'current")
    {
        return ErrorKind::MissingAttribute;
    }
    if (message.starts_with("assertion ") && message.contains("failed"))
        || frames.failed_assertion(message).is_some()
    {
        return ErrorKind::Assertion;
    }
    if message.starts_with("syntax error")
        || message.starts_with("unexpected end of file")
        || message.starts_with("path has a trailing slash")
    {
        return ErrorKind::Syntax;
    }
    if let Some((_, kind)) = SIGNS.iter().find(|(sign, _)| message.contains(sign)) {
        return *kind;
    }
    let from_old_nix = frames.before.iter().all(|line| !line.trim_start().starts_with('…'));
    if from_old_nix && !frames.after.is_empty() && !NIX_SAYS.iter().any(|start| message.starts_with(start)) {
        return ErrorKind::Throw;
    }
    ErrorKind::Other
}

/// Why the two sides of `==` in an `assert` are not equal.
pub(super) fn tells_a_difference(message: &str) -> bool {
    message.contains(" is not equal to ")
        || message.contains(" differs from ")
        || message.contains(" differ from ")
}
