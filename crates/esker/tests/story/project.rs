//! A temporary folder with a flake in it, and private surroundings to check it in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::Nix;
use super::running::Running;
use super::told::Told;

/// The system that the tests run on.
pub(crate) const SYSTEM: &str = match std::env::consts::ARCH.as_bytes() {
    b"aarch64" => "aarch64-linux",
    _ => "x86_64-linux",
};

/// `lib.nix` of every project: `import ./lib.nix`.
pub(crate) const LIBRARY: &str = r#"rec {
  # A derivation that runs a line of shell; the shell has no other programs.
  run = make { };
  # The same with further attributes.
  make = more: name: script: derivation ({
    inherit name;
    system = "@system@";
    builder = "/bin/sh";
    args = [ "-c" script ];
    salt = "@salt@";
  } // more);
  passes = name: run name "echo ${name} > $out";
  fails = name: run name "echo ${name} goes wrong; exit 7";
}
"#;

/// Time for one `esker`, unless a story says otherwise.
const TIME: Duration = Duration::from_secs(90);

/// A folder to check, and private surroundings.
pub(crate) struct Project {
    nix: Nix,
    surroundings: TempDir,
    folder: PathBuf,
    /// Different for each project.
    pub(crate) salt: String,
    /// `$NIX_CONFIG`, for all commands that follow.
    pub(crate) settings: String,
}

impl Project {
    /// A folder with nothing but `lib.nix`.
    pub(crate) fn new(nix: &Nix) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let surroundings = tempfile::Builder::new().prefix("esker-story-").tempdir().unwrap();
        let salt = format!("{now:x}-{}-{count}", std::process::id());
        let folder = surroundings.path().join("project");
        let settings = "substituters =\nbuilders =\nbuild-poll-interval = 1\n".to_owned();
        let project = Self { nix: nix.clone(), surroundings, folder, salt, settings };
        fs::create_dir_all(&project.folder).unwrap();
        fs::create_dir_all(project.home()).unwrap();
        fs::write(
            project.home().join(".gitconfig"),
            "[user]\nname = A Test\nemail = test@example.org\n[init]\ndefaultBranch = main\n[protocol \"file\"]\nallow = always\n",
        )
        .unwrap();
        project.write("lib.nix", LIBRARY);
        project
    }

    /// A flake with these checks, `lib` in scope. They begin on line 3 of `flake.nix`.
    pub(crate) fn with_checks(nix: &Nix, checks: &str) -> Self {
        let project = Self::new(nix);
        project.write_checks(checks);
        project
    }

    /// Gives it a registry with these entries, and none of the world's. (A flake setting counts in
    /// new versions only where flakes are switched on beside it.)
    pub(crate) fn set_registry(&mut self, flakes: &str) {
        let registry = self.home().join("registry.json");
        fs::write(&registry, format!(r#"{{"flakes":[{flakes}],"version":2}}"#)).unwrap();
        let setting =
            format!("experimental-features = nix-command flakes\nflake-registry = {}\n", registry.display());
        self.settings.push_str(&setting);
    }

    /// Writes a `flake.nix` with these checks, `lib` in scope. They begin on line 3.
    pub(crate) fn write_checks(&self, checks: &str) {
        self.write_outputs(&format!("checks.@system@ = {{\n{checks}\n}};"));
    }

    /// Writes a `flake.nix` with these outputs, `self` and `lib` in scope. They begin on line 2.
    pub(crate) fn write_outputs(&self, outputs: &str) {
        self.write(
            "flake.nix",
            &format!("{{ outputs = {{ self }}: let lib = import ./lib.nix; in {{\n{outputs}\n}}; }}\n"),
        );
    }

    /// Writes a file, with `@system@` and `@salt@` replaced.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("@system@", SYSTEM).replace("@salt@", &self.salt)).unwrap();
    }

    /// The flake's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path beside the flake's folder, for what shall not be a part of it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.surroundings.path().join(name)
    }

    /// `$HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.beside("home")
    }

    /// `$ESKER_STATE_DIR`.
    pub(crate) fn state(&self) -> PathBuf {
        self.beside("state")
    }

    /// Runs git in the flake's folder and returns what it prints.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.folder, arguments)
    }

    /// Runs git in another folder.
    pub(crate) fn git_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let mut command = self.command(Path::new("git"));
        command.args(["-c", "commit.gpgsign=false"]).args(arguments).current_dir(folder);
        command
            .env("GIT_AUTHOR_DATE", "2001-02-03T04:05:06Z")
            .env("GIT_COMMITTER_DATE", "2001-02-03T04:05:06Z");
        succeed(command)
    }

    /// Commits everything, into a repository that is made if need be. Returns the commit's id.
    pub(crate) fn commit(&self) -> String {
        self.commit_in(&self.folder)
    }

    /// The same for another folder.
    pub(crate) fn commit_in(&self, folder: &Path) -> String {
        if !folder.join(".git").exists() {
            self.git_in(folder, &["init", "--quiet"]);
        }
        self.git_in(folder, &["add", "--all"]);
        self.git_in(folder, &["commit", "--quiet", "--allow-empty", "-m", "a commit"]);
        self.git_in(folder, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// `esker check --json …` in the flake's folder, to its end.
    pub(crate) fn check(&self, arguments: &[&str]) -> Told {
        self.esker(&[&["check", "--json"], arguments].concat()).run()
    }

    /// Any `esker`, ready to be run in the flake's folder.
    pub(crate) fn esker(&self, arguments: &[&str]) -> Esker {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_esker")));
        command.args(arguments).current_dir(&self.folder);
        // Doubt is by chance.
        command.env("ESKER_SHADOW", "0");
        let hidden = vec![
            (self.folder.display().to_string(), "$PROJECT".to_owned()),
            (self.surroundings.path().display().to_string(), "$TEMP".to_owned()),
            (self.salt.clone(), "$SALT".to_owned()),
        ];
        Esker { command, time: TIME, hidden }
    }

    /// Runs `nix` itself in the flake's folder and returns what it prints; it must succeed.
    pub(crate) fn nix(&self, arguments: &[&str]) -> String {
        succeed(self.nix_command(arguments))
    }

    /// `nix` itself, ready to be run.
    pub(crate) fn nix_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.nix.bin.join("nix"));
        command.args(["--extra-experimental-features", "nix-command flakes"]).args(arguments);
        command.current_dir(&self.folder);
        command
    }

    /// A program of this Nix other than `nix`, e.g. `nix-store`, ready to be run.
    pub(crate) fn nix_program(&self, name: &str) -> Command {
        let mut command = self.command(&self.nix.bin.join(name));
        command.current_dir(&self.folder);
        command
    }

    /// With private surroundings and this Nix first on PATH.
    fn command(&self, program: &Path) -> Command {
        const KEPT: [&str; 7] = [
            "ESKER_TRACE",
            "NIX_REMOTE",
            "NIX_STORE_DIR",
            "NIX_STATE_DIR",
            "TMPDIR",
            "USER",
            "LLVM_PROFILE_FILE",
        ];
        let mut command = Command::new(program);
        command.env_clear();
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [self.nix.bin.clone()].into_iter().chain(std::env::split_paths(&path));
        command
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("HOME", self.home())
            .env("XDG_CACHE_HOME", self.beside("cache"))
            .env("XDG_STATE_HOME", self.beside("xdg-state"))
            .env("XDG_CONFIG_HOME", self.beside("config"))
            .env("ESKER_STATE_DIR", self.state())
            .env("NIX_CONFIG", &self.settings)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LANG", "C.UTF-8");
        command
    }
}

/// An `esker` that is not started yet.
pub(crate) struct Esker {
    pub(super) command: Command,
    pub(super) time: Duration,
    pub(super) hidden: Vec<(String, String)>,
}

impl Esker {
    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it in this folder.
    pub(crate) fn at(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Has another program start it, whose last arguments are the command line.
    pub(crate) fn through(mut self, program: &[&str]) -> Self {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear().envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        self.command = command;
        self
    }

    /// Lets it run so long; then it is killed, and the test fails.
    pub(crate) fn within(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The command itself, for a story that wants to handle its streams.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Told {
        self.start().finish()
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        Running::start(self)
    }
}

fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
