//! `esker trace prune`: keeps the traces small.

use std::io::{self, Write};
use std::time::SystemTime;

use esker_trace::store::{Pruned, Store};

use super::TraceError;
use crate::screen::style::{bytes, count};

/// Remove the traces that are worth least
///
/// A trace is worth the time that it saves, more if it was reused before, and less the longer it was
/// not. What is removed is built again when it is needed. Which paths were ever reused, and what was
/// revoked, stays known.
#[derive(clap::Args, Debug)]
pub(super) struct PruneArgs {
    /// Remove until no more than this is left, e.g. 200MiB [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
}

pub(super) fn run(args: &PruneArgs, store: Option<&Store>) -> Result<(), TraceError> {
    let size = match &args.max_size {
        Some(text) => parse_size(text).ok_or_else(|| TraceError::Size { text: text.clone() })?,
        None => Store::USUAL_BYTES,
    };
    let pruned = match store {
        Some(store) => store.prune(size, SystemTime::now())?,
        None => Pruned::default(),
    };
    writeln!(io::stderr(), "{}", sentence(&pruned)).map_err(TraceError::Write)
}

/// Also zero, unlike what an evaluator can do with.
fn parse_size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn sentence(pruned: &Pruned) -> String {
    let Pruned { traces, left, before, after, damaged } = *pruned;
    let mut text = format!("removed {}", count(traces, "trace"));
    if damaged > 0 {
        text += &format!(" and {}", count(damaged, "damaged database"));
    }
    let sizes = match before == after {
        true => bytes(after),
        false => format!("{}, before {}", bytes(after), bytes(before)),
    };
    format!("{text}; {} left, {sizes}", count(left, "trace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_of_elsewhere() {
        let sizes = ["0", "12", "3KiB", "1 GiB", "-1", "1GB", "", "MiB", "99999999999999TiB"];
        let parsed = sizes.map(parse_size);
        assert_eq!(parsed, [Some(0), Some(12), Some(3 << 10), Some(1 << 30), None, None, None, None, None]);
    }

    #[test]
    fn what_went_and_what_stays_is_told() {
        let pruned = Pruned { traces: 12, left: 1, before: 5 << 20, after: 2 << 20, damaged: 0 };
        insta::assert_snapshot!(sentence(&pruned), @"removed 12 traces; 1 trace left, 2.0 MiB, before 5.0 MiB");
        let pruned = Pruned { left: 1, before: 7, after: 7, damaged: 1, ..Pruned::default() };
        insta::assert_snapshot!(sentence(&pruned), @"removed 0 traces and 1 damaged database; 1 trace left, 7 B");
    }
}
