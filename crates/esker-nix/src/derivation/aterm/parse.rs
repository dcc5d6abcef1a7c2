//! Reads a derivation, and refuses what Nix would not have written.

use std::collections::{BTreeMap, BTreeSet};

use super::{ParseError, Problem, escape, unescape};
use crate::StorePath;
use crate::derivation::{ByteString, Derivation, Method, Output};
use crate::hash::{Hash, HashError};

pub(in crate::derivation) fn parse(bytes: &[u8]) -> Result<Derivation, ParseError> {
    let mut parser = Parser { bytes, offset: 0 };
    let derivation = parser.derivation()?;
    match parser.offset == bytes.len() {
        true => Ok(derivation),
        false => Err(parser.error(Problem::TrailingBytes)),
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    offset: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn derivation(&mut self) -> Parsed<Derivation> {
        if self.peek("DrvWithVersion(") {
            return Err(self.error(Problem::DynamicDerivations));
        }
        self.expect("Derive(")?;
        let outputs = self.sorted_map(Self::output)?;
        self.expect(",")?;
        let input_derivations = self.sorted_map(Self::input_derivation)?;
        self.expect(",")?;
        let input_sources = self.sorted_set(Self::store_path)?;
        self.expect(",")?;
        let system = self.text()?;
        self.expect(",")?;
        let builder = self.string()?;
        self.expect(",")?;
        let mut arguments = Vec::new();
        self.list(|parser| {
            arguments.push(parser.string()?);
            Ok(())
        })?;
        self.expect(",")?;
        let environment = self.sorted_map(Self::variable)?;
        self.expect(")")?;
        Ok(Derivation { outputs, input_derivations, input_sources, system, builder, arguments, environment })
    }

    fn output(&mut self) -> Parsed<(String, Output)> {
        self.expect("(")?;
        let name = self.text()?;
        self.expect(",")?;
        let start = self.offset;
        let path = if self.peek("\"\"") {
            self.expect("\"\"")?;
            None
        } else {
            Some(self.store_path()?)
        };
        self.expect(",")?;
        let method_and_algorithm = self.text()?;
        self.expect(",")?;
        let hash = self.text()?;
        self.expect(")")?;
        let output = output_from_fields(path, &method_and_algorithm, &hash)
            .map_err(|problem| ParseError { offset: start, problem })?;
        Ok((name, output))
    }

    fn input_derivation(&mut self) -> Parsed<(StorePath, BTreeSet<String>)> {
        self.expect("(")?;
        let path = self.store_path()?;
        self.expect(",")?;
        let outputs = self.sorted_set(Self::text)?;
        self.expect(")")?;
        Ok((path, outputs))
    }

    fn variable(&mut self) -> Parsed<(ByteString, ByteString)> {
        self.expect("(")?;
        let name = self.string()?;
        self.expect(",")?;
        let value = self.string()?;
        self.expect(")")?;
        Ok((name, value))
    }

    fn store_path(&mut self) -> Parsed<StorePath> {
        let start = self.offset;
        let path = self.plain()?.parse();
        path.map_err(|error| ParseError { offset: start, problem: Problem::StorePath(error) })
    }

    fn text(&mut self) -> Parsed<String> {
        Ok(self.plain()?.to_owned())
    }

    /// A string without escapes: a name, a path or a system.
    fn plain(&mut self) -> Parsed<&'a str> {
        let start = self.offset;
        let content = self.quoted()?;
        if content.contains(&b'\\') {
            return Err(ParseError { offset: start, problem: Problem::Escape });
        }
        std::str::from_utf8(content).map_err(|_| ParseError { offset: start, problem: Problem::NotText })
    }

    /// A string with escapes.
    fn string(&mut self) -> Parsed<ByteString> {
        let start = self.offset + 1;
        let content = self.quoted()?;
        let bytes = unescape_all(content)
            .map_err(|at| ParseError { offset: start + at, problem: Problem::Escape })?;
        Ok(bytes.into())
    }

    /// What stands between two quotes, escapes included.
    fn quoted(&mut self) -> Parsed<&'a [u8]> {
        if !self.peek("\"") {
            return Err(self.error(Problem::Expected("\"")));
        }
        let content = &self.bytes[self.offset + 1..];
        let mut end = 0;
        loop {
            let rest = content.get(end..).unwrap_or_default();
            let more = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
            end += more.ok_or(self.error(Problem::EndlessString))?;
            if content[end] == b'"' {
                self.offset += end + 2;
                return Ok(&content[..end]);
            }
            end += 2;
        }
    }

    fn sorted_map<K: Ord, V>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Parsed<(K, V)>,
    ) -> Parsed<BTreeMap<K, V>> {
        let mut entries: Vec<(K, V)> = Vec::new();
        self.list(|parser| {
            let start = parser.offset;
            let (key, value) = entry(parser)?;
            if entries.last().is_some_and(|(last, _)| *last >= key) {
                return Err(ParseError { offset: start, problem: Problem::Unsorted });
            }
            entries.push((key, value));
            Ok(())
        })?;
        Ok(entries.into_iter().collect())
    }

    fn sorted_set<T: Ord>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<BTreeSet<T>> {
        let map = self.sorted_map(|parser| Ok((item(parser)?, ())))?;
        Ok(map.into_keys().collect())
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        self.expect("[")?;
        if self.peek("]") {
            return self.expect("]");
        }
        loop {
            item(self)?;
            if !self.peek(",") {
                return self.expect("]");
            }
            self.expect(",")?;
        }
    }

    fn expect(&mut self, token: &'static str) -> Parsed<()> {
        if !self.peek(token) {
            return Err(self.error(Problem::Expected(token)));
        }
        self.offset += token.len();
        Ok(())
    }

    fn peek(&self, token: &str) -> bool {
        self.bytes[self.offset..].starts_with(token.as_bytes())
    }

    fn error(&self, problem: Problem) -> ParseError {
        ParseError { offset: self.offset, problem }
    }
}

fn output_from_fields(
    path: Option<StorePath>,
    method_and_algorithm: &str,
    hash: &str,
) -> Result<Output, Problem> {
    if method_and_algorithm.is_empty() {
        return match path {
            _ if !hash.is_empty() => Err(Problem::Output),
            Some(path) => Ok(Output::InputAddressed(path)),
            None => Ok(Output::Deferred),
        };
    }
    let (method, algorithm) = Method::parse_with_algorithm(method_and_algorithm)?;
    let Some(path) = path else {
        return match hash {
            "" => Ok(Output::Floating { method, algorithm }),
            "impure" => Ok(Output::Impure { method, algorithm }),
            _ => Err(Problem::Output),
        };
    };
    let parsed = Hash::parse(hash, algorithm)?;
    match parsed.to_base16() == hash {
        true => Ok(Output::Fixed { path, method, hash: parsed }),
        false => Err(Problem::Hash(HashError::Encoding)),
    }
}

/// Resolves escapes. An error is the offset of a byte that Nix would have written otherwise.
fn unescape_all(content: &[u8]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(content.len());
    let mut at = 0;
    while let Some(more) = content[at..].iter().position(|byte| escape(*byte).is_some()) {
        bytes.extend_from_slice(&content[at..at + more]);
        at += more;
        let escaped = match &content[at..] {
            [b'\\', escaped, ..] => unescape(*escaped),
            _ => None,
        };
        bytes.push(escaped.ok_or(at)?);
        at += 2;
    }
    bytes.extend_from_slice(&content[at..]);
    Ok(bytes)
}
