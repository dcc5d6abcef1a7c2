//! A place to run builders in: inputs made for the purpose, a static shell, a work folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use esker_trace::exec::{End, Ran, Spec, run};
use esker_trace::inputs::{Input, Inputs};

/// Each place has a user of its own, so that what it left running can be told.
static NEXT_USER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Place {
    folder: tempfile::TempDir,
    inputs: Vec<Input>,
    pub(crate) user: u32,
    pub(crate) spec: Spec,
}

/// A run with its log.
pub(crate) struct Run {
    pub(crate) ran: Ran,
    pub(crate) log: String,
    keys: Vec<String>,
}

impl Place {
    /// `None`, said loudly, where no builder can be run.
    pub(crate) fn new() -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        if !root || !Path::new("/dev/fuse").exists() || !Path::new("/bin/busybox").exists() {
            eprintln!("SKIPPED: needs root, /dev/fuse and a static /bin/busybox");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("esker-exec-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let user =
            0x6000_0000 + (std::process::id() << 8) % 0x0fff_0000 + NEXT_USER.fetch_add(1, Ordering::Relaxed);
        let mut place = Self { folder, inputs: Vec::new(), user, spec: Spec::default() };
        let shell = place.input("shell");
        fs::create_dir(shell.join("bin")).unwrap();
        fs::copy("/bin/busybox", shell.join("bin/busybox")).unwrap();
        let source = place.input("src");
        fs::create_dir_all(source.join("folder/deep")).unwrap();
        for (name, text) in [("read", "text\n"), ("unread", "more\n"), ("folder/one", "1\n"), ("empty", "")] {
            fs::write(source.join(name), text).unwrap();
        }
        symlink("read", source.join("link")).unwrap();
        fs::hard_link(source.join("read"), source.join("hard")).unwrap();
        Some(place)
    }

    /// The folder of a new input, empty.
    pub(crate) fn input(&mut self, key: &str) -> PathBuf {
        let path = self.input_path(key);
        fs::create_dir(&path).unwrap();
        path
    }

    /// The path of a new input, where nothing is yet.
    pub(crate) fn input_path(&mut self, key: &str) -> PathBuf {
        let base_name = base_name(key);
        let folder = self.folder.path().join(&base_name);
        let input = Input { key: key.to_owned(), base_name, folder: folder.clone(), references: Vec::new() };
        self.inputs.push(input);
        folder
    }

    /// Registers that an input refers to another.
    pub(crate) fn refer(&mut self, from: &str, to: &str) {
        let input = self.inputs.iter_mut().find(|input| input.key == from).unwrap();
        input.references.push(base_name(to)[..32].to_owned());
    }

    /// The specification for this script, in a new work folder.
    pub(crate) fn spec(&self, script: &str) -> Spec {
        let work_dir =
            tempfile::Builder::new().prefix("work-").tempdir_in(self.folder.path()).unwrap().keep();
        let mut spec = self.spec.clone();
        let shell = format!("/nix/store/{}/bin/busybox", base_name("shell"));
        spec.env = [("B", shell.clone()), ("out", format!("/nix/store/{}", base_name("out")))]
            .into_iter()
            .chain(self.inputs.iter().map(|i| (i.key.as_str(), format!("/nix/store/{}", i.base_name))))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        spec.builder = shell.into();
        // Every applet of the shell by its name.
        let applets = "for a in ash cat chmod cp dd env find head id ifconfig kill ln ls mkdir mknod mv nc \
                       ps readlink rm setsid sleep stat touch true wget; do alias $a=\"$B $a\"; done\n";
        spec.args = vec!["sh".into(), "-c".into(), format!("{applets}eval \"$0\"").into(), script.into()];
        spec.inputs = Inputs::new(self.inputs.clone());
        spec.outputs = vec![base_name("out")];
        spec.store_dir = "/nix/store".to_owned();
        spec.build_dir = "/build".to_owned();
        spec.work_dir = work_dir;
        (spec.host_uid, spec.host_gid) = (self.user, self.user);
        spec
    }

    /// Writes a file beside the inputs.
    pub(crate) fn folder_with(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs a script.
    pub(crate) fn run(&self, script: &str) -> Run {
        Self::run_spec(&self.spec(script))
    }

    /// Runs what is specified.
    pub(crate) fn run_spec(spec: &Spec) -> Run {
        let keys = spec.inputs.as_slice().iter().map(|input| input.key.clone()).collect();
        let mut log = Vec::new();
        let ran = run(spec, &mut |bytes| log.extend_from_slice(bytes)).unwrap();
        Run { ran, log: String::from_utf8_lossy(&log).into_owned(), keys }
    }

    /// Whether a process of this place's user is still there.
    pub(crate) fn has_processes(&self) -> bool {
        let uid = format!("Uid:\t{}\t", self.user);
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with(&uid)) && !status.contains("State:\tZ")
        })
    }
}

impl Run {
    /// The questions about all but the shell, one a line.
    pub(crate) fn questions(&self) -> String {
        let lines = self.ran.questions.iter().filter(|q| self.keys[q.slot as usize] != "shell");
        let line = |q: &esker_trace::observation::Question| {
            let path = String::from_utf8_lossy(&q.path).into_owned();
            format!("{} {:?} {path}", self.keys[q.slot as usize], q.kind).trim_end().to_owned()
        };
        lines.map(line).collect::<Vec<_>>().join("\n")
    }

    /// Panics with the log unless the builder succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.ran.end, End::Exited(0), "{}", self.log);
        self
    }
}

pub(crate) fn base_name(key: &str) -> String {
    let letter = match key {
        "out" => "z",
        "shell" => "s",
        "src" => "r",
        _ => "x",
    };
    format!("{}-{key}", letter.repeat(32))
}
