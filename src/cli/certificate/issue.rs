//! `tikv-security certificate issue`: the operator's own engine, for a cluster outside of Kubernetes.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{CertificateError, read};
use crate::api::v1alpha1::{GoDuration, KeyAlgorithm};
use crate::tikv::tidb_operator::{Component, Names, Owner};
use crate::tls::authority::Authority;
use crate::tls::leaf::LeafSpec;

/// Issue a certificate for TiKV, PD or a client, under a CA in files or a new one
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("authority").required(true).args(["ca", "new_ca"])))]
pub(super) struct IssueArgs {
    /// CA certificate to issue under
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca: Option<PathBuf>,
    /// Its private key (PKCS#8, PEM)
    #[arg(long, value_name = "FILE", requires = "ca")]
    ca_key: Option<PathBuf>,
    /// Make a CA of this common name first; its key is written to ca.key
    #[arg(long, value_name = "NAME")]
    new_ca: Option<String>,
    /// Validity of the new CA
    #[arg(long, value_name = "DURATION", default_value = "87600h")]
    ca_duration: GoDuration,
    /// Common name: what TiKV's cert-allowed-cn is compared with
    #[arg(long, value_name = "NAME")]
    common_name: String,
    /// DNS name; may be repeated, may begin with `*.`
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// IP address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// Kind of the certificate's key
    #[arg(long, value_name = "KIND", default_value = "EcdsaP256", value_parser = key_algorithm)]
    key_algorithm: KeyAlgorithm,
    /// All names of a component of this `TidbCluster` of tidb-operator, or group of its version 2
    #[arg(long, value_name = "NAME", requires_all = ["component", "namespace"])]
    tidb_cluster: Option<String>,
    /// The component; tidb-mysql: TiDB towards MySQL clients
    #[arg(long, requires = "tidb_cluster")]
    component: Option<OfTidbOperator>,
    /// Its namespace
    #[arg(long, value_name = "NAMESPACE", requires = "tidb_cluster")]
    namespace: Option<String>,
    /// `spec.clusterDomain` of the `TidbCluster`
    #[arg(long, value_name = "DOMAIN", requires = "tidb_cluster")]
    cluster_domain: Option<String>,
    /// Validity
    #[arg(long, value_name = "DURATION", default_value = "720h")]
    duration: GoDuration,
    /// Directory for ca.crt, tls.crt and tls.key; made when it is missing. Nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// A certificate that tidb-operator looks for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OfTidbOperator {
    /// Placement Driver
    Pd,
    /// `TiKV`
    Tikv,
    /// `TiDB` among the parts of the cluster
    Tidb,
    /// `TiDB` towards `MySQL` clients
    TidbMysql,
    /// `TiFlash`
    Tiflash,
    /// `TiCDC`
    Ticdc,
    /// `TiProxy`
    Tiproxy,
    /// Pump
    Pump,
}

impl OfTidbOperator {
    /// The names, and the Secret in which it is looked for.
    fn of(self, owner: &Owner<'_>) -> (Names, String) {
        let component = match self {
            Self::TidbMysql => return (owner.mysql_names(), owner.mysql_secret()),
            Self::Pd => Component::Pd,
            Self::Tikv => Component::Tikv,
            Self::Tidb => Component::Tidb,
            Self::Tiflash => Component::Tiflash,
            Self::Ticdc => Component::Ticdc,
            Self::Tiproxy => Component::Tiproxy,
            Self::Pump => Component::Pump,
        };
        (owner.names(component), owner.secret(component))
    }
}

pub(super) fn run(args: &IssueArgs) -> Result<(), CertificateError> {
    let now = Timestamp::now();
    let namespace = args.namespace.as_deref().unwrap_or_default();
    let owner = args.tidb_cluster.as_deref().map(|name| Owner {
        name,
        namespace,
        domain: args.cluster_domain.as_deref(),
    });
    let named = args.component.zip(owner);
    let named = named.map(|(component, owner)| component.of(&owner));
    let (names, secret) =
        named.map_or_else(Default::default, |(names, secret)| (names, Some(secret)));
    let authority = match (&args.ca, &args.ca_key, &args.new_ca) {
        (Some(ca), Some(key), None) => {
            let key = Zeroizing::new(read(key)?);
            Authority::from_pem(&read(ca)?, &key)?
        }
        (None, None, Some(name)) => Authority::generate(name, now, args.ca_duration.get())?,
        _ => {
            let text = "give --ca and --ca-key, or --new-ca".to_owned();
            return Err(CertificateError::Usage(text));
        }
    };
    let leaf = authority.issue(
        &LeafSpec {
            subject: crate::api::v1alpha1::Subject::default(),
            common_name: args.common_name.clone(),
            dns: args.dns.iter().cloned().chain(names.dns).collect(),
            ips: args.ip.iter().copied().chain(names.ips).collect(),
            duration: args.duration.get(),
            key: args.key_algorithm,
        },
        now,
    )?;
    let own_key = args.new_ca.as_ref().and_then(|_| authority.key_pem());
    let mut files: Vec<(&str, u32, &[u8])> = vec![
        ("ca.crt", 0o644, authority.certificate_pem().as_bytes()),
        ("tls.crt", 0o644, leaf.certificate_pem.as_bytes()),
        ("tls.key", 0o600, leaf.key_pem.expose()),
    ];
    if let Some(key) = &own_key {
        files.push(("ca.key", 0o600, key.expose()));
    }
    // All that could be in the way is looked for before the first file is written.
    for (name, ..) in &files {
        let path = args.to.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(CertificateError::Exists(path));
        }
    }
    let mut directory = DirBuilder::new();
    let made = directory.recursive(true).mode(0o700).create(&args.to);
    made.map_err(|error| CertificateError::Write(args.to.clone(), error))?;
    for (name, mode, bytes) in files {
        write(&args.to.join(name), mode, bytes)?;
    }
    println!("{}", args.to.join("tls.crt").display());
    if let Some(secret) = secret {
        let to = args.to.display();
        println!(
            "kubectl create secret generic {secret} --namespace {namespace} --from-file={to}/ca.crt --from-file={to}/tls.crt --from-file={to}/tls.key"
        );
    }
    Ok(())
}

/// By the words of `tls.keyAlgorithm`.
fn key_algorithm(word: &str) -> Result<KeyAlgorithm, String> {
    let known = KeyAlgorithm::ALL;
    let found = known.into_iter().find(|one| one.to_string() == word);
    found.ok_or_else(|| {
        let words = known.map(|one| one.to_string()).join(", ");
        format!("write one of {words}")
    })
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), CertificateError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let done = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    done.map_err(|error| CertificateError::Write(path.to_owned(), error))
}
