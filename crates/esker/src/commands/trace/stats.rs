//! `esker trace stats`: the store of traces in numbers, and how often a reuse was wrong.

use esker_trace::store::{Revocation, Standing, Stats, Store};
use jiff::tz::TimeZone;
use serde_json::json;

use super::{TraceError, print, words};
use crate::screen::clean;
use crate::screen::style::{bytes, count, number};

/// Count traces, reuses, and reuses that were wrong
///
/// A proof is a second run of a builder under other hashes (`esker check --prove eager`); a refuted one
/// has shown that the result depends on a hash. A share of reused results is built after all and compared: they are doubted. How many of these
/// were false tells how far reuse can be relied upon.
#[derive(clap::Args, Debug)]
pub(super) struct StatsArgs {
    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

/// Everything that is told.
#[derive(Debug, Default)]
struct Numbers {
    stats: Stats,
    revocations: Vec<Revocation>,
    /// Paths that came from revoked traces, and were not repaired yet.
    to_repair: u64,
}

/// How many revocations are told one by one.
const MOST_REVOCATIONS: usize = 5;

pub(super) fn run(args: &StatsArgs, store: Option<&Store>) -> Result<(), TraceError> {
    let numbers = match store {
        Some(store) => Numbers {
            stats: store.stats()?,
            revocations: store.revocations()?,
            to_repair: store.ledger(Standing::Revoked)?.len() as u64,
        },
        None => Numbers::default(),
    };
    print(&if args.json { numbers.json() } else { numbers.text(&TimeZone::system()) })
}

impl Numbers {
    fn counter(&self, name: &str) -> u64 {
        self.stats.counters.get(name).copied().unwrap_or(0)
    }

    fn text(&self, zone: &TimeZone) -> String {
        let Stats { skeletons, traces, shapes, bytes: size, .. } = self.stats;
        let [recorded, reused, doubted, wrong, proofs, refuted] =
            ["recorded", "reused", "doubted", "false", "proofs", "proofs_refuted"]
                .map(|name| self.counter(name));
        let mut lines = vec![
            (
                "traces",
                format!(
                    "{} of {}, with {}",
                    number(traces),
                    count(skeletons, "skeleton"),
                    count(shapes, "shape")
                ),
            ),
            ("size", bytes(size)),
            ("recorded", count(recorded, "build")),
            ("reused", count(reused, "result")),
            ("proofs", format!("{}, {} of them refuted", number(proofs), number(refuted))),
            ("doubted", format!("{}, {} of them false", number(doubted), number(wrong))),
            ("false", rate_sentence(doubted, wrong)),
            ("revoked", count(self.revocations.len() as u64, "skeleton")),
        ];
        for revocation in self.revocations.iter().take(MOST_REVOCATIONS) {
            let (skeleton, when) = (words::short(&revocation.skeleton), words::when(revocation.at, zone));
            let reason = clean::name(&revocation.reason);
            lines.push(("", format!("{skeleton} on {when}, with trace {}: {reason}", revocation.trace)));
        }
        if self.to_repair > 0 {
            let paths = count(self.to_repair, "path");
            lines.push(("unsure", format!("{paths} of revoked traces; `esker trace repair` mends them")));
        }
        lines.iter().map(|(name, said)| format!("{name:<9} {said}\n")).collect()
    }

    fn json(&self) -> String {
        let stats = &self.stats;
        let (doubted, wrong) = (self.counter("doubted"), self.counter("false"));
        let revocations: Vec<_> = self
            .revocations
            .iter()
            .map(|it| {
                let (skeleton, trace) = (words::hex(&it.skeleton), words::hex(&it.trace.0));
                json!({ "skeleton": skeleton, "trace": trace, "reason": it.reason, "at": it.at })
            })
            .collect();
        let object = json!({
            "v": 1,
            "skeletons": stats.skeletons, "traces": stats.traces, "shapes": stats.shapes,
            "bytes": stats.bytes,
            "recorded": self.counter("recorded"), "reused": self.counter("reused"),
            "proofs": self.counter("proofs"), "proofs_refuted": self.counter("proofs_refuted"),
            "doubted": doubted, "false": wrong,
            "false_rate": (doubted > 0).then(|| wrong as f64 / doubted as f64),
            "false_rate_at_most": (doubted > 0).then(|| highest_rate(doubted, wrong)),
            "revocations": revocations,
            "reused_paths": stats.ledger, "paths_to_repair": self.to_repair,
            "counters": stats.counters,
        });
        format!("{object}\n")
    }
}

fn rate_sentence(doubted: u64, wrong: u64) -> String {
    if doubted == 0 {
        return "not known: no reuse was doubted yet".to_owned();
    }
    let percent = |rate: f64| format!("{:.3}", rate * 100.0);
    let (rate, highest) = (percent(wrong as f64 / doubted as f64), percent(highest_rate(doubted, wrong)));
    format!("{rate} % of reuses; at most {highest} % with 95 % certainty")
}

/// The highest rate of false reuses at which so few would still be seen in one of twenty cases.
///
/// When none was seen this is the rule of three; else the same bound of a Poisson distribution.
fn highest_rate(doubted: u64, wrong: u64) -> f64 {
    let expected = if wrong == 0 { 3.0 } else { poisson_bound(wrong) };
    (expected / doubted as f64).min(1.0)
}

/// The mean at which at most `seen` are seen in 5 % of all cases.
fn poisson_bound(seen: u64) -> f64 {
    let (mut low, mut high) = (seen as f64, 2.0 * seen as f64 + 10.0);
    for _ in 0..60 {
        let mean = f64::midpoint(low, high);
        if at_most(seen, mean) > 0.05 { low = mean } else { high = mean }
    }
    high
}

/// How likely it is to see at most `seen`. In logarithms, as the terms can be tiny and many.
fn at_most(seen: u64, mean: f64) -> f64 {
    let (mut term, mut sum) = (-mean, (-mean).exp());
    for k in 1..=seen.min(1_000_000) {
        term += (mean / k as f64).ln();
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use esker_trace::observation::Digest;
    use esker_trace::store::TraceId;

    use super::*;

    fn numbers(doubted: u64, wrong: u64) -> Numbers {
        let counters = [("recorded", 1234), ("reused", 160_000), ("doubted", doubted), ("false", wrong)];
        let counters = counters.map(|(name, count)| (name.to_owned(), count)).into();
        let stats =
            Stats { skeletons: 200, traces: 1234, shapes: 1, bytes: 5 << 20, counters, ..Stats::default() };
        Numbers { stats, ..Numbers::default() }
    }

    #[test]
    fn without_a_false_one_three_tell_the_bound() {
        insta::assert_snapshot!(numbers(3000, 0).text(&TimeZone::UTC), @r"
        traces    1,234 of 200 skeletons, with 1 shape
        size      5.0 MiB
        recorded  1,234 builds
        reused    160,000 results
        proofs    0, 0 of them refuted
        doubted   3,000, 0 of them false
        false     0.000 % of reuses; at most 0.100 % with 95 % certainty
        revoked   0 skeletons
        ");
    }

    #[test]
    fn a_revocation_is_told_with_its_reason() {
        let revocation = Revocation {
            skeleton: Digest([0xab; 32]),
            trace: TraceId(Digest([0xcd; 32])),
            reason: "a build gave other bits".to_owned(),
            at: 1_700_000_000,
        };
        let numbers = Numbers { revocations: vec![revocation], to_repair: 2, ..numbers(100, 1) };
        let text = numbers.text(&TimeZone::UTC);
        let end: Vec<&str> = text.lines().skip(4).collect();
        insta::assert_snapshot!(end.join("\n"), @r"
        proofs    0, 0 of them refuted
        doubted   100, 1 of them false
        false     1.000 % of reuses; at most 4.744 % with 95 % certainty
        revoked   1 skeleton
                  abababababab on 2023-11-14 22:13, with trace cdcdcdcdcdcd: a build gave other bits
        unsure    2 paths of revoked traces; `esker trace repair` mends them
        ");
        let value: serde_json::Value = serde_json::from_str(&numbers.json()).unwrap();
        assert_eq!((&value["false"], &value["false_rate"]), (&1.into(), &0.01.into()));
        assert_eq!(value["revocations"][0]["reason"], "a build gave other bits");
    }

    #[test]
    fn nothing_doubted_is_nothing_known() {
        assert_eq!(rate_sentence(0, 0), "not known: no reuse was doubted yet");
        assert_eq!(highest_rate(1, 0), 1.0);
        // From tables of the Poisson distribution.
        for (seen, bound) in [(1, 4.7439), (2, 6.2958), (10, 16.9622)] {
            assert!((poisson_bound(seen) - bound).abs() < 0.001, "{seen}: {}", poisson_bound(seen));
        }
    }
}
