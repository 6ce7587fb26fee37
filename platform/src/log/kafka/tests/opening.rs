//! What a log says that cannot be opened.

use std::time::Instant;

use super::*;

async fn refused(config: &KafkaConfig) -> String {
    let began = Instant::now();
    let error = open(config).await.expect_err("refused").to_string();
    assert!(began.elapsed() < Duration::from_secs(15), "{error} after {:?}", began.elapsed());
    error
}

#[tokio::test]
async fn configuration_is_checked() {
    let with = |name: &str| Properties([(name.to_owned(), "x".to_owned())].into());
    let base = || KafkaConfig { brokers: "127.0.0.1:1".to_owned(), ..KafkaConfig::default() };
    let cases = [
        (KafkaConfig { partitions: 0, ..base() }, "partitions is 0, give 1 to 1024"),
        (KafkaConfig { brokers: " ".to_owned(), ..base() }, "brokers is empty"),
        (KafkaConfig { topic_prefix: "a b".to_owned(), ..base() }, "topic_prefix is `a b`"),
        (KafkaConfig { queue_bytes_max: 0, ..base() }, "queue_bytes_max is 0, give at least 1"),
        (KafkaConfig { settle_every: Span::default(), ..base() }, "settle_every is 0, give for example 100ms"),
        (KafkaConfig { properties: with("isolation.level"), ..base() }, "`isolation.level`, which the log sets itself"),
        (KafkaConfig { properties: with("no.such.thing"), ..base() }, "property `no.such.thing`"),
    ];
    for (config, expected) in cases {
        let error = refused(&config).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let properties = [("sasl.password", "hush"), ("ssl.key.pem", "hush"), ("sasl.mechanisms", "PLAIN")];
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let shown = format!("{:?}", KafkaConfig { properties: Properties(properties), ..KafkaConfig::default() });
    assert!(!shown.contains("hush") && shown.contains("PLAIN"), "{shown}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let config = KafkaConfig { request_timeout: Span::from_millis(2_000), ..config(closed.to_string()) };
    let error = refused(&config).await;
    assert!(error.contains(&closed.to_string()) && error.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_told_from_right_ones() {
    let Some(cluster) = cluster().await else { return };
    let with = |password: &str| {
        let pairs = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "martingale"),
            ("sasl.password", password),
        ];
        let properties = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaConfig { properties: Properties(properties), ..config(cluster.sasl_brokers()) }
    };
    let error = refused(&with("wrong")).await;
    assert!(error.contains("uthentication failed") && !error.contains("wrong"), "{error}");
    let log = open(&with("right")).await.expect("open");
    log.append(vec![at(A, P0, "in")]).await.expect("append");
    assert_eq!(values(&*log, A, P0).await, ["in"]);
}

#[tokio::test]
async fn topics_that_are_missing_or_of_another_shape_are_named() {
    let Some(cluster) = cluster().await else { return };
    let config = config(cluster.brokers());
    let strict = KafkaConfig { create_topics: false, ..config.clone() };
    let error = refused(&strict).await;
    let expected =
        format!("topic `{}a` does not exist: create it with 4 partitions, or set create_topics", config.topic_prefix);
    assert!(error.contains(&expected), "{error}");
    open(&config).await.expect("created");
    open(&strict).await.expect("there");
    let error = refused(&KafkaConfig { partitions: 8, ..config.clone() }).await;
    assert!(error.contains("has 4 partitions, but 8 are configured: set partitions to 4"), "{error}");
    let other = TOPICS.map(|it| TopicSpec { cleanup: Cleanup::Compact, ..it });
    let error = KafkaLog::open(config, &other, &CONSUMERS, &Registry::new()).await.expect_err("refused").to_string();
    assert!(error.contains("has cleanup.policy=delete, but compact is needed"), "{error}");
}
