//! Stand-in for `tidb-server`: its ports and ties as far as TLS goes. It knows no SQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::server::{Call, Port, Reply, serve};
use tikv_security_standins::net::tls::{Acceptor, Files, Rules};
use tikv_security_standins::options::Options;
use tikv_security_standins::sql::mysql;
use tikv_security_standins::sql::ties::Ties;
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
    let get = |flag: &str, path: &str, default: &str| {
        options
            .get(flag, path)
            .unwrap_or_else(|| default.to_owned())
    };
    let host = get("host", "host", "0.0.0.0");
    let (port, status) = (get("P", "", "4000"), get("status", "", "10080"));
    let path = get("path", "path", "127.0.0.1:2379");
    let endpoints: Vec<String> = path.split(',').map(str::to_owned).collect();
    let (cluster, server) = (files(&options, "cluster-ssl")?, files(&options, "ssl")?);
    let pd = match &cluster {
        Some(files) => Client::of_pd(files.clone(), Vec::new())?,
        None => Client::fresh(None),
    };
    let ties = Arc::new(Ties::new(endpoints, pd, Client::pools(cluster.clone())));
    ties.wait().await;
    let acceptor = |files: Option<Files>, rules, names| {
        let made = files.map(|files| Acceptor::new(rules, files, names));
        made.transpose().map(|made| made.map(Arc::new))
    };
    let names = options.list("security.cluster-verify-cn");
    let for_status = acceptor(cluster, Rules::TidbStatus, names)?;
    let for_clients = acceptor(server, Rules::Mysql, Vec::new())?;
    let stopping = Arc::new(AtomicBool::new(false));
    let (told, seen) = (Arc::clone(&stopping), Arc::clone(&ties));
    let status_port = Port {
        plain: for_status.is_none(),
        tls: for_status,
    };
    let status = format!("{host}:{status}");
    let statuses = serve(&status, status_port, move |call| {
        answer(Arc::clone(&seen), told.load(Ordering::SeqCst), call)
    });
    let address = format!("{host}:{port}");
    let clients = mysql::serve(&address, for_clients);
    let mut end = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let wait = options
        .number("graceful-wait-before-shutdown")
        .unwrap_or_default();
    let ending = async {
        end.recv().await;
        stopping.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(wait)).await;
    };
    tokio::select! {
        done = statuses => done,
        done = clients => done,
        () = ties.keep() => Ok(()),
        () = ending => Ok(()),
    }
}

/// All three or none.
fn files(options: &Options, prefix: &str) -> Result<Option<Files>> {
    let of = |key: &str| options.text(&format!("security.{prefix}-{key}"));
    match (of("ca"), of("cert"), of("key")) {
        (None, None, None) => Ok(None),
        (Some(ca), Some(cert), Some(key)) => Ok(Some(Files { ca, cert, key })),
        _ => Err(format!(
            "security.{prefix}-ca, -cert and -key must all be set or none"
        )),
    }
}

async fn answer(ties: Arc<Ties>, stopping: bool, call: Call) -> Reply {
    let calls = ties.calls();
    match call.path.as_str() {
        // TiDB tells load balancers that it stops.
        "/status" if stopping => Reply::Http(500, Vec::new()),
        "/status" => {
            let text = json!({
                "connections": 0,
                "version": "8.0.11-TiDB-v8.5.7-standin",
                "standin": {"calls": calls.made, "refused": calls.refused, "problem": calls.problem},
            });
            Reply::Http(200, text.to_string().into_bytes())
        }
        _ => Reply::Http(404, Vec::new()),
    }
}
