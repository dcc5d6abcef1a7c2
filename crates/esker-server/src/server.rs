//! The server as a whole: everything is started here, and ends here.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use esker_engine::plan::TracePlan;
use esker_nix::tool::Nix;
use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::clock::Clock;
use crate::config::Config;
use crate::live::Live;
use crate::store::{Store, StoreError};
use crate::worker::Worker;
use crate::{hook, pages, report};

/// All that a server needs.
pub struct Setup {
    /// What it is to do.
    pub config: Config,
    /// Where it keeps everything.
    pub state_dir: PathBuf,
    /// The Nix that evaluates and builds.
    pub nix: Nix,
    /// How builds are observed, if they are.
    pub trace: Option<TracePlan>,
    /// Times and names.
    pub clock: Clock,
}

/// Why a server could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its folder.
    #[error("cannot use `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another one is at work.
    #[error("another server uses `{}`", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Its database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread of it died.
    #[error("a part of the server died, which is a mistake in Esker")]
    Died,
}

impl ServeError {
    /// What to try next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Folder { .. } => {
                Some("`state_dir` in the configuration, or ESKER_STATE_DIR, names another")
            }
            Self::Busy { .. } => Some("stop that one, or give this one a `state_dir` of its own"),
            Self::Listen { .. } => Some("`--listen 127.0.0.1:0` takes any free port"),
            Self::Store(StoreError::Newer) => Some("use that Esker, or another `state_dir`"),
            Self::Store(_) | Self::Died => None,
        }
    }
}

/// What requests are answered with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) worker: Worker,
    /// Becomes true when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Serves until `until` comes; `ready` is told the address. What is under way then is handed back, and
/// goes on with the next start.
///
/// # Errors
/// It cannot begin.
pub async fn serve(
    setup: Setup,
    ready: impl FnOnce(SocketAddr),
    until: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let state_dir = setup.state_dir.join("server");
    let folder = |source| ServeError::Folder { path: state_dir.clone(), source };
    fs::create_dir_all(&state_dir).map_err(folder)?;
    let state_dir = state_dir.canonicalize().map_err(folder)?;
    let _lock = lock(&state_dir)?;
    let store = Store::open_sqlite(&state_dir.join("server.db")).await?;
    // Nobody else has this file open, so whoever had a lease is dead.
    let unfinished = store.end_all_leases().await?;
    if unfinished > 0 {
        info!("{unfinished} evaluations were not finished and begin again");
    }
    let (stop_now, stop) = watch::channel(false);
    let listen = setup.config.listen;
    let worker = Worker {
        store: store.clone(),
        live: Live::default(),
        owner: setup.clock.name(),
        clock: setup.clock,
        config: Arc::new(setup.config),
        nix: setup.nix,
        trace: setup.trace,
        state_dir,
        wake: Arc::new(Notify::new()),
        tell: Arc::new(Notify::new()),
    };
    let failed = |source| ServeError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let url = worker.config.url.clone().unwrap_or_else(|| format!("http://{address}"));
    let app = App { worker: worker.clone(), stop: stop.clone() };
    let reporter = tokio::spawn(report::tell(worker.clone(), url, stop.clone()));
    let working = {
        let stop = stop.clone();
        tokio::spawn(async move { worker.work(stop).await })
    };
    ready(address);
    tokio::spawn(async move {
        until.await;
        let _ = stop_now.send(true);
    });
    let mut stopped = stop;
    let served = axum::serve(listener, router(app))
        .with_graceful_shutdown(async move { drop(stopped.wait_for(|stop| *stop).await) })
        .await;
    let ended = (working.await, reporter.await);
    store.close().await;
    match (served, ended) {
        (Ok(()), (Ok(()), Ok(()))) => Ok(()),
        (Err(source), _) => Err(failed(source)),
        _ => Err(ServeError::Died),
    }
}

fn router(app: App) -> Router {
    let hooks = Router::new()
        .route("/hooks/{forge}", post(hook::receive))
        .layer(DefaultBodyLimit::max(hook::MOST_BYTES));
    pages::router().merge(hooks).with_state(app)
}

/// Held as long as the process lives, however it ends.
fn lock(folder: &std::path::Path) -> Result<File, ServeError> {
    let path = folder.join("lock");
    let failed = |source| ServeError::Folder { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServeError::Busy { path: folder.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}
