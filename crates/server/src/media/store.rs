//! Where the files lie: a folder, or a bucket that speaks S3.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use guildhall_domain::clock::Timestamp;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::ClientConfigKey;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt, RetryConfig};

/// How long one operation may take until the store counts as failed. What is then under way may still come
/// about; by its name it is the right file, and the collector knows it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the store could not do it: one line for the operator, never for a client.
#[derive(Debug)]
pub struct StoreError(String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        Self(one_line(&error))
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self(one_line(&error))
    }
}

pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Where it is a folder.
    folder: Option<PathBuf>,
}

impl Store {
    /// Files in the folder `path`, which is made, readable by its owner alone, where it is missing.
    pub(super) fn folder(path: &Path) -> Result<Self, String> {
        let fault = |error: &dyn fmt::Display| format!("{}: {}", path.display(), one_line(error));
        make_folder(path).map_err(|error| fault(&error))?;
        // With `fsync` an upload that was answered outlives a power cut: the file is synced before it gets its
        // name, and the folder after.
        let objects = LocalFileSystem::new_with_prefix(path).map_err(|error| fault(&error))?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects), folder: Some(path.to_owned()) })
    }

    /// Objects under `prefix` of the bucket that `builder` names. Nothing is sent yet.
    pub(super) fn s3(builder: AmazonS3Builder, prefix: &str) -> Result<Self, String> {
        // `with_client_options` would undo what the environment says, such as AWS_ALLOW_HTTP. The limit on the
        // whole request is that of a slow reader: an answer's body is passed on as it is read.
        let limited = [
            (ClientConfigKey::ConnectTimeout, "2 seconds"),
            (ClientConfigKey::ReadTimeout, "10 seconds"),
            (ClientConfigKey::Timeout, "5 minutes"),
        ]
        .into_iter()
        .fold(builder, |builder, (key, value)| builder.with_config(AmazonS3ConfigKey::Client(key), value));
        let retry =
            RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(5), ..RetryConfig::default() };
        let bucket = limited.with_retry(retry).build().map_err(|error| one_line(&error))?;
        Ok(Self { objects: Arc::new(PrefixStore::new(bucket, prefix)), folder: None })
    }

    /// Writes the file, whole and durable, or not at all. Writing it again makes it young.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        bounded(self.objects.put(&name.into(), bytes.into())).await?;
        Ok(())
    }

    /// The file, or nothing where there is none; without its content where only the `head` is wanted.
    pub(super) async fn get(&self, name: &str, head: bool) -> Result<Option<GetResult>, StoreError> {
        let options = GetOptions { head, ..GetOptions::default() };
        match bounded(self.objects.get_opts(&name.into(), options)).await {
            Ok(found) => Ok(Some(found)),
            Err(Fault::Missing) => Ok(None),
            Err(Fault::Store(error)) => Err(error),
        }
    }

    /// Removes the file if it is there and was last written before `before`.
    pub(super) async fn remove(&self, name: &str, before: Timestamp) -> Result<bool, StoreError> {
        match self.get(name, true).await? {
            Some(found) if found.meta.last_modified.timestamp_micros() < before.0 => {
                bounded(self.objects.delete(&name.into())).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The names of the files that were last written before `before`.
    pub(super) fn list(&self, before: Timestamp) -> BoxStream<'static, Result<String, StoreError>> {
        let names = self.objects.list(None).filter_map(move |entry| async move {
            match entry {
                Ok(meta) if meta.last_modified.timestamp_micros() < before.0 => {
                    Some(Ok(meta.location.to_string()))
                }
                Ok(_) => None,
                Err(error) => Some(Err(error.into())),
            }
        });
        names.boxed()
    }

    /// Removes what a process that was killed while it wrote left in the folder; a bucket keeps no such thing.
    pub(super) async fn remove_leftovers(&self, before: Timestamp) -> Result<usize, StoreError> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        let swept = tokio::task::spawn_blocking(move || sweep(&folder, before)).await;
        Ok(swept.map_err(|error| StoreError(one_line(&error)))??)
    }
}

/// Why an operation failed, where it makes a difference.
enum Fault {
    Missing,
    Store(StoreError),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing => Self("there is no such file, bucket or folder".to_owned()),
            Fault::Store(error) => error,
        }
    }
}

async fn bounded<T>(operation: impl Future<Output = object_store::Result<T>>) -> Result<T, Fault> {
    match tokio::time::timeout(PATIENCE, operation).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(object_store::Error::NotFound { .. })) => Err(Fault::Missing),
        Ok(Err(error)) => Err(Fault::Store(error.into())),
        Err(_) => Err(Fault::Store(StoreError(format!("no answer within {} s", PATIENCE.as_secs())))),
    }
}

/// A folder's new files have their final name, `#` and a number until they are complete.
fn sweep(folder: &Path, before: Timestamp) -> std::io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let unfinished = name.to_str().and_then(|name| name.split_once('#')).is_some_and(|(name, number)| {
            super::media_type(name).is_some() && number.bytes().all(|digit| digit.is_ascii_digit())
        });
        if unfinished && micros(entry.metadata()?.modified()?) < before.0 {
            fs::remove_file(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    // The folder's own name is to outlive a power cut as well.
    #[cfg(unix)]
    if let Some(parent) = path.canonicalize()?.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Libraries add the store's whole answer; an operator's line is a line.
fn one_line(error: &dyn fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
