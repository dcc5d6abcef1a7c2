//! The worker protocol against real daemons.
//!
//! Every test runs with every Nix in `ESKER_TEST_NIX`, a colon-separated list of folders with
//! `nix-daemon` and `nix-instantiate`; by default the one on PATH. Without any, they pass and say
//! so. Builders are one static busybox, `ESKER_TEST_SHELL` or `/bin/busybox`.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use esker_nix::StorePath;
use esker_nix::protocol::{
    ActivityKind, BuildLog, BuildMode, BuildResult, BuildStatus, Client, DerivedPath, Options, PathInfo,
    ProtocolError, SignatureCheck,
};
use sha2::{Digest, Sha256};

/// Where a newer Nix is unpacked on some machines, beside the system's.
const SECOND_NIX: &str = "/opt/esker-nix/sid/bin-nix";

fn each_nix(test: impl Fn(&Nix)) {
    let folders: Vec<PathBuf> = match std::env::var_os("ESKER_TEST_NIX") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .find(|folder| folder.join("nix-daemon").exists())
            .into_iter()
            .chain(Some(PathBuf::from(SECOND_NIX)))
            .filter(|folder| folder.join("nix-daemon").exists())
            .collect(),
    };
    if folders.is_empty() {
        eprintln!("No Nix on PATH: nothing was tested.");
    }
    for bin in folders {
        test(&Nix { bin });
    }
}

struct Nix {
    bin: PathBuf,
}

impl Nix {
    fn command(&self, program: &str) -> Command {
        let shell = std::env::var("ESKER_TEST_SHELL").unwrap_or_else(|_| "/bin/busybox".to_owned());
        assert!(Path::new(&shell).exists(), "no `{shell}`: install busybox-static or set ESKER_TEST_SHELL");
        let mut command = Command::new(self.bin.join(program));
        command.env(
            "NIX_CONFIG",
            format!("sandbox = true\nsandbox-paths = /bin/sh={shell}\nsubstituters =\nbuilders =\n"),
        );
        command
    }

    fn session(&self) -> Session {
        let mut daemon = self
            .command("nix-daemon")
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = daemon.stdout.take().unwrap();
        let output = daemon.stdin.take().unwrap();
        Session { client: Client::connect(input, output).unwrap(), daemon: Daemon(daemon) }
    }

    /// Instantiates a derivation with a name of its own, so that it was never built before.
    fn drv(&self, script: &str, attributes: &str) -> StorePath {
        let expression = format!(
            "derivation ({{ name = \"esker-test-{}\"; system = builtins.currentSystem; builder = \"/bin/sh\";
               args = [ \"-c\" ''{script}'' ]; }} // {{ {attributes} }})",
            unique()
        );
        let output = self
            .command("nix-instantiate")
            .args(["--expr", &expression])
            .stderr(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
}

/// A number no other test used, in this run or an earlier one.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{nanos}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Dropped in this order: the client hangs up, the daemon ends and is waited for.
struct Session {
    client: Client<ChildStdout, ChildStdin>,
    daemon: Daemon,
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

impl Session {
    fn build(&mut self, drv: &StorePath, mode: BuildMode) -> (BuildResult, Vec<BuildLog>) {
        let wanted = DerivedPath::all_outputs(drv.clone());
        let mut logs = Vec::new();
        let results = self
            .client
            .build_paths_with_results(std::slice::from_ref(&wanted), mode, &mut |log| logs.push(log))
            .unwrap();
        let [(path, result)] = <[_; 1]>::try_from(results).unwrap();
        assert_eq!(path, wanted);
        (result, logs)
    }

    fn succeed(&mut self, drv: &StorePath) -> BTreeMap<String, StorePath> {
        let (result, _) = self.build(drv, BuildMode::Normal);
        assert!(result.status.is_success(), "{result:?}");
        result.built_outputs
    }
}

fn lines(logs: &[BuildLog]) -> Vec<String> {
    let lines = logs.iter().filter_map(BuildLog::build_log_line);
    lines.map(|(_, line)| String::from_utf8_lossy(line).into_owned()).collect()
}

#[test]
fn the_daemon_introduces_itself() {
    each_nix(|nix| {
        let session = nix.session();
        let (major, minor) = session.client.protocol_version();
        assert!(major == 1 && (34..=38).contains(&minor));
        assert!(session.client.daemon_version().starts_with("2."));
        assert_eq!(session.client.trusted().is_some(), minor >= 35);
    });
}

#[test]
fn a_build_streams_its_log_and_tells_its_outputs() {
    each_nix(|nix| {
        let drv = nix.drv(
            r#"echo "one"; printf "\377 two\n" >&2
               echo "@nix { \"action\": \"setPhase\", \"phase\": \"packing\" }" >&2; echo > $out"#,
            "",
        );
        let mut session = nix.session();
        session.client.set_options(&Options::default()).unwrap();
        let (result, logs) = session.build(&drv, BuildMode::Normal);

        assert_eq!((result.status, result.message.as_str()), (BuildStatus::Built, ""));
        // Nix 2.34 does not fill in when and how often it built.
        assert!(result.times_built <= 1 && !result.non_deterministic, "{result:?}");
        assert!(result.start == 0 || result.start > 1_700_000_000, "{result:?}");
        assert!(result.stop >= result.start, "{result:?}");
        assert_eq!(result.built_outputs.keys().collect::<Vec<_>>(), ["out"]);
        assert!(result.built_outputs["out"].as_path().exists());

        let build = logs.iter().find_map(|log| match log {
            BuildLog::Start { id, kind: ActivityKind::Build, .. } => Some((*id, log.subject().unwrap())),
            _ => None,
        });
        let (id, subject) = build.unwrap();
        assert_eq!(subject, drv.as_str().as_bytes());
        let printed: Vec<_> = logs.iter().filter_map(BuildLog::build_log_line).collect();
        assert_eq!(printed, [(id, &b"one"[..]), (id, &b"\xff two"[..])]);
        assert_eq!(logs.iter().find_map(BuildLog::phase), Some((id, &b"packing"[..])));
        assert!(logs.contains(&BuildLog::Stop { id }));
        assert!(logs.iter().any(|log| log.expected().is_some()));
        assert!(logs.iter().any(|log| log.progress().is_some_and(|(_, progress)| progress.done == 1)));
    });
}

#[test]
fn a_valid_path_is_not_built_again_unless_it_is_checked() {
    each_nix(|nix| {
        let drv = nix.drv("echo built; echo > $out", "");
        let mut session = nix.session();
        let outputs = session.succeed(&drv);

        let (again, logs) = session.build(&drv, BuildMode::Normal);
        assert_eq!(again.status, BuildStatus::AlreadyValid);
        assert_eq!((again.built_outputs, lines(&logs)), (outputs, vec![]));

        let (checked, logs) = session.build(&drv, BuildMode::Check);
        assert!(checked.status.is_success(), "{checked:?}");
        assert_eq!(lines(&logs), ["built"]);
    });
}

#[test]
fn a_check_finds_an_output_that_changes() {
    each_nix(|nix| {
        let drv = nix.drv("cat /proc/sys/kernel/random/uuid > $out", "");
        let mut session = nix.session();
        session.succeed(&drv);
        let (checked, _) = session.build(&drv, BuildMode::Check);
        assert_eq!(checked.status, BuildStatus::NotDeterministic, "{checked:?}");
        assert!(checked.message.contains("may not be deterministic"), "{}", checked.message);
    });
}

#[test]
fn failures_are_results_with_a_reason() {
    each_nix(|nix| {
        let failing = nix.drv("echo on the way; exit 3", "");
        let hanging = nix.drv("echo on the way; sleep 600", "");
        let empty = nix.drv("true", "");
        let mut session = nix.session();
        let overrides = [("timeout".to_owned(), "1".to_owned())].into();
        session.client.set_options(&Options { overrides, ..Options::default() }).unwrap();
        let mut check = |drv: &StorePath, status: &[BuildStatus], reason: &str| {
            let (result, logs) = session.build(drv, BuildMode::Normal);
            assert!(status.contains(&result.status), "{result:?}");
            assert!(result.message.contains(reason), "{result:?}");
            assert!(!result.message.contains('\x1b') && result.built_outputs.is_empty(), "{result:?}");
            lines(&logs)
        };
        assert_eq!(check(&failing, &[BuildStatus::PermanentFailure], "exit code 3"), ["on the way"]);
        assert_eq!(check(&hanging, &[BuildStatus::TimedOut], "timed out after 1 seconds"), ["on the way"]);
        check(
            &empty,
            &[BuildStatus::PermanentFailure, BuildStatus::OutputRejected],
            "failed to produce output",
        );
    });
}

#[test]
fn a_failed_dependency_is_told_from_a_failure() {
    each_nix(|nix| {
        let dependency = format!(
            "dep = derivation {{ name = \"dep-{}\"; system = builtins.currentSystem;
               builder = \"/bin/sh\"; args = [ \"-c\" \"exit 1\" ]; }};",
            unique()
        );
        let drv = nix.drv("echo $dep > $out", &dependency);
        let (result, _) = nix.session().build(&drv, BuildMode::Normal);
        assert_eq!(result.status, BuildStatus::DependencyFailed, "{result:?}");
    });
}

#[test]
fn a_system_nobody_has_fails_the_build_or_the_request() {
    each_nix(|nix| {
        let mut session = nix.session();
        let wanted = [DerivedPath::all_outputs(nix.drv("", "system = \"vax-vms\";"))];
        match session.client.build_paths_with_results(&wanted, BuildMode::Normal, &mut drop) {
            Ok(results) => assert_eq!(results[0].1.status, BuildStatus::InputRejected, "{results:?}"),
            // Nix 2.8 gives up all that was wanted with it.
            Err(ProtocolError::Daemon { message, .. }) => assert!(message.contains("vax-vms"), "{message}"),
            Err(other) => panic!("{other:?}"),
        }
        session.succeed(&nix.drv("echo > $out", ""));
    });
}

#[test]
fn a_failure_cancels_its_neighbours_unless_told_otherwise() {
    each_nix(|nix| {
        let failing = DerivedPath::all_outputs(nix.drv("sleep 0.1; exit 1", ""));
        let endless = DerivedPath::all_outputs(nix.drv("sleep 600", ""));
        let mut session = nix.session();
        session.client.set_options(&Options { max_build_jobs: 2, ..Options::default() }).unwrap();
        let results = session
            .client
            .build_paths_with_results(&[failing.clone(), endless.clone()], BuildMode::Normal, &mut drop)
            .unwrap();
        let results: BTreeMap<_, _> = results.into_iter().collect();
        assert_eq!(results[&failing].status, BuildStatus::PermanentFailure);
        // Nix 2.34 says nothing about what it did not finish, Nix 2.8 gives it no message.
        if let Some(cancelled) = results.get(&endless) {
            assert_eq!((cancelled.status, cancelled.message.as_str()), (BuildStatus::MiscFailure, ""));
        }
    });
}

#[test]
fn outputs_can_be_chosen() {
    each_nix(|nix| {
        let drv = nix.drv("echo > $out; echo > $dev; echo > $doc", "outputs = [ \"out\" \"dev\" \"doc\" ];");
        let mut session = nix.session();
        let wanted = DerivedPath::outputs(drv.clone(), ["doc", "dev"]);
        let results = session
            .client
            .build_paths_with_results(std::slice::from_ref(&wanted), BuildMode::Normal, &mut drop)
            .unwrap();
        assert_eq!(results[0].0, wanted);
        let built = &results[0].1.built_outputs;
        assert!(built.contains_key("dev") && built.contains_key("doc"), "{built:?}");
        let known = session.client.query_derivation_output_map(&drv).unwrap();
        assert_eq!(known.keys().collect::<Vec<_>>(), ["dev", "doc", "out"]);
        assert!(built.iter().all(|(output, path)| known[output].as_ref() == Some(path)));
    });
}

#[test]
fn the_store_answers_questions() {
    each_nix(|nix| {
        let drv = nix.drv("echo $0 > $out; echo $out >> $out", "");
        let mut session = nix.session();
        let wanted = [DerivedPath::all_outputs(drv.clone())];
        let missing = session.client.query_missing(&wanted).unwrap();
        assert_eq!(missing.will_build, [drv.clone()].into());

        let out = session.client.query_derivation_output_map(&drv).unwrap()["out"].clone().unwrap();
        assert_eq!(session.client.query_path_info(&out).unwrap(), None);
        assert_eq!(
            session.client.query_valid_paths(&[drv.clone(), out.clone()]).unwrap(),
            [drv.clone()].into()
        );

        assert_eq!(session.succeed(&drv)["out"], out);
        assert_eq!(session.client.query_missing(&wanted).unwrap(), Default::default());
        let info = session.client.query_path_info(&out).unwrap().unwrap();
        let nar = nix.command("nix-store").arg("--dump").arg(out.as_path()).output().unwrap().stdout;
        assert_eq!((info.deriver, info.nar_size), (Some(drv), nar.len() as u64));
        assert_eq!(info.nar_hash, <[u8; 32]>::from(Sha256::digest(&nar)));
        assert_eq!((info.references, info.ultimate), ([out].into(), true));
    });
}

#[test]
fn roots_are_taken() {
    each_nix(|nix| {
        let out = nix.session().succeed(&nix.drv("echo > $out", ""))["out"].clone();
        let mut session = nix.session();
        let paths: Vec<StorePath> =
            (0..1000).map(|n| format!("/nix/store/{n:032}-temporary-root").parse().unwrap()).collect();
        session.client.add_temp_roots(&paths).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("result");
        symlink(out.as_path(), &link).unwrap();
        session.client.add_indirect_root(&link).unwrap();
        let roots = fs::read_dir("/nix/var/nix/gcroots/auto").unwrap();
        assert!(roots.flatten().any(|root| fs::read_link(root.path()).is_ok_and(|target| target == link)));
    });
}

#[test]
fn a_nar_travels_out_and_in() {
    each_nix(|nix| {
        let script = "mkdir -p $out/a/b; echo x > $out/a/b/c; ln -s c $out/a/b/d; cp /bin/sh $out/sh";
        let mut session = nix.session();
        let out = session.succeed(&nix.drv(script, ""))["out"].clone();
        let mut nar = Vec::new();
        session.client.nar_from_path(&out, &mut nar).unwrap();
        let dumped = nix.command("nix-store").arg("--dump").arg(out.as_path()).output().unwrap().stdout;
        assert!(nar == dumped, "{} bytes, not {}", nar.len(), dumped.len());

        let copy = format!("/nix/store/{}-copy", &sha2_letters(out.as_str())[..32]).parse().unwrap();
        let info = session.client.query_path_info(&out).unwrap().unwrap();
        let info = PathInfo { deriver: None, references: [out].into(), ultimate: false, ..info };
        let wrong = PathInfo { nar_hash: [0; 32], ..info.clone() };
        let waived = SignatureCheck::Waived;
        let refused = session.client.add_to_store_nar(&copy, &wrong, waived, &mut &nar[..]);
        assert!(matches!(&refused, Err(ProtocolError::Daemon { message, .. }) if message.contains("hash")));
        let broken = session.client.add_to_store_nar(&copy, &info, waived, &mut (&nar[..99]).chain(Broken));
        assert!(matches!(broken, Err(ProtocolError::Local(_))), "{broken:?}");

        session.client.add_to_store_nar(&copy, &info, waived, &mut &nar[..]).unwrap();
        let added = session.client.query_path_info(&copy).unwrap().unwrap();
        assert_eq!((added.nar_hash, added.references), (info.nar_hash, info.references));
        assert_eq!(fs::read_to_string(copy.as_path().join("a/b/d")).unwrap(), "x\n");
    });
}

/// Letters that pass for a hash in a store path.
fn sha2_letters(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| char::from(b'a' + byte % 4)).collect()
}

/// A file on a disk that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("bad sector"))
    }
}

#[test]
fn a_refused_request_leaves_the_connection_usable() {
    each_nix(|nix| {
        let absent: StorePath = "/nix/store/00000000000000000000000000000000-absent.drv".parse().unwrap();
        let mut session = nix.session();
        let refused = session.client.ensure_path(&absent, &mut drop).unwrap_err();
        assert!(matches!(&refused, ProtocolError::Daemon { message, .. } if message.contains("absent.drv")));
        let refused = session.client.query_derivation_output_map(&absent).unwrap_err();
        assert!(matches!(refused, ProtocolError::Daemon { .. }), "{refused:?}");
        let valid = nix.drv("", "");
        session.client.ensure_path(&valid, &mut drop).unwrap();
    });
}

#[test]
fn a_nar_of_an_absent_path_costs_the_connection() {
    each_nix(|nix| {
        let absent: StorePath = "/nix/store/00000000000000000000000000000000-absent".parse().unwrap();
        let mut session = nix.session();
        let refused = session.client.nar_from_path(&absent, &mut std::io::sink()).unwrap_err();
        assert!(matches!(refused, ProtocolError::Daemon { .. }), "{refused:?}");
        let after = session.client.query_path_info(&absent).unwrap_err();
        assert!(matches!(after, ProtocolError::Unusable), "{after:?}");
    });
}

#[test]
fn a_daemon_that_dies_ends_the_request() {
    each_nix(|nix| {
        // Not for long: Nix 2.8's builders outlive a daemon that was killed.
        let drv = nix.drv("echo begun; sleep 3", "");
        let Session { mut client, mut daemon } = nix.session();
        let wanted = [DerivedPath::all_outputs(drv)];
        let outcome = client.build_paths_with_results(&wanted, BuildMode::Normal, &mut |log| {
            if log.build_log_line().is_some() {
                daemon.0.kill().unwrap();
            }
        });
        assert!(matches!(outcome, Err(ProtocolError::Closed)), "{outcome:?}");
        daemon.0.wait().unwrap();
    });
}

#[test]
fn a_daemon_that_is_told_to_end_takes_its_build_along() {
    each_nix(|nix| {
        let mark = format!("mark-{}", unique());
        let drv = nix.drv(&format!("echo begun; sleep 600; : {mark}"), "");
        let Session { client, mut daemon } = nix.session();
        let heeds_the_first = client.daemon_version().starts_with("2.8.");
        let (begun, wait_for_begin) = std::sync::mpsc::channel();
        let (leave, wait_for_leave) = std::sync::mpsc::channel::<()>();
        // The thread is stopped in the middle of a request, and drops its client there.
        let builder = thread::spawn(move || {
            let mut client = client;
            let wanted = [DerivedPath::all_outputs(drv)];
            let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                client.build_paths_with_results(&wanted, BuildMode::Normal, &mut |log| {
                    if log.build_log_line().is_some() {
                        begun.send(()).unwrap();
                        wait_for_leave.recv().unwrap();
                        std::panic::resume_unwind(Box::new(()));
                    }
                })
            }));
            assert!(left.is_err());
        });
        wait_for_begin.recv().unwrap();
        assert!(is_running(&mark));
        leave.send(()).unwrap();
        let left = Instant::now();
        builder.join().unwrap();
        // Nix 2.34 can miss that its client left, so nobody relies on that. It was once seen to miss
        // this, too; so, like the engine, kill it a moment later. 2.8 must not need that: its
        // builders outlive a daemon that is killed.
        let process = rustix::process::Pid::from_raw(daemon.0.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let patience = Duration::from_secs(if heeds_the_first { 30 } else { 3 });
        while is_running(&mark) && left.elapsed() < patience {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!heeds_the_first || !is_running(&mark), "the builder was left running");
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        let killed = wait_for_end_of(&mark);
        let status = daemon.0.wait().unwrap();
        eprintln!(
            "{}: after being told to end, the builder ended in {killed:?}, the daemon in {:?} with {status}",
            nix.bin.display(),
            left.elapsed()
        );
    });
}

/// Waits until no process has `mark` in its arguments, and tells how long that took.
fn wait_for_end_of(mark: &str) -> Duration {
    let started = Instant::now();
    while is_running(mark) {
        assert!(started.elapsed() < Duration::from_secs(30), "the builder was left running");
        thread::sleep(Duration::from_millis(2));
    }
    started.elapsed()
}

/// Whether any process has `mark` in its arguments.
fn is_running(mark: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|process| {
        fs::read(process.path().join("cmdline"))
            .is_ok_and(|arguments| String::from_utf8_lossy(&arguments).contains(mark))
    })
}

#[test]
#[ignore = "a measurement"]
fn cost_of_trivial_builds() {
    each_nix(|nix| {
        let drvs: Vec<_> = (0..20).map(|_| nix.drv("echo > $out", "")).collect();
        let started = Instant::now();
        let mut session = nix.session();
        let connected = started.elapsed();
        session.client.set_options(&Options::default()).unwrap();
        let started = Instant::now();
        drvs.iter().for_each(|drv| drop(session.succeed(drv)));
        let built = started.elapsed() / 20;
        let started = Instant::now();
        drvs.iter().for_each(|drv| drop(session.succeed(drv)));
        let valid = started.elapsed() / 20;
        let paths: Vec<StorePath> =
            (0..1000).map(|n| format!("/nix/store/{n:032}-temporary-root").parse().unwrap()).collect();
        let started = Instant::now();
        session.client.add_temp_roots(&paths).unwrap();
        let rooted = started.elapsed();
        let started = Instant::now();
        session.client.query_valid_paths(&paths).unwrap();
        eprintln!(
            "{}: connect {connected:?}, build {built:?}, valid {valid:?}, 1000 roots {rooted:?}, 1000 valid? {:?}",
            nix.bin.display(),
            started.elapsed()
        );
    });
}
