//! Stand-in for `tikv-server`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::server::{Port, serve};
use tikv_security_standins::net::tls::{Acceptor, Files, Rules};
use tikv_security_standins::options::{Options, duration};
use tikv_security_standins::pd::state::Heartbeat;
use tikv_security_standins::replica::Replicas;
use tikv_security_standins::store::contact::Contact;
use tikv_security_standins::store::directory::{Directory, lock_address};
use tikv_security_standins::store::keys::KeyManager;
use tikv_security_standins::store::status;
use tikv_security_standins::{Result, kv, log, now};
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
    let address = get("addr", "server.addr", "127.0.0.1:20160");
    let status_address = get("status-addr", "server.status-addr", "127.0.0.1:20180");
    let tls = options.tls("ca-path")?;
    if let Some(files) = &tls {
        validate(files)?;
    }
    let own = Heartbeat {
        address: get("advertise-addr", "server.advertise-addr", &address),
        status_address: get(
            "advertise-status-addr",
            "server.advertise-status-addr",
            &status_address,
        ),
        started: now(),
        leaders: 0,
        busy: true,
        stopping: false,
    };
    let addresses = [
        ("addr", address.as_str()),
        ("advertise-addr", own.address.as_str()),
        ("status-addr", status_address.as_str()),
        ("advertise-status-addr", own.status_address.as_str()),
    ];
    let data = PathBuf::from(get("data-dir", "storage.data-dir", "./"));
    std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
    let data = data
        .canonicalize()
        .map_err(|e| format!("{}: {e}", data.display()))?;
    let config = Arc::new(status::config(
        &options,
        &addresses,
        &data.to_string_lossy(),
    ));
    let contact = Contact::new(endpoints(&options), Client::fresh(tls.clone()), own.clone());
    contact.wait().await;
    let _address = lock_address(&address)?;
    let directory = tokio::task::block_in_place(|| Directory::open(&data, &options))?;
    tokio::spawn(rotate(Arc::clone(&directory.keys)));
    let store = Replicas::new(directory, Client::channels(tls.clone()));
    let names = options.list("security.cert-allowed-cn");
    let port = |rules| -> Result<Port> {
        let acceptor = tls
            .clone()
            .map(|files| Acceptor::new(rules, files, names.clone()))
            .transpose()?;
        Ok(Port {
            plain: acceptor.is_none(),
            tls: acceptor.map(Arc::new),
        })
    };
    let (main_port, status_port) = (port(Rules::TikvGrpc)?, port(Rules::TikvStatus)?);
    let (for_status, for_calls) = (Arc::clone(&store), Arc::clone(&store));
    let status = serve(&status_address, status_port, move |call| {
        status::handle(Arc::clone(&for_status), Arc::clone(&config), call)
    });
    let calls = serve(&address, main_port, move |call| {
        kv::handle(Arc::clone(&for_calls), call)
    });
    let mut end = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let grace = duration(&get("", "server.graceful-shutdown-timeout", "20s"))?;
    let ending = async {
        end.recv().await;
        contact.hand_over(&store, grace).await;
    };
    tokio::select! {
        done = status => done,
        done = calls => done,
        done = contact.keep(&store) => done,
        () = ending => Ok(()),
    }
}

// TiKV opens each of the files and does not look whether they fit together.
fn validate(files: &Files) -> Result<()> {
    for path in [&files.ca, &files.cert, &files.key] {
        std::fs::File::open(path).map_err(|error| format!("failed to open {path}: {error}"))?;
    }
    Ok(())
}

fn endpoints(options: &Options) -> Vec<String> {
    let flag = options
        .get("pd-endpoints", "")
        .or_else(|| options.get("pd", ""));
    let listed = flag.map(|flag| flag.split(',').map(str::to_owned).collect());
    let listed: Vec<String> = listed.unwrap_or_else(|| options.list("pd.endpoints"));
    listed
        .iter()
        .map(|url| {
            url.trim_start_matches("http://")
                .trim_start_matches("https://")
                .to_owned()
        })
        .collect()
}

async fn rotate(keys: Arc<KeyManager>) {
    loop {
        tokio::time::sleep(keys.rotation_interval().max(Duration::from_secs(1))).await;
        let done = tokio::task::block_in_place(|| keys.rotate());
        if let Err(error) = done {
            log(&format!(
                "[ERROR] encryption: failed to rotate the data key: {error}"
            ));
        }
    }
}
