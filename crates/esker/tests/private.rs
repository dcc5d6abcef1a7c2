//! Credentials of the user's reach those who need them, and nobody else.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use story::{Nix, Project, on_each_nix, told::Told};

const PASSWORD: &str = "open-sesame-4711";
/// Base64 of `reader:open-sesame-4711`.
const AUTHORIZATION: &str = "Basic cmVhZGVyOm9wZW4tc2VzYW1lLTQ3MTE=";
const TOKEN: &str = "ghp_secretOfTheEnvironment0815";
const OTHER_TOKEN: &str = "ghp_secretOfTheConfiguration0816";

/// Serves one file to those who know the password. Ends with the test.
struct Server {
    port: u16,
    /// Whether each request had the password.
    requests: Receiver<bool>,
    /// A request with the password is answered when something is sent, or never will be.
    answer: Sender<()>,
}

impl Server {
    fn start(file: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ((requested, requests), (answer, answers)) = (channel(), channel());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = serve(&mut stream.unwrap(), &file, &requested, &answers);
            }
        });
        Self { port, requests, answer }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/private.tar.gz", self.port)
    }
}

fn serve(
    stream: &mut TcpStream,
    file: &[u8],
    requested: &Sender<bool>,
    answers: &Receiver<()>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request);
    let authorized = request.lines().any(|line| {
        line.split_once(": ")
            .is_some_and(|(name, value)| name.eq_ignore_ascii_case("authorization") && value == AUTHORIZATION)
    });
    let _ = requested.send(authorized);
    if !authorized {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"private\"\r\n";
        return write!(stream, "{refusal}Content-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let _ = answers.recv();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len())?;
    if request.starts_with("HEAD") { Ok(()) } else { stream.write_all(file) }
}

/// A flake with an input that only those get who know the password.
fn with_a_private_input(nix: &Nix) -> (Project, Server) {
    let mut project = Project::new(nix);
    let folder = project.beside("archive");
    fs::create_dir_all(folder.join("private")).unwrap();
    fs::write(folder.join("private/value"), &project.salt).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-c", "-z", "-f", "private.tar.gz", "private"]).current_dir(&folder);
    assert!(tar.status().unwrap().success());
    let server = Server::start(fs::read(folder.join("private.tar.gz")).unwrap());
    project.write(
        "flake.nix",
        &format!(
            r#"{{
              inputs.private = {{ url = "{}"; flake = false; }};
              outputs = {{ self, private }}: let lib = import ./lib.nix; in {{
                checks.@system@.a = lib.run "a" "read x < ${{private}}/value; echo $x > $out; set";
              }};
            }}"#,
            server.url()
        ),
    );
    project.settings.push_str("download-attempts = 1\n");
    (project, server)
}

/// Nothing that is kept or said has one of these in it.
fn is_nowhere(secrets: &[&str], project: &Project, told: &Told) {
    let assert_free = |text: &str, place: &str| {
        for secret in secrets {
            assert!(!text.contains(secret), "{place} has {secret} in it:\n{text}");
        }
    };
    assert_free(&told.to_string(), "what is said");
    for (folder, name) in [(project.state(), "state"), (project.beside("report"), "report")] {
        for file in files(&folder) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            assert_free(&text, &format!("{name} ({})", file.display()));
        }
    }
    // The logs are compressed.
    assert_free(&project.esker(&["log", "a"]).run().to_string(), "the log");
    for event in told.events("evaluated") {
        let drv = event["drv"].as_str().unwrap();
        assert_free(&fs::read_to_string(drv).unwrap(), drv);
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// No process was told one of these on its command line, which everybody can read. There are some.
fn no_command_line_has(secrets: &[&str], project: &Project) -> Vec<u32> {
    let processes = project.processes();
    assert!(processes.len() > 1, "{processes:#?}");
    for (_, command) in &processes {
        assert!(!secrets.iter().any(|secret| command.contains(secret)), "{command}");
    }
    processes.into_iter().map(|(id, _)| id).collect()
}

fn a_private_input_is_fetched_with_the_users_netrc(nix: &Nix) {
    let (mut project, server) = with_a_private_input(nix);
    let told = project.check(&[]);
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stderr.contains("401"), "{told}");
    assert!(told.stderr.contains("input `private`"), "{told}");
    assert!(server.requests.try_iter().all(|authorized| !authorized));

    let netrc = project.beside("netrc");
    fs::write(&netrc, format!("machine 127.0.0.1 login reader password {PASSWORD}\n")).unwrap();
    project.settings.push_str(&format!("netrc-file = {}\n", netrc.display()));
    let running = project.esker(&["check", "--json", "-vv"]).env("ESKER_LOG", "trace").start();
    assert!(server.requests.recv().unwrap(), "the password was not used");
    // As long as it is not answered, whoever asks is there.
    no_command_line_has(&[PASSWORD], &project);
    drop(server.answer);
    let told = running.finish();
    assert_eq!(told.conclusions(), [("a", "passed")], "{told}");
    is_nowhere(&[PASSWORD, AUTHORIZATION], &project, &told);
}

fn tokens_reach_nix_as_they_are_and_nobody_else(nix: &Nix) {
    let mut project = Project::with_checks(
        nix,
        r#"
        a = lib.run "a" "set; echo at the build; read x < /gate/build; echo > $out; exit 1";
        b = builtins.seq (builtins.readFile (lib.run "imported" "echo at the import; read x < /gate/import; echo > $out")) (lib.passes "b");
        "#,
    );
    project.settings.push_str(&format!("extra-access-tokens = git.example.org={TOKEN}\n"));
    let config = project.beside("config/nix");
    fs::create_dir_all(&config).unwrap();
    fs::create_dir_all(project.beside("report")).unwrap();
    fs::write(config.join("nix.conf"), format!("access-tokens = other.example.org={OTHER_TOKEN}\n")).unwrap();
    let known = project.nix(&["show-config"]);
    assert!(known.contains(TOKEN) && known.contains(OTHER_TOKEN), "{known}");

    let mut gate = project.gate(&["build", "import"]);
    let report = project.beside("report/junit.xml");
    let arguments = ["check", "--json", "-vv", "-j", "2", "--junit", report.to_str().unwrap()];
    let arguments = [&arguments[..], &gate.arguments[..]].concat();
    let mut running = project.esker(&arguments).env("ESKER_LOG", "trace").start();
    running.wait_for("the import", |event| event["line"] == "at the import");
    running.wait_for("the build", |event| event["line"] == "at the build");
    // Now one evaluates, and two build.
    let (mut with, mut builders) = (0, 0);
    for id in no_command_line_has(&[TOKEN, OTHER_TOKEN], &project) {
        let read = |file: &str| fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        let (command, environment) = (read("cmdline"), read("environ"));
        let has = |text: &[u8], part: &str| String::from_utf8_lossy(text).contains(part);
        if has(&environment, "NIX_BUILD_TOP=") {
            assert!(!has(&environment, TOKEN), "a builder knows it");
            builders += 1;
        } else if has(&command, "nix") {
            assert!(has(&environment, &format!("NIX_CONFIG={}\0", project.settings)), "Nix does not know it");
            with += 1;
        }
    }
    assert!(with >= 3 && builders >= 2, "{with} {builders}");
    gate.open("import", 1);
    gate.open("build", 1);
    let told = running.finish();
    assert_eq!(told.conclusions(), [("a", "failed"), ("b", "passed")], "{told}");
    assert!(report.exists() && told.stdout.contains("NIX_BUILD_TOP"), "{told}");
    is_nowhere(&[TOKEN, OTHER_TOKEN], &project, &told);
}

fn a_forge_that_cannot_be_reached_is_told_of_without_the_token(nix: &Nix) {
    let mut project = Project::new(nix);
    // Where nothing listens.
    project.settings.push_str(&format!("access-tokens = 127.0.0.1={TOKEN}\ndownload-attempts = 1\n"));
    let reference = "github:an-owner/a-repository?host=127.0.0.1";
    let told = project.esker(&["check", "--json", "-vv", reference]).env("ESKER_LOG", "trace").run();
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stderr.contains("error: cannot load the flake"), "{told}");
    is_nowhere_without_jobs(&[TOKEN], &project, &told);
}

fn is_nowhere_without_jobs(secrets: &[&str], project: &Project, told: &Told) {
    for file in files(&project.state()) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{}", file.display());
    }
    assert!(!secrets.iter().any(|secret| told.to_string().contains(secret)), "{told}");
}

on_each_nix! {
    a_private_input_is_fetched_with_the_users_netrc,
    tokens_reach_nix_as_they_are_and_nobody_else,
    a_forge_that_cannot_be_reached_is_told_of_without_the_token,
}
