//! The tables, and how a database comes to have them.

use sqlx::{AnyPool, Executor as _};

use super::StoreError;

/// Each brings the database one version further. Never edited, only added to.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE deliveries (
        forge    TEXT NOT NULL,
        id       TEXT NOT NULL,      -- the forge's
        received BIGINT NOT NULL,
        event    TEXT NOT NULL,
        caused   TEXT NOT NULL,      -- what came of it, for people
        PRIMARY KEY (forge, id)
    );
    CREATE TABLE revisions (
        project   TEXT NOT NULL,
        commit_id TEXT NOT NULL,
        reference TEXT NOT NULL,     -- where it was seen: refs/heads/main
        seen      BIGINT NOT NULL,
        PRIMARY KEY (project, commit_id, reference)
    );
    CREATE TABLE evaluations (
        project     TEXT NOT NULL,
        number      BIGINT NOT NULL,
        commit_id   TEXT NOT NULL,
        reference   TEXT NOT NULL,
        state       TEXT NOT NULL,   -- waiting, running, finished
        queued      BIGINT NOT NULL,
        not_before  BIGINT NOT NULL, -- after a failure of ours it rests
        started     BIGINT,
        finished    BIGINT,
        attempt     BIGINT NOT NULL,
        owner       TEXT,            -- who has the lease
        lease_until BIGINT,
        evaluated   BIGINT NOT NULL, -- 1: all jobs are known
        conclusion  TEXT,
        summary     TEXT,            -- JSON of the engine's `Summary`
        error       TEXT,            -- why there are no jobs
        environment TEXT,            -- JSON of the engine's `Environment`
        PRIMARY KEY (project, number)
    );
    CREATE INDEX evaluations_of_commit ON evaluations (project, commit_id, number);
    CREATE INDEX evaluations_to_do ON evaluations (queued) WHERE state <> 'finished';
    CREATE TABLE jobs (
        project    TEXT NOT NULL,
        number     BIGINT NOT NULL,
        job        TEXT NOT NULL,
        attr       TEXT NOT NULL,
        state      TEXT NOT NULL,    -- one of the seven words
        drv        TEXT,
        outcome    TEXT,             -- JSON of the engine's `Outcome`
        PRIMARY KEY (project, number, job),
        FOREIGN KEY (project, number) REFERENCES evaluations (project, number) ON DELETE CASCADE
    );
    CREATE TABLE builds (
        project    TEXT NOT NULL,
        number     BIGINT NOT NULL,
        build      BIGINT NOT NULL,  -- within the evaluation, from 1, in the order of their beginning
        drv        TEXT NOT NULL,
        name       TEXT NOT NULL,
        action     TEXT NOT NULL,
        started    BIGINT NOT NULL,
        phase      TEXT,
        conclusion TEXT,
        finished   BIGINT,
        log        TEXT,             -- file in the evaluation's folder; NULL: printed nothing
        PRIMARY KEY (project, number, build),
        FOREIGN KEY (project, number) REFERENCES evaluations (project, number) ON DELETE CASCADE
    );
    CREATE TABLE statuses (
        project   TEXT NOT NULL,
        number    BIGINT NOT NULL,
        name      TEXT NOT NULL,     -- as the forge shows it
        told      TEXT,              -- what the forge was last told; NULL: nothing yet
        settled   BIGINT NOT NULL,   -- 1: that is the last word
        failures  BIGINT NOT NULL,   -- since it last worked
        tell_at   BIGINT NOT NULL,   -- not before
        PRIMARY KEY (project, number, name),
        FOREIGN KEY (project, number) REFERENCES evaluations (project, number) ON DELETE CASCADE
    );
    CREATE INDEX statuses_to_tell ON statuses (tell_at) WHERE settled = 0;
"];

/// Brings a database up to date.
pub(super) async fn migrate(db: &AnyPool) -> Result<(), StoreError> {
    let mut transaction = db.begin().await?;
    transaction.execute("CREATE TABLE IF NOT EXISTS esker (version BIGINT NOT NULL)").await?;
    let version: Option<i64> =
        sqlx::query_scalar("SELECT version FROM esker").fetch_optional(&mut *transaction).await?;
    if version.is_none() {
        transaction.execute("INSERT INTO esker (version) VALUES (0)").await?;
    }
    let done = usize::try_from(version.unwrap_or(0)).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.get(done..).ok_or(StoreError::Newer)? {
        transaction.execute(*migration).await?;
    }
    let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    sqlx::query("UPDATE esker SET version = $1").bind(version).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}
