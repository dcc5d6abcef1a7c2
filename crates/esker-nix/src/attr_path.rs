//! Attribute paths as Nix writes them: `checks.x86_64-linux."a.b"`.
//!
//! Source: the Nix manual, "Attribute sets" (identifiers and quoted names) and `parseAttrPath`,
//! which splits at dots outside double quotes and knows no escapes. So that it cannot say every
//! name, `\"` and `\\` inside quotes are read as the language reads them; any other backslash is
//! itself, as it is for Nix.
//!
//! Invariant: what is printed is read back as the same names.

use std::fmt;
use std::str::FromStr;

/// A list of attribute names. The empty list is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttrPath(Vec<String>);

/// Why a text is not an attribute path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttrPathError {
    /// A `"` that is never closed.
    #[error("missing closing quote in attribute path `{0}`")]
    OpenQuote(String),
    /// Two dots in a row, or a dot at either end.
    #[error("empty name in attribute path `{0}`")]
    EmptyName(String),
}

impl AttrPath {
    /// The path of these names, in order.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// The names, outermost first.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// This path, one name longer.
    pub fn child(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }
}

impl FromStr for AttrPath {
    type Err = AttrPathError;

    fn from_str(text: &str) -> Result<Self, AttrPathError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (mut names, mut name, mut in_quotes, mut was_quoted) = (Vec::new(), String::new(), false, false);
        let mut rest = text.chars().chain(['.']).peekable();
        while let Some(c) = rest.next() {
            match c {
                '"' => (in_quotes, was_quoted) = (!in_quotes, true),
                '\\' if in_quotes => name.push(rest.next_if(|next| matches!(next, '"' | '\\')).unwrap_or(c)),
                '.' if !in_quotes => {
                    if name.is_empty() && !was_quoted {
                        return Err(AttrPathError::EmptyName(text.to_owned()));
                    }
                    names.push(std::mem::take(&mut name));
                    was_quoted = false;
                }
                other => name.push(other),
            }
        }
        if in_quotes {
            return Err(AttrPathError::OpenQuote(text.to_owned()));
        }
        Ok(Self(names))
    }
}

impl fmt::Display for AttrPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            if is_identifier(name) {
                write!(out, "{dot}{name}")?;
            } else {
                write!(out, "{dot}\"{}\"", name.replace('\\', r"\\").replace('"', r#"\""#))?;
            }
        }
        Ok(())
    }
}

/// Looser than the language (a digit or `+` may come first): only what a command line would split
/// or a reader misread is quoted.
fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '\'' | '+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, names: &[&str]) {
        let path: AttrPath = text.parse().unwrap();
        assert_eq!(path.names(), names);
        assert_eq!(path.to_string(), text);
    }

    #[test]
    fn dots_separate_names() {
        check("checks.x86_64-linux.fmt", &["checks", "x86_64-linux", "fmt"]);
        check("", &[]);
    }

    #[test]
    fn a_quoted_name_keeps_its_dots() {
        check(r#"checks."a.b""#, &["checks", "a.b"]);
        check(r#"a."""#, &["a", ""]);
    }

    #[test]
    fn a_quote_in_a_name_is_escaped() {
        check(r#"checks."a\"b""#, &["checks", r#"a"b"#]);
        check(r#""a\\".b"#, &[r"a\", "b"]);
        let as_nix_reads_it: AttrPath = r#""a\b""#.parse().unwrap();
        assert_eq!(as_nix_reads_it.names(), [r"a\b"]);
    }

    #[test]
    fn what_nix_refuses_is_refused() {
        assert!(matches!("a..b".parse::<AttrPath>(), Err(AttrPathError::EmptyName(_))));
        assert!(matches!("a.\"b".parse::<AttrPath>(), Err(AttrPathError::OpenQuote(_))));
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(names in proptest::collection::vec(r#"[a.\\"]{0,5}|.{0,8}"#, 0..5)) {
            let path = AttrPath::new(names);
            prop_assert_eq!(path.to_string().parse::<AttrPath>().unwrap(), path);
        }
    }
}
