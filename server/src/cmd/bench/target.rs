//! The server that is measured: one that runs, or one of this process in a temporary folder.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use martingale_detector_core::Rules;

use crate::cli::Server;
use crate::cli::bench::Target;
use crate::client::Client;
use crate::config::{Config, Layer};
use crate::roles::{self, Running};

/// A server, and how it is addressed.
pub(super) struct Measured {
    pub(super) client: Client,
    pub(super) address: SocketAddr,
    pub(super) token: Option<String>,
    own: Option<(Running, tempfile::TempDir)>,
}

impl Measured {
    pub(super) async fn start(target: &Target) -> Result<Self> {
        let (server, own) = match target.remote() {
            Some(server) => (server, None),
            None => {
                let folder = tempfile::tempdir().context("no room for a temporary folder")?;
                let registry = prometheus::Registry::new();
                let running = Box::pin(roles::start(config(folder.path())?, Rules::starter(), registry)).await?;
                let server = Server { server: format!("http://{}", running.addresses.http), token: None };
                (server, Some((running, folder)))
            }
        };
        let client = Client::new(&server)?;
        let address = client.address().await?;
        Ok(Self { client, address, token: server.token, own })
    }

    pub(super) async fn stop(self) -> Result<()> {
        match self.own {
            Some((running, _folder)) => running.stop().await,
            None => Ok(()),
        }
    }
}

/// The built-in defaults on free ports of loopback.
pub(crate) fn config(data: &std::path::Path) -> Result<Config> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string();
    let data = data.to_str().context("the temporary folder is not UTF-8")?;
    let layers = [
        Layer::flag("--data", "server.data", data),
        Layer::flag("--http", "server.http", free.clone()),
        Layer::flag("--otlp-grpc", "server.otlp_grpc", free.clone()),
        Layer::flag("--otlp-http", "server.otlp_http", free),
    ];
    Ok(Config::from_layers(&layers)?)
}
