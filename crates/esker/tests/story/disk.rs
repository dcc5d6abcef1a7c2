//! Places for what Nix or Esker write: a store that is the story's own, and disks that are small.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

use super::Project;
use super::project::Esker;

/// A small store of one's own; only for root. Its paths are called `/nix/store/…` as elsewhere.
pub(crate) struct OwnStore {
    root: TempDir,
    /// For `NIX_REMOTE`.
    pub(crate) remote: String,
}

impl OwnStore {
    pub(crate) fn new() -> Self {
        let root = folder("store-");
        Self { remote: format!("local?root={}", root.path().display()), root }
    }

    /// Where a path of this store really is.
    pub(crate) fn real(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(path.as_ref().strip_prefix("/").unwrap())
    }

    /// What is in it, derivations too, by name without hash.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.real("/nix/store")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| Some(name.split_at_checked(33)?.1.to_owned())).collect()
    }
}

/// A file system in memory that only those see whom the story sends there. It goes with the story,
/// however that ends.
pub(crate) struct SmallDisk {
    holder: Child,
    _held: ChildStdin,
    _folder: TempDir,
    /// Where it is, to those who see it.
    pub(crate) path: PathBuf,
}

impl SmallDisk {
    /// `None`, loudly, where none can be had.
    pub(crate) fn new(project: &Project, size: &str) -> Option<Self> {
        let folder = folder("disk-");
        let path = folder.path().join("disk");
        fs::create_dir(&path).unwrap();
        let script = r#"mount -t tmpfs -o "size=$1,mode=755" disk "$2" && echo ready && read x"#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", size]).arg(&path).current_dir(project.folder());
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let held = holder.stdin.take().unwrap();
        if said != "ready\n" {
            eprintln!("SKIPPED: only root can mount a small disk");
            drop(held);
            holder.wait().unwrap();
            return None;
        }
        Some(Self { holder, _held: held, _folder: folder, path })
    }

    /// Where it is, to everybody.
    pub(crate) fn seen(&self) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(self.path.strip_prefix("/").unwrap())
    }

    /// Uses up what is left of it, except for so many bytes.
    pub(crate) fn fill(&self, left: u64) {
        let mut file = File::create(self.seen().join("filled")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length.checked_sub(left).unwrap()).unwrap();
    }

    /// Undoes [`SmallDisk::fill`].
    pub(crate) fn free(&self) {
        fs::remove_file(self.seen().join("filled")).unwrap();
    }

    /// Lets nobody write to it any more.
    pub(crate) fn make_read_only(&self) {
        let id = self.holder.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &id, "--mount", "mount", "-o", "remount,ro"]).arg(&self.path);
        assert!(command.status().unwrap().success());
    }

    /// An `esker` that sees it.
    pub(crate) fn send(&self, esker: Esker) -> Esker {
        esker.through(&["nsenter", "--target", &self.holder.id().to_string(), "--mount", "--wd"])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Not below `/tmp`, where Nix does not want to build.
fn folder(prefix: &str) -> TempDir {
    tempfile::Builder::new().prefix(prefix).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
