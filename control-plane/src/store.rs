//! The SQLite database: every statement of the control plane lives below this module, and nothing
//! else may know SQL. Reads go through [`Store`]; changes only through a [`Write`] transaction,
//! of which there is one at a time. Holds no rules.

mod assignments;
mod devices;
mod events;
mod models;
mod overrides;
mod systems;
mod tokens;

use std::{path::Path, time::Duration};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use assignments::AssignmentRow;
pub use devices::{CertificateRow, DeviceRow, SessionRow};
pub use events::{EventFilter, EventRow};
pub use models::{ModelRow, TensorRow};
pub use overrides::OverrideRow;
pub use systems::{RevisionRow, SystemRow};
pub use tokens::TokenRow;

/// How long a statement waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for its turn.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Takes the write lock at once: a transaction never fails half way because another one writes.
const BEGIN: &str = "BEGIN IMMEDIATE";
/// Connections for reading.
const READERS: u32 = 4;
/// SQLite's primary result codes that people can do something about.
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_FULL: i32 = 13;

/// Why the database could not do something. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be opened.
    #[error("can't open the database {path}; check that the folder exists and is writable")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Its tables can't be brought to this version.
    #[error(
        "can't bring the database to this version; was it written by a newer edgeflow-control-plane?"
    )]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The disk is full.
    #[error(
        "the disk with the control plane's database is full; nothing was changed, free some space and try again"
    )]
    Full(#[source] sqlx::Error),
    /// Somebody else holds it.
    #[error(
        "the control plane's database is locked by another process; nothing was changed, try again"
    )]
    Busy(#[source] sqlx::Error),
    /// It can't be written.
    #[error("the control plane's database is read-only; nothing was changed")]
    ReadOnly(#[source] sqlx::Error),
    /// Anything else.
    #[error("the control plane's database failed; nothing was changed")]
    Failed(#[source] sqlx::Error),
    /// A stored value that can't be read.
    #[error("the control plane's database holds a damaged {0}")]
    Damaged(&'static str),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Busy(error);
        }
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .and_then(|code| code.parse::<i32>().ok())
            .map(|code| code & 0xff);
        match code {
            Some(SQLITE_FULL) => Self::Full(error),
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy(error),
            Some(SQLITE_READONLY) => Self::ReadOnly(error),
            _ => Self::Failed(error),
        }
    }
}

/// The open database.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
}

/// One change of the database: all of it or, unless committed, nothing.
#[derive(Debug)]
pub struct Write(sqlx::Transaction<'static, sqlx::Sqlite>);

impl Store {
    /// Opens or creates the database and brings its tables to this version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open {
            path: path.display().to_string(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit reaches the disk: an acknowledged apply survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        sqlx::migrate!("../migrations")
            .run(&writer)
            .await
            .map_err(StoreError::Migrate)?;
        let reader = SqlitePoolOptions::new()
            .min_connections(0)
            .max_connections(READERS)
            .idle_timeout(Duration::from_secs(60))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.read_only(true));
        Ok(Self { writer, reader })
    }

    /// Starts a change. Waits for the one before it to end.
    pub async fn write(&self) -> Result<Write, StoreError> {
        match self.writer.begin_with(BEGIN).await {
            // On a full disk SQLite ends a transaction by itself, and sqlx then counts one that is
            // not there. A new connection counts from nothing.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let confused = self.writer.acquire().await?;
                // What it can't write it has rolled back.
                let _ = confused.close().await;
                Ok(Write(self.writer.begin_with(BEGIN).await?))
            }
            outcome => Ok(Write(outcome?)),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("SELECT 1 AS one")
            .fetch_one(&self.reader)
            .await?;
        Ok(())
    }

    /// Writes everything out and closes the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

impl Write {
    /// Makes the change durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.commit().await?)
    }
}

/// SQLite has signed integers only; our counters stay far below the limit.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    // Maps with string keys and lists of strings always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<T: serde::de::DeserializeOwned>(
    text: &str,
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Damaged(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store() -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("test.db")).await.unwrap();
        (store, dir)
    }

    fn system(name: &str, manifest: String) -> SystemRow {
        SystemRow {
            name: name.to_owned(),
            revision: 1,
            etag: "e".to_owned(),
            manifest,
            created_ms: 1,
            updated_ms: 1,
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_named_and_loses_nothing() {
        let (store, _dir) = store().await;
        let mut write = store.write().await.unwrap();
        let kept = system("kept", "small".to_owned());
        write.put_system(&kept, "apply").await.unwrap();
        write.commit().await.unwrap();
        // SQLite then fails as it does on a full disk.
        let limit = |pages: &'static str| {
            let writer = store.writer.clone();
            async move { sqlx::query(pages).execute(&writer).await.unwrap() }
        };
        limit("PRAGMA max_page_count = 1").await;
        let mut write = store.write().await.unwrap();
        let big = system("big", "x".repeat(1_000_000));
        let error = write.put_system(&big, "apply").await.unwrap_err();
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
        assert!(error.to_string().contains("free some space"), "{error}");
        drop(write);
        assert_eq!(store.systems().await.unwrap(), std::slice::from_ref(&kept));

        // Space again. (A connection that was replaced after the failure has no limit either.)
        limit("PRAGMA max_page_count = 1000000").await;
        let mut write = store.write().await.unwrap();
        write.put_system(&big, "apply").await.unwrap();
        write.commit().await.unwrap();
        assert_eq!(store.systems().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn the_database_itself_refuses_a_lower_or_changed_generation() {
        let (store, _dir) = store().await;
        let device = DeviceRow {
            id: "d".to_owned(),
            name: "d".to_owned(),
            labels: std::collections::BTreeMap::new(),
            facts: edgeflow_proto::v1::DeviceFacts::default(),
            enrolled_ms: 1,
            last_seen_ms: 0,
        };
        let row = |generation, hash: &str| AssignmentRow {
            device_id: "d".to_owned(),
            generation,
            hash: hash.to_owned(),
            body: Vec::new(),
        };
        let mut write = store.write().await.unwrap();
        write.put_device(&device).await.unwrap();
        write.put_assignment(&row(5, "a"), 1).await.unwrap();
        assert!(write.put_assignment(&row(4, "b"), 1).await.is_err());
        assert!(write.put_assignment(&row(5, "b"), 1).await.is_err());
        write.put_assignment(&row(6, "b"), 1).await.unwrap();
    }

    #[tokio::test]
    async fn events_beyond_the_limit_push_out_the_oldest() {
        let (store, _dir) = store().await;
        let mut write = store.write().await.unwrap();
        for _ in 0..10_010 {
            write.add_event(&mut EventRow::default()).await.unwrap();
        }
        write.commit().await.unwrap();
        let events = store.events(&EventFilter::default(), 20_000).await.unwrap();
        assert_eq!(events.len(), 10_000);
        assert_eq!(events[0].id, 11);
    }
}
