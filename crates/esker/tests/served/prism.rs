//! Prism: refuses requests and answers that GitHub's own description of its API does not have.
//!
//! It is installed by `scripts/test-node.sh`, into `target/node`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A proxy before a fake forge.
pub(crate) struct Prism {
    process: Child,
    /// `HOST:PORT`
    pub(crate) address: String,
    log: PathBuf,
}

/// Where npm's packages for tests are, if they are installed; in CI they have to be.
pub(crate) fn node_folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/node");
    if !folder.join("github.json").exists() {
        skipped("no npm packages; `scripts/test-node.sh` installs them");
        return None;
    }
    Some(folder.canonicalize().unwrap())
}

/// Says so; in CI that is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "SKIPPED: {why}");
    eprintln!("SKIPPED: {why}");
}

impl Prism {
    /// Before the forge at `upstream`. `None`, loudly, where it is not installed.
    pub(crate) fn start(folder: &Path, upstream: &str) -> Option<Self> {
        let node = node_folder()?;
        let log = folder.join("prism.log");
        // It wants to be told a port: a free one, as of now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let output = std::fs::File::create(&log).unwrap();
        let process = Command::new(node.join("node_modules/.bin/prism"))
            .args(["proxy", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg(node.join("github.json"))
            .arg(format!("http://{upstream}"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let prism = Self { process, address: format!("127.0.0.1:{port}"), log };
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(&prism.address).is_err() {
            assert!(Instant::now() < deadline, "Prism does not start:\n{}", prism.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(prism)
    }

    /// What it printed.
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
