//! Why a derivation was built, or was not.

use serde::{Deserialize, Serialize};

/// Why a derivation was built, or was not. What a person reads of it is [`Explanation::sentence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// In one word.
    pub reason: Reason,
    /// The trace that it was compared with, or that was reused: the beginning of its name.
    pub trace: Option<String>,
    /// The inputs it is about: that differ, that are not proven, or that are others than they were.
    pub inputs: Vec<String>,
    /// The first observation with another answer.
    pub difference: Option<ObservedDifference>,
    /// How many observations have another answer.
    pub differing: u64,
    /// Of how many.
    pub observations: u64,
    /// More, in words.
    pub detail: Option<String>,
}

/// Why, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Reused: nothing observed has changed.
    Holds,
    /// Built: no run of this derivation, or of one that differs only in its inputs, is known.
    Never,
    /// Built: the last run could not be observed completely, so nothing of it can be reused.
    Unrecorded,
    /// Built: an observation has another answer.
    Differs,
    /// Built: nothing observed has changed, and this build is to prove that the rest does not matter.
    Unproven,
    /// Built although nothing observed has changed, to see whether a reuse would have been right.
    Doubted,
    /// Built: the result depends on the names of inputs.
    Depends,
    /// Built: equal inputs gave other bits before.
    Unstable,
    /// Built: an earlier result was found to be false.
    Revoked,
    /// Built: what was known of earlier runs, or their outputs, is gone.
    Collected,
    /// Built: the earlier result is not what the derivation demands of its outputs.
    Refused,
    /// Built: it cannot be said whether an earlier run still holds.
    Unknown,
    /// Built by Nix, unobserved.
    Untraced,
}

/// An observation and its two answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ObservedDifference {
    /// Below the input; empty: the input itself.
    pub path: String,
    /// What was seen of it then.
    pub before: String,
    /// What would be seen now.
    pub after: String,
}

impl Explanation {
    /// Nothing but a reason.
    pub fn of(reason: Reason) -> Self {
        let (trace, inputs, difference, detail) = (None, Vec::new(), None, None);
        Self { reason, trace, inputs, difference, differing: 0, observations: 0, detail }
    }

    /// What a person reads: why, after "built" or "reused".
    pub fn sentence(&self) -> String {
        let inputs = self.inputs.join("`, `");
        let sentence = match (self.reason, &self.difference) {
            (Reason::Holds, _) if self.inputs.is_empty() => "nothing it reads has changed".to_owned(),
            (Reason::Holds, _) => format!("nothing it reads of `{inputs}` has changed"),
            (Reason::Never, _) => "it was never built and observed here".to_owned(),
            (Reason::Unrecorded, _) => "what its last build observed is not known completely".to_owned(),
            (Reason::Differs, Some(difference)) => {
                let path = match difference.path.as_str() {
                    "" => format!("`{inputs}`"),
                    path => format!("`{path}` in `{inputs}`"),
                };
                format!("{path} was {} and is {}", difference.before, difference.after)
            }
            (Reason::Differs, None) => format!("`{inputs}` has changed where it reads it"),
            (Reason::Unproven, _) => format!(
                "nothing it reads has changed; this build is to prove that the hash of `{inputs}` does not matter"
            ),
            (Reason::Doubted, _) => {
                "nothing it reads has changed; this build checks that a reuse would have been right"
                    .to_owned()
            }
            (Reason::Depends, _) if self.inputs.is_empty() => {
                "its outputs hold their own store paths".to_owned()
            }
            (Reason::Depends, _) => format!("its result depends on the store path of `{inputs}`"),
            (Reason::Unstable, _) => "it is not deterministic: equal inputs gave other bits".to_owned(),
            (Reason::Revoked, _) => "an earlier result of it was found to be false".to_owned(),
            (Reason::Collected, _) => "the outputs of the earlier build are gone".to_owned(),
            (Reason::Refused, _) => "the earlier result is not what it demands of its outputs".to_owned(),
            (Reason::Unknown, _) => "its earlier runs cannot be looked at".to_owned(),
            (Reason::Untraced, _) => "it is built by Nix, unobserved".to_owned(),
        };
        match &self.detail {
            Some(detail) => format!("{sentence} ({detail})"),
            None => sentence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_result_is_told_with_what_is_wrong() {
        let detail = Some("path '/nix/store/x' is too large at 96 bytes; limit is 90 bytes".to_owned());
        let explanation = Explanation { detail, ..Explanation::of(Reason::Refused) };
        assert_eq!(serde_json::to_value(explanation.reason).unwrap(), "refused");
        assert_eq!(
            explanation.sentence(),
            "the earlier result is not what it demands of its outputs (path '/nix/store/x' is too large at 96 bytes; \
             limit is 90 bytes)"
        );
    }
}
