//! Stand-in for `tikv-server`.

use std::path::PathBuf;
use std::sync::Arc;

use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::server::{Port, serve};
use tikv_security_standins::net::tls::Acceptor;
use tikv_security_standins::options::Options;
use tikv_security_standins::pd::state::Heartbeat;
use tikv_security_standins::store::directory::Directory;
use tikv_security_standins::store::service::Store;
use tikv_security_standins::store::status;
use tikv_security_standins::{Result, log, now};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        log(&format!("[FATAL] {error}"));
        std::process::exit(1);
    }
}

async fn run() -> Result<()> {
    let options = Options::read()?;
    let get = |flag: &str, path: &str, default: &str| options.get(flag, path).unwrap_or_else(|| default.to_owned());
    let address = get("addr", "server.addr", "127.0.0.1:20160");
    let status_address = get("status-addr", "server.status-addr", "127.0.0.1:20180");
    let endpoints = options.get("pd-endpoints", "").or_else(|| options.get("pd", "")).unwrap_or_default();
    let endpoints: Vec<String> = endpoints.split(',').map(|one| bare(one).to_owned()).collect();
    let data = PathBuf::from(get("data-dir", "storage.data-dir", "./"));
    let data = data.canonicalize().map_err(|e| format!("{}: {e}", data.display()))?;
    let tls = options.tls("ca-path")?;
    let names = options.list("security.cert-allowed-cn");
    // The status port asks for a certificate only when there is a list of names (facts, TLS §1.1).
    let ask = !names.is_empty();
    let port = |demand: bool| -> Result<Port> {
        let acceptor = tls.clone().map(|files| Acceptor::new(files, demand, names.clone())).transpose()?;
        Ok(Port { plain: acceptor.is_none(), tls: acceptor.map(Arc::new) })
    };
    let (main_port, status_port) = (port(true)?, port(ask)?);
    let directory = Directory::open(&data, &options)?;
    let heartbeat = Heartbeat {
        address: get("advertise-addr", "server.advertise-addr", &address),
        status_address: get("advertise-status-addr", "server.advertise-status-addr", &status_address),
        started: now(),
        leaders: 0,
    };
    let store = Store::new(directory, Client::new(tls), heartbeat);
    tokio::spawn(Arc::clone(&store).keep_in_touch(endpoints));
    let config = Arc::new(options.source.clone());
    let (for_status, for_calls) = (Arc::clone(&store), store);
    let status = serve(&status_address, status_port, move |call| {
        status::handle(Arc::clone(&for_status), Arc::clone(&config), call)
    });
    let calls = serve(&address, main_port, move |call| Arc::clone(&for_calls).handle(call));
    let mut end = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    tokio::select! {
        done = status => done,
        done = calls => done,
        _ = end.recv() => Ok(()),
    }
}

fn bare(url: &str) -> &str {
    url.trim_start_matches("http://").trim_start_matches("https://")
}
