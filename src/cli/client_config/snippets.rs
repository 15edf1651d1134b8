//! What is printed for each client. Names of Secrets and keys only, never what is in them.

use super::{Consumer, Facts};

/// Where the Secret is mounted.
const DIR: &str = "/var/run/tikv-tls";

/// Everything that is printed.
pub(super) fn text(consumer: Consumer, facts: &Facts) -> String {
    let mut text = head(facts);
    text.push_str(&match consumer {
        Consumer::Tidb => tidb(facts),
        Consumer::Go => go(facts),
        Consumer::Rust => rust(facts),
        Consumer::Java => java(facts),
        Consumer::Python => python(facts),
        Consumer::TikvCtl => tikv_ctl(facts),
        Consumer::Mysql => mysql(facts),
    });
    text
}

fn head(facts: &Facts) -> String {
    let common_name = facts.common_name.as_deref().unwrap_or("not issued yet");
    let mut text = format!(
        "# TikvClientCertificate {}/{}: common name {common_name}\n",
        facts.namespace, facts.name
    );
    if facts.pd.is_empty() {
        text.push_str("# PD's addresses are not known yet: put them in the place of PD_HOST.\n");
    }
    text
}

/// Hosts and ports, each as `form` writes it.
fn pd(facts: &Facts, form: impl Fn(&str) -> String, between: &str) -> String {
    let unknown = vec!["PD_HOST:2379".to_owned()];
    let all = if facts.pd.is_empty() {
        &unknown
    } else {
        &facts.pd
    };
    let all: Vec<String> = all.iter().map(|one| form(one)).collect();
    all.join(between)
}

fn quoted(one: &str) -> String {
    format!("\"{one}\"")
}

/// The volume, for those who run in a pod.
fn mount(facts: &Facts) -> String {
    format!(
        "
# In the pod (no subPath, which is never updated):
#   volumes:
#     - name: tikv-tls
#       secret: {{secretName: {secret}, defaultMode: 0440}}
#   containers[].volumeMounts:
#     - {{name: tikv-tls, mountPath: {DIR}, readOnly: true}}

",
        secret = facts.secret
    )
}

/// The files, for those who run elsewhere.
fn fetch(facts: &Facts) -> String {
    format!(
        "
umask 077
for key in ca.crt tls.crt tls.key; do
  kubectl --namespace {namespace} get secret {secret} \\
    --output go-template=\"{{{{index .data \\\"$key\\\" | base64decode}}}}\" >\"$key\"
done
",
        namespace = facts.namespace,
        secret = facts.secret
    )
}

fn tidb(facts: &Facts) -> String {
    let mut text = mount(facts);
    if !facts.server_auth {
        text.push_str("# TiDB serves its status port with this certificate too. Write into the TikvClientCertificate:\n#   usages: [clientAuth, serverAuth]\n#   dnsNames: [NAME.NAMESPACE.svc, '*.NAME-peer.NAMESPACE.svc'] of TiDB's Services\n\n");
    }
    text.push_str(&format!(
        "# tidb.toml; a new leaf is read by itself, a new ca.crt at a restart
store = \"tikv\"
path = \"{}\"
[security]
cluster-ssl-ca = \"{DIR}/ca.crt\"
cluster-ssl-cert = \"{DIR}/tls.crt\"
cluster-ssl-key = \"{DIR}/tls.key\"
",
        pd(facts, str::to_owned, ",")
    ));
    text
}

fn go(facts: &Facts) -> String {
    format!(
        "{}// client-go v2 reads certificate and key anew for new connections; ca.crt is read when the client is made
import (
\t\"context\"

\t\"github.com/tikv/client-go/v2/config\"
\t\"github.com/tikv/client-go/v2/rawkv\"
\t\"github.com/tikv/client-go/v2/txnkv\"
)

pd := []string{{{}}}
security := config.NewSecurity(\"{DIR}/ca.crt\", \"{DIR}/tls.crt\", \"{DIR}/tls.key\", nil)

// Raw:
raw, err := rawkv.NewClientWithOpts(context.Background(), pd, rawkv.WithSecurity(security))

// Transactions:
config.UpdateGlobal(func(c *config.Config) {{ c.Security = security }})
txn, err := txnkv.NewClient(pd)
",
        mount(facts),
        pd(facts, quoted, ", ")
    )
}

fn rust(facts: &Facts) -> String {
    format!(
        "{}// tikv-client reads the files when the client is made: make a new one after a renewal
use tikv_client::{{Config, RawClient, TransactionClient}};

let pd = vec![{}];
let config = Config::default().with_security(
    \"{DIR}/ca.crt\",
    \"{DIR}/tls.crt\",
    \"{DIR}/tls.key\",
);
let raw = RawClient::new_with_config(pd.clone(), config.clone()).await?;
let txn = TransactionClient::new_with_config(pd, config).await?;
",
        mount(facts),
        pd(facts, quoted, ", ")
    )
}

fn java(facts: &Facts) -> String {
    let files = match &facts.password {
        Some((secret, key)) => format!(
            "// The password is in Secret {secret}, key {key}: bring it into the pod by env.valueFrom.secretKeyRef
String password = System.getenv(\"TIKV_KEYSTORE_PASSWORD\");
conf.setJksEnable(true); // KeyStore of Java 9 and later opens PKCS#12 by itself
conf.setJksKeyPath(\"{DIR}/keystore.p12\");
conf.setJksKeyPassword(password);
conf.setJksTrustPath(\"{DIR}/truststore.p12\");
conf.setJksTrustPassword(password);
"
        ),
        None => format!(
            "conf.setTrustCertCollectionFile(\"{DIR}/ca.crt\");
conf.setKeyCertChainFile(\"{DIR}/tls.crt\");
conf.setKeyFile(\"{DIR}/tls.key\");
"
        ),
    };
    format!(
        "{}// client-java; a session that lives longer than the certificate must be made anew, unless your version reloads
import org.tikv.common.TiConfiguration;
import org.tikv.common.TiSession;
import org.tikv.raw.RawKVClient;

TiConfiguration conf = TiConfiguration.createRawDefault(\"{}\");
conf.setTlsEnable(true);
{files}TiSession session = TiSession.create(conf);
RawKVClient client = session.createRawClient();
",
        mount(facts),
        pd(facts, str::to_owned, ",")
    )
}

fn python(facts: &Facts) -> String {
    format!(
        "{}# The package tikv-client for Python takes no certificates. What speaks TLS itself does it like this:
import json, ssl, urllib.request

context = ssl.create_default_context(cafile=\"{DIR}/ca.crt\")
context.load_cert_chain(\"{DIR}/tls.crt\", \"{DIR}/tls.key\")
for pd in [{}]:
    stores = json.load(urllib.request.urlopen(pd + \"/pd/api/v1/stores\", context=context))
    break

# gRPC, with stubs made from github.com/pingcap/kvproto:
import grpc

def read(name):
    with open(\"{DIR}/\" + name, \"rb\") as file:
        return file.read()

credentials = grpc.ssl_channel_credentials(read(\"ca.crt\"), read(\"tls.key\"), read(\"tls.crt\"))
channel = grpc.secure_channel(stores[\"stores\"][0][\"store\"][\"address\"], credentials)
",
        mount(facts),
        pd(facts, |one| quoted(&format!("https://{one}")), ", ")
    )
}

fn tikv_ctl(facts: &Facts) -> String {
    format!(
        "{}
pd-ctl --cacert ca.crt --cert tls.crt --key tls.key -u {} store
tikv-ctl --ca-path ca.crt --cert-path tls.crt --key-path tls.key --pd {} cluster
tikv-ctl --ca-path ca.crt --cert-path tls.crt --key-path tls.key --host STORE:20160 store
",
        fetch(facts),
        pd(facts, |one| format!("https://{one}"), ","),
        pd(facts, str::to_owned, ",")
    )
}

fn mysql(facts: &Facts) -> String {
    format!(
        "# For a TiDB server whose [security] names a certificate of this CA as ssl-cert, and this ca.crt as ssl-ca. The operator
# does not configure TiDB. A user that was made with REQUIRE X509 must show a certificate, as here.
{}
mysql --host TIDB_HOST --port 4000 --user USER --password \\
  --ssl-mode=VERIFY_IDENTITY --ssl-ca=ca.crt --ssl-cert=tls.crt --ssl-key=tls.key
",
        fetch(facts)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "orders".into(),
            namespace: "shop".into(),
            secret: "orders-tikv".into(),
            pd: vec![
                "pd-0.pd.tikv.svc:2379".into(),
                "pd-1.pd.tikv.svc:2379".into(),
            ],
            password: None,
            server_auth: false,
            common_name: Some("client.basic.tikv.tikv-security".into()),
            not_ready: None,
        }
    }

    const ALL: [Consumer; 7] = [
        Consumer::Tidb,
        Consumer::Go,
        Consumer::Rust,
        Consumer::Java,
        Consumer::Python,
        Consumer::TikvCtl,
        Consumer::Mysql,
    ];

    #[test]
    fn each_names_the_secret_the_files_and_pd() {
        for consumer in ALL {
            let text = text(consumer, &facts());
            for word in ["orders-tikv", "ca.crt", "tls.crt", "tls.key"] {
                assert!(text.contains(word), "{consumer:?} lacks {word}:\n{text}");
            }
            let dials_pd = consumer != Consumer::Mysql;
            let all = facts().pd.iter().all(|one| text.contains(one));
            assert_eq!(all, dials_pd, "{consumer:?}:\n{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_said() {
        let unknown = Facts {
            pd: Vec::new(),
            ..facts()
        };
        for consumer in ALL {
            let text = text(consumer, &unknown);
            assert!(text.contains("PD_HOST"), "{consumer:?}:\n{text}");
        }
    }

    #[test]
    fn java_gets_stores_where_there_are_some() {
        let stores = Facts {
            password: Some(("orders-tikv".into(), "password".into())),
            ..facts()
        };
        let text = text(Consumer::Java, &stores);
        assert!(
            text.contains("keystore.p12") && text.contains("truststore.p12"),
            "{text}"
        );
        assert!(text.contains("Secret orders-tikv, key password"), "{text}");
    }
}
