//! A delivery: without the right signature it is refused; with it, what comes out is fit to be an
//! argument of git and to be stored.
#![no_main]

use esker_forge::{Delivery, DeliveryError, Kind};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

fuzz_target!(|bytes: &[u8]| {
    let mac = Hmac::<Sha256>::new_from_slice(b"secret").expect("any length will do");
    let digest = mac.chain_update(bytes).finalize().into_bytes();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("sha256={digits}");
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]);
    for (id, event) in [("id", "push"), (&*text, "push"), ("id", &*text)] {
        let mut headers =
            [("x-hub-signature-256", &*signature), ("x-github-delivery", id), ("x-github-event", event)];
        if let Ok(received) = Kind::GitHub.receive(&&headers[..], bytes, &["secret".into()]) {
            assert!(!received.id.is_empty() && received.id.is_ascii());
            if let Delivery::Push(push) = received.delivery {
                assert!(matches!(push.commit.len(), 40 | 64) && push.commit.is_ascii());
                assert!(push.reference.starts_with("refs/") && !push.reference.contains([' ', '\n', ':']));
            }
        }
        headers[0].1 = &text;
        let forged = Kind::GitHub.receive(&&headers[..], bytes, &["another".into()]);
        assert_eq!(forged, Err(DeliveryError::Forged));
    }
});
