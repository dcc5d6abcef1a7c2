//! The real `esker serve`, beside a fake forge.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::forge::{Forge, REPOSITORY, SECRET, TOKEN};
use super::http::{self, Answer};
use crate::story::Project;
use crate::story::running::Running;
use crate::story::told::Told;
use rustix::process::Signal;

/// A server that runs.
pub(crate) struct Server {
    running: Running,
    /// `HOST:PORT`
    pub(crate) address: String,
}

impl Server {
    /// One project, of this forge, whose API is at `api`.
    pub(crate) fn start(project: &Project, forge: &Forge, api: &str) -> Self {
        Self::start_with(project, forge, api, &[])
    }

    /// The same with further environment variables.
    pub(crate) fn start_with(project: &Project, forge: &Forge, api: &str, more: &[(&str, &str)]) -> Self {
        let write = |name: &str, text: &str| fs::write(project.beside(name), text).unwrap();
        write("hook-secret", &format!("{SECRET}\n"));
        write("token", TOKEN);
        write(
            "server.toml",
            &format!(
                "listen = \"127.0.0.1:0\"\n[forges.github]\nkind = \"github\"\napi = \"http://{api}\"\n\
                 webhook_secret_files = [\"hook-secret\"]\ntoken_file = \"token\"\n\
                 [projects.\"github/{REPOSITORY}\"]\ngit = \"{}\"\n",
                forge.git_url()
            ),
        );
        let config = project.beside("server.toml").display().to_string();
        let esker = project.esker(&["serve", "--config", &config]).at(&project.beside(""));
        let esker = more.iter().fold(esker, |esker, (name, value)| esker.env(name, value));
        let mut running = esker.within(Duration::from_secs(150)).start();
        running.wait_for_output("\n");
        let said = running.output();
        let address =
            said.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{said}")).to_owned();
        forge.set_hook(&address);
        Self { running, address }
    }

    /// A page.
    pub(crate) fn fetch(&self, path: &str) -> Answer {
        http::send(&self.address, "GET", path, &[], b"").unwrap()
    }

    /// A page that must be there.
    pub(crate) fn page(&self, path: &str) -> String {
        let answer = self.fetch(path);
        assert_eq!(answer.code, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Waits until a page has this text.
    pub(crate) fn wait_for_page(&self, path: &str, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let body = self.fetch(path).body;
            if body.contains(text) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} never has `{text}`:\n{body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All events of an evaluation.
    pub(crate) fn events(&self, number: u64) -> Vec<Value> {
        let path = format!("/p/github/{REPOSITORY}/evaluations/{number}/events.jsonl");
        self.page(&path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Ends it at once, as a power cut does.
    pub(crate) fn kill(self) {
        self.running.signal(Signal::KILL);
        self.running.finish();
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(self) -> Told {
        self.running.signal(Signal::TERM);
        self.running.finish()
    }
}
