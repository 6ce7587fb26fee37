//! Who owns what, and what happens to who does not any more.

use super::*;

const SHARED: Consumer = "shared";

/// Waits until a process owns so many partitions.
async fn owns(assigned: &mut watch::Receiver<Arc<[Partition]>>, count: usize) -> Arc<[Partition]> {
    let owned = tokio::time::timeout(Duration::from_secs(30), assigned.wait_for(|it| it.len() == count)).await;
    owned.unwrap_or_else(|_| panic!("{count} partitions")).expect("open").clone()
}

#[tokio::test]
async fn a_group_shares_partitions_and_hands_state_over() {
    let Some((first, config)) = subject().await else { return };
    let mut of_first = first.assigned(SHARED);
    let all = owns(&mut of_first, 4).await;
    for partition in all.iter() {
        assert_eq!(first.committed(SHARED, A, *partition).await.expect("committed"), None);
        first.commit(numbered(SHARED, SHARED, *partition, 1)).await.expect("commit");
    }
    let second = open(&config).await.expect("open");
    let mut of_second = second.assigned(SHARED);
    let (kept, taken) = (owns(&mut of_first, 2).await, owns(&mut of_second, 2).await);
    assert!(kept.iter().all(|it| !taken.contains(it)), "{kept:?} {taken:?}");
    for partition in taken.iter() {
        assert_eq!(second.committed(SHARED, A, *partition).await.expect("committed"), Some(Offset(1)));
        let state = second.state(SHARED, *partition, b"number").await.expect("state");
        assert_eq!(state.as_deref(), Some(&b"1"[..]), "what was there before it was assigned");
        second.commit(numbered(SHARED, SHARED, *partition, 2)).await.expect("commit");
        let error = first.commit(numbered(SHARED, SHARED, *partition, 3)).await.expect_err("given away");
        assert!(matches!(error, Error::Fenced(it) if it == *partition), "{error:?}");
    }
    for partition in kept.iter() {
        first.commit(numbered(SHARED, SHARED, *partition, 2)).await.expect("still its own");
    }
    second.close().await;
    for partition in owns(&mut of_first, 4).await.iter() {
        assert_eq!(first.committed(SHARED, A, *partition).await.expect("committed"), Some(Offset(2)), "{partition}");
        assert_eq!(values(&*first, B, *partition).await, ["1", "2"], "nothing of who had lost it");
    }
    first.close().await;
    assert!(matches!(first.append(vec![at(A, P0, "x")]).await, Err(Error::Closed)));
}

/// Two processes that both believe they own a partition: the newer one does. The other publishes nothing more, keeps
/// nothing of what had not settled, and finds the state of the newer one when it starts again.
#[tokio::test]
async fn who_claimed_before_is_fenced() {
    for (consumer, store) in [("c", "s"), ("now", "now")] {
        let Some((before, config)) = subject().await else { return };
        before.commit(numbered(consumer, store, P0, 1)).await.expect("commit");
        before.close().await;
        let zombie = open(&config).await.expect("open");
        assert_eq!(zombie.committed(consumer, A, P0).await.expect("committed"), Some(Offset(1)));
        let owner = open(&config).await.expect("open");
        assert_eq!(owner.committed(consumer, A, P0).await.expect("committed"), Some(Offset(1)));
        let error = zombie.commit(numbered(consumer, store, P0, 7)).await.expect_err("fenced");
        assert!(matches!(error, Error::Fenced(P0)), "{error:?}");
        assert!(!values(&*owner, B, P0).await.contains(&"7".to_owned()));
        owner.commit(numbered(consumer, store, P0, 2)).await.expect("commit");
        owner.close().await;
        if consumer == "c" {
            let error = zombie.state(store, P0, b"number").await.expect_err("until it starts again");
            assert!(matches!(error, Error::Fenced(P0)), "{error:?}");
        }
        assert_eq!(zombie.committed(consumer, A, P0).await.expect("committed"), Some(Offset(2)));
        let state = zombie.state(store, P0, b"number").await.expect("state");
        assert_eq!(state.as_deref(), Some(&b"2"[..]));
        zombie.commit(numbered(consumer, store, P0, 3)).await.expect("its own again");
        zombie.close().await;
    }
}

/// A process that ends between publishing and the end of its transaction: published is published, the rest is not.
#[tokio::test]
async fn what_had_not_settled_is_undone_and_what_was_published_is_seen() {
    let Some(cluster) = cluster().await else { return };
    // It never settles by itself.
    let never = KafkaConfig { settle_every: Span::from_millis(3_600_000), ..config(cluster.brokers()) };
    let dead = open(&never).await.expect("open");
    dead.commit(numbered("c", "s", P0, 1)).await.expect("commit");
    assert_eq!(dead.committed("c", A, P0).await.expect("committed"), Some(Offset(1)), "it reads what it wrote");
    let heir = open(&never).await.expect("open");
    assert_eq!(heir.committed("c", A, P0).await.expect("committed"), None);
    assert_eq!(heir.state("s", P0, b"number").await.expect("state"), None);
    assert_eq!(values(&*heir, B, P0).await, ["1"]);
}

#[tokio::test]
async fn removed_entries_stay_removed() {
    let Some((log, config)) = subject().await else { return };
    let commit = |state| Commit { consumer: "c", state, ..Commit::default() };
    log.commit(commit(vec![set("s", P0, "a", Some("1")), set("s", P0, "b", Some(""))])).await.expect("commit");
    log.commit(commit(vec![set("s", P0, "a", None)])).await.expect("commit");
    log.close().await;
    let log = open(&config).await.expect("open");
    let held = log.scan("s", P0, None, 9).await.expect("scan");
    assert_eq!(held, [(Bytes::from_static(b"b"), Bytes::new())]);
}

/// A consumer of which one process has all partitions: the others stand by, and one of them takes over with its state.
#[tokio::test]
async fn one_of_a_group_has_all_and_another_takes_over() {
    const ONE: Consumer = "one";
    let Some((first, config)) = subject().await else { return };
    let mut of_first = first.assigned(ONE);
    for partition in owns(&mut of_first, 4).await.iter() {
        first.commit(numbered(ONE, "of one", *partition, 3)).await.expect("commit");
    }
    let second = open(&config).await.expect("open");
    let of_second = second.assigned(ONE);
    // They may be given to the second, and are nobody's for a moment then; but never both's.
    let began = std::time::Instant::now();
    let is_first = loop {
        let (is_first, is_second) = (of_first.borrow().len() == 4, of_second.borrow().len() == 4);
        assert!(!(is_first && is_second), "one of them");
        let gaining = second.gaining(ONE);
        if is_first != is_second && gaining.is_none() {
            break is_first;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{gaining:?}");
        tokio::task::yield_now().await;
    };
    let (gone, left, mut of_left) = if is_first { (first, second, of_second) } else { (second, first, of_first) };
    gone.close().await;
    owns(&mut of_left, 4).await;
    for partition in (0..4).map(Partition) {
        let state = left.state("of one", partition, b"number").await.expect("state");
        assert_eq!(state.as_deref(), Some(&b"3"[..]));
    }
    left.close().await;
}
