//! A small forge: a repository over git's own HTTP transport, web hooks out, statuses in.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as InPath, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::runtime::Runtime;

use super::http;

/// What deliveries are signed with.
pub(crate) const SECRET: &str = "a secret between the two";
/// What statuses are set with.
pub(crate) const TOKEN: &str = "a token for statuses";
/// The only repository.
pub(crate) const REPOSITORY: &str = "acme/hello";

/// A status that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) commit: String,
    pub(crate) state: String,
    pub(crate) context: String,
    pub(crate) description: String,
    pub(crate) url: String,
}

/// See the module.
pub(crate) struct Forge {
    shared: Arc<Shared>,
    /// `HOST:PORT`
    pub(crate) address: String,
    _runtime: Runtime,
}

struct Shared {
    folder: PathBuf,
    state: Mutex<Kept>,
    told: Condvar,
}

#[derive(Default)]
struct Kept {
    /// Where deliveries go: `HOST:PORT` of the server.
    hook: Option<String>,
    deliveries: u64,
    statuses: Vec<Told>,
    /// Answers to give instead of doing what is asked: code and headers.
    refusals: Vec<(u16, Vec<(String, String)>)>,
}

impl Forge {
    /// Starts one whose repository lies below `folder`, empty.
    pub(crate) fn start(folder: &Path) -> Self {
        let repository = folder.join(format!("{REPOSITORY}.git"));
        fs::create_dir_all(&repository).unwrap();
        let git = |arguments: &[&str]| {
            assert!(git(&repository).args(arguments).status().unwrap().success(), "{arguments:?}");
        };
        git(&["init", "--bare", "--quiet", "--initial-branch=main", "."]);
        git(&["config", "http.receivepack", "true"]);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let state = Mutex::new(Kept::default());
        let shared = Arc::new(Shared { folder: folder.to_owned(), state, told: Condvar::new() });
        let router = Router::new()
            .route("/repos/{owner}/{name}/statuses/{commit}", post(set_status))
            .route("/acme/{*path}", any(git_transport))
            .with_state(Arc::clone(&shared));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { shared, address, _runtime: runtime }
    }

    /// Where the repository is cloned from and pushed to.
    pub(crate) fn git_url(&self) -> String {
        format!("http://{}/{REPOSITORY}.git", self.address)
    }

    /// Sends a delivery to this server for each push from now on.
    pub(crate) fn set_hook(&self, server: &str) {
        self.shared.state.lock().unwrap().hook = Some(server.to_owned());
    }

    /// Refuses the next requests for statuses so, one after the other.
    pub(crate) fn refuse(&self, code: u16, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.shared.state.lock().unwrap().refusals.push((code, headers));
    }

    /// All statuses that were set, in order.
    pub(crate) fn statuses(&self) -> Vec<Told> {
        self.shared.state.lock().unwrap().statuses.clone()
    }

    /// Waits for a status.
    pub(crate) fn wait_for_status(&self, wanted: impl Fn(&Told) -> bool) -> Told {
        let deadline = Instant::now() + Duration::from_secs(80);
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = state.statuses.iter().find(|status| wanted(status)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such status among {:#?}", state.statuses);
            state = self.shared.told.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for the last word on a commit.
    pub(crate) fn wait_for_verdict(&self, commit: &str) -> Told {
        self.wait_for_status(|status| status.commit == commit && status.state != "pending")
    }
}

/// The signature of a body.
pub(crate) fn signature(body: &[u8], secret: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(body);
    let digits: Vec<String> = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={}", digits.concat())
}

/// The payload of a push.
pub(crate) fn push_payload(reference: &str, commit: &str) -> Vec<u8> {
    let (owner, name) = REPOSITORY.split_once('/').unwrap();
    json!({
        "ref": reference, "before": "0".repeat(40), "after": commit, "created": true, "deleted": false,
        "repository": { "id": 1, "name": name, "full_name": REPOSITORY, "owner": { "login": owner } },
        "head_commit": { "id": commit, "message": "a <b>commit</b>" },
    })
    .to_string()
    .into_bytes()
}

/// Sends a delivery as GitHub does.
pub(crate) fn deliver(server: &str, id: &str, body: &[u8], signature: &str) -> http::Answer {
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "GitHub-Hookshot/044aadd"),
        ("x-github-delivery", id),
        ("x-github-event", "push"),
        ("x-hub-signature-256", signature),
    ];
    http::send(server, "POST", "/hooks/github", &headers, body).unwrap()
}

async fn set_status(
    State(shared): State<Arc<Shared>>,
    InPath((owner, name, commit)): InPath<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut state = shared.state.lock().unwrap();
    if !state.refusals.is_empty() {
        let (code, headers) = state.refusals.remove(0);
        let mut response = (StatusCode::from_u16(code).unwrap(), "no").into_response();
        for (name, value) in headers {
            let name = axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return response;
    }
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    if token != Some(&format!("Bearer {TOKEN}")) {
        return (StatusCode::UNAUTHORIZED, "Bad credentials").into_response();
    }
    let known = git(&shared.folder.join(format!("{owner}/{name}.git")))
        .args(["cat-file", "-e", &format!("{commit}^{{commit}}")])
        .status()
        .is_ok_and(|status| status.success());
    if !known {
        return (StatusCode::UNPROCESSABLE_ENTITY, "No commit found for SHA").into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    state.statuses.push(Told {
        commit: commit.clone(),
        state: text("state"),
        context: text("context"),
        description: text("description"),
        url: text("target_url"),
    });
    shared.told.notify_all();
    let status = json!({
        "url": format!("https://api.github.com/repos/{owner}/{name}/statuses/{commit}"),
        "avatar_url": null, "id": state.statuses.len(), "node_id": "x", "state": body["state"],
        "description": body["description"], "target_url": body["target_url"], "context": body["context"],
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "creator": null,
    });
    (StatusCode::CREATED, [("content-type", "application/json")], status.to_string()).into_response()
}

/// `git http-backend`, as any web server runs it; a push is delivered when it is done.
async fn git_transport(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let run = tokio::task::spawn_blocking(move || {
        let header =
            |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let before = references(&shared);
        let mut command = git(&shared.folder);
        command
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &shared.folder)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", parts.method.as_str())
            .env("PATH_INFO", parts.uri.path())
            .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
            .env("CONTENT_TYPE", header("content-type"))
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("GIT_PROTOCOL", header("git-protocol"))
            .env("REMOTE_USER", "someone")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&body));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        for (reference, commit) in references(&shared) {
            if !before.contains(&(reference.clone(), commit.clone())) {
                send_push(&shared, &reference, &commit);
            }
        }
        answer(&output.stdout)
    });
    run.await.unwrap()
}

fn send_push(shared: &Shared, reference: &str, commit: &str) {
    let (hook, id) = {
        let mut state = shared.state.lock().unwrap();
        state.deliveries += 1;
        (state.hook.clone(), format!("delivery-{}", state.deliveries))
    };
    if let Some(hook) = hook {
        let body = push_payload(reference, commit);
        assert_eq!(deliver(&hook, &id, &body, &signature(&body, SECRET)).code, 202);
    }
}

fn references(shared: &Shared) -> Vec<(String, String)> {
    let folder = shared.folder.join(format!("{REPOSITORY}.git"));
    let output = git(&folder).args(["for-each-ref", "--format=%(refname) %(objectname)"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// What a CGI program printed, as an answer.
fn answer(output: &[u8]) -> Response {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(':').unwrap();
        match name {
            "Status" => {
                let code = value.trim().split(' ').next().unwrap().parse::<u16>().unwrap();
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
            }
            name => {
                let name: axum::http::HeaderName = name.parse().unwrap();
                response.headers_mut().insert(name, value.trim().parse().unwrap());
            }
        }
    }
    response
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", folder);
    command
}
