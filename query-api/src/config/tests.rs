use martingale_platform::config::Span;

use super::Config;
use crate::gate::{OnTimeout, Override};
use crate::webhooks::Secret;
use crate::{history, sql};

const NOTHING: Span = Span::from_millis(0);

/// All sections of the query side.
#[derive(Default)]
struct All {
    config: Config,
    history: history::Config,
    sql: sql::Config,
}

impl All {
    fn refused(&self) -> Option<String> {
        let sections = self.config.validate().map_err(|it| it.to_string());
        let own = self.history.validate().and_then(|()| self.sql.validate()).map_err(|it| it.to_string());
        sections.and(own).err()
    }
}

#[test]
fn what_cannot_work_is_named_with_its_remedy() {
    type Breaks = fn(&mut All);
    assert_eq!(All::default().refused(), None);
    let one = "set at least 1";
    let span = "set a span";
    let broken: &[(&str, &str, Breaks)] = &[
        ("gate.timeout", span, |it| it.config.gate.timeout = NOTHING),
        ("gate.waiting_max", one, |it| it.config.gate.waiting_max = 0),
        ("gate.overrides.agent", "`*`", |it| {
            it.config.gate.overrides = vec![Override { agent: String::new(), on_timeout: OnTimeout::Allow }];
        }),
        ("controls.timeout", span, |it| it.config.controls.timeout = NOTHING),
        ("controls.controls_max", one, |it| it.config.controls.controls_max = 0),
        ("controls.body_bytes_max", one, |it| it.config.controls.body_bytes_max = 0),
        ("stream.streams_max", one, |it| it.config.stream.streams_max = 0),
        ("stream.heartbeat", "at least 1s", |it| it.config.stream.heartbeat = NOTHING),
        ("stream.heartbeat", "at least 1s", |it| it.config.stream.heartbeat = Span::from_millis(999)),
        ("verdicts.limit_max", one, |it| it.config.verdicts.limit_max = 0),
        ("verdicts.page_bytes_max", one, |it| it.config.verdicts.page_bytes_max = 0),
        ("webhook.timeout", span, |it| it.config.webhook.timeout = NOTHING),
        ("webhook.pending_max", one, |it| it.config.webhook.pending_max = 0),
        ("webhook.retries", "at least one wait", |it| it.config.webhook.retries.clear()),
        ("webhook.url", "is no address", |it| it.config.webhook.url = "example.com".into()),
        ("webhook.secret", "there is no secret", |it| it.config.webhook.url = "https://example.com".into()),
        ("webhook secret", "openssl", |it| {
            it.config.webhook.url = "https://example.com".into();
            it.config.webhook.secret = Some(Secret::new("whsec_short".into()));
        }),
        ("webhook.secret_file", "keep one", |it| {
            it.config.webhook.url = "https://example.com".into();
            it.config.webhook.secret = Some(Secret::new("s".into()));
            it.config.webhook.secret_file = Some("f".into());
        }),
        ("alerts.instances_max", one, |it| it.config.alerts.instances_max = 0),
        ("alerts.timeout", span, |it| it.config.alerts.timeout = NOTHING),
        ("alerts.alertmanager_url", "http://host:port", |it| it.config.alerts.alertmanager_url = "host:9093".into()),
        ("alerts.external_url", "http://host:port", |it| it.config.alerts.external_url = "ftp://x".into()),
        ("history.flush_bytes", one, |it| it.history.flush_bytes = 0),
        ("history.flush_steps", one, |it| it.history.flush_steps = 0),
        ("history.flush_age", span, |it| it.history.flush_age = NOTHING),
        ("history.follow_every", span, |it| it.history.follow_every = NOTHING),
        ("history.options", "is a folder", |it| {
            it.history.options.0.insert("endpoint".to_owned(), "http://127.0.0.1:1".to_owned());
        }),
        ("history.compact_every", one, |it| it.history.compact_every = 0),
        ("history.memory_bytes_max", "`history.flush_bytes`", |it| {
            it.history.memory_bytes_max = it.history.flush_bytes - 1;
        }),
        ("sql.query_bytes_max", one, |it| it.sql.query_bytes_max = 0),
        ("sql.memory_bytes_max", one, |it| it.sql.memory_bytes_max = 0),
        ("sql.rows_max", one, |it| it.sql.rows_max = 0),
        ("sql.answer_bytes_max", one, |it| it.sql.answer_bytes_max = 0),
        ("sql.queries_max", one, |it| it.sql.queries_max = 0),
        ("sql.queries_max", "set at most", |it| it.sql.queries_max = usize::MAX),
        ("sql.time_max", span, |it| it.sql.time_max = NOTHING),
    ];
    for (key, remedy, breaks) in broken {
        let mut all = All::default();
        breaks(&mut all);
        let said = all.refused().expect(key);
        assert!(said.contains(key) && said.contains(remedy), "{key}: {said}");
    }
}

#[test]
fn what_means_something_at_zero_is_taken() {
    type Sets = fn(&mut All);
    let sets: &[Sets] = &[
        |it| it.config.verdicts.wait_max = NOTHING,
        |it| it.config.webhook.kept_max = 0,
        |it| it.config.webhook.disable_after = NOTHING,
        |it| it.config.alerts.resend = NOTHING,
        |it| it.config.alerts.keep_resolved = NOTHING,
        |it| it.history.publish_every = NOTHING,
        |it| it.history.memory_bytes_max = it.history.flush_bytes,
    ];
    for (at, set) in sets.iter().enumerate() {
        let mut all = All::default();
        set(&mut all);
        assert_eq!(all.refused(), None, "{at}");
    }
}
