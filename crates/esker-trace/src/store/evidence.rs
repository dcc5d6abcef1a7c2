//! What pairs of real builds showed of a trace's slots.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use super::codec::check_of;
use super::trace::Trace;

/// What pairs of builds showed of a trace.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Slots: other hash, same bits.
    pub(crate) proven: HashSet<String>,
    /// Slots: other hash, other bits.
    pub(crate) refuted: HashSet<String>,
    /// Of these, the ones that a proof refuted: two builds that agree by chance do not clear them.
    pub(crate) disproved: HashSet<String>,
}

/// What one pair showed of a slot.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    OtherBits = 0,
    SameBits = 1,
    /// Under placeholders.
    Disproved = 2,
}

fn evidence_check(trace: &Trace, slot: &str, verdict: i64) -> [u8; 8] {
    check_of("evidence", &[&trace.id.0.0, slot.as_bytes(), &verdict.to_le_bytes()])
}

/// What is known of a trace's slots. A damaged row refutes the slot.
pub(crate) fn load_evidence(db: &Connection, trace: &Trace) -> Result<Evidence, rusqlite::Error> {
    let mut evidence = Evidence::default();
    let mut statement = db.prepare_cached("SELECT slot, verdict, check_ FROM evidence WHERE trace = ?1")?;
    let mut rows = statement.query([trace.number])?;
    while let Some(row) = rows.next()? {
        let (slot, verdict): (String, i64) = (row.get(0)?, row.get(1)?);
        let sound = evidence_check(trace, &slot, verdict)[..] == *row.get_ref(2)?.as_blob()?;
        let set = if sound && verdict == 1 { &mut evidence.proven } else { &mut evidence.refuted };
        set.insert(slot.clone());
        if sound && verdict == 2 {
            evidence.disproved.insert(slot);
        }
    }
    Ok(evidence)
}

/// Notes a verdict; an earlier one on the same slot is replaced.
pub(super) fn save_evidence(
    db: &Connection,
    trace: &Trace,
    slot: &str,
    verdict: Verdict,
) -> Result<(), rusqlite::Error> {
    let verdict = verdict as i64;
    db.prepare_cached("INSERT OR REPLACE INTO evidence VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        trace.number,
        slot,
        verdict,
        &evidence_check(trace, slot, verdict)[..]
    ])?;
    Ok(())
}

/// Forgets which slots do not matter: that was shown for other bits.
pub(super) fn forget_proofs(db: &Connection, trace: &Trace) -> Result<(), rusqlite::Error> {
    db.prepare_cached("DELETE FROM evidence WHERE trace = ?1 AND verdict = 1")?.execute([trace.number])?;
    Ok(())
}
