use std::collections::BTreeSet;

use martingale_detector_core::Rules;
use martingale_query_api::openapi;
use prometheus::Registry;

use super::{Open, Services, open};
use crate::config::Config;

/// The paths of a router, which it shows to nobody but who prints it.
fn paths(router: &axum::Router) -> BTreeSet<String> {
    let printed = format!("{router:?}");
    let (routes, _) = printed.split_once("fallback_router").expect("routes, then the fallback");
    routes.split('"').filter(|it| it.starts_with('/')).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_document_lists_every_route_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.log.dir = folder.path().join("log");
    config.history.dir = folder.path().join("history").into();
    let Open { log, routers, services } = open(config, Rules::starter(), Registry::new()).await.expect("opens");
    let document = openapi::document();
    let documented: BTreeSet<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(paths(&routers[0]), documented);

    let Services { stop, mut tasks } = services;
    stop.stop();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic").1.expect("ends");
    }
    log.close().await.expect("closes");
}

/// What cannot be had is named by its part, and no other is.
#[tokio::test]
async fn each_error_names_its_own_cause() {
    type Change = fn(&mut Config, &std::path::Path);
    let cases: [(Change, &str, &str); 3] = [
        (|config, file| config.log.dir = file.to_owned(), "the log cannot be opened: data folder ", "history"),
        (|config, file| config.history.dir = file.to_owned().into(), "history in ", "data folder"),
        (
            |config, file| config.alerts.dir = Some(file.to_owned()),
            "alerts cannot work: alert rules of ",
            "data folder",
        ),
    ];
    for (change, begins, never) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("taken");
        std::fs::write(&file, "a file, where a folder is needed").expect("written");
        let mut config = Config::default();
        config.log.dir = folder.path().join("log");
        config.history.dir = folder.path().join("tables").into();
        change(&mut config, &file);
        let error = match open(config, Rules::starter(), Registry::new()).await {
            Ok(_) => panic!("{begins}: it was opened"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.starts_with(begins) && error.contains("taken") && !error.contains(never), "{error}");
    }
}
