//! What the conformance suite asks of blobs, on every log.

use bytes::Bytes;

use crate::log::conformance::{COMPACTED, Subject, append};
use crate::log::{Append, Partition, blob};

pub(crate) async fn a_value_larger_than_a_record_is_put_whole_or_not_at_all(subject: Subject) {
    let log = subject.log();
    let value =
        |seed: u8, bytes: usize| Bytes::from((0..bytes).map(|it| (it / 1_000) as u8 ^ seed).collect::<Vec<_>>());
    let names = async || {
        let found = blob::list(log, COMPACTED).await.expect("list");
        found.into_iter().map(|it| (it.name, it.bytes)).collect::<Vec<_>>()
    };
    let get = async |name: &str| blob::get(log, COMPACTED, name).await.expect("get");
    assert_eq!((get("a").await, names().await), (None, vec![]));
    let (empty, small, large) = (value(1, 0), value(2, 10), value(3, 3 * 256 * 1024 + 1));
    for (name, value) in [("empty", &empty), ("large", &large), ("small", &small)] {
        blob::put(log, COMPACTED, name, value).await.expect("put");
    }
    let put = [("empty".to_owned(), 0), ("large".to_owned(), large.len() as u64), ("small".to_owned(), 10)];
    assert_eq!(names().await, put);
    for (name, value) in [("empty", &empty), ("large", &large), ("small", &small)] {
        assert_eq!(get(name).await.as_ref(), Some(value), "{name}");
    }
    assert_eq!(get("lar").await, None, "a name is not found by its beginning");
    // Put again it is the newest; without one of its pieces it is not there.
    blob::put(log, COMPACTED, "large", &large).await.expect("put");
    assert_eq!((get("large").await, names().await[2].0.as_str()), (Some(large.clone()), "large"));
    append(log, vec![Append::new(COMPACTED, "large/00000001".into(), Bytes::new()).to_partition(Partition(0))]).await;
    assert_eq!(get("large").await, None);
    let removed = blob::Blob { name: "large".to_owned(), bytes: large.len() as u64, put_at: 0 };
    blob::remove(log, COMPACTED, &removed).await.expect("remove");
    assert_eq!((get("large").await, get("small").await), (None, Some(small)));
    assert_eq!(names().await, [put[0].clone(), put[2].clone()]);

    // Whoever put this broke off before the head. It is found an hour later, and what is whole is left alone.
    blob::put(log, COMPACTED, "large", &large).await.expect("put");
    let pieces = ["lar/00000000", "lar/00000001", "x/00000007"];
    let unfinished =
        |key: &str| Append::new(COMPACTED, key.to_owned().into(), "piece".into()).to_partition(Partition(0));
    append(log, pieces.map(unfinished).to_vec()).await;
    let mut index = blob::Index::default();
    let listed = index.refresh(log, COMPACTED).await.expect("list");
    assert_eq!(listed, blob::list(log, COMPACTED).await.expect("list"));
    let put_at = listed.last().expect("one").put_at;
    let keys = async || {
        let held = log.latest(COMPACTED, None, usize::MAX).await.expect("latest");
        held.into_iter().filter(|(key, _)| pieces.iter().any(|it| it.as_bytes() == &key[..])).count()
    };
    const HOUR: i64 = 3_600_000_000;
    for (now, expected) in [(put_at, 3), (put_at + HOUR / 2, 3), (put_at + 2 * HOUR, 0)] {
        index.sweep(log, COMPACTED, now).await.expect("sweep");
        assert_eq!(keys().await, expected);
    }
    // What others put and remove meanwhile is seen.
    blob::put(log, COMPACTED, "more", &value(4, 10)).await.expect("put");
    blob::remove(log, COMPACTED, &removed).await.expect("remove");
    let names: Vec<String> =
        index.refresh(log, COMPACTED).await.expect("list").iter().map(|it| it.name.clone()).collect();
    assert_eq!(names, ["empty", "small", "more"]);
    assert_eq!(get("large").await, None);
}
