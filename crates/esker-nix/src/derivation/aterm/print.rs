//! Prints a derivation as Nix does.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use super::escape;
use crate::derivation::{Derivation, Method, Output};

/// Whether [`print()`] shows where the outputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::derivation) enum OutputPaths {
    Shown,
    /// Empty in the list of outputs and in the environment, as for computing them.
    Masked,
}

/// The input derivations as a `.drv` file has them.
pub(in crate::derivation) fn inputs_as_paths(derivation: &Derivation) -> BTreeMap<&str, &BTreeSet<String>> {
    derivation.input_derivations.iter().map(|(path, outputs)| (path.as_str(), outputs)).collect()
}

pub(in crate::derivation) fn print<K, S>(
    derivation: &Derivation,
    inputs: &BTreeMap<K, S>,
    output_paths: OutputPaths,
) -> Vec<u8>
where
    K: AsRef<str>,
    S: Borrow<BTreeSet<String>>,
{
    let mut printer = Printer(Vec::with_capacity(1024));
    printer.raw("Derive(");
    printer.list(&derivation.outputs, |printer, (name, output)| {
        let (path, method_and_algorithm, hash) = output_fields(output);
        let path = if output_paths == OutputPaths::Shown { path } else { "" };
        printer.tuple(&[name, path, &method_and_algorithm, &hash]);
    });
    printer.raw(",");
    printer.list(inputs, |printer, (input, outputs)| {
        printer.raw("(");
        printer.plain(input.as_ref());
        printer.raw(",");
        printer.list(outputs.borrow(), |printer, output| printer.plain(output));
        printer.raw(")");
    });
    printer.raw(",");
    printer.list(&derivation.input_sources, |printer, source| printer.plain(source.as_str()));
    printer.raw(",");
    printer.plain(&derivation.system);
    printer.raw(",");
    printer.escaped(&derivation.builder);
    printer.raw(",");
    printer.list(&derivation.arguments, |printer, argument| printer.escaped(argument));
    printer.raw(",");
    printer.list(&derivation.environment, |printer, (name, value)| {
        let is_output = || name.to_str().is_some_and(|name| derivation.outputs.contains_key(name));
        let masked = output_paths == OutputPaths::Masked && is_output();
        printer.raw("(");
        printer.escaped(name);
        printer.raw(",");
        printer.escaped(if masked { b"" } else { value });
        printer.raw(")");
    });
    printer.raw(")");
    printer.0
}

fn output_fields(output: &Output) -> (&str, String, String) {
    let join = |method: Method, algorithm| format!("{}{algorithm}", method.prefix());
    match output {
        Output::InputAddressed(path) => (path.as_str(), String::new(), String::new()),
        Output::Fixed { path, method, hash } => {
            (path.as_str(), join(*method, hash.algorithm()), hash.to_base16())
        }
        Output::Floating { method, algorithm } => ("", join(*method, *algorithm), String::new()),
        Output::Deferred => ("", String::new(), String::new()),
        Output::Impure { method, algorithm } => ("", join(*method, *algorithm), "impure".into()),
    }
}

struct Printer(Vec<u8>);

impl Printer {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A string that needs no escapes.
    fn plain(&mut self, text: &str) {
        self.0.push(b'"');
        self.raw(text);
        self.0.push(b'"');
    }

    fn tuple(&mut self, fields: &[&str]) {
        for (index, field) in fields.iter().enumerate() {
            self.0.push(if index == 0 { b'(' } else { b',' });
            self.plain(field);
        }
        self.0.push(b')');
    }

    fn escaped(&mut self, bytes: &[u8]) {
        self.0.push(b'"');
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| escape(*byte).is_some()) {
            self.0.extend_from_slice(&rest[..at]);
            self.0.push(b'\\');
            self.0.extend(escape(rest[at]));
            rest = &rest[at + 1..];
        }
        self.0.extend_from_slice(rest);
        self.0.push(b'"');
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut print: impl FnMut(&mut Self, T)) {
        self.0.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            print(self, item);
        }
        self.0.push(b']');
    }
}
