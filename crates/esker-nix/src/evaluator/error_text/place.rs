//! Places in files, as Nix prints them: `at /nix/store/…-source/flake.nix:8:42:` before 2.26 or so,
//! `at «path:/folder?narHash=…»/flake.nix:8:42:` since.

use crate::flake::percent_decode;

/// By which names Nix calls the files of the user's flake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnSource {
    /// Where it lies in the store.
    pub store_path: String,
    /// The locked reference, as Nix prints it.
    pub url: String,
}

/// A place somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    line: u64,
    column: u64,
    /// The line says nothing else.
    pub(super) is_whole_line: bool,
}

impl Place<'_> {
    /// Relative to the user's flake, if it lies in it.
    pub(super) fn inside(&self, source: &OwnSource) -> Option<(String, u64, u64)> {
        let path = strip(self.path, source).filter(|path| !path.is_empty())?;
        Some((path.to_owned(), self.line, self.column))
    }

    /// As Nix has it, without what is not meant for people.
    pub(super) fn absolute(&self) -> (String, u64, u64) {
        let path = match bracketed(self.path) {
            Some((url, rest)) => format!("«{}»{rest}", url.split('?').next().unwrap_or(url)),
            None => self.path.to_owned(),
        };
        (path, self.line, self.column)
    }
}

/// Finds `at PATH:LINE:COLUMN`, also at the end of a sentence.
pub(super) fn find_place(line: &str) -> Option<Place<'_>> {
    let text = line.trim();
    let (rest, is_whole_line) = match text.strip_prefix("at ") {
        Some(rest) => (rest, true),
        None => (text.rsplit_once(" at ")?.1, false),
    };
    let rest = rest.trim_end_matches(|c: char| c == ':' || c == ',' || c.is_whitespace());
    let mut parts = rest.rsplitn(3, ':');
    let column = parts.next()?.parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    let path = parts.next()?.trim_matches(['\'', '"']);
    // `«nix-internal»/…` and `«none»` are nowhere that a person could look.
    let real = path.starts_with('/') || bracketed(path).is_some_and(|(url, _)| url.contains(':'));
    real.then_some(Place { path, line, column, is_whole_line })
}

/// Takes the flake's own names out of a text: what is left is relative.
pub(super) fn relative_text(text: &str, source: Option<&OwnSource>) -> String {
    let Some(source) = source else { return text.to_owned() };
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['«', '/']) {
        result.push_str(&rest[..start]);
        rest = &rest[start..];
        match strip(rest, source) {
            // A folder by itself keeps its name.
            Some(inside)
                if inside.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-')) =>
            {
                rest = inside
            }
            _ => {
                let first = rest.chars().next().map_or(0, char::len_utf8);
                result.push_str(&rest[..first]);
                rest = &rest[first..];
            }
        }
    }
    result + rest
}

/// What comes after the name of the flake's source and a `/`.
fn strip<'a>(path: &'a str, source: &OwnSource) -> Option<&'a str> {
    let rest = match bracketed(path) {
        Some((url, rest)) => same_source(url, &source.url).then_some(rest)?,
        None if source.store_path.is_empty() => return None,
        None => path.strip_prefix(&source.store_path)?,
    };
    rest.strip_prefix('/')
}

/// `«URL»REST`. Another `«` ends the search: without that, a text full of them, which any flake can
/// throw, would take time with the square of its length.
fn bracketed(path: &str) -> Option<(&str, &str)> {
    let inside = path.strip_prefix('«')?;
    let (url, end) = inside.split_at(inside.find(['«', '»', '\n'])?);
    Some((url, end.strip_prefix('»')?))
}

/// The same place, and not known to be another state of it.
fn same_source(a: &str, b: &str) -> bool {
    let [a, b] = [a, b].map(percent_decode);
    let base = |url: &str| url.split('?').next().unwrap_or(url).trim_end_matches('/').to_owned();
    let parameter = |url: &str, name: &str| {
        let query = url.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let agree = |name| match (parameter(&a, name), parameter(&b, name)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    base(&a) == base(&b) && agree("rev") && agree("narHash")
}
