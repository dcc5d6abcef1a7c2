//! The time, and names that nobody can guess: what a test wants to choose is passed in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Milliseconds since 1970, UTC; how times are stored.
pub type Milliseconds = i64;

/// Where times and names come from.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    name: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Clock {
    /// The machine's clock, and random names.
    pub fn real() -> Self {
        let name = || {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).expect("the kernel has random bytes");
            data_encoding::HEXLOWER.encode(&bytes)
        };
        Self::new(SystemTime::now, name)
    }

    /// Others.
    pub fn new(
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
        name: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self { now: Arc::new(now), name: Arc::new(name) }
    }

    /// Now; a clock before 1970 counts as 1970.
    pub fn now(&self) -> Milliseconds {
        let since = (self.now)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        milliseconds(since)
    }

    /// A name that was never used before.
    pub fn name(&self) -> String {
        (self.name)()
    }
}

/// A duration as it is stored.
pub fn milliseconds(duration: Duration) -> Milliseconds {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Clock")
    }
}
