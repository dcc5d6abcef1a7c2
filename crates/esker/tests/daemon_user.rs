//! With somebody else's daemon, trusted or not, and without any Nix.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid, kill_process};
use story::{Nix, Project, on_each_nix};

/// A user without any rights.
const NOBODY: u32 = 65534;

/// A daemon for many users on a socket of its own.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(project: &Project, settings: &str) -> Self {
        open_to_all(project);
        let socket = project.beside("daemon.socket");
        let mut command = project.nix_program("nix-daemon");
        command.arg("--daemon").env("NIX_DAEMON_SOCKET_PATH", &socket).env("NIX_REMOTE", "local");
        command.env("NIX_CONFIG", format!("{}\n{settings}", project.settings)).env_remove("HOME");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(
                Instant::now() < deadline && child.try_wait().unwrap().is_none(),
                "the daemon does not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, socket }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(rustix::process::Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Lets nobody use the project's folders, and a copy of the program.
fn open_to_all(project: &Project) {
    let allow = |path: PathBuf| fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    allow(project.beside(""));
    for folder in ["home", "cache", "config", "state", "xdg-state"] {
        let folder = project.beside(folder);
        fs::create_dir_all(&folder).unwrap();
        chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_esker"), project.beside("esker")).unwrap();
    allow(project.beside("esker"));
}

/// The checks of these stories. What is asked of the sandbox must hold with any daemon.
fn project(nix: &Nix) -> Project {
    Project::with_checks(
        nix,
        r#"
        good = lib.run "good" "echo works; echo > $out";
        bad = lib.run "bad" "echo goes wrong; exit 5";
        after = lib.run "after" "echo ${lib.run "bad" "echo goes wrong; exit 5"} > $out";
        "#,
    )
}

fn an_untrusted_user_checks_through_the_daemon(nix: &Nix) {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can start a daemon and become somebody else");
        return;
    }
    let project = project(nix);
    let daemon =
        Daemon::start(&project, "sandbox = true\nsandbox-paths = /bin/sh=/bin/busybox\ntrusted-users = root");
    let prepared = project.esker(&["check", "--json", "--timeout", "60s"]).env("NIX_REMOTE", "daemon");
    let command = prepared.env("NIX_DAEMON_SOCKET_PATH", &daemon.socket).into_command();
    let (id, program) = (NOBODY.to_string(), project.beside("esker"));
    let mut other = Command::new("setpriv");
    other.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program).args(command.get_args());
    other.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = other.current_dir(project.folder()).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let events: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let environment = &events[0];
    assert_eq!(
        (&environment["store"], &environment["trusted"]),
        (&"daemon".into(), &false.into()),
        "{environment:#}"
    );
    assert_eq!(environment["sandbox"], "as the daemon is set up");
    assert!(environment["shell"].is_null(), "{environment:#}");
    let conclusion = |job: &str| {
        let found = events.iter().find(|event| event["event"] == "job_finished" && event["job"] == job);
        found.unwrap_or_else(|| panic!("{stderr}"))["conclusion"].as_str().unwrap().to_owned()
    };
    assert_eq!([conclusion("good"), conclusion("bad"), conclusion("after")], ["passed", "failed", "failed"]);
    assert!(events.iter().any(|event| event["event"] == "log" && event["line"] == "works"), "{stderr}");
}

fn root_checks_through_the_daemon(nix: &Nix) {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can start a daemon");
        return;
    }
    let project = project(nix);
    let daemon = Daemon::start(&project, "sandbox = false");
    let check = || {
        let esker = project.esker(&["check", "--json"]).env("NIX_REMOTE", "daemon");
        esker.env("NIX_DAEMON_SOCKET_PATH", &daemon.socket)
    };
    let told = check().run();
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(told.conclusions(), [("after", "failed"), ("bad", "failed"), ("good", "passed")]);
    let environment = told.events("environment").next().unwrap();
    assert_eq!(
        (&environment["store"], &environment["trusted"]),
        (&"daemon".into(), &true.into()),
        "{environment:#}"
    );
    assert_eq!(environment["sandbox"], "on", "Esker's own setting holds");
}

fn a_daemon_that_is_not_there_is_named(nix: &Nix) {
    let project = project(nix);
    let told = project
        .esker(&["check"])
        .env("NIX_REMOTE", "daemon")
        .env("NIX_DAEMON_SOCKET_PATH", project.beside("no-socket"))
        .run();
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stderr.contains("error: no Nix daemon listens at `"), "{told}");
    assert!(told.stderr.contains("no-socket`"), "{told}");
    assert!(told.stderr.contains("hint: "), "{told}");
}

fn a_store_that_cannot_be_opened_is_named(nix: &Nix) {
    let project = project(nix);
    let file = project.beside("a-file");
    fs::write(&file, "").unwrap();
    let told =
        project.esker(&["check"]).env("NIX_STATE_DIR", file.join("var")).env("NIX_REMOTE", "local").run();
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stderr.contains("error: ") && told.stderr.contains("hint: "), "{told}");
}

fn without_nix_it_says_how_to_get_it(nix: &Nix) {
    let project = project(nix);
    let told = project.esker(&["check"]).env("PATH", project.beside("nowhere")).run();
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stderr.contains("cannot find `nix` on PATH"), "{told}");
    assert!(told.stderr.contains("hint: "), "{told}");
    assert_eq!(told.stdout, "");
}

on_each_nix! {
    an_untrusted_user_checks_through_the_daemon,
    root_checks_through_the_daemon,
    a_daemon_that_is_not_there_is_named,
    a_store_that_cannot_be_opened_is_named,
    without_nix_it_says_how_to_get_it,
}
