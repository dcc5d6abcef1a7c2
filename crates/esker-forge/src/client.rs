//! Requests to a forge.

use std::time::Duration;

use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::github::StatusBody;
use crate::{Kind, Status};

/// A forge that does not answer for so long never will.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to one forge.
#[derive(Clone)]
pub struct Client {
    kind: Kind,
    api: Url,
    token: SecretString,
    http: reqwest::Client,
}

/// Why a forge was not told.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// This is no address of a forge.
    #[error("`{0}` is not an address of the form https://HOST/PATH")]
    Address(String),
    /// The client could not be made.
    #[error("cannot prepare for HTTP requests")]
    Setup(#[source] reqwest::Error),
    /// No answer.
    #[error("the forge does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// The forge asks us to wait.
    #[error("the forge wants no more requests for now")]
    RateLimited {
        /// How long, if it says so.
        wait: Option<Duration>,
    },
    /// An answer that is a refusal.
    #[error("the forge refuses ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of what it says.
        message: String,
    },
}

impl ClientError {
    /// How long the forge wants us to wait, if it says so.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait } => *wait,
            _ => None,
        }
    }
}

impl Client {
    /// A client of the forge whose API is at `api`, e.g. `https://api.github.com`.
    ///
    /// # Errors
    /// `api` is no address.
    pub fn new(kind: Kind, api: &str, token: SecretString) -> Result<Self, ClientError> {
        let address = || ClientError::Address(api.to_owned());
        // So that `join` adds to the path.
        let api = Url::parse(&format!("{}/", api.trim_end_matches('/'))).map_err(|_| address())?;
        if !matches!(api.scheme(), "http" | "https") || api.host_str().is_none() || api.query().is_some() {
            return Err(address());
        }
        // Fails when there is one already, which will do.
        let _ = rustls::crypto::CryptoProvider::install_default(rustls::crypto::ring::default_provider());
        let http = reqwest::Client::builder()
            .user_agent(concat!("esker/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            // A token is for this host alone.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { kind, api, token, http })
    }

    /// Sets the status of a commit of `OWNER/NAME`.
    ///
    /// # Errors
    /// It is not known to be set.
    pub async fn set_status(
        &self,
        repository: &str,
        commit: &str,
        status: &Status,
    ) -> Result<(), ClientError> {
        let request = match self.kind {
            Kind::GitHub => {
                let mut url = self.api.clone();
                if let Ok(mut path) = url.path_segments_mut() {
                    path.pop_if_empty().push("repos").extend(repository.split('/'));
                    path.extend(["statuses", commit]);
                }
                self.http
                    .post(url)
                    .bearer_auth(self.token.expose_secret())
                    .header("accept", "application/vnd.github+json")
                    .header("x-github-api-version", "2022-11-28")
                    .json(&StatusBody::of(status))
            }
        };
        let response = request.send().await.map_err(|error| ClientError::Unreachable(error.without_url()))?;
        answer(response).await
    }
}

async fn answer(response: Response) -> Result<(), ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let number = |name: &str| -> Option<u64> { response.headers().get(name)?.to_str().ok()?.parse().ok() };
    let retry_after = number("retry-after").map(Duration::from_secs);
    let exhausted = number("x-ratelimit-remaining") == Some(0);
    let limited = status == StatusCode::TOO_MANY_REQUESTS
        || (status == StatusCode::FORBIDDEN && (exhausted || retry_after.is_some()));
    if limited {
        return Err(ClientError::RateLimited { wait: retry_after });
    }
    // A forge's own words, in which it has no reason to tell us our token.
    let message = response.text().await.unwrap_or_default();
    let message: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
    Err(ClientError::Refused { status: status.as_u16(), message })
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").field("kind", &self.kind).field("api", &self.api).finish_non_exhaustive()
    }
}
