//! `esker serve`: the server, with this program's own ways of starting Nix and builders.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anstream::println;
use esker_nix::tool::Nix;
use esker_server::clock::Clock;
use esker_server::config::Config;
use esker_server::{Setup, serve};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::check::plan::{TraceArgs, guard, trace};
use crate::failure::{BROKEN, Failure};
use crate::state::default_dir;

/// Run the CI server: web hooks in, evaluations by the same engine as `esker check`, statuses out
///
/// Without a configuration it serves pages and waits; the configuration names forges and projects,
/// and where secrets are. Everything is kept in one folder. SIGTERM and SIGINT stop it: what is under
/// way then begins again with the next start.
///
/// Examples:
///
///   esker serve                               on 127.0.0.1:8080
///   esker serve --listen 127.0.0.1:0          on any free port, which is printed
///   esker serve --config /etc/esker.toml      with forges and projects:
///
///     [forges.github]
///     kind = "github"
///     api = "https://api.github.com"
///     webhook_secret_files = ["/run/secrets/esker-hook"]
///     token_file = "/run/secrets/esker-token"
///
///     [projects."github/acme/hello"]
///     git = "https://github.com/acme/hello.git"
///
/// GitHub then sends its web hooks (JSON) to /hooks/github.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on [default: that of the configuration, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Configuration: forges, projects, where secrets are
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    tracing: TraceArgs,
}

pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    start_tracing();
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    config.listen = args.listen.unwrap_or(config.listen);
    let nix = Nix::find()?.with_guard(guard());
    let state_dir = match config.state_dir.take() {
        Some(folder) => folder,
        None => default_dir()?,
    };
    let trace = trace(&args.tracing, &|| Ok(state_dir.clone()))?;
    let setup = Setup { config, state_dir, nix, trace, clock: Clock::real() };
    let broken = |error: io::Error| Failure::of(BROKEN, &error, None);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(broken)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let ready = |address: SocketAddr| println!("listening on http://{address}");
        serve(setup, ready, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// To stderr; `ESKER_LOG` says how much.
fn start_tracing() {
    let filter =
        std::env::var("ESKER_LOG").map_or_else(|_| EnvFilter::new("esker_server=info,warn"), EnvFilter::new);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let _ = subscriber.with_ansi(false).with_writer(io::stderr).try_init();
}
