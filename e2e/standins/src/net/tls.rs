//! TLS by OpenSSL, under the rules of the port that it is for (facts, TLS §2, §3).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use openssl::nid::Nid;
use openssl::ssl::{
    AlpnError, SslAcceptor, SslAcceptorBuilder, SslConnector, SslFiletype, SslMethod, SslOptions,
    SslRef, SslVerifyMode, SslVersion, select_next_proto,
};
use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};

use crate::{Result, log};

const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// Paths of PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// Whose rules a port follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// TiKV's gRPC port: demands a certificate and `h2`; looks at the mtime of the certificate for each connection.
    TikvGrpc,
    /// TiKV's status port: TLS 1.2 only; looks at the files after a handshake that failed.
    TikvStatus,
    /// PD's client port: reads certificate and key for each handshake, and the CA once.
    PdClient,
    /// PD's peer port: the same, and the caller's address must be one of its certificate's.
    PdPeer,
    /// TiDB's status port: as PD's client port; demands a certificate only where there are names.
    TidbStatus,
    /// TiDB's MySQL port: what was there at the start, for ever; asks for a certificate and does not demand one.
    Mysql,
}

/// A server's side.
pub struct Acceptor {
    pub rules: Rules,
    files: Files,
    names: Vec<String>,
    // Read once, for PD.
    roots: Vec<X509>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    // The mtime of the certificate when it was looked at; recorded before anything is loaded.
    seen: Option<SystemTime>,
    loaded: Option<SslAcceptor>,
    failed_before: bool,
}

impl Acceptor {
    /// Loads the files; with `names` a caller's certificate must have such a common name.
    pub fn new(rules: Rules, files: Files, names: Vec<String>) -> Result<Self> {
        let roots = std::fs::read(&files.ca).map_err(|error| format!("{}: {error}", files.ca))?;
        let roots = X509::stack_from_pem(&roots).map_err(text)?;
        let acceptor = Self {
            rules,
            files,
            names,
            roots,
            state: Mutex::default(),
        };
        let loaded = acceptor.load()?;
        *acceptor.state() = State {
            seen: modified(&acceptor.files.cert),
            loaded: Some(loaded),
            failed_before: false,
        };
        Ok(acceptor)
    }

    /// What the next connection is served with; `None` when what is on disk does not fit and the old is not kept.
    pub fn current(&self) -> Option<SslAcceptor> {
        match self.rules {
            Rules::TikvStatus => {}
            Rules::TikvGrpc => self.look(false, "Handshaker factory creation failed"),
            Rules::Mysql => {}
            Rules::PdClient | Rules::PdPeer | Rules::TidbStatus => {
                return self
                    .load()
                    .map_err(|error| log(&format!("[ERROR] tls: {error}")))
                    .ok();
            }
        }
        self.state().loaded.clone()
    }

    /// A handshake failed: the status port may load its files now.
    pub fn failed(&self) {
        if self.rules == Rules::TikvStatus {
            let first = !std::mem::replace(&mut self.state().failed_before, true);
            self.look(first, "Failed to reload TLS certificate");
        }
    }

    /// Whether a caller must show a certificate.
    pub fn demands(&self) -> bool {
        match self.rules {
            Rules::TikvStatus | Rules::TidbStatus => !self.names.is_empty(),
            Rules::Mysql => false,
            Rules::TikvGrpc | Rules::PdClient | Rules::PdPeer => true,
        }
    }

    /// Whether the caller's first common name is admitted. TiKV 9 admits names that contain an entry, PD only equal ones.
    pub fn admits(&self, ssl: &SslRef) -> bool {
        self.names.is_empty()
            || ssl
                .peer_certificate()
                .is_some_and(|certificate| self.names_fit(&certificate))
    }

    /// Whether a peer of PD calls from an address that its certificate names, as etcd looks at it.
    pub async fn fits_address(&self, certificate: Option<X509>, from: SocketAddr) -> bool {
        let Some(names) = certificate
            .as_ref()
            .and_then(|certificate| certificate.subject_alt_names())
        else {
            return true;
        };
        let own = from.ip().to_canonical();
        for name in &names {
            if name
                .ipaddress()
                .and_then(address)
                .is_some_and(|ip| ip == own)
            {
                return true;
            }
        }
        let hosts = names
            .iter()
            .filter_map(|name| name.dnsname())
            .filter(|host| !host.starts_with("*."));
        for host in hosts.map(str::to_owned).collect::<Vec<_>>() {
            let Ok(mut found) = tokio::net::lookup_host((host, 0)).await else {
                continue;
            };
            if found.any(|found| found.ip().to_canonical() == own) {
                return true;
            }
        }
        log(&format!(
            "rejected connection from {own}: does not match any of DNSNames"
        ));
        false
    }

    fn names_fit(&self, certificate: &X509) -> bool {
        let Some(name) = common_name(certificate) else {
            return false;
        };
        match self.rules {
            Rules::TikvGrpc | Rules::TikvStatus => {
                self.names.iter().any(|allowed| name.contains(allowed))
            }
            Rules::PdClient | Rules::PdPeer | Rules::TidbStatus | Rules::Mysql => {
                self.names.contains(&name)
            }
        }
    }

    fn look(&self, always: bool, complaint: &str) {
        let mut state = self.state();
        let seen = modified(&self.files.cert);
        if !always && (seen.is_none() || seen == state.seen) {
            return;
        }
        state.seen = seen;
        match self.load() {
            Ok(loaded) => state.loaded = Some(loaded),
            Err(error) => log(&format!("[ERROR] {complaint}: {error}")),
        }
    }

    fn load(&self) -> Result<SslAcceptor> {
        let mut builder =
            SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(text)?;
        match self.rules {
            Rules::PdClient | Rules::PdPeer | Rules::TidbStatus | Rules::Mysql => {
                builder.set_cert_store(self.pool()?);
            }
            Rules::TikvGrpc | Rules::TikvStatus => {
                builder.set_ca_file(&self.files.ca).map_err(text)?
            }
        }
        builder
            .set_certificate_chain_file(&self.files.cert)
            .map_err(text)?;
        builder
            .set_private_key_file(&self.files.key, SslFiletype::PEM)
            .map_err(text)?;
        builder.check_private_key().map_err(text)?;
        let demand = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        builder.set_verify(match self.rules {
            _ if self.demands() => demand,
            Rules::Mysql => SslVerifyMode::PEER,
            _ => SslVerifyMode::NONE,
        });
        builder.set_session_id_context(b"standin").map_err(text)?;
        self.limit(&mut builder)?;
        Ok(builder.build())
    }

    fn limit(&self, builder: &mut SslAcceptorBuilder) -> Result<()> {
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .map_err(text)?;
        if self.rules == Rules::TikvStatus {
            builder
                .set_max_proto_version(Some(SslVersion::TLS1_2))
                .map_err(text)?;
        } else {
            // The builder that this one starts from leaves it out.
            builder.clear_options(SslOptions::NO_TLSV1_3);
        }
        if matches!(self.rules, Rules::TikvGrpc | Rules::TikvStatus) {
            builder.set_groups_list("P-256").map_err(text)?;
        }
        let offered: &[u8] = if self.rules == Rules::TikvGrpc {
            b"\x02h2"
        } else {
            PROTOCOLS
        };
        builder.set_alpn_select_callback(move |_, client| {
            select_next_proto(offered, client).ok_or(AlpnError::NOACK)
        });
        Ok(())
    }

    fn pool(&self) -> Result<X509Store> {
        let mut pool = X509StoreBuilder::new().map_err(text)?;
        for root in &self.roots {
            pool.add_cert(root.clone()).map_err(text)?;
        }
        Ok(pool.build())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// A client's side, of files as they are now; the CA may be one that was read before.
pub fn connector(files: &Files, ca: Option<&[u8]>) -> Result<SslConnector> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(text)?;
    match ca {
        None => builder.set_ca_file(&files.ca).map_err(text)?,
        Some(pem) => {
            let mut pool = X509StoreBuilder::new().map_err(text)?;
            for root in X509::stack_from_pem(pem).map_err(text)? {
                pool.add_cert(root).map_err(text)?;
            }
            builder.set_cert_store(pool.build());
        }
    }
    builder
        .set_certificate_chain_file(&files.cert)
        .map_err(text)?;
    builder
        .set_private_key_file(&files.key, SslFiletype::PEM)
        .map_err(text)?;
    builder.check_private_key().map_err(text)?;
    builder.set_alpn_protos(b"\x02h2").map_err(text)?;
    Ok(builder.build())
}

/// The first common name of a certificate.
pub fn common_name(certificate: &X509) -> Option<String> {
    let entry = certificate
        .subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .next()?;
    Some(String::from_utf8_lossy(entry.data().as_slice()).into_owned())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|bytes| IpAddr::from(bytes).to_canonical()),
        _ => None,
    }
}

fn modified(path: &str) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|data| data.modified())
        .ok()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
