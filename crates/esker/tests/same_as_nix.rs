//! The derivations are those of a pure `nix eval` by the same Nix, whatever the flake is like.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs;
use std::path::Path;

use story::{Nix, Project, on_each_nix};

/// All that a flake can know of itself or of an input ends up in the derivation.
const KNOWS: &str = r#"flake: derivation {
  name = "knows";
  system = "@system@";
  builder = "/bin/sh";
  salt = "@salt@";
  rev = flake.rev or "none";
  shortRev = flake.shortRev or "none";
  dirtyRev = flake.dirtyRev or "none";
  lastModified = toString (flake.lastModified or "none");
  lastModifiedDate = flake.lastModifiedDate or "none";
  revCount = toString (flake.revCount or "none");
  narHash = flake.narHash or "none";
  outPath = toString flake;
  copied = "${flake}";
  names = toString (builtins.attrNames flake);
  sourceNames = toString (builtins.attrNames (flake.sourceInfo or { }));
  sourceInfo = builtins.toJSON (removeAttrs (flake.sourceInfo or { }) [ "outPath" ]);
  inputNames = toString (builtins.attrNames (flake.inputs or { }));
  text = if builtins.pathExists "${flake}/some.txt" then builtins.readFile "${flake}/some.txt" else "none";
  submodules = toString (flake.submodules or "none");
}
"#;

/// A flake that knows itself, its folder and each of its inputs.
fn knowing(project: &Project, folder: &str, inputs: &str) {
    let file = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    project.write(&file("knows.nix"), KNOWS);
    project.write(&file("some.txt"), &format!("of {folder}, @salt@"));
    project.write(
        &file("flake.nix"),
        &format!(
            r#"{{ {inputs} outputs = {{ self, ... }}@inputs: let knows = import ./knows.nix; in {{
  checks.@system@ = {{
    self = knows self;
    here = derivation {{ name = "here"; system = "@system@"; builder = "/bin/sh"; here = toString ./.; src = ./.; above = toString ../.; }};
  }} // builtins.mapAttrs (name: knows) (removeAttrs inputs [ "self" ]);
  deps = builtins.mapAttrs (name: input: knows input) (removeAttrs inputs [ "self" ]);
}}; }}
"#
        ),
    );
}

/// Compares all jobs of `esker check REFERENCE ARGUMENTS` with what `nix eval` says of them.
fn same(project: &Project, reference: &str, arguments: &[&str], jobs: &[&str]) {
    same_by(project, reference, arguments, arguments, jobs);
}

/// The same, where Nix takes other arguments.
fn same_by(project: &Project, reference: &str, arguments: &[&str], for_nix: &[&str], jobs: &[&str]) {
    let told = project.check(&[&["--dry-run", reference], arguments].concat());
    assert_eq!(told.code, 0, "{reference}: {told}");
    assert_eq!(told.jobs("passed"), jobs, "{reference}: {told}");
    let bare = reference.split('#').next().unwrap();
    for discovered in told.events("discovered").flat_map(|event| event["jobs"].as_array().unwrap()) {
        let (job, attr) = (discovered["job"].as_str().unwrap(), discovered["attr"].as_str().unwrap());
        if told.events("dissolved").any(|event| event["job"] == job) {
            continue;
        }
        let installable = format!("{bare}#{}.drvPath", encode(attr));
        let drv = project.nix(&[&["eval", "--raw", &installable], for_nix].concat());
        assert_same(told.drv(job), &drv, &format!("{reference}: {job}\n{}", told.stderr));
    }
}

/// As a fragment of a URL.
fn encode(attr: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-\"".contains(&byte);
    attr.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The first time, when Nix makes a lock file and writes it into the tree.
fn same_without_a_lock(project: &Project, jobs: &[&str]) {
    let lock = project.folder().join("flake.lock");
    let forget = || {
        project.git(&["rm", "--quiet", "--cached", "-f", "--ignore-unmatch", "flake.lock"]);
        fs::remove_file(&lock).unwrap_or_default();
    };
    let by_nix = |job: &&str| {
        forget();
        project.nix(&["eval", "--raw", &format!(".#checks.{}.{job}.drvPath", story::project::SYSTEM)])
    };
    let drvs: Vec<String> = jobs.iter().map(by_nix).collect();
    forget();
    let told = project.check(&["--dry-run"]);
    assert!(lock.exists(), "{told}");
    for (job, drv) in jobs.iter().zip(&drvs) {
        assert_same(told.drv(job), drv, job);
    }
}

/// Tells how two derivations differ, if they do.
fn assert_same(ours: &str, nixs: &str, of: &str) {
    if ours != nixs {
        let [ours, nixs] = [ours, nixs].map(|path| fs::read_to_string(path).unwrap_or_default());
        let only = |a: &str, b: &str| {
            a.split("),(").filter(|part| !b.contains(part)).collect::<Vec<_>>().join("\n    ")
        };
        panic!("{of}\n  Esker has\n    {}\n  Nix has\n    {}", only(&ours, &nixs), only(&nixs, &ours));
    }
}

fn a_clean_and_a_dirty_tree(nix: &Nix) {
    let project = Project::new(nix);
    knowing(&project, "", "");
    project.commit();
    same(&project, ".", &[], &["here", "self"]);
    let commit = project.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let url = format!("git+file://{}", project.folder().display());
    same(&project, &url, &[], &["here", "self"]);
    project.write("some.txt", "changed");
    same(&project, ".", &[], &["here", "self"]);
    project.write("untracked.txt", "");
    same(&project, &project.folder().display().to_string(), &[], &["here", "self"]);
    same(&project, &format!("{url}?rev={commit}"), &[], &["here", "self"]);
    project.commit();
    same(&project, ".", &[], &["here", "self"]);
    same(&project, &format!("{url}?ref=main&rev={commit}"), &[], &["here", "self"]);
}

fn a_flake_in_a_subfolder(nix: &Nix) {
    let project = Project::new(nix);
    knowing(&project, "sub/flake", "");
    project.write("some.txt", "at the top");
    let folder = project.folder().display().to_string();
    if nix.is_at_least(2, 20) {
        same(&project, &format!("path:{folder}?dir=sub/flake"), &[], &["here", "self"]);
    }
    project.commit();
    same(&project, "./sub/flake", &[], &["here", "self"]);
    same(&project, &format!("git+file://{folder}?dir=sub/flake"), &[], &["here", "self"]);
    project.write("some.txt", "changed");
    same(&project, "./sub/flake", &[], &["here", "self"]);
}

fn a_plain_folder(nix: &Nix) {
    let project = Project::new(nix);
    knowing(&project, "", "");
    let folder = project.folder().display().to_string();
    same(&project, &format!("path:{folder}"), &[], &["here", "self"]);
    same(&project, ".", &[], &["here", "self"]);
    // The same content with another time: the store already has it.
    let file = fs::File::options().append(true).open(project.folder().join("some.txt")).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(86_400)).unwrap();
    same(&project, &format!("path:{folder}"), &[], &["here", "self"]);
}

/// Flakes beside the project: `a` (a git tree), `b` (a folder that has `a` too), `plain` (no flake).
fn neighbours(project: &Project) -> [String; 3] {
    let at = |name: &str| project.beside(name);
    for name in ["a", "b", "plain"] {
        project.write(&format!("../{name}/some.txt"), &format!("{name} @salt@"));
    }
    project.write("../a/flake.nix", "{ outputs = { self }: { }; }");
    let a = format!("git+file://{}", at("a").display());
    project.commit_in(&at("a"));
    project
        .write("../b/flake.nix", &format!("{{ inputs.a.url = \"{a}\"; outputs = {{ self, a }}: {{ }}; }}"));
    project.nix(&["flake", "lock", &format!("path:{}", at("b").display())]);
    [a, format!("path:{}", at("b").display()), format!("path:{}", at("plain").display())]
}

fn locked_inputs_and_follows(nix: &Nix) {
    let project = Project::new(nix);
    let [a, b, plain] = neighbours(&project);
    let inputs = format!(
        "inputs.a.url = \"{a}\"; inputs.b.url = \"{b}\"; inputs.c.follows = \"b/a\"; inputs.d.url = \"{b}\"; \
         inputs.d.inputs.a.follows = \"a\"; inputs.plain = {{ url = \"{plain}\"; flake = false; }};"
    );
    knowing(&project, "", &inputs);
    let jobs = ["a", "b", "c", "d", "here", "plain", "self"];
    project.commit();
    same_without_a_lock(&project, &jobs);
    same(&project, ".", &[], &jobs);
    project.commit();
    same(&project, ".", &[], &jobs);
    same(&project, ".", &["--offline"], &jobs);
    same(&project, ".", &["--refresh"], &jobs);
    // The locked commit stays, whatever happens to the input.
    project.write("../a/some.txt", "newer");
    project.commit_in(&project.beside("a"));
    same(&project, ".", &[], &jobs);
}

fn a_lock_file_that_is_out_of_date(nix: &Nix) {
    let project = Project::new(nix);
    let [a, b, _] = neighbours(&project);
    knowing(&project, "", &format!("inputs.a.url = \"{a}\";"));
    project.commit();
    same(&project, ".", &["--no-write-lock-file"], &["a", "here", "self"]);
    assert!(!project.folder().join("flake.lock").exists());
    project.nix(&["flake", "lock"]);
    project.commit();
    knowing(&project, "", &format!("inputs.a.url = \"{a}\"; inputs.b.url = \"{b}\";"));
    project.commit();
    let before = fs::read(project.folder().join("flake.lock")).unwrap();
    same(&project, ".", &["--no-write-lock-file"], &["a", "b", "here", "self"]);
    assert_eq!(fs::read(project.folder().join("flake.lock")).unwrap(), before);
    let told = project.check(&["--no-update-lock-file"]);
    assert_eq!(told.code, 2, "{told}");
    assert!(told.stderr.contains("lock file"), "{told}");
}

fn inputs_that_are_overridden(nix: &Nix) {
    let project = Project::new(nix);
    let [a, b, plain] = neighbours(&project);
    knowing(&project, "", &format!("inputs.a.url = \"{a}\"; inputs.b.url = \"{b}\";"));
    project.nix(&["flake", "lock"]);
    project.commit();
    let jobs = ["a", "b", "here", "self"];
    project.write("../other/flake.nix", "{ outputs = { self }: { }; }");
    project.write("../other/some.txt", "other @salt@");
    let other = format!("path:{}", project.beside("other").display());
    same(&project, ".", &["--override-input", "a", &other, "--no-write-lock-file"], &jobs);
    same(&project, ".", &["--override-input", "b/a", &other, "--no-write-lock-file"], &jobs);
    same(&project, ".", &["--override-input", "a", &b, "--no-write-lock-file"], &jobs);
    // The same content, younger and older than the copy that Nix has already.
    for days in [1, 400] {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        for file in ["flake.nix", "some.txt"] {
            fs::File::options()
                .append(true)
                .open(project.beside("other").join(file))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        same(&project, ".", &["--override-input", "a", &other, "--no-write-lock-file"], &jobs);
    }
    let _ = plain;
}

fn inputs_by_a_relative_path(nix: &Nix) {
    let project = Project::new(nix);
    project.write("sub/flake.nix", "{ outputs = { self }: { }; }");
    project.write("sub/some.txt", "sub @salt@");
    knowing(&project, "", "inputs.sub.url = \"path:./sub\";");
    project.commit();
    if nix.is_at_least(2, 26) {
        // Of a relative input that it has just locked, Nix knows less than from then on.
        same_without_a_lock(&project, &["here", "self"]);
        project.commit();
        same(&project, ".", &[], &["here", "self", "sub"]);
        same(&project, &format!("path:{}", project.folder().display()), &[], &["here", "self", "sub"]);
    } else {
        // Old Nix takes it for a folder of the source in the store, and cannot write that down.
        same(&project, ".", &["--no-write-lock-file"], &["here", "self", "sub"]);
    }
}

fn submodules(nix: &Nix) {
    let project = Project::new(nix);
    project.write("../module/some.txt", "a module @salt@");
    project.commit_in(&project.beside("module"));
    knowing(&project, "", "");
    project.commit();
    project.git(&["submodule", "--quiet", "add", &project.beside("module").display().to_string(), "module"]);
    project.commit();
    let url = format!("git+file://{}", project.folder().display());
    same(&project, &format!("{url}?submodules=1"), &[], &["here", "self"]);
    same(&project, &url, &[], &["here", "self"]);
    same(&project, ".?submodules=1", &[], &["here", "self"]);
    project.write("some.txt", "changed");
    same(&project, ".?submodules=1", &[], &["here", "self"]);
}

fn a_registry_and_a_tarball(nix: &Nix) {
    let mut project = Project::new(nix);
    knowing(&project, "", "");
    let folder = project.folder().display().to_string();
    let tarball = project.beside("flake.tar.gz");
    let parent = project.folder().parent().unwrap().display().to_string();
    let tar =
        std::process::Command::new("tar").args(["-C", &parent, "-czf"]).arg(&tarball).arg("project").status();
    assert!(tar.unwrap().success());
    same(&project, &format!("file://{}", tarball.display()), &[], &["here", "self"]);
    project.set_registry(&format!(
        r#"{{"from":{{"type":"indirect","id":"mine"}},"to":{{"type":"path","path":"{folder}"}}}}"#
    ));
    same(&project, "mine", &[], &["here", "self"]);
    same(&project, "flake:mine", &[], &["here", "self"]);
    same(&project, "mine#checks", &[], &["here", "self"]);
}

fn an_impure_evaluation(nix: &Nix) {
    let project = Project::new(nix);
    project.write_checks(
        r#"system = derivation { name = "x"; system = builtins.currentSystem; builder = "/bin/sh"; };
           home = derivation { name = builtins.baseNameOf (builtins.getEnv "HOME"); system = "@system@"; builder = "/bin/sh"; };
           file = derivation { name = "x"; system = "@system@"; builder = "/bin/sh"; text = builtins.readFile /proc/version; };"#,
    );
    same(&project, ".", &["--impure"], &["file", "home", "system"]);
}

fn what_a_pure_evaluation_refuses_is_refused(nix: &Nix) {
    let project = Project::new(nix);
    project.write(
        "flake.nix",
        r#"{ outputs = { self }: let mk = extra: derivation ({ name = "x"; system = "@system@"; builder = "/bin/sh"; salt = "@salt@"; } // extra); in {
  checks.@system@ = {
    good = mk { };
    env = mk { home = builtins.getEnv "HOME"; path = builtins.getEnv "PATH"; nonce = builtins.getEnv "ESKER_GUARD_MEMORY"; };
    system = mk { s = builtins.currentSystem; };
    time = mk { t = toString builtins.currentTime; };
    path = mk { p = builtins.readFile "/etc/passwd"; };
    pathExists = mk { p = if builtins.pathExists "/etc/passwd" then "yes" else "no"; };
    fetch = mk { p = builtins.fetchTarball "file:///x.tar.gz"; };
    tree = mk { p = toString (builtins.fetchTree { type = "path"; path = "/etc"; }); };
    git = mk { p = toString (builtins.fetchGit "/nowhere"); };
    lookup = mk { p = toString <nixpkgs>; };
    own = mk { p = builtins.readFile (builtins.dirOf (toString ./.) + "/x"); };
  };
}; }"#,
    );
    let told = project.check(&["--dry-run"]);
    let alone = |job: &str| {
        let installable = format!(".#checks.{}.{job}.drvPath", story::project::SYSTEM);
        let output = project.nix_command(&["eval", "--raw", &installable]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let mut refused = 0;
    for (job, conclusion) in told.conclusions() {
        match alone(job) {
            Some(drv) => assert_eq!((conclusion, told.drv(job)), ("passed", drv.as_str()), "{job}: {told}"),
            None => {
                refused += 1;
                assert_eq!(conclusion, "failed", "{job}: {told}");
            }
        }
    }
    assert!(refused >= 7, "{told}");
    assert_eq!(told.conclusions().len(), 11, "{told}");
}

fn a_file_without_a_flake(nix: &Nix) {
    let project = Project::new(nix);
    project.write(
        "default.nix",
        r#"{ name ? "x", number ? 1, list ? [ ] }: let mk = name: derivation {
  inherit name number list; system = builtins.currentSystem; builder = "/bin/sh"; salt = "@salt@"; here = toString ./.; src = ./lib.nix;
}; in { one = mk name; nested = { recurseForDerivations = true; two = mk "two"; "a.b" = mk "dotted"; }; other = { three = mk "three"; }; text = "not a job"; }"#,
    );
    let compare = |arguments: &[&str]| {
        let told = project.check(&[&["--dry-run", "--file", "default.nix"], arguments].concat());
        assert_eq!(told.code, 0, "{told}");
        assert_eq!(told.jobs("passed"), [r#"nested."a.b""#, "nested.two", "one"], "{told}");
        for job in told.jobs("passed") {
            let mut command = project.nix_program("nix-instantiate");
            let output = command.args(["default.nix", "-A", job]).args(arguments).output().unwrap();
            let drv = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                told.drv(job),
                drv.trim(),
                "{job}: {told}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    };
    compare(&[]);
    compare(&["--argstr", "name", "a-b", "--arg", "number", "1 + 2"]);
    compare(&["--arg", "list", "[ \"a\" \"b\\\"\" ]", "--argstr", "unused", "${x}\\"]);
    let told = project.check(&["--dry-run", "--file", "default.nix", "--attr", "other"]);
    assert_eq!(told.jobs("passed"), ["three"], "{told}");
    let told = project.check(&["--dry-run", "-f", "default.nix", "--attr", "nested.\"a.b\""]);
    assert_eq!(told.jobs("passed"), ["\"a.b\""], "{told}");
}

fn every_shape_of_outputs(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs(
        r#"checks.@system@ = { plain = lib.passes "plain"; "with.dot" = lib.passes "dot"; "with space" = lib.passes "space"; "ünï" = lib.passes "unicode"; };
           checks.m68k-linux.other = derivation { name = "other"; system = "m68k-linux"; builder = "/bin/sh"; };
           packages.@system@ = { foo = lib.passes "foo"; default = lib.passes "default"; };
           hydraJobs = { build.@system@ = lib.passes "build"; set = { deep.deeper = lib.passes "deeper"; }; top = lib.passes "top"; };
           legacyPackages.@system@ = { a = lib.passes "a"; sets = { recurseForDerivations = true; b = lib.passes "b"; inner = { c = lib.passes "c"; }; }; notSets = { d = lib.passes "d"; }; number = 3; };
           nested.things = { x = lib.passes "x"; };
           single = lib.passes "single";"#,
    );
    let system = story::project::SYSTEM;
    let all = ["\"with space\"", "\"with.dot\"", "plain", "ünï"];
    same(&project, ".", &[], &all);
    let alone: &[&[&str]] = &[&["--attr", "plain"], &["--attr", "\"with.dot\""]];
    for arguments in alone {
        same_by(&project, ".", arguments, &[], &[arguments[1]]);
    }
    same(&project, &format!(".#packages.{system}.foo"), &[], &["foo"]);
    same(&project, ".#packages", &[], &["default", "foo"]);
    same(&project, &format!(".#packages.{system}"), &[], &["default", "foo"]);
    same(&project, ".#foo", &[], &["foo"]);
    same_by(&project, ".#hydraJobs", &[], &[], &[&format!("build.{system}"), "set.deep.deeper", "top"]);
    same(&project, ".#legacyPackages", &[], &["a", "sets.b"]);
    same(&project, ".#nested.things", &[], &["x"]);
    same(&project, ".#nested.things.x", &[], &["x"]);
    same(&project, ".#single", &[], &["single"]);
    let both = ["--system", system, "--system", "m68k-linux"];
    let jobs = ["m68k-linux.other".to_owned()].into_iter().chain(all.map(|job| format!("{system}.{job}")));
    let mut jobs: Vec<String> = jobs.collect();
    jobs.sort_unstable();
    same_by(&project, ".", &both, &[], &jobs.iter().map(String::as_str).collect::<Vec<_>>());
}

fn a_configuration_chooses_flake_and_lock_file(nix: &Nix) {
    let project = Project::new(nix);
    let [a, _, _] = neighbours(&project);
    knowing(&project, "nix", &format!("inputs.a.url = \"{a}\";"));
    project.write("esker.toml", "flake_dir = \"nix\"\n");
    let nix_folder = project.folder().join("nix");
    project.commit();
    same_by_folder(&project, &nix_folder, &["--no-write-lock-file"]);
    if nix.is_at_least(2, 17) {
        project.nix(&["flake", "lock", "./nix"]);
        fs::rename(nix_folder.join("flake.lock"), project.folder().join("other.lock")).unwrap();
        project.write("../a/some.txt", "newer");
        project.commit_in(&project.beside("a"));
        project.write("esker.toml", "flake_dir = \"nix\"\nlock_file = \"other.lock\"\n");
        project.commit();
        let lock = project.folder().join("other.lock").display().to_string();
        same_by_folder(&project, &nix_folder, &["--reference-lock-file", &lock, "--no-write-lock-file"]);
    }
}

/// What the configuration at the top chooses is what Nix finds in `folder` with these arguments.
fn same_by_folder(project: &Project, folder: &Path, arguments: &[&str]) {
    let own: &[&str] = if arguments.len() > 1 { &[] } else { arguments };
    let told = project.check(&[&["--dry-run"], own].concat());
    assert_eq!(told.jobs("passed"), ["a", "here", "self"], "{told}");
    for job in told.jobs("passed") {
        let installable = format!("{}#checks.{}.{job}.drvPath", folder.display(), story::project::SYSTEM);
        let drv = project.nix(&[&["eval", "--raw", &installable], arguments].concat());
        assert_same(told.drv(job), &drv, &format!("{job}\n{}", told.stderr));
    }
}

on_each_nix! {
    a_clean_and_a_dirty_tree,
    a_flake_in_a_subfolder,
    a_plain_folder,
    locked_inputs_and_follows,
    a_lock_file_that_is_out_of_date,
    inputs_that_are_overridden,
    inputs_by_a_relative_path,
    submodules,
    a_registry_and_a_tarball,
    an_impure_evaluation,
    what_a_pure_evaluation_refuses_is_refused,
    a_file_without_a_flake,
    every_shape_of_outputs,
    a_configuration_chooses_flake_and_lock_file,
}
