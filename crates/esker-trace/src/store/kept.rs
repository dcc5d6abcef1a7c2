//! The answers of real builds, kept so that a later difference can be explained.
//!
//! Those of neighbouring builds are much alike, so all but the first are packed with another one as the
//! dictionary. Each is believed only with its digest.

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{digest_of, pack_like, unpack_like};
use crate::observation::Digest;

/// The answers with this digest, as bytes; `None` if they were pruned or damaged.
pub(crate) fn load_answers(db: &Connection, digest: &Digest) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    let Some((base, body)) = row(db, digest)? else { return Ok(None) };
    let dictionary = match base {
        None => Vec::new(),
        Some(base) => match whole(db, &Digest(base))? {
            Some(bytes) => bytes,
            None => return Ok(None),
        },
    };
    let bytes = unpack_like(&body, &dictionary);
    Ok(bytes.filter(|bytes| digest_of("answers", &[bytes]) == *digest))
}

/// Stores answers, which have this digest. `near` may be the digest of answers that are much alike.
pub(crate) fn save_answers(
    db: &Connection,
    digest: &Digest,
    bytes: &[u8],
    near: Option<&Digest>,
    now: i64,
) -> Result<(), rusqlite::Error> {
    if load_answers(db, digest)?.is_some() {
        db.prepare_cached("UPDATE answers SET used = ?2 WHERE digest = ?1")?
            .execute(params![&digest.0[..], now])?;
        return Ok(());
    }
    let (mut base, mut body) = (None, pack_like(bytes, &[]));
    // A base has no base itself.
    let root =
        near.map(|near| Ok::<_, rusqlite::Error>(row(db, near)?.map(|(base, _)| base.unwrap_or(near.0))));
    if let Some(root) = root.transpose()?.flatten().map(Digest).filter(|root| root != digest)
        && let Some(dictionary) = whole(db, &root)?
    {
        let packed = pack_like(bytes, &dictionary);
        if packed.len() < body.len() / 2 {
            (base, body) = (Some(root.0), packed);
        }
    }
    db.prepare_cached("INSERT OR REPLACE INTO answers (digest, base, body, used) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![&digest.0[..], base, body, now])?;
    Ok(())
}

type Row = (Option<[u8; 32]>, Vec<u8>);

fn row(db: &Connection, digest: &Digest) -> Result<Option<Row>, rusqlite::Error> {
    db.prepare_cached("SELECT base, body FROM answers WHERE digest = ?1")?
        .query_row([&digest.0[..]], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Answers that were packed without a base.
fn whole(db: &Connection, digest: &Digest) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    let body = row(db, digest)?.filter(|(base, _)| base.is_none()).map(|(_, body)| body);
    let bytes = body.and_then(|body| unpack_like(&body, &[]));
    Ok(bytes.filter(|bytes| digest_of("answers", &[bytes]) == *digest))
}
