//! What the child does before it becomes the builder, written down beforehand.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::root::{DEVICES, Folders};
use super::seccomp;
use crate::exec::{Architecture, Spec};
use crate::observe::watch;
use crate::sys::{Instruction, StringArray, number};

/// `linux/personality.h`: programs are told that the machine is a 32-bit one.
const PER_LINUX32: i32 = 8;

/// One thing to do in the new mount namespace, before its root is changed.
pub(crate) enum Step {
    /// Shows `source` at `target`, too.
    Bind { source: CString, target: CString, recursive: bool },
    /// Mounts a new file system of this type.
    Mount { kind: CString, target: CString, data: CString },
    /// Changes permissions.
    Mode { path: CString, mode: u32 },
    /// Watches what is opened in a folder, which may be missing, or listings of the folder itself.
    Watch { path: CString, listed: bool },
}

/// All that the child needs.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Its new root.
    pub(crate) root: CString,
    /// Its first folder, below that root.
    pub(crate) folder: CString,
    pub(crate) program: CString,
    pub(crate) arguments: StringArray,
    pub(crate) environment: StringArray,
    pub(crate) personality: i32,
    pub(crate) filter: Vec<Instruction>,
    /// Says that the ids are mapped and the supervisor serves.
    pub(crate) go: RawFd,
    /// Takes the report of a failure; closed by success.
    pub(crate) report: RawFd,
    /// Becomes standard output and error.
    pub(crate) log: RawFd,
    /// Where watches are placed.
    pub(crate) watches: RawFd,
}

/// Descriptors that the child gets a copy of.
pub(crate) struct Descriptors<'a> {
    pub(crate) go: &'a OwnedFd,
    pub(crate) report: &'a OwnedFd,
    pub(crate) log: &'a OwnedFd,
    /// Without it, nothing is watched.
    pub(crate) watches: Option<&'a OwnedFd>,
}

impl Step {
    /// For a message about its failure.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Bind { source, target, .. } => format!("bind {source:?} to {target:?}"),
            Self::Mount { kind, target, .. } => format!("mount {kind:?} on {target:?}"),
            Self::Mode { path, .. } => format!("change the mode of {path:?}"),
            Self::Watch { path, .. } => format!("watch {path:?}"),
        }
    }
}

impl Plan {
    /// Makes the plan for `spec` in these folders. `bound` are the base names of the inputs that are to
    /// be bound. Also says which folders will be watched, in order.
    pub(crate) fn new(
        spec: &Spec,
        folders: &Folders,
        bound: &[&str],
        host_paths: &[(String, PathBuf)],
        descriptors: &Descriptors<'_>,
    ) -> io::Result<(Self, Vec<String>)> {
        let root = &folders.root;
        let inside = |path: &str| root.join(path.trim_start_matches('/'));
        let store = inside(&spec.store_dir);
        // Onto itself, to be something that can become the root.
        let mut steps = vec![bind(root, root)?, bind(&folders.store, &store)?];
        for name in bound {
            steps.push(bind(&folders.view.join(name), &store.join(name))?);
        }
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            steps.push(bind(&path, &inside("/dev").join(device))?);
        }
        steps.push(bind(&folders.tmp, &inside("/tmp"))?);
        steps.push(bind(&spec.work_dir.join("build"), &inside(&spec.build_dir))?);
        for (target, source) in host_paths {
            let (source, target) = (c_path(source)?, c_path(&inside(target))?);
            steps.push(Step::Bind { source, target, recursive: true });
        }
        steps.push(mount("proc", &inside("/proc"), c"")?);
        steps.push(mount("tmpfs", &inside("/dev/shm"), c"size=50%")?);
        steps.push(mount("devpts", &inside("/dev/pts"), c"newinstance,mode=0620")?);
        steps.push(Step::Mode { path: c_path(&inside("/dev/pts/ptmx"))?, mode: 0o666 });
        let mut watched = Vec::new();
        if descriptors.watches.is_some() {
            watched.push(spec.store_dir.clone());
            steps.push(Step::Watch { path: c_path(&store)?, listed: true });
            for folder in watch::proc_folders() {
                steps.push(Step::Watch { path: c_path(&inside(&folder))?, listed: false });
                watched.push(folder);
            }
        }
        Ok((Self::with_steps(steps, spec, root, descriptors)?, watched))
    }

    fn with_steps(
        steps: Vec<Step>,
        spec: &Spec,
        root: &Path,
        descriptors: &Descriptors<'_>,
    ) -> io::Result<Self> {
        let base = spec.builder.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let arguments = std::iter::once(base).chain(spec.args.iter().map(|argument| argument.0.as_slice()));
        let environment = spec.env.iter().map(|(name, value)| [&name.0[..], b"=", &value.0].concat());
        // ADDR_NO_RANDOMIZE for all; PER_LINUX32 for the older numbering.
        let personality = match spec.architecture {
            Architecture::Native => libc::ADDR_NO_RANDOMIZE,
            Architecture::Linux32 => libc::ADDR_NO_RANDOMIZE | PER_LINUX32,
        };
        Ok(Self {
            steps,
            root: c_path(root)?,
            folder: c_string(OsStr::new(&spec.build_dir))?,
            program: CString::new(spec.builder.0.clone())?,
            arguments: StringArray::new(arguments.map(CString::new).collect::<Result<_, _>>()?),
            environment: StringArray::new(environment.map(CString::new).collect::<Result<_, _>>()?),
            personality,
            filter: seccomp::program(spec.attributes),
            go: number(descriptors.go),
            report: number(descriptors.report),
            log: number(descriptors.log),
            watches: descriptors.watches.map_or(-1, number),
        })
    }
}

fn bind(source: &Path, target: &Path) -> io::Result<Step> {
    Ok(Step::Bind { source: c_path(source)?, target: c_path(target)?, recursive: false })
}

fn mount(kind: &str, target: &Path, data: &std::ffi::CStr) -> io::Result<Step> {
    Ok(Step::Mount { kind: CString::new(kind)?, target: c_path(target)?, data: data.to_owned() })
}

fn c_path(path: &Path) -> io::Result<CString> {
    c_string(path.as_os_str())
}

fn c_string(string: &OsStr) -> io::Result<CString> {
    Ok(CString::new(string.as_bytes())?)
}
