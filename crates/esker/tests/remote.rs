//! Remote builders: what only another machine can build is built there, by Nix's own means.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rustix::process::geteuid;
use story::disk::OwnStore;
use story::{Nix, Project, on_each_nix};

/// A machine that is another one for its store, its settings and its name. One reaches it by
/// `ssh builder`.
struct Machine {
    store: OwnStore,
    /// The folder with its `ssh`.
    bin: std::path::PathBuf,
    /// A line for each time somebody came.
    visits: std::path::PathBuf,
}

impl Machine {
    fn new(nix: &Nix, project: &Project) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can have a store of its own");
            return None;
        }
        let (bin, store, visits) = (project.beside("ssh"), OwnStore::new(), project.beside("visits"));
        fs::create_dir_all(&bin).unwrap();
        // Nix 2.34 asks first whether there is a connection, and wants to hear when there is one.
        let script = format!(
            r#"#!/bin/sh
[ "$1" = -O ] && exit 255
echo "$*" >> {visits}
case "$*" in *LocalCommand=echo*) echo started;; esac
while [ "${{1#nix-store}}" = "$1" ]; do shift; done
export PATH={nix}:$PATH NIX_REMOTE='{remote}' NIX_CONFIG='sandbox = true
sandbox-paths = /bin/sh=/bin/busybox
system-features = only-there
extra-platforms = riscv64-linux
substituters =
experimental-features = nix-command flakes'
exec sh -c "$*"
"#,
            visits = visits.display(),
            nix = nix.bin.display(),
            remote = store.remote
        );
        fs::write(bin.join("ssh"), script).unwrap();
        fs::set_permissions(bin.join("ssh"), Permissions::from_mode(0o755)).unwrap();
        Some(Self { store, bin, visits })
    }

    fn visits(&self) -> usize {
        fs::read_to_string(&self.visits).unwrap_or_default().lines().count()
    }

    /// `$PATH` by which one finds the way to it.
    fn path(&self, nix: &Nix) -> String {
        format!("{}:{}:{}", self.bin.display(), nix.bin.display(), std::env::var("PATH").unwrap())
    }
}

/// Checks that can be built only here, and only there.
const CHECKS: &str = r#"
    here = lib.passes "here";
    feature = lib.make { requiredSystemFeatures = [ "only-there" ]; } "feature" "echo built there; read x < ${lib.passes "here"}; echo $x > $out";
    system = lib.make { system = "riscv64-linux"; } "system" "echo for another; echo > $out";
    fails = lib.make { requiredSystemFeatures = [ "only-there" ]; } "fails" "echo goes wrong there; exit 9";
"#;

fn what_only_a_remote_machine_can_build_is_built_there(nix: &Nix) {
    let mut project = Project::with_checks(nix, CHECKS);
    let Some(machine) = Machine::new(nix, &project) else { return };
    project.settings.push_str("builders = ssh://builder x86_64-linux,riscv64-linux - 2 1 only-there\n");
    let path = machine.path(nix);
    let told = project.esker(&["check", "--json"]).env("PATH", &path).run();
    let expected = [("fails", "failed"), ("feature", "passed"), ("here", "passed"), ("system", "passed")];
    assert_eq!(told.conclusions(), expected, "{told}");
    assert_eq!(told.code, 1, "{told}");
    let log: Vec<&str> = told.events("log").filter_map(|event| event["line"].as_str()).collect();
    for line in ["built there", "for another", "goes wrong there"] {
        assert!(log.contains(&line), "{told}");
    }
    let failure = &told.outcome("fails")["failure"];
    assert_eq!(failure["kind"], "builder", "{told}");
    assert!(machine.visits() > 0);
    // There they were built, and from there they came. What they need went there before.
    let names = machine.store.names();
    let there = ["feature", "system", "here"].map(|name| names.iter().any(|other| other == name));
    assert_eq!(there, [true; 3], "{names:?}");
    for job in ["feature", "system"] {
        let output = told.events("build_finished").find(|event| event["name"] == job).unwrap();
        let output = output["outputs"][0][1].as_str().unwrap();
        assert!(fs::exists(output).unwrap(), "{output}");
    }
}

fn without_the_machine_nobody_is_to_blame(nix: &Nix) {
    let project = Project::with_checks(nix, CHECKS);
    let Some(machine) = Machine::new(nix, &project) else { return };
    let path = machine.path(nix);
    let told = project.esker(&["check", "--json"]).env("PATH", &path).run();
    let expected = [("fails", "broken"), ("feature", "broken"), ("here", "passed"), ("system", "broken")];
    assert_eq!(told.conclusions(), expected, "{told}");
    assert_eq!((told.code, machine.visits()), (3, 0), "{told}");

    // It is known, and away.
    fs::write(machine.bin.join("ssh"), "#!/bin/sh\necho no route to host >&2\nexit 255\n").unwrap();
    let builders = "ssh://builder x86_64-linux,riscv64-linux - 2 1 only-there";
    let told = project.esker(&["check", "--json", "--option", "builders", builders]).env("PATH", &path).run();
    assert_eq!(told.conclusions(), expected, "{told}");
    assert_eq!(told.code, 3, "{told}");
}

on_each_nix! {
    what_only_a_remote_machine_can_build_is_built_there,
    without_the_machine_nobody_is_to_blame,
}
