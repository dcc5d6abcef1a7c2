//! Signatures of deliveries: HMAC-SHA-256 over the raw bytes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// Whether `digest` (hexadecimal) is the signature of `body` by any of the secrets.
///
/// Compared in constant time, and all secrets are tried: how long it takes tells nothing of how
/// much of it was right.
pub(crate) fn is_hmac_sha256(digest: &str, body: &[u8], secrets: &[SecretString]) -> bool {
    let Ok(digest) = data_encoding::HEXLOWER_PERMISSIVE.decode(digest.as_bytes()) else { return false };
    let right = secrets.iter().filter(|secret| {
        // An empty secret is none: anybody knows it.
        let secret = secret.expose_secret().as_bytes();
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
        let same = mac.chain_update(body).verify_slice(&digest).is_ok();
        same && !secret.is_empty()
    });
    right.count() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of GitHub's documentation.
    const BODY: &[u8] = b"Hello, World!";
    const DIGEST: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(digest: &str, body: &[u8], secrets: &[&str]) -> bool {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| (*secret).into()).collect();
        is_hmac_sha256(digest, body, &secrets)
    }

    #[test]
    fn a_signature_by_either_secret_is_right() {
        assert!(check(DIGEST, BODY, &["It's a Secret to Everybody"]));
        assert!(check(DIGEST, BODY, &["new", "It's a Secret to Everybody"]));
        assert!(check(DIGEST, BODY, &["It's a Secret to Everybody", "old"]));
    }

    #[test]
    fn anything_else_is_wrong() {
        assert!(!check(DIGEST, BODY, &[]));
        assert!(!check(DIGEST, BODY, &["another"]));
        assert!(!check(DIGEST, b"hello, world!", &["It's a Secret to Everybody"]));
        for digest in ["", "zz", &DIGEST[..62], &DIGEST.replace('7', "8")] {
            assert!(!check(digest, BODY, &["It's a Secret to Everybody"]), "{digest}");
        }
    }

    #[test]
    fn an_empty_secret_is_none() {
        let mac = Hmac::<Sha256>::new_from_slice(b"").unwrap().chain_update(BODY).finalize().into_bytes();
        assert!(!check(&data_encoding::HEXLOWER.encode(&mac), BODY, &[""]));
    }
}
