//! The server's configuration: a TOML file of the administrator's.
//!
//! ```toml
//! listen = "127.0.0.1:8080"                  # where it listens; port 0: any free one
//! url = "https://ci.example.org"             # how others reach it, for links in statuses
//! state_dir = "/var/lib/esker"               # database, logs, mirrors, traces
//!
//! [forges.github]                            # the first part of its projects' names
//! kind = "github"
//! api = "https://api.github.com"
//! webhook_secret_files = ["/run/secrets/hook"]   # any of them is right, for a change of secrets
//! token_file = "/run/secrets/token"          # to set statuses
//!
//! [projects."github/acme/hello"]             # FORGE/OWNER/REPOSITORY
//! git = "https://github.com/acme/hello.git"  # where it is fetched from
//! ```
//!
//! Nothing in it can change a verdict: that travels with the commit, in `esker.toml`.
//!
//! Invariant: secrets are paths of files, never written here. They are read once, at the start.
//! Invariant: a key that is not known is an error: a typing error must not switch off a protection.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use esker_forge::{Client, ClientError, Kind, SecretString};
use serde::Deserialize;

use crate::project::{NotAProjectName, ProjectName};

/// What the server is to do, with all secrets read.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How others reach it, without a slash at the end. `None`: at the address it listens on.
    pub url: Option<String>,
    /// Where it keeps everything. `None`: the caller knows.
    pub state_dir: Option<PathBuf>,
    /// By name.
    pub forges: BTreeMap<String, Forge>,
    /// By name.
    pub projects: BTreeMap<ProjectName, Project>,
}

/// A forge that sends us deliveries and is told statuses.
#[derive(Debug)]
pub struct Forge {
    /// Which kind.
    pub kind: Kind,
    /// What deliveries are signed with; any of them.
    pub webhook_secrets: Vec<SecretString>,
    /// For requests to it.
    pub client: Client,
}

/// A repository that somebody switched on.
#[derive(Clone, Debug)]
pub struct Project {
    /// Where it is fetched from, as git takes it.
    pub git: String,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not TOML, or not what is documented.
    #[error("`{}` is wrong: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// With the place.
        message: String,
    },
    /// A project's name.
    #[error("a project's name is wrong")]
    Name(#[from] NotAProjectName),
    /// A project of no forge.
    #[error("the project `{project}` is of the forge `{}`, which is not configured", project.forge())]
    NoForge {
        /// The project.
        project: ProjectName,
    },
    /// A secret that is none.
    #[error("`{}` holds no secret: {problem}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Some other value.
    #[error("`{key}` {problem}")]
    Value {
        /// The key.
        key: String,
        /// Continues the sentence.
        problem: String,
    },
    /// A forge's address.
    #[error("the forge `{forge}` cannot be used")]
    Forge {
        /// Its name.
        forge: String,
        /// Why.
        #[source]
        source: ClientError,
    },
}

impl ConfigError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoForge { project } => Some(format!("add a table `[forges.{}]`", project.forge())),
            Self::Secret { .. } => Some("write it into the file as one line".to_owned()),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    url: Option<String>,
    state_dir: Option<PathBuf>,
    #[serde(default)]
    forges: BTreeMap<String, ForgeTable>,
    #[serde(default)]
    projects: BTreeMap<String, ProjectTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgeTable {
    kind: KindWord,
    api: String,
    webhook_secret_files: Vec<PathBuf>,
    token_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindWord {
    GitHub,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectTable {
    git: String,
}

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

impl Default for Config {
    fn default() -> Self {
        let (forges, projects) = (BTreeMap::new(), BTreeMap::new());
        Self { listen: LISTEN, url: None, state_dir: None, forges, projects }
    }
}

impl Config {
    /// Reads a configuration and the secrets it names.
    ///
    /// # Errors
    /// It cannot be used as it is.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let file: File = toml::from_str(&text)
            .map_err(|error| ConfigError::Wrong { path: path.to_owned(), message: error.to_string() })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let mut forges = BTreeMap::new();
        for (name, table) in file.forges {
            forges.insert(name.clone(), forge(&name, table, base)?);
        }
        let mut projects = BTreeMap::new();
        for (name, table) in file.projects {
            let name: ProjectName = name.parse()?;
            if !forges.contains_key(name.forge()) {
                return Err(ConfigError::NoForge { project: name });
            }
            check_git(&name, &table.git)?;
            projects.insert(name, Project { git: table.git });
        }
        let url = file.url.map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) =
            url.as_ref().filter(|url| !url.starts_with("https://") && !url.starts_with("http://"))
        {
            let problem = format!("is `{url}`, which does not begin with https:// or http://");
            return Err(ConfigError::Value { key: "url".to_owned(), problem });
        }
        Ok(Self {
            listen: file.listen.unwrap_or(LISTEN),
            url,
            state_dir: file.state_dir.map(|folder| base.join(folder)),
            forges,
            projects,
        })
    }
}

fn forge(name: &str, table: ForgeTable, base: &Path) -> Result<Forge, ConfigError> {
    let kind = match table.kind {
        KindWord::GitHub => Kind::GitHub,
    };
    let mut webhook_secrets = Vec::new();
    for file in &table.webhook_secret_files {
        webhook_secrets.push(secret(&base.join(file))?);
    }
    if webhook_secrets.is_empty() {
        let problem = "is empty: then every delivery would be refused".to_owned();
        return Err(ConfigError::Value { key: format!("forges.{name}.webhook_secret_files"), problem });
    }
    let token = secret(&base.join(&table.token_file))?;
    let client = Client::new(kind, &table.api, token)
        .map_err(|source| ConfigError::Forge { forge: name.to_owned(), source })?;
    Ok(Forge { kind, webhook_secrets, client })
}

/// A line of a file.
fn secret(path: &Path) -> Result<SecretString, ConfigError> {
    let text = read(path)?;
    let secret = text.trim_end_matches(['\n', '\r']);
    let problem = match secret {
        "" => Some("it is empty"),
        secret if secret.chars().any(char::is_control) => {
            Some("it has several lines, or other control characters")
        }
        _ => None,
    };
    match problem {
        Some(problem) => Err(ConfigError::Secret { path: path.to_owned(), problem }),
        None => Ok(secret.into()),
    }
}

/// It becomes an argument of git, and is shown.
fn check_git(name: &ProjectName, git: &str) -> Result<(), ConfigError> {
    let known = ["https://", "http://", "ssh://", "git://", "file://", "/"];
    let problem = if !known.iter().any(|start| git.starts_with(start)) {
        "is no address of the form https://…, ssh://…, git://…, file://… or an absolute path"
    } else if git.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "has white space in it"
    } else if git.split_once("://").is_some_and(|(_, rest)| {
        rest.split('/')
            .next()
            .and_then(|host| host.split_once('@'))
            .is_some_and(|(user, _)| user.contains(':'))
    }) {
        "has a password in it; secrets belong into files"
    } else {
        return Ok(());
    };
    Err(ConfigError::Value { key: format!("projects.\"{name}\".git"), problem: problem.to_owned() })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
