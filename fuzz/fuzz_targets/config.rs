//! `esker.toml` and its kin: what is read can be used as it is, leads nowhere outside, and reads the
//! same from a file; what is refused is refused in words fit for a terminal.
#![no_main]

use std::fs;
use std::path::Component;
use std::sync::LazyLock;
use std::time::Duration;

use esker_engine::config::{Config, ConfigError, ConfigFile, ConfigOrigin, parse_bytes, parse_duration};
use esker_nix::attr_path::AttrPath;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// One for all inputs: making it costs more than reading it.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("there is room for a folder"));

fuzz_target!(|bytes: &[u8]| {
    let text = std::str::from_utf8(bytes);
    for file in ConfigFile::ALL {
        let path = FOLDER.path().join(file.name());
        fs::write(&path, bytes).unwrap();
        let loaded = Config::load(FOLDER.path());
        fs::remove_file(&path).unwrap();
        match (text, loaded) {
            (Err(_), loaded) => assert!(matches!(loaded, Err(ConfigError::NotText { .. }))),
            (Ok(text), Ok((config, origin))) => {
                assert_eq!(Config::parse(text, file).unwrap(), config);
                assert!(matches!(origin, ConfigOrigin::File { file: read, .. } if read == file));
                check(&config);
            }
            (Ok(text), Err(error)) => {
                assert_eq!(Config::parse(text, file).unwrap_err().to_string(), error.to_string());
                let shown = format!("{error}{}", error.hint().unwrap_or_default());
                assert!(!shown.chars().any(char::is_control), "{shown:?}");
            }
        }
    }
    if let Ok(text) = text {
        let _ = (parse_bytes(text), parse_duration(text));
    }
});

fn check(config: &Config) {
    assert!(config.attribute.parse::<AttrPath>().is_ok_and(|path| !path.names().is_empty()));
    for path in [&config.flake_dir, &config.lock_file] {
        assert!(!path.as_os_str().is_empty());
        assert!(path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)));
    }
    let limits = &config.limits;
    let times = [limits.timeout, limits.max_silent_time, limits.evaluation_timeout];
    let longest = Duration::from_secs(30 * 24 * 60 * 60);
    assert!(times.into_iter().flatten().all(|time| !time.is_zero() && time <= longest));
    assert!(limits.evaluation_memory.is_none_or(|bytes| (64 << 20..=64 << 40).contains(&bytes)));
}
