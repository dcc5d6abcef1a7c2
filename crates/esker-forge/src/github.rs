//! GitHub's own ways.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::delivery::{
    Delivery, DeliveryError, Headers, Push, Received, checked_commit, checked_id, checked_reference,
    unreadable,
};
use crate::signature::is_hmac_sha256;
use crate::status::{State, Status, cut};

/// See [`crate::Kind::receive`].
pub(crate) fn receive(
    headers: &dyn Headers,
    body: &[u8],
    secrets: &[SecretString],
) -> Result<Received, DeliveryError> {
    const SIGNATURE: &str = "x-hub-signature-256";
    let signature = headers.header(SIGNATURE).ok_or(DeliveryError::NoHeader(SIGNATURE))?;
    let digest = signature.strip_prefix("sha256=").ok_or(DeliveryError::Forged)?;
    if !is_hmac_sha256(digest, body, secrets) {
        return Err(DeliveryError::Forged);
    }
    let header = |name| headers.header(name).ok_or(DeliveryError::NoHeader(name));
    let id = checked_id(header("x-github-delivery")?)?;
    let event = checked_id(header("x-github-event")?)?;
    let delivery = match event.as_str() {
        "push" => push(body)?,
        "ping" => Delivery::Nothing("the forge only asks whether we are here"),
        _ => Delivery::Nothing("nothing is done for this kind of event"),
    };
    Ok(Received { id, event, delivery })
}

#[derive(Deserialize)]
struct PushPayload {
    r#ref: String,
    after: String,
    #[serde(default)]
    deleted: bool,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

fn push(body: &[u8]) -> Result<Delivery, DeliveryError> {
    let payload: PushPayload = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    let no_commit = !payload.after.is_empty() && payload.after.bytes().all(|byte| byte == b'0');
    if payload.deleted || no_commit {
        return Ok(Delivery::Nothing("a branch or tag was deleted"));
    }
    Ok(Delivery::Push(Push {
        repository: payload.repository.full_name,
        reference: checked_reference(&payload.r#ref)?,
        commit: checked_commit(&payload.after)?,
    }))
}

/// The most characters of a description.
const DESCRIPTION: usize = 140;

/// What `POST /repos/{owner}/{repo}/statuses/{sha}` takes.
#[derive(Serialize)]
pub(crate) struct StatusBody<'a> {
    state: &'static str,
    target_url: &'a str,
    description: String,
    context: &'a str,
}

impl<'a> StatusBody<'a> {
    pub(crate) fn of(status: &'a Status) -> Self {
        let state = match status.state {
            State::Pending => "pending",
            State::Passed => "success",
            State::Failed => "failure",
            State::Broken | State::Cancelled => "error",
        };
        let description = cut(&status.description, DESCRIPTION);
        Self { state, target_url: &status.url, description, context: &status.name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";

    fn read(event: &str, body: &str) -> Result<Delivery, DeliveryError> {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mac = Hmac::<sha2::Sha256>::new_from_slice(b"secret").unwrap().chain_update(body.as_bytes());
        let digest = data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes());
        let signature = format!("sha256={digest}");
        let headers: &[(&str, &str)] =
            &[("X-Hub-Signature-256", &signature), ("X-GitHub-Delivery", "1"), ("X-GitHub-Event", event)];
        receive(&headers, body.as_bytes(), &["secret".into()]).map(|received| received.delivery)
    }

    fn a_push(reference: &str, after: &str) -> Result<Delivery, DeliveryError> {
        let name = "acme/hello";
        let body = serde_json::json!({
            "ref": reference, "after": after, "repository": { "full_name": name, "id": 1 }, "new": [],
        });
        read("push", &body.to_string())
    }

    #[test]
    fn a_push_is_read() {
        let expected = Push {
            repository: "acme/hello".to_owned(),
            reference: "refs/heads/main".to_owned(),
            commit: COMMIT.to_owned(),
        };
        assert_eq!(a_push("refs/heads/main", COMMIT), Ok(Delivery::Push(expected)));
    }

    #[test]
    fn a_deleted_branch_is_nothing_to_do() {
        assert!(matches!(a_push("refs/heads/main", &"0".repeat(40)), Ok(Delivery::Nothing(_))));
        assert!(matches!(read("ping", "{}"), Ok(Delivery::Nothing(_))));
        assert!(matches!(read("star", "not even JSON"), Ok(Delivery::Nothing(_))));
    }

    #[test]
    fn names_that_would_be_options_or_more_are_refused() {
        for reference in
            ["main", "--upload-pack=x", "refs/heads/a b", "refs/heads/a..b", "refs/notes/x", "refs/heads/\n"]
        {
            assert!(a_push(reference, COMMIT).is_err(), "{reference}");
        }
        for commit in ["", "HEAD", &COMMIT[1..], "--help", &COMMIT.to_uppercase()] {
            assert!(a_push("refs/heads/main", commit).is_err(), "{commit}");
        }
        assert!(read("push", "{}").is_err());
        assert!(read("push", "").is_err());
    }

    #[test]
    fn recorded_payloads_are_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/forge-data/webhooks/github");
        let Ok(entries) = std::fs::read_dir(folder) else {
            eprintln!("SKIPPED: no recorded payloads in {folder}");
            return;
        };
        let mut pushes = 0;
        for entry in entries.flatten() {
            let name = entry.file_name().into_string().unwrap();
            let body = std::fs::read_to_string(entry.path()).unwrap();
            let event = if name.starts_with("push") { "push" } else { "other" };
            let delivery = read(event, &body).unwrap_or_else(|error| panic!("{name}: {error}"));
            pushes += usize::from(matches!(delivery, Delivery::Push(_)));
        }
        assert!(pushes > 0);
    }

    #[test]
    fn without_a_right_signature_nothing_is_read() {
        let headers: &[(&str, &str)] = &[("X-GitHub-Delivery", "1"), ("X-GitHub-Event", "push")];
        let refused = receive(&headers, b"{}", &["secret".into()]);
        assert_eq!(refused, Err(DeliveryError::NoHeader("x-hub-signature-256")));
        for signature in ["sha256=", "sha1=757107ea", "757107ea"] {
            let headers: &[(&str, &str)] = &[("X-Hub-Signature-256", signature)];
            assert_eq!(receive(&headers, b"{}", &["secret".into()]), Err(DeliveryError::Forged));
        }
    }
}
