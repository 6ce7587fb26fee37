//! What comes out does not depend on how many partitions there are, nor on how many detectors, nor on when they come and go.

use super::brokers;
use super::fleet::{Fleet, Role, offline};
use super::input::lines;

#[tokio::test(flavor = "multi_thread")]
async fn however_many_judge_the_verdicts_are_those_of_a_run_without_a_server() {
    let Some(cluster) = brokers().await else { return };
    let lines = lines();
    for partitions in [1, 7] {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = format!("replay-{partitions}.");
        let mut fleet = Fleet::empty(&cluster, &prefix, &folder.path().join("data"), partitions);
        for role in [Role::QueryApi, Role::Detector, Role::Ingest] {
            fleet.add(role);
        }
        let expected = offline(&lines, folder.path());
        let third = lines.len() / 3;
        let (first, rest) = lines.split_at(third);
        let (second, third) = rest.split_at(third);
        fleet.send(first.to_vec()).await.expect("acknowledged");
        // One more takes partitions over while steps come, and then the one before leaves.
        let sending = fleet.send(second.to_vec());
        fleet.add(Role::Detector);
        fleet.detectors[1].ready().await;
        sending.await.expect("acknowledged");
        let sending = fleet.send(third.to_vec());
        fleet.detectors.remove(0).terminate();
        sending.await.expect("acknowledged");
        fleet.agrees_with(&expected).await;
    }
}
