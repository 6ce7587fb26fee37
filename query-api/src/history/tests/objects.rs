//! Tables in a bucket of a real S3-compatible server: what is written is there again, writers do not overwrite each other,
//! the server may be away, and what is wrong is said.

use std::time::{Duration, Instant};

use martingale_platform::config::Span;
use martingale_platform::log::Partition;
use martingale_schemas::Limits;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode};
use serde_json::json;

use super::{Random, STEPS};
use crate::history::History;
use crate::history::place::Place;
use crate::history::store::{Mark, Move, Store};
use crate::services::s3::{ObjectServer, PASSWORD};
use crate::tables::Table;
use crate::world::{World, step};

#[tokio::test]
async fn a_crash_loses_nothing_and_doubles_nothing_in_a_bucket() {
    let Some(server) = ObjectServer::shared() else { return };
    let mut random = Random(7);
    let mut world = World::in_bucket(2, server);
    world.config.flush_steps = 7;
    world.config.publish_every = Span::from_millis(1);
    world.config.compact_every = 5;
    let (mut sent, mut process) = (0, world.start().await);
    for _ in 0..6 {
        let more = 1 + random.below(20);
        let steps: Vec<_> =
            (sent..sent + more).map(|n| step(&format!("session-{}", n % 5), n, "plan", json!({}))).collect();
        sent += more;
        world.judge(&steps).await;
        for _ in 0..random.below(200) {
            tokio::task::yield_now().await;
        }
        if random.below(2) == 0 {
            process.until(STEPS, sent).await;
        }
        process.kill(&mut world).await;
        process = world.start().await;
    }
    process.until(STEPS, sent).await;
    for (table, id) in [("steps", "session_id || '/' || step_id"), ("verdicts", "verdict_id")] {
        let counts = process.rows(&format!("SELECT count(*), count(DISTINCT {id}) FROM {table}")).await;
        assert_eq!(counts[0], [json!(sent), json!(sent)], "{table}");
    }
    process.stop().await;

    // From the bucket alone, before a record is read; and compactions have been there.
    let process = world.start().await;
    assert_eq!(process.one(STEPS).await, json!(sent));
    assert_eq!(process.history.damage(), None);
    let plan = process.rows("EXPLAIN SELECT * FROM steps").await;
    assert!(!json!(plan).to_string().contains("some/prefix"), "{plan:?}");
    process.stop().await;
}

/// The promise of the store on which all others rest, and what is made of it: of two that commit the same version one
/// commits, and rows of one partition are there once.
#[tokio::test]
async fn of_two_that_write_the_same_commit_one_does() {
    let Some(server) = ObjectServer::shared() else { return };
    let world = World::in_bucket(1, server);
    let place = || Place::open(&world.config.dir, &world.config.options, tokio::runtime::Handle::current());
    let (first, second) = (place().await.expect("opens"), place().await.expect("opens"));
    let (of_first, of_second) = (first.table("race").expect("built"), second.table("race").expect("built"));
    let (of_first, of_second) = (of_first.log_store().object_store(None), of_second.log_store().object_store(None));
    for version in 0..20 {
        let path = object_store::path::Path::from(format!("_delta_log/{version:020}.json"));
        let (a, b) = tokio::join!(
            of_first.put_opts(&path, "first".into(), PutMode::Create.into()),
            of_second.put_opts(&path, "second".into(), PutMode::Create.into())
        );
        assert!(a.is_ok() != b.is_ok(), "{version}: {a:?} {b:?}");
        let lost = a.as_ref().err().or_else(|| b.as_ref().err());
        assert!(matches!(lost, Some(StoreError::AlreadyExists { .. })), "{version}: {lost:?}");
        let kept = of_first.get(&path).await.expect("is there").bytes().await.expect("reads");
        assert_eq!(kept, if a.is_ok() { "first" } else { "second" }, "{version}");
        // As a compaction removes what is no longer needed.
        of_second.delete(&path).await.expect("removed");
        assert!(matches!(of_first.get(&path).await, Err(StoreError::NotFound { .. })), "{version}");
    }

    let (mut a, mut b) = tokio::join!(async { Store::open(&first, Table::Edges).await.expect("opens") }, async {
        Store::open(&second, Table::Edges).await.expect("opens")
    });
    // Both may have made the table, one after the other.
    a.refresh().await.expect("looks");
    let made = a.version().expect("open");
    let at = |next| Mark { next, next_step: 0 };
    for next in 0..5 {
        let moves = [Move { partition: Partition(0), from: at(next), to: at(next + 1) }];
        let (one, other) = tokio::join!(a.append(&[], &moves), b.append(&[], &moves));
        let (one, other) = (one.is_ok(), other.is_ok());
        assert!(one || other, "{next}");
        a.refresh().await.expect("looks");
        b.refresh().await.expect("looks");
        let versions = (a.version().expect("open"), b.version().expect("open"));
        assert_eq!(versions, (made + next + 1, made + next + 1), "one commit each round");
        assert_eq!(b.mark(Partition(0)).await.expect("reads"), at(next + 1));
    }
}

#[tokio::test]
async fn while_the_store_is_away_rows_are_in_memory_and_readiness_says_why() {
    let Some(server) = ObjectServer::start() else { return };
    let mut world = World::in_bucket(1, &server);
    world.config.flush_steps = 1;
    let process = world.start().await;
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    process.until(STEPS, 1).await;
    let mut changes = process.history.changes();
    while !process.history.snapshot().tables[0].fresh.is_empty() {
        assert!(changes.changed().await, "history ended");
    }
    server.kill();
    world.judge(&[step("a", 2, "plan", json!({}))]).await;
    // Visible, though not written; what is in the bucket cannot be asked for, and that is said.
    while process.history.snapshot().tables[0].fresh.is_empty() {
        assert!(changes.changed().await, "history ended");
    }
    let mut standing = process.history.standing.subscribe();
    standing.wait_for(|it| it.trouble().is_some_and(|it| it.contains("cannot be written"))).await.expect("told");
    let error = process.engine.query("SELECT * FROM steps").await.expect_err("cannot be read");
    assert_eq!((error.status(), error.to_string().contains("cannot be read now")), (503, true), "{error}");
    server.restart();
    standing.wait_for(|it| it.trouble().is_none()).await.expect("told");
    process.until("SELECT count(*) FROM (SELECT * FROM steps)", 2).await;
    process.stop().await;
    let process = world.start().await;
    assert_eq!(process.one(STEPS).await, json!(2));
    process.stop().await;
}

#[tokio::test]
async fn what_is_lost_from_a_bucket_is_named() {
    let Some(server) = ObjectServer::shared() else { return };
    let world = World::in_bucket(1, server);
    let process = world.start().await;
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    process.until(STEPS, 1).await;
    process.stop().await;
    let bucket = world.config.dir.to_string();
    let tables = server.files(bucket.split('/').nth(2).expect("a bucket")).join("some/prefix");
    let files = std::fs::read_dir(tables.join("steps")).expect("a folder").flatten();
    for file in files.filter(|it| it.path().extension().is_some_and(|it| it == "parquet")) {
        std::fs::remove_file(file.path()).expect("removed");
    }
    let process = world.start().await;
    let found = process.history.damage().expect("is found").to_string();
    assert!(found.contains("`steps/part-") && found.contains("is missing"), "{found}");
    let error = process.engine.query("SELECT * FROM steps").await.expect_err("cannot be read");
    assert_eq!(error.to_string(), found);
    process.stop().await;

    std::fs::write(tables.join("verdicts/_delta_log/00000000000000000000.json"), "no JSON").expect("written");
    let said = refused(&world).await;
    for word in [&*format!("{bucket}/verdicts/_delta_log/00000000000000000000.json cannot be read"), "move it away"] {
        assert!(said.contains(word), "{word} in: {said}");
    }
}

/// Why history does not open, which is known within seconds.
async fn refused(world: &World) -> String {
    let began = Instant::now();
    let (config, log) = (world.config.clone(), world.log.clone());
    let opened = History::open(config, &Limits::DEFAULT, log, Default::default(), &Default::default()).await;
    let error = opened.err().expect("is refused");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    crate::http::with_causes(&error)
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_refused_with_the_remedy() {
    type Breaks = fn(&mut World);
    let Some(server) = ObjectServer::shared() else { return };
    let cases: [(Breaks, &[&str]); 7] = [
        (|it| it.config.dir = "s3://nowhere/x".parse().expect("an address"), &["no such bucket", "NoSuchBucket"]),
        (
            |it| _ = it.config.options.0.insert("aws_secret_access_key".into(), "hush-hush".into()),
            &["credentials are refused", "SignatureDoesNotMatch"],
        ),
        (
            |it| _ = it.config.options.0.insert("aws_access_key_id".into(), "hush-hush".into()),
            &["credentials are refused"],
        ),
        (
            |it| _ = it.config.options.0.insert("endpoint".into(), "http://127.0.0.1:1".into()),
            &["does not answer", "endpoint", "refused"],
        ),
        (|it| _ = it.config.options.0.remove("allow_http"), &["does not answer", "allow_http"]),
        (
            |it| _ = it.config.options.0.insert("regoin".into(), "x".into()),
            &["has `regoin`, which this store does not know"],
        ),
        (
            |it| _ = it.config.options.0.insert("conditional_put".into(), "disabled".into()),
            &["has `conditional_put`", "remove it"],
        ),
    ];
    for (breaks, says) in cases {
        let mut world = World::in_bucket(1, server);
        breaks(&mut world);
        let said = refused(&world).await;
        for word in says.iter().copied().chain(["`history.dir` is s3://"]) {
            assert!(said.contains(word), "{word} in: {said}");
        }
        assert!(!said.contains(PASSWORD) && !said.contains('\n'), "{said}");
    }
    let mut world = World::in_bucket(1, server);
    world.config.options.0.insert("aws_session_token".into(), "hush-hush".into());
    let said = refused(&world).await;
    assert!(!said.contains("hush-hush"), "{said}");
}

/// Takes everything that is put into it, whatever it was asked.
#[tokio::test]
async fn a_store_that_writes_over_what_is_there_is_refused() {
    use axum::http::header::ETAG;
    let listing = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let takes_all = axum::Router::new().fallback(move || async move { ([(ETAG, "\"1\"")], listing) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move { axum::serve(listener, takes_all).await });
    let mut world = World::new(1);
    world.config.dir = "s3://bucket/x".parse().expect("an address");
    let options =
        [("endpoint", format!("http://{address}")), ("allow_http", "true".into()), ("skip_signature", "true".into())];
    world.config.options.0.extend(options.map(|(name, value)| (name.to_owned(), value)));
    let said = refused(&world).await;
    assert!(said.contains("If-None-Match") && said.contains("lose each other's rows"), "{said}");
    serving.abort();
}

#[tokio::test]
async fn an_address_of_a_folder_is_that_folder() {
    let mut world = World::new(1);
    let folder = world.tables();
    world.config.dir = format!("file://{}", folder.display()).parse().expect("an address");
    let process = world.start().await;
    world.judge(&[step("a", 1, "plan", json!({}))]).await;
    process.until(STEPS, 1).await;
    process.stop().await;
    world.config.dir = folder.into();
    let process = world.start().await;
    assert_eq!(process.one(STEPS).await, json!(1));
    process.stop().await;
}
