//! Evaluation by unmodified Nix, many attributes in one process.
//!
//! `nix flake check --keep-going` is the one command of every Nix since 2.8 that evaluates purely, goes on after *any* error of one attribute (also `abort` and a missing
//! attribute, which `tryEval` cannot catch), and costs no more than one bare evaluation. It is given
//! a flake of our own, whose only input is the flake in question and whose packages say on stderr
//! what each attribute is (`evaluate.nix`). Packages, since checks would be built, and with
//! `--no-build` nothing would be written to the store. `nix repl`, the other candidate, is never pure in
//! Nix 2.8 and measured two to four times slower on small attributes.
//!
//! Invariant: an evaluator is told nothing after its start. More work is another process.

mod error_text;
mod stream;

use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;

use crate::flake::{Flake, nix_string};
use crate::tool::Nix;

pub use error_text::{ErrorKind, ErrorText, OwnSource, has_error, read_error};
pub use stream::{Root, Said, StreamReader};

/// What is evaluated.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    /// A locked flake.
    Flake(&'a Flake),
    /// An expression of the Nix language, impurely (`--file`).
    Expression(&'a str),
}

/// What one evaluator shall do.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Unguessable; begins each line that is an answer.
    pub nonce: String,
    /// For each root the places it may be at; the first that exists is taken.
    pub roots: Vec<Vec<Candidate>>,
    /// Which sets below a root are looked into.
    pub recurse: Recurse,
    /// Which attributes.
    pub work: Work,
}

/// A place where a root may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Names, outermost first.
    pub path: Vec<String>,
    /// Not if it is a set with nothing but names of systems.
    #[serde(rename = "unlessSystems")]
    pub unless_systems: bool,
    /// Its neighbours are not worth naming when none is found.
    #[serde(rename = "lastResort")]
    pub last_resort: bool,
}

/// Which sets are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recurse {
    /// All, as `hydraJobs` are.
    Always,
    /// Those with `recurseForDerivations = true`.
    Marked,
}

/// Which attributes an evaluator is given.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Only tell the names.
    Names(bool),
    /// Tell the names, and go on with all direct attributes of the roots.
    All(bool),
    /// Exactly these.
    List(Vec<Entry>),
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The name by which answers refer to it.
    pub id: String,
    /// Index of the root it lies in.
    pub root: usize,
    /// Path below the root.
    pub path: Vec<String>,
}

/// Whether an evaluation may build what it wants to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFromDerivation {
    /// An attribute that wants to is told of by its error.
    Refuse,
    /// Nix builds it on the spot.
    Allow,
}

/// Whether the environment may be looked at. An expression is always evaluated impurely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purity {
    /// As `nix build` evaluates a flake.
    Pure,
    /// As `nix build --impure` does.
    Impure,
}

/// A command ready to be started, and the folder it needs until it has ended.
#[derive(Debug)]
pub struct Evaluator {
    /// Its stderr is a pipe to be read with [`StreamReader`].
    pub command: Command,
    /// Removed when dropped.
    pub folder: TempDir,
}

/// Writes the flake of our own and prepares the command that evaluates it.
///
/// # Errors
/// When the temporary folder cannot be written.
pub fn prepare(
    nix: &Nix,
    system: &str,
    target: &Target<'_>,
    request: &Request,
    ifd: ImportFromDerivation,
    purity: Purity,
) -> io::Result<Evaluator> {
    let folder = tempfile::Builder::new().prefix("esker-evaluate-").tempdir()?;
    write_flake(folder.path(), system, target, request)?;
    let reference = format!("path:{}", folder.path().display());
    let mut command =
        nix.command(["flake", "check", "--keep-going", "--show-trace", "--no-update-lock-file"]);
    if purity == Purity::Impure || matches!(target, Target::Expression(_)) {
        command.arg("--impure");
    }
    let allow = if ifd == ImportFromDerivation::Allow { "true" } else { "false" };
    command.args(["--option", "allow-import-from-derivation", allow]).arg(reference);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(Evaluator { command, folder })
}

fn write_flake(folder: &Path, system: &str, target: &Target<'_>, request: &Request) -> io::Result<()> {
    let (inputs, outputs, value) = match target {
        Target::Flake(flake) => {
            fs::write(folder.join("flake.lock"), flake.lock_file_as_input("target").to_string())?;
            (
                format!("inputs.target = {};", flake.as_input()),
                "{ self, target }",
                "target.outputs".to_owned(),
            )
        }
        Target::Expression(expression) => {
            let lock = json!({ "nodes": { "root": {} }, "root": "root", "version": 7 });
            fs::write(folder.join("flake.lock"), lock.to_string())?;
            fs::write(folder.join(error_text::OWN_EXPRESSION), expression)?;
            (String::new(), "{ self }", format!("import ./{}", error_text::OWN_EXPRESSION))
        }
    };
    let text = format!(
        "{{ {inputs} outputs = {outputs}: {{ packages.{} = import ./{} {{ target = {value};\n\
         request = builtins.fromJSON (builtins.readFile ./request.json); }}; }}; }}\n",
        nix_string(system),
        error_text::OWN_FILE
    );
    fs::write(folder.join("flake.nix"), text)?;
    fs::write(folder.join(error_text::OWN_FILE), include_str!("evaluate.nix"))?;
    fs::write(folder.join("request.json"), serde_json::to_string(request)?)
}
