//! What a story does to the machine around its builds: gates that hold builders, and a look at who
//! is still there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::Project;

/// False, loudly, where builds cannot be observed. For root in CI that is a failure.
pub(crate) fn can_observe_builds() -> bool {
    let (root, fuse) = (rustix::process::geteuid().is_root(), Path::new("/dev/fuse").exists());
    if !root || !fuse {
        let problem = "SKIPPED: only root can observe builds, and only with /dev/fuse";
        assert!(!root || !std::env::var("CI").is_ok_and(|ci| ci == "true"), "{problem}");
        eprintln!("{problem}");
    }
    root && fuse
}

/// Whether `esker check` observes builds if nothing is said about it.
pub(crate) fn builds_are_observed() -> bool {
    std::env::var("ESKER_TRACE").as_deref() != Ok("off") && can_observe_builds()
}

/// Named pipes that builders wait at: `read x < /gate/NAME`.
pub(crate) struct Gate {
    folder: PathBuf,
    /// What makes `/gate` appear in the sandbox.
    pub(crate) arguments: Vec<&'static str>,
    open: Vec<(String, File)>,
}

impl Gate {
    /// Lets this many builders through, now or when they come.
    pub(crate) fn open(&mut self, name: &str, builders: usize) {
        let at = self.open.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
            // For both directions, so that it blocks neither here nor when nobody reads yet.
            let file = OpenOptions::new().read(true).write(true).open(self.folder.join(name)).unwrap();
            self.open.push((name.to_owned(), file));
            self.open.len() - 1
        });
        self.open[at].1.write_all("go\n".repeat(builders).as_bytes()).unwrap();
    }
}

impl Project {
    /// Makes gates of these names.
    pub(crate) fn gate(&self, names: &[&str]) -> Gate {
        let folder = self.beside("gate");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        for name in names {
            let path = folder.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        }
        let option: &'static str = format!("/gate={}", folder.display()).leak();
        Gate { folder, arguments: vec!["--option", "extra-sandbox-paths", option], open: Vec::new() }
    }

    /// Ids and command lines of all processes that this project's runs began: they have its salt or
    /// its folder in their environment.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let marks = [self.salt.clone(), self.beside("").display().to_string()];
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let read = |name: &str| {
                let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let environment = read("environ");
            if marks.iter().any(|mark| environment.contains(mark)) {
                found.push((id, read("cmdline")));
            }
        }
        found
    }

    /// What `nix-store --gc --print-roots` prints. It trips over roots of others that vanish under
    /// it, and is asked again then.
    pub(crate) fn roots(&self) -> String {
        let ask = || self.nix_program("nix-store").args(["--gc", "--print-roots"]).output().unwrap();
        let output = (0..20).map(|_| ask()).find(|output| output.status.success()).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until all of them are gone; panics when some stay.
    pub(crate) fn wait_until_alone(&self, time: Duration) {
        let deadline = Instant::now() + time;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still there: {left:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
