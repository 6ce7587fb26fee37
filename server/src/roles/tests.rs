use std::collections::BTreeSet;

use martingale_detector_core::Rules;
use martingale_query_api::openapi;

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
    config.history.dir = folder.path().join("history");
    let Open { log, routers, services } = open(config, Rules::starter()).await.expect("opens");
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
