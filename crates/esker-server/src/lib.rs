//! Remembers and shows: web hooks in, queue, database, pages, live logs, statuses out.

pub mod clock;
pub mod config;
pub mod project;
pub mod store;
