//! Remembers and shows: web hooks in, queue, database, pages, live logs, statuses out.
//!
//! ```text
//! forge ──► hook ──► store ──► worker ──► esker_engine::run
//!             202     ▲  ▲        │ events
//!                     │  └────────┘ rows, log files
//!             pages ──┤  report ──► forge
//!               ▲     └── what is true
//!             live: that something has changed
//! ```
//!
//! Invariant: the database is what is true. The pages and the forge are shown what it says, whoever
//! they were woken by, so that they cannot disagree and a restart loses nothing.

mod address;
pub mod clock;
pub mod config;
mod hook;
mod live;
mod mirror;
mod pages;
pub mod project;
mod report;
mod server;
mod store;
mod verdict;
mod worker;

pub use server::{ServeError, Setup, serve};
pub use store::StoreError;
