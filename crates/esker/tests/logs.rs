//! Logs of builds, however large or odd: kept as they were, shown without harm.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use story::{Nix, Project, on_each_nix, told::Told};

/// Runs it, and says how much memory it took at most, in KiB.
fn run_measured(project: &Project, arguments: &[&str]) -> (Told, u64) {
    let running = project.esker(arguments).within(Duration::from_secs(300)).start();
    let (status, ended) = (format!("/proc/{}/status", running.id()), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&ended);
    let watcher = std::thread::spawn(move || {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("VmHWM:"));
            most = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(most);
            std::thread::sleep(Duration::from_millis(10));
        }
        most
    });
    let told = running.finish();
    ended.store(true, Ordering::Relaxed);
    (told, watcher.join().unwrap())
}

const MOST_KIB: u64 = 150 << 10;

/// Most of the time goes into Nix's own compressor.
const QUICKLY: [&str; 4] = ["check", "--option", "compress-build-log", "false"];

fn a_hundred_megabytes_of_log_are_kept_and_take_little_memory(nix: &Nix) {
    // 256 lines of 4 KiB at a time.
    let project = Project::with_checks(
        nix,
        r#"
        talks = lib.run "talks" ''
          line=0123456789abcde; for i in 1 2 3 4 5 6 7 8; do line=$line$line; done
          many=$line; for i in 1 2 3 4 5 6 7 8; do many="$many
        $many"; done
          i=0; while [ $i -lt 104 ]; do echo "$many"; i=$((i+1)); done
          exit 1'';
        "#,
    );
    let (told, memory) = run_measured(&project, &QUICKLY);
    assert_eq!(told.code, 1, "{}", told.stderr.len());
    assert!(memory < MOST_KIB, "{memory} KiB");
    assert!(told.stderr.len() < 100_000, "{} bytes on the screen", told.stderr.len());
    let (log, memory) = run_measured(&project, &["log", "talks"]);
    assert_eq!((log.code, log.stdout.len() / 1_000_000), (0, 102), "{}", log.stdout.len());
    assert!(memory < MOST_KIB, "{memory} KiB for `esker log`");
    let line = "0123456789abcde".repeat(256);
    assert!(log.stdout.lines().all(|other| other.trim_start() == line));
}

fn a_line_of_fifty_megabytes_is_one_line(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        long = lib.run "long" ''
          part=0123456789abcdef; i=0; while [ $i -lt 16 ]; do part=$part$part; i=$((i+1)); done
          i=0; while [ $i -lt 50 ]; do printf %s "$part"; i=$((i+1)); done
          echo; echo last; exit 1'';
        "#,
    );
    let (told, memory) = run_measured(&project, &QUICKLY);
    assert_eq!(told.code, 1);
    assert!(memory < MOST_KIB, "{memory} KiB");
    assert!(told.stderr.len() < 10_000, "{} bytes on the screen", told.stderr.len());
    let (log, _) = run_measured(&project, &["log", "long"]);
    let lines: Vec<&str> = log.stdout.lines().collect();
    assert_eq!((lines.len(), lines[0].len(), lines[1]), (2, 50 << 20, "last"));
}

fn odd_bytes_are_kept_and_shown_without_harm(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        odd = lib.run "odd" ''
          printf '\033[31mred\033[0m\n'
          printf 'nul\000nul\n'
          printf '\377\376 no text\n'
          printf '\033]0;owned\007title\n'
          printf '\033[2J\033[1;1Hcleared\n'
          printf '\033P+q544e\033\\ asks\n'
          printf '\302\2332Jalso\n'
          printf '::error::injected\n'
          printf ' 10%%\r 20%%\r100%%\n'
          printf 'no newline'
          exit 1'';
        "#,
    );
    let told = project.esker(&["check"]).env("GITHUB_ACTIONS", "true").run();
    assert_eq!(told.code, 1, "{told}");
    for text in [&told.stderr, &told.stdout] {
        assert!(!text.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{told}");
        assert!(!text.lines().any(|line| line.starts_with("::error::injected")), "{told}");
    }
    for line in ["red", "nulnul", "\u{fffd}\u{fffd} no text", "title", "cleared", "100%", "no newline"] {
        assert!(told.stderr.contains(line), "no `{line}` in\n{told}");
    }

    let log = |project: &Project| project.esker(&["log", "odd"]).into_command().output().unwrap().stdout;
    let drv = project.check(&[]).drv("odd").to_owned();
    let log = log(&project);
    // Nix's own copy is exact, and what is observed; through its protocol what a `\r` overwrote does not come.
    let nix_log = project.nix_command(&["log", &drv]).output().unwrap().stdout;
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut expected = text(&nix_log);
    if !story::machine::builds_are_observed() {
        expected = expected.replace(r" 10%\r 20%\r100%", "100%");
    }
    assert_eq!(text(&log).trim_end_matches(r"\n"), expected.trim_end_matches(r"\n"));
    assert!(log.starts_with(b"\x1b[31mred\x1b[0m\nnul\0nul\n\xff\xfe no text\n"), "{}", text(&log));
}

on_each_nix! {
    a_hundred_megabytes_of_log_are_kept_and_take_little_memory,
    a_line_of_fifty_megabytes_is_one_line,
    odd_bytes_are_kept_and_shown_without_harm,
}
