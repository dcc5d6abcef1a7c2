//! The names of projects: `FORGE/OWNER/REPOSITORY`, as in addresses.

use std::fmt;
use std::str::FromStr;

/// A project's name. A repository may lie deeper than its owner, as GitLab has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(String);

/// Why a text is no project's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form FORGE/OWNER/REPOSITORY, in letters, digits, `.`, `-` and `_`")]
pub struct NotAProjectName(String);

impl ProjectName {
    /// The forge's name in the configuration.
    pub fn forge(&self) -> &str {
        self.0.split_once('/').map_or("", |(forge, _)| forge)
    }

    /// `OWNER/REPOSITORY`, as the forge has it.
    pub fn repository(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, repository)| repository)
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = NotAProjectName;

    fn from_str(text: &str) -> Result<Self, NotAProjectName> {
        let parts: Vec<&str> = text.split('/').collect();
        let good = (3..=8).contains(&parts.len()) && parts.iter().all(|part| is_part(part));
        // Addresses of evaluations go on with this word.
        let clear = !parts.contains(&"evaluations");
        (good && clear).then(|| Self(text.to_owned())).ok_or_else(|| NotAProjectName(text.to_owned()))
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn is_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (1..=100).contains(&part.len()) && part.chars().all(plain) && !matches!(part, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_forge_and_a_repository() {
        let name: ProjectName = "github/acme/hello.nix".parse().unwrap();
        assert_eq!((name.forge(), name.repository()), ("github", "acme/hello.nix"));
        let deep: ProjectName = "gitlab/a/b/c".parse().unwrap();
        assert_eq!(deep.repository(), "a/b/c");
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_name() {
        for text in ["", "a/b", "a//b", "a/../b", "a/b/c d", "a/b/<c>", "/a/b/c", "a/evaluations/b", "a/b/é"]
        {
            assert!(text.parse::<ProjectName>().is_err(), "{text}");
        }
    }
}
