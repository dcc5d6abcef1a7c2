//! Durations and amounts of memory as people write them. The command line uses the same words.

use std::time::Duration;

/// Why a quantity was refused. Continues a sentence that begins with its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a unit.
    #[error("must be a duration like `90s`, `20m`, `3h` or `1d`, or a number of seconds")]
    NotADuration,
    /// Zero, negative, or absurdly long.
    #[error("must be between 1 second and 30 days")]
    DurationOutOfRange,
    /// Not a number with a unit.
    #[error("must be an amount like `512MiB` or `4GiB`, or a number of bytes")]
    NotBytes,
    /// Less than an evaluator needs, or more than there is.
    #[error("must be between 64 MiB and 64 TiB")]
    BytesOutOfRange,
}

/// Reads `90`, `90s`, `20m`, `3h` or `1d`: whole seconds, minutes, hours, days.
///
/// # Errors
/// Anything else, and what is not between 1 second and 30 days.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let units = [("", 1), ("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];
    match scaled(text, &units) {
        Scaled::Amount(seconds) => duration(seconds),
        Scaled::TooMuch => Err(QuantityError::DurationOutOfRange),
        Scaled::Unreadable => Err(QuantityError::NotADuration),
    }
}

/// Reads `1073741824`, `1048576KiB`, `1024MiB`, `1GiB` or `1TiB`.
///
/// # Errors
/// Anything else, and what is not between 64 MiB and 64 TiB.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    let units = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    match scaled(text, &units) {
        Scaled::Amount(count) => bytes(count),
        Scaled::TooMuch => Err(QuantityError::BytesOutOfRange),
        Scaled::Unreadable => Err(QuantityError::NotBytes),
    }
}

pub(super) fn duration(seconds: u64) -> Result<Duration, QuantityError> {
    if (1..=30 * 24 * 60 * 60).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(QuantityError::DurationOutOfRange)
    }
}

pub(super) fn bytes(count: u64) -> Result<u64, QuantityError> {
    if (64 << 20..=64 << 40).contains(&count) { Ok(count) } else { Err(QuantityError::BytesOutOfRange) }
}

enum Scaled {
    Amount(u64),
    /// It is one, yet larger than any we count.
    TooMuch,
    Unreadable,
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Scaled {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let Some(&(_, scale)) = units.iter().find(|(name, _)| *name == unit.trim_start()) else {
        return Scaled::Unreadable;
    };
    if number.is_empty() {
        return Scaled::Unreadable;
    }
    // Digits alone can only fail to parse by being too many.
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)) {
        Some(amount) => Scaled::Amount(amount),
        None => Scaled::TooMuch,
    }
}
