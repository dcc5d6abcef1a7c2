//! Turns a [`Plan`] into [`Event`]s and a [`Summary`]: evaluate, schedule, build.
//!
//! `run` is the only way anything is evaluated or built. Its callers (`esker check`, the server's
//! worker) differ in who listens to the events and in nothing else.
//!
//! Invariant: nothing here touches a terminal, a home folder, an environment variable or a
//! database; what a caller knows comes in with the plan.

mod build;
pub mod config;
mod evaluate;
pub mod event;
pub mod logs;
pub mod plan;
pub mod progress;
mod run;
mod text;
mod trace;

pub use build::connection::StoreError;
pub use evaluate::EvaluateError;
pub use event::{Event, Summary};
pub use plan::Plan;
pub use run::{Blame, Cancel, RunError, run};
