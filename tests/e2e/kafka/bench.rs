//! `bench kafka` measures real processes on real brokers, as they are configured.

use serde_json::Value;

use super::{binary, brokers};

#[tokio::test(flavor = "multi_thread")]
async fn detectors_of_one_and_of_two_processes_are_measured() {
    let Some(cluster) = brokers().await else { return };
    let addresses = cluster.brokers();
    let output = tokio::task::spawn_blocking(move || {
        let mut command = binary();
        command.args(["bench", "kafka", "--json", "--partitions", "2", "--processes", "2", "--steps", "2000"]);
        command.args(["--rate", "100", "--seconds", "1", "--sessions", "200"]);
        command.env("MARTINGALE__AUTH__TOKEN", "a token of sixteen or more".replace(' ', "-"));
        command.env("MARTINGALE__KAFKA__BROKERS", addresses).output().expect("it runs")
    });
    let output = output.await.expect("no panic");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let facts: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for name in [
        "2_partitions_bare_per_second",
        "2_partitions_judged_per_second",
        "2_partitions_share",
        "2_processes_judged_per_second",
        "step_to_verdict_p99_ms",
        "restore_seconds",
    ] {
        assert!(facts[name].as_f64().is_some_and(|it| it.is_finite() && it > 0.0), "{name} in {facts}");
    }
    assert_eq!(facts["restored_sessions"], 200);
}
