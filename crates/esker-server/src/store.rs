//! What the server remembers: one database, one set of SQL for SQLite and PostgreSQL.
//!
//! Times are milliseconds since 1970, states and conclusions the words people read, and what only
//! the program reads is JSON. Columns are `TEXT` and `BIGINT`, which both databases have.
//!
//! Invariant: what was committed survives a power cut (SQLite: WAL with `synchronous = FULL`).
//! Invariant: on SQLite all writes go through one connection, so that none waits for a lock.
//! Invariant: whoever works on an evaluation writes nothing without its lease ([`Lease`]).

mod deliveries;
mod pages;
mod queue;
mod results;
mod schema;
mod statuses;
#[cfg(test)]
mod tests;

use std::path::Path;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Executor as _, Transaction};

use crate::address::encode_path;

pub(crate) use deliveries::{Accepted, NewDelivery, Wish};
pub(crate) use pages::{BuildRow, EvaluationRow, JobRow};
pub(crate) use queue::{Claimed, Lease};
pub(crate) use results::{BuildEnd, BuildStart, Change};
pub(crate) use statuses::Untold;

/// An evaluation's name: its project's, and a number within that.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EvaluationId {
    /// See [`crate::project::ProjectName`].
    pub(crate) project: String,
    /// From 1.
    pub(crate) number: i64,
}

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    writer: AnyPool,
    readers: AnyPool,
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It refused, or cannot be reached.
    #[error("the database does not work")]
    Database(#[from] sqlx::Error),
    /// A newer Esker has been here.
    #[error("the database was written by a newer Esker")]
    Newer,
    /// Somebody else works on this evaluation now.
    #[error("the lease of this evaluation was lost")]
    LeaseLost,
}

impl Store {
    /// Opens an SQLite file, and creates it if it is not there.
    ///
    /// # Errors
    /// It cannot be opened, or is a newer Esker's.
    pub(crate) async fn open_sqlite(path: &Path) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite:{}?mode=rwc", encode_path(path));
        let writer = pool(1).connect(&url).await?;
        schema::migrate(&writer).await?;
        Ok(Self { writer, readers: pool(4).connect(&url).await? })
    }

    /// Closes it; what was written is all in the file then.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(self.writer.begin().await?)
    }
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .after_connect(|connection, _| Box::pin(async move { prepare(connection).await }))
}

async fn prepare(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    if connection.backend_name() == "SQLite" {
        connection
            .execute(
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 PRAGMA foreign_keys = ON;",
            )
            .await?;
    }
    Ok(())
}
