//! Brokers that end, records that are gone.

use std::time::Instant;

use super::*;

/// Brokers of a test's own, to be killed. One test after another has them, since the machine has to carry them all beside
/// those that are shared.
async fn brokers(count: usize) -> Option<(Arc<KafkaCluster>, tokio::sync::MutexGuard<'static, ()>)> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let turn = TURN.lock().await;
    let cluster = tokio::task::spawn_blocking(move || KafkaCluster::start(count)).await.expect("a cluster")?;
    Some((Arc::new(cluster), turn))
}

/// A broker is killed while records are appended and comes back: every record that was acknowledged is there, in order
/// and once, and the log needs nobody to start it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_nothing() {
    let Some((cluster, _turn)) = brokers(1).await else { return };
    let config = KafkaConfig { write_timeout: Span::from_millis(60_000), ..config(cluster.brokers()) };
    let log = open(&config).await.expect("open");
    log.commit(numbered("c", "s", P0, 1)).await.expect("commit");
    let writer = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..3_000 {
                let value = number.to_string();
                log.append(vec![at(A, P0, &value)]).await.expect("append");
                acknowledged.push(value);
            }
            acknowledged
        })
    };
    let mut grown = log.grown(A, P0);
    grown.wait_for(|it| it.0 > 500).await.expect("records");
    let broker = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || broker.kill(0)).await.expect("killed");
    let began = Instant::now();
    while log.healthy().is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "it is seen that nothing can be written");
        tokio::task::yield_now().await;
    }
    let broker = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || broker.restart(0)).await.expect("started");
    let acknowledged = writer.await.expect("writer");
    assert_eq!(values(&*log, A, P0).await, acknowledged);
    let began = Instant::now();
    while log.healthy().is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it is seen that it can");
        tokio::task::yield_now().await;
    }
    log.commit(numbered("c", "s", P0, 2)).await.expect("commit");
    assert_eq!(log.committed("c", A, P0).await.expect("committed"), Some(Offset(2)));
}

/// A commit settles some moments after it returned, or it is undone; who asks hears which.
#[tokio::test]
async fn what_is_committed_settles_or_is_told_to_be_undone() {
    let Some((log, config)) = subject().await else { return };
    let until = async |wanted: &dyn Fn(&Result<Settled, Error>) -> bool| {
        let began = Instant::now();
        loop {
            let told = log.settled("c", P0).await;
            if wanted(&told) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{told:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(log.settled("c", P0).await.expect("settled"), Settled::All, "there is nothing");
    log.commit(numbered("c", "s", P0, 1)).await.expect("commit");
    until(&|told| matches!(told, Ok(Settled::All))).await;
    let other = open(&config).await.expect("open");
    assert!(other.committed("c", A, P0).await.expect("committed").is_some(), "another has it now");
    // Refused at once, or when its transaction ends.
    drop(log.commit(numbered("c", "s", P0, 2)).await);
    until(&|told| told.is_err()).await;
}

/// Of three brokers one is left: it answers, and too few replicas are there to write to.
#[tokio::test]
async fn brokers_that_answer_and_take_no_writes_are_not_healthy() {
    let Some((cluster, _turn)) = brokers(3).await else { return };
    let config = KafkaConfig { write_timeout: Span::from_millis(2_000), ..config(cluster.brokers()) };
    let log = open(&config).await.expect("open");
    log.append(vec![at(A, P0, "before")]).await.expect("append");
    let kill = |broker| {
        let cluster = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || cluster.kill(broker))
    };
    kill(1).await.expect("killed");
    kill(2).await.expect("killed");
    let began = Instant::now();
    while log.healthy().is_ok() {
        drop(log.append(vec![at(A, P0, "lost")]).await);
        assert!(began.elapsed() < Duration::from_secs(30), "nobody says that nothing can be written");
    }
}

/// With three brokers, any one may be killed: the log goes on with the two that are left.
#[tokio::test]
async fn one_of_three_brokers_may_be_killed() {
    let Some((cluster, _turn)) = brokers(3).await else { return };
    let log = open(&KafkaConfig { write_timeout: Span::from_millis(60_000), ..config(cluster.brokers()) }).await;
    let log = log.expect("open");
    for number in 0..3 {
        log.commit(numbered("now", "now", P0, number)).await.expect("commit");
        log.append(vec![at(A, P0, &number.to_string())]).await.expect("append");
        let (cluster, broker) = (Arc::clone(&cluster), usize::try_from(number).expect("small"));
        let killed = tokio::task::spawn_blocking(move || {
            cluster.kill(broker);
            cluster
        });
        let cluster = killed.await.expect("killed");
        for more in 0..20 {
            log.append(vec![at(A, P0, &format!("{number} {more}"))]).await.expect("append");
        }
        log.commit(numbered("now", "now", P0, number + 10)).await.expect("commit");
        tokio::task::spawn_blocking(move || cluster.restart(broker)).await.expect("started");
    }
    assert_eq!(values(&*log, A, P0).await.len(), 63);
    assert_eq!(values(&*log, B, P0).await, ["0", "10", "1", "11", "2", "12"]);
}

/// A record that no broker takes is told before anything is sent, and harms nothing that comes after it.
#[tokio::test]
async fn a_record_that_is_too_large_leaves_the_log_as_it_was() {
    let Some((log, _)) = subject().await else { return };
    let max = log.record_bytes_max();
    let large = || at(A, P0, &"x".repeat(max));
    let refused = log.append(vec![at(A, P0, "with it"), large()]).await.expect_err("refused");
    assert!(
        matches!(refused, Error::TooLarge { bytes, bytes_max } if bytes == max + 1 && bytes_max == max),
        "{refused}"
    );
    let commit = Commit { publish: vec![at(B, P0, "with it"), large()], ..numbered("c", "s", P0, 1) };
    assert!(matches!(log.commit(commit).await, Err(Error::TooLarge { .. })));
    log.commit(numbered("c", "s", P0, 2)).await.expect("commit");
    log.append(vec![at(A, P0, &"x".repeat(max - 1))]).await.expect("as large as may be");
    assert_eq!((values(&*log, A, P0).await.len(), values(&*log, B, P0).await), (1, vec!["2".to_owned()]));
    assert_eq!(log.committed("c", A, P0).await.expect("committed"), Some(Offset(2)));
}

#[tokio::test]
async fn without_a_broker_writes_fail_in_time_and_say_why() {
    let Some((cluster, _turn)) = brokers(1).await else { return };
    let config = KafkaConfig {
        write_timeout: Span::from_millis(2_000),
        request_timeout: Span::from_millis(2_000),
        queue_bytes_max: 1_000,
        ..config(cluster.brokers())
    };
    let log = open(&config).await.expect("open");
    log.commit(numbered("c", "s", P0, 1)).await.expect("commit");
    tokio::task::spawn_blocking(move || drop(cluster)).await.expect("gone");
    let began = Instant::now();
    let waits = log.append(vec![at(A, P0, &"x".repeat(900))]);
    let (waited, full) = tokio::join!(waits, async { log.append(vec![at(A, P0, &"x".repeat(900))]).await });
    assert!(matches!(waited, Err(Error::Storage(_))), "{waited:?}");
    assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
    let error = log.commit(numbered("c", "s", P0, 2)).await.expect_err("no broker");
    assert!(error.is_transient(), "{error:?}");
    let error = log.read(A, P0, Offset::START, ALL).await.expect_err("no broker");
    assert!(error.is_transient(), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let why = log.healthy().expect_err("no broker");
    assert!(why.contains("refused") || why.contains("Disconnected") || why.contains("down"), "{why}");
}

#[tokio::test]
async fn expired_records_are_told_from_the_tail_and_from_a_cursor() {
    let Some((log, config)) = subject().await else { return };
    for number in 0..10 {
        log.append(vec![at(A, P0, &number.to_string())]).await.expect("append");
    }
    assert_eq!(values(&*log, A, P0).await.len(), 10);
    expire(&config, A, P0, Offset(4)).await;
    let other = open(&config).await.expect("open");
    for log in [&log, &other] {
        let error = log.read(A, P0, Offset(2), ALL).await.expect_err("expired");
        assert!(matches!(error, Error::Expired { asked: Offset(2), start: Offset(4) }), "{error:?}");
        assert_eq!(values(&**log, A, P0).await.len(), 6);
    }
}

/// The end of a partition may be the mark of a transaction and no record: who reads there hears that there is nothing, at
/// once and as often as it asks.
#[tokio::test]
async fn the_end_behind_a_mark_is_an_end() {
    let Some((log, config)) = subject().await else { return };
    log.commit(numbered("now", "now", P0, 1)).await.expect("commit");
    let reader = open(&config).await.expect("open");
    let began = Instant::now();
    let records = reader.read(B, P0, Offset::START, ALL).await.expect("read");
    let next = records.last().expect("a record").offset.next();
    assert!(next < reader.bounds(B, P0).await.expect("bounds").end, "the mark is behind it");
    for _ in 0..3 {
        assert_eq!(reader.read(B, P0, next, ALL).await.expect("read"), []);
    }
    log.commit(numbered("now", "now", P0, 2)).await.expect("commit");
    let mut grown = reader.grown(B, P0);
    while reader.read(B, P0, next, ALL).await.expect("read").is_empty() {
        grown.changed().await.expect("open");
    }
    assert_eq!(values(&*reader, B, P0).await, ["1", "2"]);
    assert!(began.elapsed() < config.request_timeout.0, "{:?}", began.elapsed());
}

/// A reader behind what memory holds and one at the end see the same records, whatever the limits of their reads.
#[tokio::test]
async fn readers_behind_and_at_the_end_agree() {
    let Some(cluster) = cluster().await else { return };
    let config = KafkaConfig { cache_bytes: 20_000, readers_max: 2, ..config(cluster.brokers()) };
    let log = open(&config).await.expect("open");
    assert_eq!(log.read(A, P0, Offset::START, ALL).await.expect("read"), []);
    let mut expected = Vec::new();
    for round in 0..20 {
        let batch: Vec<String> = (0..50).map(|it| format!("{round} {it}")).collect();
        log.append(batch.iter().map(|it| at(A, P0, it)).collect()).await.expect("append");
        expected.extend(batch);
    }
    let reader = |records_max| {
        let log = &log;
        async move {
            let (mut next, mut read) = (Offset::START, Vec::new());
            loop {
                let limit = ReadLimit { records_max, bytes_max: 700 };
                let records = log.read(A, P0, next, limit).await.expect("read");
                let Some(last) = records.last() else { return read };
                next = last.offset.next();
                read.extend(records.iter().map(|it| String::from_utf8(it.value.to_vec()).expect("text")));
            }
        }
    };
    let (a, b, c) = tokio::join!(reader(7), reader(64), reader(1_000));
    assert_eq!((&a, &b, &c), (&expected, &expected, &expected));
}
