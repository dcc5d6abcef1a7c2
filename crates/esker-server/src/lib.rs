//! Remembers and shows: web hooks in, queue, database, pages, live logs, statuses out.

mod address;
pub mod clock;
pub mod config;
mod live;
mod mirror;
pub mod project;
pub mod store;
mod worker;
