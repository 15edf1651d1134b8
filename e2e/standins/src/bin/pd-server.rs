//! Stand-in for `pd-server`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::server::{Port, serve};
use tikv_security_standins::net::tls::{Acceptor, Files, Rules};
use tikv_security_standins::options::Options;
use tikv_security_standins::pd::api;
use tikv_security_standins::pd::member::{MemberNode, bare};
use tikv_security_standins::{Result, log};
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
    let get = |name: &str, default: &str| {
        options
            .get(name, name)
            .unwrap_or_else(|| default.to_owned())
    };
    let client_urls = get("client-urls", "http://127.0.0.1:2379");
    let peer_urls = get("peer-urls", "http://127.0.0.1:2380");
    let name = get("name", "pd");
    let advertised = get("advertise-client-urls", &client_urls);
    let initial = get(
        "initial-cluster",
        &format!("{name}={}", get("advertise-peer-urls", &peer_urls)),
    );
    let members = initial.split(',').filter_map(|entry| entry.split_once('='));
    let members: BTreeMap<String, String> = members
        .map(|(name, url)| (name.to_owned(), url.to_owned()))
        .collect();
    let files = options.tls("cacert-path")?;
    let names = options.list("security.cert-allowed-cn");
    let secure = files
        .clone()
        .map(|files| Client::of_pd(files, names.clone()))
        .transpose()?;
    let data = PathBuf::from(get("data-dir", "./pd"));
    let replicas = options
        .number("replication.max-replicas")
        .and_then(|count| usize::try_from(count).ok());
    let node = Arc::new(MemberNode::new(
        name,
        advertised,
        data,
        &members,
        replicas.unwrap_or(3),
        secure,
    )?);
    // With one name on the list the client port asks for the CA only (facts, TLS §1.3).
    let client_names = if names.len() > 1 {
        names.clone()
    } else {
        Vec::new()
    };
    let client_port = port(&client_urls, files.as_ref(), Rules::PdClient, client_names)?;
    let peer_port = port(&peer_urls, files.as_ref(), Rules::PdPeer, names)?;
    let (for_clients, for_peers, for_run) = (Arc::clone(&node), Arc::clone(&node), node);
    let client_address = first(&client_urls);
    let peer_address = first(&peer_urls);
    let clients = serve(&client_address, client_port, move |call| {
        api::client(Arc::clone(&for_clients), call)
    });
    let peers = serve(&peer_address, peer_port, move |call| {
        api::peer(Arc::clone(&for_peers), call)
    });
    let mut end = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    tokio::select! {
        done = clients => done,
        done = peers => done,
        () = for_run.run() => Ok(()),
        _ = end.recv() => Ok(()),
    }
}

fn port(urls: &str, files: Option<&Files>, rules: Rules, names: Vec<String>) -> Result<Port> {
    let tls = if urls.contains("https://") {
        let files = files.ok_or("an https URL needs cacert-path, cert-path and key-path")?;
        Some(Arc::new(Acceptor::new(rules, files.clone(), names)?))
    } else {
        None
    };
    Ok(Port {
        plain: urls.contains("http://"),
        tls,
    })
}

fn first(urls: &str) -> String {
    bare(urls.split(',').next().unwrap_or_default()).to_owned()
}
