//! A real Chromium, driven by `scripts/node/browser.mjs`, that says what it sees.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::prism::{node_folder, skipped};

/// See the module.
pub(crate) struct Browser {
    node: PathBuf,
    chromium: PathBuf,
    running: Option<(Child, BufReader<ChildStdout>)>,
}

impl Browser {
    /// `None`, loudly, where there is none.
    pub(crate) fn prepare() -> Option<Self> {
        let node = node_folder()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path);
        let Some(chromium) = folders.find_map(|folder| {
            ["chromium", "chromium-browser"].iter().map(|name| folder.join(name)).find(|file| file.is_file())
        }) else {
            skipped("there is no Chromium on PATH");
            return None;
        };
        Some(Self { node, chromium, running: None })
    }

    /// Has it watch this server, whose first evaluation will be at `page`.
    pub(crate) fn start(&mut self, server: &str, page: &str) {
        let mut command = Command::new("node");
        command.arg(self.node.join("browser.mjs")).arg(&self.chromium).args([server, page]);
        // Where pictures of what it saw are left.
        command.arg(self.node.join("screenshots"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        self.running = Some((child, said));
    }

    /// Waits until it says this.
    pub(crate) fn wait_for(&mut self, what: &str) {
        let (child, said) = self.running.as_mut().unwrap();
        for line in said.lines() {
            let line = line.unwrap();
            eprintln!("browser: {line}");
            if line == what {
                return;
            }
        }
        panic!("the browser never says `{what}`: {:?}", child.wait());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
