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
    let small = || Properties([("message.max.bytes".to_owned(), "200000".to_owned())].into());
    let base = || KafkaConfig { brokers: "127.0.0.1:1".to_owned(), ..KafkaConfig::default() };
    let cases = [
        (KafkaConfig { partitions: 0, ..base() }, "partitions is 0, give 1 to 1024"),
        (KafkaConfig { brokers: " ".to_owned(), ..base() }, "brokers is empty"),
        (KafkaConfig { topic_prefix: "a b".to_owned(), ..base() }, "topic_prefix is `a b`"),
        (KafkaConfig { queue_bytes_max: 0, ..base() }, "queue_bytes_max is 0, give at least 1"),
        (KafkaConfig { settle_every: Span::default(), ..base() }, "settle_every is 0, give for example 100ms"),
        (KafkaConfig { properties: with("isolation.level"), ..base() }, "`isolation.level`, which the log sets itself"),
        (KafkaConfig { properties: small(), ..base() }, "message.max.bytes=200000, give at least 524800"),
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
    let folder = tempfile::tempdir().expect("a folder");
    let with = |protocol: &str, mechanism: &str, password: &str| {
        let is_tls = protocol == "SASL_SSL";
        let mut pairs = vec![("security.protocol", protocol.to_owned()), ("sasl.mechanisms", mechanism.to_owned())];
        if is_tls {
            pairs.push(("ssl.ca.location", cluster.certificate().display().to_string()));
        }
        let mut it = config(if is_tls { cluster.tls_brokers() } else { cluster.sasl_brokers() });
        if mechanism == "OAUTHBEARER" {
            it.oauth_token_file = folder.path().join(password);
            std::fs::write(&it.oauth_token_file, token(password == "right")).expect("writes");
        } else {
            let user = [("sasl.username", "martingale"), ("sasl.password", password)];
            pairs.extend(user.map(|(name, value)| (name, value.to_owned())));
        }
        it.properties = Properties(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        it
    };
    for (protocol, mechanism) in [
        ("SASL_PLAINTEXT", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
        ("SASL_PLAINTEXT", "OAUTHBEARER"),
        ("SASL_SSL", "SCRAM-SHA-512"),
    ] {
        let error = refused(&with(protocol, mechanism, "wrong")).await;
        assert!(error.contains("uthentication") && !error.contains("wrong"), "{mechanism}: {error}");
        let right = with(protocol, mechanism, "right");
        if mechanism == "OAUTHBEARER" {
            let error = refused(&right).await;
            assert!(
                error.contains("does not exist: create it with 4 partitions, cleanup.policy=")
                    && error.contains("oauth"),
                "{error}"
            );
            let plain = KafkaConfig { topic_prefix: right.topic_prefix.clone(), ..config(cluster.brokers()) };
            open(&plain).await.expect("created");
        }
        let log = open(&right).await.expect(mechanism);
        log.append(vec![at(A, P0, "in")]).await.expect("append");
        assert_eq!(values(&*log, A, P0).await, ["in"], "{mechanism}");
    }
    // Brokers that nobody vouches for.
    let mut unknown = with("SASL_SSL", "SCRAM-SHA-512", "right");
    unknown.properties.0.remove("ssl.ca.location");
    let error = refused(&unknown).await;
    assert!(error.contains("certificate verify failed") && error.contains("ssl.ca.location"), "{error}");
    // A token that is not there.
    let mut without = with("SASL_PLAINTEXT", "OAUTHBEARER", "right");
    without.oauth_token_file = folder.path().join("nowhere");
    let error = refused(&without).await;
    assert!(error.contains("oauth_token_file") && error.contains("nowhere"), "{error}");
}

/// An unsigned JWT of the user, which holds for an hour or has ended.
fn token(holds: bool) -> String {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};

    let now = Clock::System.now_micros() / 1_000_000;
    let until = if holds { now + 3_600 } else { now - 3_600 };
    let claims = format!(r#"{{"sub":"martingale","iat":{},"exp":{until}}}"#, now - 7_200);
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims))
}

#[tokio::test]
async fn topics_that_are_missing_or_of_another_shape_are_named() {
    let Some(cluster) = cluster().await else { return };
    let config = config(cluster.brokers());
    let strict = KafkaConfig { create_topics: false, ..config.clone() };
    let error = refused(&strict).await;
    let expected = format!(
        "topic `{}a` does not exist: create it with 4 partitions, cleanup.policy=delete and \
                             message.timestamp.type=LogAppendTime, or set create_topics",
        config.topic_prefix
    );
    assert!(error.contains(&expected), "{error}");
    open(&config).await.expect("created");
    open(&strict).await.expect("there");
    let error = refused(&KafkaConfig { partitions: 8, ..config.clone() }).await;
    assert!(error.contains("has 4 partitions, but 8 are configured: set partitions to 4"), "{error}");
    let other = TOPICS.map(|it| TopicSpec { cleanup: Cleanup::Compact, ..it });
    let error = KafkaLog::open(config, &other, &CONSUMERS, &Registry::new()).await.expect_err("refused").to_string();
    assert!(error.contains("has cleanup.policy=delete, but compact is needed"), "{error}");
}
