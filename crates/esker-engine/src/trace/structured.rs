//! Structured attributes as a builder finds them: `.attrs.json`, and for shells `.attrs.sh`.
//!
//! Source: `prepareStructuredAttrs` and `writeShell` in `libstore/parsed-derivations.cc`. Numbers are
//! printed as the JSON library there does (`dump` of nlohmann/json), and cut as C++ cuts them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use esker_nix::derivation::Derivation;
use serde_json::{Map, Number, Value};

/// The attributes of `derivation`, if they are structured. `Err`: they are no JSON.
pub(crate) fn attributes(derivation: &Derivation) -> Result<Option<Map<String, Value>>, String> {
    let Some(json) = derivation.variable("__json") else { return Ok(None) };
    let parsed = serde_json::from_slice(json);
    parsed.map(Some).map_err(|error| format!("its structured attributes cannot be read: {error}"))
}

/// The content of `.attrs.json` and `.attrs.sh`, with placeholders as they are. `graphs` are further
/// attributes.
pub(crate) fn files(
    mut attributes: Map<String, Value>,
    derivation: &Derivation,
    graphs: &BTreeMap<String, Value>,
) -> (Vec<u8>, Vec<u8>) {
    let path = |name: &String| {
        let path = derivation.outputs.get(name).and_then(|output| output.path());
        Value::from(path.map_or_else(String::new, ToString::to_string))
    };
    let outputs = derivation.outputs.keys().map(|name| (name.clone(), path(name)));
    attributes.insert("outputs".to_owned(), Value::Object(outputs.collect()));
    attributes.extend(graphs.iter().map(|(name, graph)| (name.clone(), graph.clone())));
    let shell = shell(&attributes);
    let mut json = String::new();
    dump(&Value::Object(attributes), &mut json);
    (json.into_bytes(), shell.into_bytes())
}

/// Declarations for whatever a shell can hold: simple values, and lists and sets of those.
fn shell(attributes: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in attributes.iter().filter(|(name, _)| is_variable(name)) {
        if let Some(value) = simple(value) {
            let _ = writeln!(text, "declare {name}={value}");
        } else if let Value::Array(values) = value {
            let values: Option<Vec<String>> =
                values.iter().map(|value| simple(value).map(|value| value + " ")).collect();
            if let Some(values) = values {
                let _ = writeln!(text, "declare -a {name}=({})", values.concat());
            }
        } else if let Value::Object(members) = value {
            let one =
                |(key, value): (&String, &Value)| Some(format!("[{}]={} ", quoted(key), simple(value)?));
            if let Some(members) = members.iter().map(one).collect::<Option<Vec<String>>>() {
                let _ = writeln!(text, "declare -A {name}=({})", members.concat());
            }
        }
    }
    text
}

fn is_variable(name: &str) -> bool {
    let is_word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    name.bytes().all(is_word) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

fn simple(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quoted(text)),
        Value::Number(number) => whole(number),
        Value::Null => Some("''".to_owned()),
        Value::Bool(value) => Some(if *value { "1".to_owned() } else { String::new() }),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A number that is whole, as seen through the eyes of a `float`, as an `int`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "as in C++")]
fn whole(number: &Number) -> Option<String> {
    let (float, int) = if let Some(number) = number.as_i64() {
        (number as f32, number as i32)
    } else if let Some(number) = number.as_u64() {
        (number as f32, number as i32)
    } else {
        let number = number.as_f64()?;
        let fits = number.trunc() >= f64::from(i32::MIN) && number.trunc() <= f64::from(i32::MAX);
        (number as f32, if fits { number as i32 } else { i32::MIN })
    };
    (float.ceil() == float).then(|| int.to_string())
}

fn dump(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) => text.push_str(&float(number)),
            None => text.push_str(&number.to_string()),
        },
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                dump(value, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                dump(value, text);
            }
            text.push('}');
        }
        simple => text.push_str(&simple.to_string()),
    }
}

/// The fewest digits that say which number it is: plain from 0.0001 to 10^15, else with an exponent.
fn float(number: f64) -> String {
    if number == 0.0 {
        return if number.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned();
    }
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let before = exponent + 1;
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let text = if length <= before && before <= 15 {
        format!("{digits}{}.0", zeros(before - length))
    } else if 0 < before && before <= 15 {
        let (whole, rest) = digits.split_at(usize::try_from(before).unwrap_or_default());
        format!("{whole}.{rest}")
    } else if -4 < before && before <= 0 {
        format!("0.{}{digits}", zeros(-before))
    } else {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{first}{point}{rest}e{sign}{:02}", exponent.abs())
    };
    if number < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_nix_prints_them() {
        for (number, text) in [
            (0.5, "0.5"),
            (-2.0, "-2.0"),
            (1e15, "1e+15"),
            (1e14, "100000000000000.0"),
            (1.25e100, "1.25e+100"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123.456, "123.456"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn a_shell_gets_what_it_can_hold() {
        let json = r#"{"a b":"no","b":true,"d":[1,[2]],"e":["it's",null,false,2],"f":1.5,"g":3.0,
            "h":{"x y":"z"},"i":4294967297,"n":null,"s":"$x\n"}"#;
        let attributes: Map<String, Value> = serde_json::from_str(json).unwrap();
        let expected = "declare b=1\ndeclare -a e=('it'\\''s' ''  2 )\ndeclare g=3\n\
            declare -A h=(['x y']='z' )\ndeclare i=1\ndeclare n=''\ndeclare s='$x\n'\n";
        assert_eq!(shell(&attributes), expected);
    }
}
