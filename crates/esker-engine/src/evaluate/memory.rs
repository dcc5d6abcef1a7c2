//! How much memory evaluators use.
//!
//! Two walls: the engine adds up what all evaluators hold, twenty times a second, and stops the
//! largest when the budget is exceeded; and each process has a hard limit of its own for the case
//! that it grows faster than anybody looks.

use std::fs;

/// By this variable a process's guard is told the hard limit, in bytes.
pub(crate) const LIMIT_VARIABLE: &str = "ESKER_GUARD_MEMORY";

/// The limit of one process's writable memory: the whole budget, and room for stacks and for what
/// Nix reserves without touching it.
pub(crate) fn hard_limit(budget: u64) -> u64 {
    budget.saturating_add(1 << 30)
}

/// Bytes of memory that a process and its direct children hold; 0 when it is gone.
pub(crate) fn resident(process: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    children.chain([process]).map(resident_alone).sum()
}

fn resident_alone(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_holds_some_memory() {
        assert!(super::resident(std::process::id()) > 1 << 16);
        assert_eq!(super::resident(u32::MAX), 0);
    }
}
