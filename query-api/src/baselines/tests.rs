use martingale_platform::clock::Clock;
use serde_json::json;

use super::*;
use crate::testing::{Rig, START_MICROS, call, memory_log};

fn stored(number: u64) -> (String, Vec<u8>) {
    let body = number.to_le_bytes();
    let stored = Stored::new(2, &body);
    (stored.id.to_string(), stored.to_bytes())
}

fn uses(id: &str) -> String {
    json!({ "action": "use_baselines", "baselines_id": id }).to_string()
}

#[tokio::test]
async fn those_that_no_order_has_used_are_few() {
    let (log, clock) = (memory_log(2), Clock::manual(START_MICROS));
    let rig = Rig::judged_at(&log, &clock, |_| {}).await;
    let put = async |number: u64| rig.post("/v1/baselines", stored(number).1).await;
    let remove = async |number: u64| {
        let path = format!("/v1/baselines/{}", stored(number).0);
        call(&rig.router, "DELETE", &path, &[], "").await
    };
    let order = async |number: u64| {
        clock.advance(1);
        let answer = rig.post("/v1/controls", uses(&stored(number).0)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["known"]), (200, &json!(true)));
    };
    for number in 0..8 {
        assert_eq!(put(number).await.status, 201, "{number}");
    }
    assert_eq!(put(8).await.reason(), (409, "too_many".to_owned()));
    let message = put(8).await.json()["error"]["message"].to_string();
    assert!(message.contains("8 baselines of") && message.contains("DELETE /v1/baselines"), "{message}");
    assert_eq!(put(3).await.status, 201, "it is there already");
    // One that is used does not count, and stays.
    order(0).await;
    assert_eq!((put(8).await.status.as_u16(), put(9).await.status.as_u16()), (201, 409));
    assert_eq!(remove(0).await.reason(), (409, "conflict".to_owned()));
    assert_eq!(remove(1).await.status, 204);
    assert_eq!(remove(1).await.reason(), (404, "not_found".to_owned()));
    assert_eq!((put(9).await.status.as_u16(), put(10).await.status.as_u16()), (201, 409));
    // When others are used everywhere it may go.
    order(2).await;
    assert_eq!((remove(0).await.status.as_u16(), remove(2).await.status.as_u16()), (204, 409));
    let listed = rig.get("/v1/baselines").await.json()["baselines"].clone();
    let ids: Vec<&str> = listed.as_array().into_iter().flatten().filter_map(|it| it["baselines_id"].as_str()).collect();
    let expected: Vec<String> = [9, 8, 3, 7, 6, 5, 4, 2].map(|it| stored(it).0).to_vec();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn none_is_removed_where_nobody_knows_which_are_used() {
    let (log, clock) = (memory_log(1), Clock::manual(START_MICROS));
    let rig = Rig::judged_at(&log, &clock, |config| config.controls.controls_max = 1).await;
    let path = format!("/v1/baselines/{}", stored(0).0);
    assert_eq!(rig.post("/v1/baselines", stored(0).1).await.status, 201);
    assert_eq!(rig.post("/v1/controls", uses(&stored(0).0)).await.status, 200);
    clock.advance(1);
    assert_eq!(rig.post("/v1/controls", r#"{"action":"halt","session_id":"s"}"#).await.status, 200);
    let answer = call(&rig.router, "DELETE", &path, &[], "").await;
    assert_eq!(answer.reason(), (409, "conflict".to_owned()));
    assert!(answer.json()["error"]["message"].to_string().contains("order again"), "{:?}", answer.body);
}

#[test]
fn their_bytes_are_limited_too() {
    let blob = |name: &str, bytes: u64| blob::Blob { name: name.to_owned(), bytes, put_at: 0 };
    for (bytes, more, fits) in [
        (&[][..], UNUSED_BYTES_MAX, true),
        (&[UNUSED_BYTES_MAX - 10], 10, true),
        (&[UNUSED_BYTES_MAX - 10, 5], 10, false),
        (&[1; UNUSED_MAX - 1], 1, true),
        (&[1; UNUSED_MAX], 1, false),
    ] {
        let listed: Vec<blob::Blob> = bytes.iter().map(|it| blob("a", *it)).collect();
        assert_eq!(there_is_room(&listed, &[], more).is_ok(), fits, "{bytes:?} {more}");
    }
}

#[test]
fn until_a_later_order_is_applied_everywhere_the_former_ones_are_held() {
    let order = |id: u8, state: &str| {
        let control = serde_json::from_value::<martingale_schemas::Control>(json!({
            "control_id": "c", "action": "use_baselines", "baselines_id": format!("{id:032x}"),
            "scope": { "type": "tenant" }, "time": "2026-01-01T00:00:00Z", "state": "requested",
        }));
        let mut given = Given::requested(&control.expect("a control"), 2);
        if state == "applied" {
            given.state = crate::controls::Progress::Applied;
        }
        given
    };
    for (newest_first, held) in [
        (vec![], vec![]),
        (vec![(1, "applied"), (2, "applied")], vec![1]),
        (vec![(1, "requested"), (2, "applied"), (3, "applied")], vec![1, 2]),
        (vec![(1, "requested"), (2, "requested")], vec![1, 2]),
    ] {
        let orders: Vec<Given> = newest_first.iter().map(|(id, state)| order(*id, state)).collect();
        let found: Vec<u8> =
            (1..4).filter(|it| may_be_held(&orders, format!("{it:032x}").parse().expect("an id"))).collect();
        assert_eq!(found, held, "{newest_first:?}");
    }
}
