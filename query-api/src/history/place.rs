//! Where the tables are: a folder of this machine or a prefix in a bucket, read and written by the same calls.
//!
//! Writers never overwrite each other's commit, since both kinds make an object that is not there, or fail. For buckets
//! that is looked at before anything is written.

mod cloud;
mod told;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, default_logstore};
use martingale_platform::files;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};
use tokio::runtime::Handle;
use url::Url;

use super::Error;
use super::location::{Bucket, Location, Options};

/// Longest time that a bucket may take to answer at start.
const START_MAX: Duration = Duration::from_secs(20);

/// An object that is written once and never again: whoever starts tries to, and has to be refused.
const WRITTEN_ONCE: &str = "WRITTEN_ONCE";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Place {
    /// The address of the tables, which ends in a slash.
    url: Url,
    /// Where objects of the address are found.
    root: Arc<dyn ObjectStore>,
    /// The path of the address.
    base: Path,
    /// Where it is a folder.
    folder: Option<PathBuf>,
}

impl Place {
    /// Makes the folder, or asks for the bucket. Requests run on the threads of `io`.
    ///
    /// # Errors
    /// [`Error::Folder`] or [`Error::Bucket`] when it cannot be used, with what to do about it.
    pub(super) async fn open(location: &Location, options: &Options, io: Handle) -> Result<Self, Error> {
        let bucket = match location {
            Location::Bucket(bucket) => bucket,
            Location::Folder(folder) => return Self::folder(folder),
        };
        let refused = |why: String| Error::Bucket { bucket: location.to_string(), why };
        let place = Self::bucket(bucket, options, io).map_err(refused)?;
        let asked = tokio::time::timeout(START_MAX, place.ask()).await;
        let late = |_| Err(format!("it does not answer within {START_MAX:?}: {}", cloud::UNREACHABLE));
        asked.unwrap_or_else(late).map_err(refused)?;
        Ok(place)
    }

    fn folder(folder: &std::path::Path) -> Result<Self, Error> {
        let failed = |source| Error::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let no_name = |folder: &std::path::Path| Error::Folder {
            folder: folder.to_owned(),
            source: std::io::ErrorKind::InvalidFilename.into(),
        };
        let url = Url::from_directory_path(&folder).map_err(|()| no_name(&folder))?;
        let base = Path::from_absolute_path(&folder).map_err(|_| no_name(&folder))?;
        Ok(Self { url, root: Arc::new(LocalFileSystem::new()), base, folder: Some(folder) })
    }

    fn bucket(bucket: &Bucket, options: &Options, io: Handle) -> Result<Self, String> {
        let url = bucket.url.clone();
        let base = Path::from_url_path(url.path()).map_err(|error| error.to_string())?;
        let root = told::Told::of(cloud::client(bucket, options, io)?);
        Ok(Self { url, root: Arc::new(root), base, folder: None })
    }

    /// Whether the bucket is there, may be read and written, and keeps what is in it from being written over.
    async fn ask(&self) -> Result<(), String> {
        self.root.list_with_delimiter(Some(&self.base)).await.map_err(|it| cloud::remedy(&it))?;
        // Twice at most: the first process of all makes the object.
        for _ in 0..2 {
            match self.make(WRITTEN_ONCE, "Every process makes sure that this object cannot be written again.\n").await
            {
                Ok(()) => {}
                Err(object_store::Error::AlreadyExists { .. }) => return Ok(()),
                Err(error) => return Err(cloud::remedy(&error)),
            }
        }
        Err("it writes an object over that is there, although it was asked not to (If-None-Match): two processes would \
             lose each other's rows. Use a store with conditional writes"
            .into())
    }

    /// The table of this name, not loaded.
    pub(super) fn table(&self, name: &str) -> Result<DeltaTable, deltalake::DeltaTableError> {
        let url = self
            .url
            .join(&format!("{name}/"))
            .map_err(|error| deltalake::DeltaTableError::generic(error.to_string()))?;
        let config = StorageConfig::default();
        let of_table = Arc::from(config.decorate_store(Arc::clone(&self.root), &url)?);
        Ok(DeltaTable::new(default_logstore(of_table, Arc::clone(&self.root), &url, &config)))
    }

    fn at(&self, name: &str) -> Path {
        name.split('/').fold(self.base.clone(), |path, part| path.join(part))
    }

    /// An object by its name below the place; none where there is none.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Bytes>, object_store::Error> {
        match self.root.get(&self.at(name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Length of an object; none where there is none.
    pub(super) async fn length(&self, name: &str) -> Result<Option<u64>, object_store::Error> {
        match self.root.head(&self.at(name)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Objects in a folder below the place, without those in folders of it.
    pub(super) async fn list(&self, name: &str) -> Result<Vec<ObjectMeta>, object_store::Error> {
        match self.root.list_with_delimiter(Some(&self.at(name))).await {
            Ok(found) => Ok(found.objects),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes an object that is not there, durably.
    pub(super) async fn make(&self, name: &str, content: &str) -> Result<(), object_store::Error> {
        if let Some(folder) = &self.folder {
            let failed = |error| object_store::Error::Generic { store: "folder", source: Box::new(error) };
            return files::replace(folder, name, content).map_err(failed);
        }
        let content = content.to_owned().into();
        self.root.put_opts(&self.at(name), content, PutMode::Create.into()).await.map(drop)
    }

    /// Where an object is, for people.
    pub(super) fn name_of(&self, name: &str) -> String {
        self.folder.as_ref().map_or_else(|| format!("{}{name}", self.url), |it| it.join(name).display().to_string())
    }

    /// As plans of queries show it, without the leading separator.
    pub(super) fn shown_in_plans(&self) -> String {
        if self.base.as_ref().is_empty() { String::new() } else { format!("{}/", self.base) }
    }

    /// Why something that was asked of the place failed.
    pub(super) fn failed(&self, error: &object_store::Error) -> Error {
        match &self.folder {
            Some(folder) => Error::Folder { folder: folder.clone(), source: std::io::Error::other(error.to_string()) },
            None => Error::Bucket { bucket: self.to_string(), why: cloud::remedy(error) },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.folder {
            Some(folder) => write!(f, "{}", folder.display()),
            None => f.write_str(self.url.as_str().trim_end_matches('/')),
        }
    }
}
