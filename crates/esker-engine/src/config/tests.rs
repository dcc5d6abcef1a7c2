//! What a repository may write, and the words it gets back when it may not.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

/// The message and the hint for `text` as `esker.toml`, as the terminal shows them.
fn error(text: &str) -> String {
    error_in(text, ConfigFile::Esker)
}

fn error_in(text: &str, file: ConfigFile) -> String {
    shown(&Config::parse(text, file).unwrap_err())
}

fn shown(error: &ConfigError) -> String {
    match error.hint() {
        Some(hint) => format!("error: {error}\nhint: {hint}"),
        None => format!("error: {error}"),
    }
}

fn parse(text: &str) -> Config {
    Config::parse(text, ConfigFile::Esker).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(parse(""), Config::default());
    assert_eq!(parse("# nothing yet\n[limits]\n"), Config::default());
    assert_eq!(Config::default().attribute, "checks");
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        attribute = "hydraJobs"
        systems = ["x86_64-linux", "aarch64-darwin"]
        include = ["unit-*", "{a,b}"]
        exclude = ["*-slow"]
        flake_dir = "./nix//ci/"
        lock_file = "nix/other.lock"
        [limits]
        timeout = "3h"
        max_silent_time = " 20 m "
        evaluation_timeout = 0x10
        evaluation_memory = "4GiB"
        "#,
    );
    let expected = Config {
        attribute: "hydraJobs".into(),
        systems: vec!["x86_64-linux".into(), "aarch64-darwin".into()],
        include: vec!["unit-*".into(), "{a,b}".into()],
        exclude: vec!["*-slow".into()],
        flake_dir: "nix/ci".into(),
        lock_file: "nix/other.lock".into(),
        limits: Limits {
            timeout: Some(Duration::from_secs(3 * 3600)),
            max_silent_time: Some(Duration::from_secs(20 * 60)),
            evaluation_timeout: Some(Duration::from_secs(16)),
            evaluation_memory: Some(4 << 30),
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn limits_can_be_written_with_dots() {
    assert_eq!(parse("limits.timeout = 90").limits.timeout, Some(Duration::from_secs(90)));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_likely_one() {
    insta::assert_snapshot!(error("include = []\nattribut = 'ci'\n"), @r"
    error: esker.toml:2:1: unknown key `attribut`
    hint: did you mean `attribute`?
    ");
    insta::assert_snapshot!(error("[limits]\nmax-silent-time = 5"), @r"
    error: esker.toml:2:1: unknown key `limits.max-silent-time`
    hint: did you mean `limits.max_silent_time`?
    ");
    insta::assert_snapshot!(error("timeout = 5"), @r"
    error: esker.toml:1:1: unknown key `timeout`
    hint: did you mean `limits.timeout`?
    ");
    insta::assert_snapshot!(error("[limits]\ntimeout = 5\nlock_file = 'x'"), @r"
    error: esker.toml:3:1: unknown key `limits.lock_file`
    hint: did you mean `lock_file`?
    ");
    insta::assert_snapshot!(error("[pipeline]\nx = 1"), @r"
    error: esker.toml:1:2: unknown key `pipeline`
    hint: the keys are `attribute`, `systems`, `include`, `exclude`, `flake_dir`, `lock_file`, `limits`
    ");
    insta::assert_snapshot!(error("limits.colour = 1"), @r"
    error: esker.toml:1:8: unknown key `limits.colour`
    hint: the keys are `limits.timeout`, `limits.max_silent_time`, `limits.evaluation_timeout`, `limits.evaluation_memory`
    ");
    insta::assert_snapshot!(error("\"a\\u001b[31m\" = 1"), @r"
    error: esker.toml:1:1: unknown key `a\u{1b}[31m`
    hint: the keys are `attribute`, `systems`, `include`, `exclude`, `flake_dir`, `lock_file`, `limits`
    ");
}

#[test]
fn the_first_fault_of_the_file_is_told_first() {
    insta::assert_snapshot!(error("zebra = 1\naardvark = 2"), @r"
    error: esker.toml:1:1: unknown key `zebra`
    hint: the keys are `attribute`, `systems`, `include`, `exclude`, `flake_dir`, `lock_file`, `limits`
    ");
}

#[test]
fn a_wrong_type_tells_what_was_expected() {
    insta::assert_snapshot!(error("attribute = 3"), @"error: esker.toml:1:13: `attribute` must be a string, not a number");
    insta::assert_snapshot!(error("attribute = ['checks']"), @"error: esker.toml:1:13: `attribute` must be a string, not a list");
    insta::assert_snapshot!(error("systems = 'x86_64-linux'"), @"error: esker.toml:1:11: `systems` must be a list of strings, not a string");
    insta::assert_snapshot!(error("include = ['a', 1.5]"), @"error: esker.toml:1:17: `include` must be a list of strings, not a list with a fraction in it");
    insta::assert_snapshot!(error("flake_dir = true"), @"error: esker.toml:1:13: `flake_dir` must be a string, not true or false");
    insta::assert_snapshot!(error("limits = '3h'"), @"error: esker.toml:1:10: `limits` must be a table, not a string");
    insta::assert_snapshot!(error("[[limits]]\ntimeout = 1"), @"error: esker.toml:1:1: `limits` must be a table, not a list");
    insta::assert_snapshot!(error("limits.timeout = 2026-11-20"), @r#"error: esker.toml:1:18: `limits.timeout` must be a duration like "20m" or a number of seconds, not a date"#);
    insta::assert_snapshot!(error("limits.evaluation_memory = {}"), @r#"error: esker.toml:1:28: `limits.evaluation_memory` must be an amount like "4GiB" or a number of bytes, not a table"#);
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    insta::assert_snapshot!(error("attribute = ' '"), @"error: esker.toml:1:13: `attribute` must not be empty");
    insta::assert_snapshot!(error("attribute = \"a\\u0000b\""), @"error: esker.toml:1:13: `attribute` must not contain control characters");
    insta::assert_snapshot!(error(&format!("attribute = '{}'", "x".repeat(1025))), @"error: esker.toml:1:13: `attribute` must not be longer than 1024 bytes");
    insta::assert_snapshot!(error("attribute = 'checks..x'"), @"error: esker.toml:1:13: `attribute` has an empty name between or beside its dots");
    insta::assert_snapshot!(error("attribute = 'a.\"b'"), @"error: esker.toml:1:13: `attribute` has a quote that is not closed");
    insta::assert_snapshot!(error("systems = [\n  'x86_64-linux',\n  'linux',\n]"), @"error: esker.toml:3:3: `systems` has `linux`, which is not a system like `x86_64-linux`");
    insta::assert_snapshot!(error("systems = ['x86_64-linux', 'x86_64-linux']"), @"error: esker.toml:1:28: `systems` names `x86_64-linux` twice");
    insta::assert_snapshot!(error("include = ['a[']"), @"error: esker.toml:1:12: `include` has `a[`, which is not a glob: unclosed character class; missing ']'");
    insta::assert_snapshot!(error(&format!("exclude = {:?}", (0..1001).map(|n| n.to_string()).collect::<Vec<_>>())), @"error: esker.toml:1:11: `exclude` must not have more than 1000 entries");
    insta::assert_snapshot!(error("flake_dir = 'a/../b'"), @"error: esker.toml:1:13: `flake_dir` must not contain `..`");
    insta::assert_snapshot!(error("lock_file = '/etc/passwd'"), @"error: esker.toml:1:13: `lock_file` must be relative to the folder of this file");
    insta::assert_snapshot!(error("limits.timeout = 0"), @"error: esker.toml:1:18: `limits.timeout` must be between 1 second and 30 days");
    insta::assert_snapshot!(error("limits.timeout = -5"), @"error: esker.toml:1:18: `limits.timeout` must be between 1 second and 30 days");
    insta::assert_snapshot!(error("limits.timeout = '31d'"), @"error: esker.toml:1:18: `limits.timeout` must be between 1 second and 30 days");
    insta::assert_snapshot!(error("limits.timeout = '99999999999999999999d'"), @"error: esker.toml:1:18: `limits.timeout` must be between 1 second and 30 days");
    insta::assert_snapshot!(error("limits.timeout = '5 minutes'"), @"error: esker.toml:1:18: `limits.timeout` must be a duration like `90s`, `20m`, `3h` or `1d`, or a number of seconds");
    insta::assert_snapshot!(error("limits.evaluation_memory = 4"), @"error: esker.toml:1:28: `limits.evaluation_memory` must be between 64 MiB and 64 TiB");
    insta::assert_snapshot!(error("limits.evaluation_memory = '4GB'"), @"error: esker.toml:1:28: `limits.evaluation_memory` must be an amount like `512MiB` or `4GiB`, or a number of bytes");
}

#[test]
fn what_is_not_toml_is_refused_with_its_place() {
    insta::assert_snapshot!(error("attribute = checks"), @"error: esker.toml:1:13: string values must be quoted, expected literal string");
    insta::assert_snapshot!(error("a = 1\na = 2"), @"error: esker.toml:2:1: duplicate key");
    insta::assert_snapshot!(error("[limits\ntimeout = 1"), @"error: esker.toml:1:8: unclosed table, expected `]`");
    insta::assert_snapshot!(error("ä = 'é' x"), @"error: esker.toml:1:9: unexpected key or value, expected newline, `#`");
    assert!(error(&"[".repeat(100_000)).contains("esker.toml:1:"));
    assert!(error(&format!("a = {}", "[".repeat(100_000))).contains("esker.toml:1:"));
}

#[test]
fn the_files_of_other_tools_are_read_for_what_means_the_same() {
    let text = "attribute = 'ci'\neffects_branches = ['x']\nrequire_approval = 1\nlock_file = 'ci.lock'\n";
    let config = Config::parse(text, ConfigFile::Nixbot).unwrap();
    assert_eq!(config, Config { attribute: "ci".into(), lock_file: "ci.lock".into(), ..Config::default() });
    insta::assert_snapshot!(error_in("include = ['x']", ConfigFile::BuildbotNix), @r"
    error: buildbot-nix.toml:1:1: unknown key `include`
    hint: write what Esker shall use of `buildbot-nix.toml` into `esker.toml`, which is read instead
    ");
    insta::assert_snapshot!(error_in("atribute = 'x'", ConfigFile::Nixbot), @r"
    error: nixbot.toml:1:1: unknown key `atribute`
    hint: did you mean `attribute`?
    ");
}

#[test]
fn the_first_file_that_exists_is_used_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let load = || Config::load(dir.path()).unwrap();
    assert_eq!(load(), (Config::default(), ConfigOrigin::Defaults));
    assert_eq!(load().1.notice(), None);

    fs::write(dir.path().join("buildbot-nix.toml"), "lock_file = 'b.lock'\nattribute = 'b'").unwrap();
    assert_eq!(load().0.attribute, "b");
    insta::assert_snapshot!(load().1.notice().unwrap(), @"no `esker.toml` here: `lock_file` and `attribute` taken from `buildbot-nix.toml`");

    fs::write(dir.path().join("nixbot.toml"), "build_branches = ['x']").unwrap();
    assert_eq!(load().0, Config::default());
    assert_eq!(load().1.notice(), None);

    fs::write(dir.path().join("esker.toml"), "attribute = 'e'").unwrap();
    assert_eq!(load().0.attribute, "e");
    assert_eq!(load().1, ConfigOrigin::File { file: ConfigFile::Esker, keys: vec!["attribute".to_string()] });
    assert_eq!(load().1.notice(), None);

    fs::write(dir.path().join("esker.toml"), "attribute = ").unwrap();
    assert!(Config::load(dir.path()).is_err(), "not the next file, nor the defaults");
}

#[test]
fn odd_files_are_refused_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let path = dir.path().join("esker.toml");
    let refused = || {
        let text = shown(&Config::load(dir.path()).unwrap_err());
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        text.replace(dir.path().to_str().unwrap(), "DIR")
    };

    fs::create_dir(&path).unwrap();
    insta::assert_snapshot!(refused(), @"error: `DIR/esker.toml` is not a regular file");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    insta::assert_snapshot!(refused(), @"error: `DIR/esker.toml` is not a regular file");
    symlink(outside.path(), &path).unwrap();
    insta::assert_snapshot!(refused(), @r"
    error: `DIR/esker.toml` leads out of `DIR`
    hint: put the file into the repository itself
    ");
    symlink("nowhere", &path).unwrap();
    insta::assert_snapshot!(refused(), @"error: cannot read `DIR/esker.toml`");
    symlink("esker.toml", &path).unwrap();
    insta::assert_snapshot!(refused(), @"error: cannot read `DIR/esker.toml`");
    fs::write(&path, "# ok\n# \u{e4} \n".bytes().chain([0xff]).collect::<Vec<u8>>()).unwrap();
    insta::assert_snapshot!(refused(), @"error: esker.toml:3:1: not UTF-8 text");
    fs::write(&path, vec![b'#'; MAX_FILE_BYTES as usize + 1]).unwrap();
    insta::assert_snapshot!(refused(), @"error: `DIR/esker.toml` is larger than 1024 KiB");

    fs::write(dir.path().join("real.toml"), "attribute = 'r'").unwrap();
    symlink("real.toml", &path).unwrap();
    assert_eq!(Config::load(dir.path()).unwrap().0.attribute, "r");
}

#[test]
fn paths_are_followed_only_inside_the_repository() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("ci.lock"), "{}").unwrap();
    symlink("sub", root.join("link")).unwrap();
    symlink(outside.path(), root.join("away")).unwrap();

    let with = |text: &str| parse(text);
    assert_eq!(Config::default().flake_folder(&root).unwrap(), root);
    assert_eq!(with("flake_dir = 'link'").flake_folder(&root).unwrap(), root.join("sub"));
    assert_eq!(Config::default().reference_lock_file(&root).unwrap(), None);
    assert_eq!(with("lock_file = './flake.lock'").reference_lock_file(&root).unwrap(), None);
    assert_eq!(with("lock_file = 'ci.lock'").reference_lock_file(&root).unwrap(), Some(root.join("ci.lock")));
    insta::assert_snapshot!(shown(&with("lock_file = 'gone.lock'").reference_lock_file(&root).unwrap_err()), @r"
    error: `lock_file` is `gone.lock`, which does not exist
    hint: paths are relative to the folder of the configuration; is `gone.lock` committed?
    ");
    let error = shown(&with("flake_dir = 'away'").flake_folder(&root).unwrap_err());
    insta::assert_snapshot!(error.replace(root.to_str().unwrap(), "DIR"), @r"
    error: `away` leads out of `DIR`
    hint: put the file into the repository itself
    ");
}

/// Text that is nearly a configuration, so that the arbitrary part reaches the decoder.
fn nearly() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        proptest::sample::select(vec![
            "attribute",
            "systems",
            "include",
            "flake_dir",
            "lock_file",
            "[limits]\ntimeout",
            "limits.evaluation_memory",
            "limits",
            "effects_branches",
        ])
        .prop_map(str::to_string),
        "[a-z_.\"]{0,12}",
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
        any::<String>().prop_map(|text| format!("['{text}']")),
        "[0-9]{0,30} ?[a-zA-Z]{0,3}".prop_map(|text| format!("'{text}'")),
        "[-+0-9eE._xboinfa]{1,20}",
        any::<String>(),
    ];
    proptest::collection::vec((key, value), 0..6)
        .prop_map(|lines| lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), nearly()]) {
        for file in ConfigFile::ALL {
            match Config::parse(&text, file) {
                Ok(config) => {
                    prop_assert!(config.flake_dir.components().all(|part| part.as_os_str() != ".." && part.as_os_str() != "/"));
                    prop_assert!(!config.attribute.is_empty());
                }
                Err(error) => prop_assert!(!shown(&error).chars().any(|c| c.is_control() && c != '\n')),
            }
        }
    }

    #[test]
    fn any_file_is_read_as_its_text_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end: prop::sample::Index,
        nonsense: Vec<u8>,
    ) {
        let whole = b"attribute = \"checks\"\nsystems = ['x86_64-linux']\ninclude = ['a-*', '{b,c}']\n\
            flake_dir = './ci'\n[limits]\ntimeout = '3h'\nevaluation_timeout = 0x10\n";
        let mut changed = whole.to_vec();
        for (at, byte) in changes {
            changed[at.index(whole.len())] = byte;
        }
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&changed, &changed[..end.index(whole.len())], &nonsense] {
            fs::write(dir.path().join("esker.toml"), bytes).unwrap();
            match (Config::load(dir.path()), std::str::from_utf8(bytes)) {
                (Ok((config, _)), text) => prop_assert_eq!(config, parse(text.unwrap())),
                (Err(refused), Ok(text)) => {
                    prop_assert_eq!(shown(&refused), error(text));
                }
                (Err(refused), Err(_)) => {
                    let is_about_text = matches!(refused, ConfigError::NotText { .. });
                    prop_assert!(is_about_text);
                }
            }
        }
    }

    #[test]
    fn quantities_never_panic(text in "[0-9]{0,25} ?[a-zA-Z]{0,4}|.*") {
        let _ = parse_duration(&text);
        let _ = parse_bytes(&text);
    }
}
