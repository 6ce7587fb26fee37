//! What this crate keeps beside the log: JSON with the version of its form, read page after page.

use bytes::Bytes;
use martingale_platform::log::{self, Log, Partition, Store};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why an entry cannot be read. It is left alone, for a release that can.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(
        "it is of version {found} and this release reads up to {newest}: run the release that wrote it, or a newer one"
    )]
    Newer { found: u32, newest: u32 },
    #[error("it is not of the form this release keeps")]
    Form(#[from] serde_json::Error),
}

/// All entries of a partition whose keys begin with `prefix`, in the order of their keys.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn entries(
    log: &dyn Log,
    store: Store,
    partition: Partition,
    prefix: &'static str,
) -> Result<Vec<(Bytes, Bytes)>, log::Error> {
    const PAGE: usize = 256;
    let mut entries = Vec::new();
    let mut after = Some(Bytes::from_static(prefix.as_bytes())).filter(|it| !it.is_empty());
    loop {
        let page = log.scan(store, partition, after, PAGE).await?;
        let read = page.len();
        after = page.last().map(|(key, _)| key.clone());
        entries.extend(page.into_iter().take_while(|(key, _)| key.starts_with(prefix.as_bytes())));
        let more = after.as_ref().is_some_and(|key| key.starts_with(prefix.as_bytes()));
        if read < PAGE || !more {
            return Ok(entries);
        }
    }
}

/// An entry as it is kept.
pub(crate) fn write<T: Serialize>(version: u32, value: &T) -> Bytes {
    #[derive(Serialize)]
    struct Kept<'v, T> {
        v: u32,
        #[serde(flatten)]
        value: &'v T,
    }
    // Cannot fail: structs of plain fields with string keys.
    serde_json::to_vec(&Kept { v: version, value }).unwrap_or_default().into()
}

/// # Errors
/// [`Unreadable`] for an entry of a newer version than `newest`, or of another form.
pub(crate) fn read<T: DeserializeOwned>(newest: u32, entry: &[u8]) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        /// Missing in what was written before there was a second version to tell it from.
        #[serde(default = "first")]
        v: u32,
    }
    let Head { v: found } = serde_json::from_slice(entry)?;
    if found > newest {
        return Err(Unreadable::Newer { found, newest });
    }
    Ok(serde_json::from_slice(entry)?)
}

const fn first() -> u32 {
    1
}

/// Reads every line of a fixture and says what is written for it today: the same, as long as the version stands. With
/// `UPDATE_EXPECT` set, a fixture that is missing is written; one that is there never is.
#[cfg(test)]
pub(crate) fn check_fixture<T>(name: &str, version: u32, samples: &[T])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}/v{version}.jsonl"));
    let line = |sample: &T| String::from_utf8(write(version, sample).to_vec()).expect("UTF-8") + "\n";
    let written: String = samples.iter().map(line).collect();
    if std::env::var_os("UPDATE_EXPECT").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(&path, &written).expect("fixture");
    }
    let fixture = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kept: Vec<T> = fixture.lines().map(|line| read(version, line.as_bytes()).expect(line)).collect();
    assert_eq!(kept, samples, "{name}: what was kept once reads otherwise now");
    assert_eq!(written, fixture, "{name}: the form changed, so must its version, and the old one stays readable");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use martingale_platform::log::{Commit, Log, Partition, StateChange};
    use serde_json::{Value, json};

    use super::{entries, read, write};
    use crate::testing::memory_log;

    #[tokio::test]
    async fn every_entry_of_a_prefix_is_read_and_no_other() {
        for count in [0, 1, 255, 256, 257, 600] {
            let log = memory_log(1);
            let keys = (0..count).map(|it| format!("d/{it:04}")).chain(["a".to_owned(), "e/1".to_owned()]);
            let state = keys.map(|key| StateChange {
                store: "test",
                partition: Partition(0),
                key: key.into(),
                value: Some(Bytes::from_static(b"{}")),
            });
            log.commit(Commit { consumer: "test", state: state.collect(), ..Commit::default() })
                .await
                .expect("commits");
            let found = entries(&*log, "test", Partition(0), "d/").await.expect("reads");
            assert_eq!(found.len(), count);
            assert!(found.iter().all(|(key, _)| key.starts_with(b"d/")));
            assert_eq!(entries(&*log, "test", Partition(0), "").await.expect("reads").len(), count + 2);
        }
    }

    #[test]
    fn an_entry_says_its_version_and_a_newer_one_is_not_guessed_at() {
        let entry = write(1, &json!({ "a": 1 }));
        assert_eq!(&entry[..], br#"{"v":1,"a":1}"#);
        assert!(read::<Value>(1, &entry).is_ok());
        assert!(read::<Value>(1, br#"{"a":1}"#).is_ok(), "of before versions were written");
        for (entry, says) in [(&br#"{"v":2}"#[..], "version 2"), (b"7", "form"), (b"{", "form"), (b"", "form")] {
            let error = read::<Value>(1, entry).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
