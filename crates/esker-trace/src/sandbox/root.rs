//! The folders and files of a sandbox, as they are put together on the host before the builder's
//! process mounts anything.
//!
//! Below the work folder, on disk: `build`, `tmp` and `store`, which the builder can write to. `root`
//! is what it will see as `/`: a small file system in memory, since its few files are the same for
//! every run and need neither be written to a disk nor be deleted from it. `view` is where the inputs
//! are mounted.
//!
//! Invariant: the caller's umask is 0, so that files have the permissions that are asked for.

use std::ffi::{CString, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::mount::MountFlags;

use crate::exec::{Etc, Spec};
use crate::inputs::Input;
use crate::observe::rename::Renaming;

/// Device nodes of the host that a builder has.
pub(crate) const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "/dev/pts/ptmx"),
];

const GROUP_FILE: &str = "root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n";
const HOSTS_FILE: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// The folders that were made.
pub(crate) struct Folders {
    /// What will be `/`.
    pub(crate) root: PathBuf,
    /// Where the inputs are to be mounted.
    pub(crate) view: PathBuf,
    /// What will be the store folder.
    pub(crate) store: PathBuf,
    /// What will be `/tmp`.
    pub(crate) tmp: PathBuf,
}

/// What an input is at its top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Top {
    /// To be bound to the view.
    Bound,
    /// A link: cannot be bound, so it is made anew, and counts as observed.
    Link,
}

/// Host paths that the builder is to see and that are there, as (target, source).
pub(crate) fn host_paths(spec: &Spec) -> io::Result<Vec<(String, PathBuf)>> {
    let mut paths: Vec<_> =
        spec.shell.iter().map(|shell| ("/bin/sh".to_owned(), shell.clone(), false)).collect();
    let further = spec.sandbox_paths.iter();
    paths.extend(further.map(|path| (path.target.clone(), path.source.clone(), path.optional)));
    let mut there = Vec::new();
    for (target, source, optional) in paths {
        match source.try_exists()? {
            true => there.push((target, source)),
            false if optional => {}
            false => return Err(io::Error::other(format!("`{}` does not exist", source.display()))),
        }
    }
    Ok(there)
}

impl Folders {
    /// Where a path of the sandbox lies on the host before anything is mounted: the folders on disk are
    /// mounted over those in memory.
    fn place_of(&self, spec: &Spec, path: &str) -> PathBuf {
        let build = spec.work_dir.join("build");
        let mounted =
            [(spec.store_dir.as_str(), &self.store), ("/tmp", &self.tmp), (&spec.build_dir, &build)];
        let below = |folder: &str| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        match mounted.iter().find_map(|(folder, place)| Some(place.join(below(folder)?))) {
            Some(place) => place,
            None => self.root.join(path.trim_start_matches('/')),
        }
    }
}

/// Makes all that is needed below the work folder.
pub(crate) fn prepare(spec: &Spec, host_paths: &[(String, PathBuf)]) -> io::Result<(Folders, Vec<Top>)> {
    let below = |name: &str| spec.work_dir.join(name);
    let folders =
        Folders { root: below("root"), view: below("view"), store: below("store"), tmp: below("tmp") };
    folder(&folders.view, 0o755)?;
    folder(&folders.tmp, 0o1777)?;
    folder(&folders.store, 0o1775)?;
    chown(&folders.store, Some(0), Some(spec.host_gid))?;
    // Not every file system lets a group keep the sticky bit through that.
    fs::set_permissions(&folders.store, Permissions::from_mode(0o1775))?;
    let tops = spec.inputs.as_slice().iter().map(|input| place_input(spec, input, &folders.store));
    let tops = tops.collect::<io::Result<_>>()?;
    build_folder(spec)?;
    root(spec, &folders.root)?;
    for (target, source) in host_paths {
        place_for(source, &folders.place_of(spec, target))?;
    }
    Ok((folders, tops))
}

/// What will be `/`.
fn root(spec: &Spec, root: &Path) -> io::Result<()> {
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    folder(root, 0o750)?;
    let options = format!("mode=0750,uid=0,gid={},size=16m", spec.host_gid);
    let options = CString::new(options)?;
    rustix::mount::mount("none", root, "tmpfs", MountFlags::empty(), options.as_c_str())?;
    for path in ["etc", "dev", "dev/pts", "dev/shm", "proc"] {
        folder(&root.join(path), 0o755)?;
    }
    folder(&root.join("tmp"), 0o1777)?;
    folders(&inside(&spec.store_dir))?;
    let build = spec.build_dir.as_str();
    folders(&inside(build))?;
    let passwd = format!(
        "root:x:0:0:Nix build user:{build}:/noshell\nnixbld:x:1000:100:Nix build user:{build}:/noshell\n\
         nobody:x:65534:65534:Nobody:/:/noshell\n"
    );
    file(&root.join("etc/passwd"), passwd.as_bytes())?;
    file(&root.join("etc/group"), GROUP_FILE.as_bytes())?;
    file(&root.join("etc/hosts"), HOSTS_FILE.as_bytes())?;
    for device in DEVICES {
        file(&root.join("dev").join(device), b"")?;
    }
    for (name, target) in LINKS {
        symlink(target, root.join("dev").join(name))?;
    }
    if spec.etc == Etc::Sealed {
        fs::set_permissions(root.join("etc"), Permissions::from_mode(0o555))?;
    }
    Ok(())
}

/// The folder in which the build happens, with the files that are to be in it.
fn build_folder(spec: &Spec) -> io::Result<()> {
    let build = spec.work_dir.join("build");
    folder(&build, 0o700)?;
    for wanted in &spec.files {
        // A name, not a path: nothing else may be written to.
        if wanted.name.is_empty() || wanted.name.contains('/') || wanted.name.starts_with("..") {
            return Err(io::Error::other(format!("`{}` is no name for a file", wanted.name)));
        }
        let mut file = File::create_new(build.join(&wanted.name))?;
        file.write_all(&wanted.bytes.0)?;
        fchown(&file, Some(spec.host_uid), Some(spec.host_gid))?;
        file.set_permissions(Permissions::from_mode(wanted.mode & 0o777))?;
    }
    chown(&build, Some(spec.host_uid), Some(spec.host_gid))
}

/// Makes what an input is bound to; a link is made itself.
fn place_input(spec: &Spec, input: &Input, store: &Path) -> io::Result<Top> {
    let place = store.join(&input.base_name);
    let metadata = fs::symlink_metadata(&input.folder)?;
    if metadata.is_symlink() {
        let target = fs::read_link(&input.folder)?.into_os_string().into_vec();
        let target = Renaming::inside(input, &spec.renamed).renamed(target)?;
        symlink(OsString::from_vec(target), &place)?;
        let one = Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = Timestamps { last_access: one, last_modification: one };
        rustix::fs::utimensat(CWD, &place, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        return Ok(Top::Link);
    }
    if metadata.is_dir() {
        folder(&place, 0o755)?
    } else {
        file(&place, b"")?
    }
    Ok(Top::Bound)
}

/// Makes a file or folder to which `source` can be bound.
fn place_for(source: &Path, place: &Path) -> io::Result<()> {
    if source.is_dir() {
        return folders(place);
    }
    if let Some(parent) = place.parent() {
        folders(parent)?;
    }
    if place.symlink_metadata().is_ok() { Ok(()) } else { file(place, b"") }
}

fn folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)
}

fn folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        folders(parent)?;
    }
    folder(path, 0o755)
}

fn file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)
}
