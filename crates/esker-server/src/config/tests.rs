//! Configurations and what is said of wrong ones.

use std::fs;

use super::*;

const FORGE: &str = r#"
[forges.github]
kind = "github"
api = "https://api.github.com"
webhook_secret_files = ["hook"]
token_file = "token"
"#;

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hook"), "a secret\n").unwrap();
    fs::write(folder.path().join("token"), "a token").unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    fs::write(folder.path().join("esker.toml"), text).unwrap();
    Config::load(&folder.path().join("esker.toml")).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        text.replace(&folder.path().display().to_string(), "DIR")
    })
}

#[test]
fn all_keys_are_understood() {
    let config = load(&format!(
        "listen = \"[::1]:0\"\nurl = \"https://ci.example.org/\"\nstate_dir = \"state\"\n{FORGE}
         [projects.\"github/acme/hello\"]\ngit = \"https://github.com/acme/hello.git\""
    ))
    .unwrap();
    assert_eq!(config.listen.to_string(), "[::1]:0");
    assert_eq!(config.url.as_deref(), Some("https://ci.example.org"));
    assert!(config.state_dir.unwrap().is_absolute());
    assert_eq!(config.projects.len(), 1);
}

#[test]
fn no_secret_is_printed() {
    let config = load(FORGE).unwrap();
    let text = format!("{config:?}");
    assert!(!text.contains("a secret") && !text.contains("a token"), "{text}");
}

#[test]
fn nothing_need_be_said() {
    assert_eq!(load("").unwrap().listen, LISTEN);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    insta::assert_snapshot!(load("lisen = \"127.0.0.1:1\"").unwrap_err(), @r#"
    `DIR/esker.toml` is wrong: TOML parse error at line 1, column 1
      |
    1 | lisen = "127.0.0.1:1"
      | ^^^^^
    unknown field `lisen`, expected one of `listen`, `url`, `state_dir`, `forges`, `projects`
    "#);
    insta::assert_snapshot!(
        load(&FORGE.replace("\"hook\"", "\"empty\"")).unwrap_err(),
        @"`DIR/empty` holds no secret: it is empty"
    );
    insta::assert_snapshot!(
        load(&FORGE.replace("[\"hook\"]", "[]")).unwrap_err(),
        @"`forges.github.webhook_secret_files` is empty: then every delivery would be refused"
    );
    insta::assert_snapshot!(
        load(&FORGE.replace("\"token\"", "\"nowhere\"")).unwrap_err(),
        @"cannot read `DIR/nowhere`: No such file or directory (os error 2)"
    );
    insta::assert_snapshot!(
        load("[projects.\"github/acme/hello\"]\ngit = \"/x\"").unwrap_err(),
        @"the project `github/acme/hello` is of the forge `github`, which is not configured"
    );
    insta::assert_snapshot!(
        load("url = \"javascript:alert(1)\"").unwrap_err(),
        @"`url` is `javascript:alert(1)`, which does not begin with https:// or http://"
    );
}

#[test]
fn what_git_would_take_for_more_than_an_address_is_refused() {
    for git in ["--upload-pack=x", "ext::sh -c x", "https://me:secret@example.org/x", "acme/hello", "/a b"] {
        let text = format!("{FORGE}[projects.\"github/acme/hello\"]\ngit = \"{git}\"");
        assert!(load(&text).is_err(), "{git}");
    }
}
