//! From TOML to [`Config`], with the place of everything that is wrong.
//!
//! Decoded by hand rather than with serde, so that each error can name its key, its place and what
//! would be right there.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use esker_nix::attr_path::{AttrPath, AttrPathError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::quantity::{self, QuantityError};
use super::{Config, ConfigError, ConfigFile, Place};

/// Keys of `esker.toml`.
const KEYS: [&str; 7] = ["attribute", "systems", "include", "exclude", "flake_dir", "lock_file", "limits"];
/// Keys of its table `[limits]`.
const LIMITS: [&str; 4] = ["timeout", "max_silent_time", "evaluation_timeout", "evaluation_memory"];
/// Keys of `nixbot.toml` and `buildbot-nix.toml` that mean here what they mean there.
const SHARED: [&str; 3] = ["attribute", "flake_dir", "lock_file"];
/// Their other keys: about effects, approval and triggers, which are not ours to read from them.
const FOREIGN: [&str; 4] =
    ["effects_on_pull_requests", "effects_branches", "build_branches", "require_approval"];

const MAX_STRING_BYTES: usize = 1024;
const MAX_LIST_ENTRIES: usize = 1000;

/// The configuration in `text`, and the keys it has, in the order of the file.
pub(super) fn config(text: &str, file: ConfigFile) -> Result<(Config, Vec<String>), ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: place_of(text, error.span().map_or(0, |span| span.start), file),
        message: one_line(error.message()),
    })?;
    let mut decoder = Decoder { text, file, config: Config::default(), keys: Vec::new() };
    decoder.table("", table.get_ref())?;
    Ok((decoder.config, decoder.keys))
}

/// The line and column of the byte at `offset` of `text`.
pub(super) fn place_of(text: &str, offset: usize, file: ConfigFile) -> Place {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place { file, line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

struct Decoder<'t> {
    text: &'t str,
    file: ConfigFile,
    config: Config,
    keys: Vec<String>,
}

/// A value with the key it belongs to.
struct Entry<'a, 't> {
    key: String,
    value: &'a Spanned<DeValue<'t>>,
}

impl<'t> Decoder<'t> {
    /// `prefix` is empty at the top, else the table's name with a dot.
    fn table(&mut self, prefix: &str, table: &DeTable<'t>) -> Result<(), ConfigError> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let known = match (self.file, prefix) {
                (ConfigFile::Esker, "") => KEYS.contains(&name),
                (ConfigFile::Esker, _) => LIMITS.contains(&name),
                (ConfigFile::Nixbot | ConfigFile::BuildbotNix, _) if FOREIGN.contains(&name) => continue,
                (ConfigFile::Nixbot | ConfigFile::BuildbotNix, _) => SHARED.contains(&name),
            };
            if !known {
                return Err(self.unknown(prefix, name, key.span().start));
            }
            self.value(&Entry { key: format!("{prefix}{name}"), value })?;
        }
        Ok(())
    }

    fn value(&mut self, entry: &Entry<'_, 't>) -> Result<(), ConfigError> {
        match entry.key.as_str() {
            "attribute" => self.config.attribute = self.attribute(entry)?,
            "systems" => self.config.systems = self.list(entry, is_system)?,
            "include" => self.config.include = self.list(entry, is_glob)?,
            "exclude" => self.config.exclude = self.list(entry, is_glob)?,
            "flake_dir" => self.config.flake_dir = self.path(entry)?,
            "lock_file" => self.config.lock_file = self.path(entry)?,
            "limits.timeout" => self.config.limits.timeout = Some(self.duration(entry)?),
            "limits.max_silent_time" => self.config.limits.max_silent_time = Some(self.duration(entry)?),
            "limits.evaluation_timeout" => {
                self.config.limits.evaluation_timeout = Some(self.duration(entry)?);
            }
            "limits.evaluation_memory" => {
                let bytes = self.quantity(
                    entry,
                    "an amount like \"4GiB\" or a number of bytes",
                    quantity::parse_bytes,
                    quantity::bytes,
                    QuantityError::BytesOutOfRange,
                )?;
                self.config.limits.evaluation_memory = Some(bytes);
            }
            // Only `limits` is left of the keys that `table` lets through.
            _ => {
                return match entry.value.get_ref() {
                    DeValue::Table(limits) => self.table("limits.", limits),
                    _ => Err(self.wrong_type(entry, "a table", entry.value)),
                };
            }
        }
        self.keys.push(entry.key.clone());
        Ok(())
    }

    fn attribute(&self, entry: &Entry<'_, 't>) -> Result<String, ConfigError> {
        let text = self.text_of(entry, "a string", entry.value)?;
        match text.parse::<AttrPath>() {
            Ok(_) => Ok(text),
            Err(AttrPathError::OpenQuote(_)) => {
                Err(self.bad_value(entry, entry.value, "has a quote that is not closed"))
            }
            Err(AttrPathError::EmptyName(_)) => {
                Err(self.bad_value(entry, entry.value, "has an empty name between or beside its dots"))
            }
        }
    }

    /// A string that is not empty, not endless, and has no control characters.
    fn text_of(
        &self,
        entry: &Entry<'_, 't>,
        expected: &'static str,
        value: &Spanned<DeValue<'t>>,
    ) -> Result<String, ConfigError> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(self.wrong_type(entry, expected, value));
        };
        let problem = if text.trim().is_empty() {
            "must not be empty"
        } else if text.len() > MAX_STRING_BYTES {
            "must not be longer than 1024 bytes"
        } else if text.chars().any(char::is_control) {
            "must not contain control characters"
        } else {
            return Ok(text.clone().into_owned());
        };
        Err(self.bad_value(entry, value, problem))
    }

    /// A list of distinct strings, each of which `check` finds no fault with.
    fn list(
        &self,
        entry: &Entry<'_, 't>,
        check: fn(&str) -> Result<(), String>,
    ) -> Result<Vec<String>, ConfigError> {
        let DeValue::Array(array) = entry.value.get_ref() else {
            return Err(self.wrong_type(entry, "a list of strings", entry.value));
        };
        if array.len() > MAX_LIST_ENTRIES {
            return Err(self.bad_value(entry, entry.value, "must not have more than 1000 entries"));
        }
        let mut list: Vec<String> = Vec::new();
        for value in array.iter() {
            let text = self.text_of(entry, "a list of strings", value)?;
            if list.contains(&text) {
                return Err(self.bad_value(entry, value, &format!("names `{}` twice", shortened(&text))));
            }
            check(&text).map_err(|problem| self.bad_value(entry, value, &problem))?;
            list.push(text);
        }
        Ok(list)
    }

    /// A relative path without `..`, its `.` components removed.
    fn path(&self, entry: &Entry<'_, 't>) -> Result<PathBuf, ConfigError> {
        let text = self.text_of(entry, "a string", entry.value)?;
        let mut path = PathBuf::new();
        for component in Path::new(&text).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir => {
                    return Err(self.bad_value(entry, entry.value, "must not contain `..`"));
                }
                Component::RootDir | Component::Prefix(_) => {
                    let problem = "must be relative to the folder of this file";
                    return Err(self.bad_value(entry, entry.value, problem));
                }
            }
        }
        Ok(if path.as_os_str().is_empty() { PathBuf::from(".") } else { path })
    }

    fn duration(&self, entry: &Entry<'_, 't>) -> Result<Duration, ConfigError> {
        self.quantity(
            entry,
            "a duration like \"20m\" or a number of seconds",
            quantity::parse_duration,
            quantity::duration,
            QuantityError::DurationOutOfRange,
        )
    }

    /// A number, or a string with a unit.
    fn quantity<T>(
        &self,
        entry: &Entry<'_, 't>,
        expected: &'static str,
        parse: fn(&str) -> Result<T, QuantityError>,
        from_number: fn(u64) -> Result<T, QuantityError>,
        out_of_range: QuantityError,
    ) -> Result<T, ConfigError> {
        let result = match entry.value.get_ref() {
            DeValue::String(text) => parse(text),
            // What does not fit is negative or larger than anything we allow.
            DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => from_number(number),
                Err(_) => Err(out_of_range),
            },
            _ => return Err(self.wrong_type(entry, expected, entry.value)),
        };
        result.map_err(|error| self.bad_value(entry, entry.value, &error.to_string()))
    }

    fn unknown(&self, prefix: &str, name: &str, offset: usize) -> ConfigError {
        let known: Vec<String> = match (self.file, prefix) {
            (ConfigFile::Esker, "") => KEYS.iter().map(ToString::to_string).collect(),
            (ConfigFile::Esker, _) => LIMITS.iter().map(|key| format!("{prefix}{key}")).collect(),
            (ConfigFile::Nixbot | ConfigFile::BuildbotNix, _) => {
                SHARED.iter().chain(&FOREIGN).map(ToString::to_string).collect()
            }
        };
        let key = format!("{prefix}{name}");
        // A limit written outside of its table, or a key that fell into it, is found too.
        let elsewhere: Vec<String> = match self.file {
            ConfigFile::Esker => KEYS
                .iter()
                .map(ToString::to_string)
                .chain(LIMITS.iter().map(|key| format!("limits.{key}")))
                .collect(),
            ConfigFile::Nixbot | ConfigFile::BuildbotNix => Vec::new(),
        };
        let suggestion = elsewhere
            .iter()
            .find(|candidate| candidate.rsplit('.').next() == Some(name))
            .cloned()
            .or_else(|| closest(&key, &known));
        ConfigError::UnknownKey { place: self.place(offset), key: shortened(&key), suggestion, known }
    }

    fn wrong_type(
        &self,
        entry: &Entry<'_, 't>,
        expected: &'static str,
        value: &Spanned<DeValue<'t>>,
    ) -> ConfigError {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        // Of a list with one wrong entry, the list itself was right.
        let in_list = value.span() != entry.value.span();
        let found = if in_list { format!("a list with {found} in it") } else { found.into() };
        ConfigError::WrongType {
            place: self.place(value.span().start),
            key: entry.key.clone(),
            expected,
            found,
        }
    }

    fn bad_value(&self, entry: &Entry<'_, 't>, value: &Spanned<DeValue<'t>>, problem: &str) -> ConfigError {
        let place = self.place(value.span().start);
        ConfigError::Value { place, key: entry.key.clone(), problem: problem.into() }
    }

    fn place(&self, offset: usize) -> Place {
        place_of(self.text, offset, self.file)
    }
}

/// As in Nix's `system` strings: `x86_64-linux`, `aarch64-darwin`, `armv7l-linux`.
fn is_system(text: &str) -> Result<(), String> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match text.split_once('-') {
        Some((cpu, os)) if part(cpu) && part(os) => Ok(()),
        _ => Err(format!("has `{}`, which is not a system like `x86_64-linux`", shortened(text))),
    }
}

fn is_glob(text: &str) -> Result<(), String> {
    match globset::Glob::new(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "has `{}`, which is not a glob: {}",
            shortened(text),
            one_line(&error.kind().to_string())
        )),
    }
}

fn closest(key: &str, known: &[String]) -> Option<String> {
    // The distance takes time and memory proportional to the product of the lengths.
    let key = Some(key).filter(|key| key.len() <= 64)?;
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min()
        .map(|(_, candidate)| candidate.clone())
}

/// At most 60 characters, none of them a control character: fit for a sentence on a terminal.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(printable).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

fn one_line(text: &str) -> String {
    text.trim().replace('\n', ", ").chars().flat_map(printable).collect()
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
