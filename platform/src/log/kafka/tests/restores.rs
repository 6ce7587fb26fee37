//! What a changelog may look like.

use rdkafka::admin::{AlterConfig, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;

fn changelog_of(config: &KafkaConfig, consumer: Consumer) -> String {
    format!("{}state.{consumer}", config.topic_prefix)
}

fn write(config: &KafkaConfig, consumer: Consumer, records: &[(&[u8], Option<&[u8]>)]) {
    let topic = changelog_of(config, consumer);
    let mut client = ClientConfig::new();
    let producer: BaseProducer = client.set("bootstrap.servers", &config.brokers).create().expect("a producer");
    for (key, value) in records {
        let mut record = BaseRecord::to(&topic).partition(0).key(*key);
        record.payload = *value;
        producer.send(record).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(Duration::from_secs(30)).expect("written");
}

/// Records there are in a partition of the changelog.
fn count(config: &KafkaConfig, consumer: Consumer) -> usize {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers).set("group.id", "count").set("enable.partition.eof", "true");
    let reader: BaseConsumer = client.create().expect("a consumer");
    reader.assign(&tail::list(&changelog_of(config, consumer), P0, Offset::START).expect("list")).expect("assigned");
    let mut count = 0;
    loop {
        match reader.poll(Duration::from_secs(30)).expect("an answer") {
            Ok(message) => count += usize::from(message.key().is_some()),
            Err(KafkaError::PartitionEOF(_)) => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_others_wrote_into_a_changelog_is_passed_over() {
    let Some((log, config)) = subject().await else { return };
    log.commit(numbered("now", "now", P0, 1)).await.expect("commit");
    log.close().await;
    write(
        &config,
        "now",
        &[
            (b"", Some(b"junk")),
            (b"x", None),
            (b"support-1", Some(b"{}")),
            (b"payments-1", Some(b"{}")),
            (b"plan-1", None),
            (b"s\x09cut", Some(b"\x01")),
        ],
    );
    let log = open(&config).await.expect("open");
    assert_eq!(log.state("now", P0, b"number").await.expect("state").as_deref(), Some(&b"1"[..]));
    assert_eq!(log.committed("now", A, P0).await.expect("committed"), Some(Offset(1)));
}

/// A value that another version wrote under a key of the consumer's: no state is better than a wrong one, and whoever asks
/// why hears it.
#[tokio::test]
async fn a_changelog_that_cannot_be_read_says_why() {
    let Some((log, config)) = subject().await else { return };
    let mut assigned = log.assigned("shared");
    assigned.wait_for(|it| it.len() == 4).await.expect("all of them");
    log.close().await;
    write(&config, "shared", &[(b"s\x06sharedk", Some(b"\x02newer"))]);
    let log = open(&config).await.expect("open");
    let _joins = log.assigned("shared");
    let began = std::time::Instant::now();
    loop {
        let waits = log.gaining("shared").unwrap_or_default();
        if waits.contains("in partition 0 at") && waits.contains("a value of another version") {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{waits}");
        tokio::task::yield_now().await;
    }
}

/// The cleaner goes through a changelog while it grows: what it has come to has gaps, the rest has not.
#[tokio::test]
async fn a_changelog_that_was_partly_compacted_is_restored_whole() {
    const COMMITS: u64 = 96;
    let Some((log, config)) = subject().await else { return };
    let topic = changelog_of(&config, "now");
    let mut client = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        client.set("bootstrap.servers", &config.brokers).create().expect("admin");
    // Segments as small as they may be: the one that is written is never compacted.
    let rules = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("message.timestamp.type", "LogAppendTime"),
    ];
    let rules =
        rules.iter().fold(AlterConfig::new(ResourceSpecifier::Topic(&topic)), |it, (name, value)| it.set(name, value));
    let altered = admin.alter_configs([&rules], &AdminOptions::new()).await.expect("an answer");
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");

    const KEYS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];
    // What a codec cannot make smaller: it takes some of them to fill a segment.
    let value = |number: u64, key: &str| {
        let seed = number * 10 + key.parse::<u64>().expect("a digit");
        let next = |it: &u64| Some(it.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let letters = std::iter::successors(Some(seed), next).map(|it| char::from(b'0' + (it >> 58) as u8));
        letters.take(8_192).collect::<String>()
    };
    for number in 0..COMMITS {
        let mut commit = numbered("now", "now", P0, number);
        // Some keys are removed on the way, and one is never written again.
        let written = KEYS.into_iter().filter(|it| number == 0 || *it != "7");
        commit.state.extend(written.map(|key| {
            let is_removed = key == "6" && number + 1 == COMMITS / 2;
            set("now", P0, key, (!is_removed).then(|| value(number, key)).as_deref())
        }));
        commit.state.retain(|it| it.key != "6" || number < COMMITS / 2);
        log.commit(commit).await.expect("commit");
    }
    log.close().await;
    let written = usize::try_from(COMMITS).expect("small") * 8;
    let began = std::time::Instant::now();
    let reader = config.clone();
    let left = tokio::task::spawn_blocking(move || {
        loop {
            let left = count(&reader, "now");
            if left < written / 2 || began.elapsed() > Duration::from_secs(120) {
                return left;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let left = left.await.expect("counted");
    assert!((10..written / 2).contains(&left), "compacted in part: {left} of some {written}");

    let log = open(&config).await.expect("open");
    let mut held = log.scan("now", P0, None, 99).await.expect("scan");
    held.retain(|(key, _)| key.as_ref() != b"number");
    let last = |key: &str| if key == "7" { 0 } else { COMMITS - 1 };
    let expected: Vec<_> = KEYS
        .into_iter()
        .filter(|it| *it != "6")
        .map(|key| (Bytes::from(key), Bytes::from(value(last(key), key))))
        .collect();
    assert_eq!(held, expected);
    assert_eq!(log.committed("now", A, P0).await.expect("committed"), Some(Offset(COMMITS - 1)));
}
