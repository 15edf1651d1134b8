//! TiDB's configuration file: the files of both its sides, who may talk to its status port, no certificate of its own making
//! (facts, TLS §1.3).

use toml_edit::{Array, Item, value};

use super::tikv_toml::{TomlProblem, parse, set, table};

/// How long TiDB tells load balancers that it stops, before it closes connections, where the file does not say: seconds.
const GRACEFUL_WAIT: i64 = 10;
/// Time after that in which TiDB lets transactions end (15 s) and stops: seconds.
const STOPPING: i64 = 45;
const WAIT: &str = "graceful-wait-before-shutdown";

/// What TiDB needs for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TidbTls<'a> {
    /// Directory of the set with which it is a part of the cluster.
    pub cluster: &'a str,
    /// Directory of the set that it shows to MySQL clients.
    pub server: &'a str,
    /// Common names to admit at the status port; those in the file stay admitted.
    pub allowed_names: &'a [String],
}

/// Writes TLS into `source`. Writing it twice changes nothing more.
pub fn edit(source: &str, tls: &TidbTls<'_>) -> Result<String, TomlProblem> {
    let mut document = parse(source)?;
    if document.get(WAIT).is_none() {
        set(document.as_table_mut(), WAIT, value(GRACEFUL_WAIT));
    }
    let security = table(document.as_table_mut(), "security")?;
    for (prefix, directory) in [("cluster-ssl", tls.cluster), ("ssl", tls.server)] {
        for (key, file) in [("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")] {
            set(
                security,
                &format!("{prefix}-{key}"),
                value(format!("{directory}/{file}")),
            );
        }
    }
    if security.get("auto-tls").and_then(Item::as_bool) != Some(false) {
        security.insert("auto-tls", value(false));
    }
    let version = security.get("tls-version").and_then(Item::as_str);
    if !matches!(version, Some("TLSv1.2" | "TLSv1.3")) {
        set(security, "tls-version", value("TLSv1.2"));
    }
    if security
        .get("cluster-verify-cn")
        .and_then(Item::as_array)
        .is_none()
    {
        security.insert("cluster-verify-cn", value(Array::new()));
    }
    let list = security
        .get_mut("cluster-verify-cn")
        .and_then(Item::as_array_mut);
    if let Some(list) = list {
        for name in tls.allowed_names {
            if !list.iter().any(|item| item.as_str() == Some(name)) {
                list.push(name.as_str());
            }
        }
    }
    Ok(document.to_string())
}

/// How long the kubelet must leave TiDB to stop: seconds.
pub fn grace_seconds(source: &str) -> i64 {
    let document = parse(source).ok();
    let wait = document.and_then(|document| document.get(WAIT)?.as_integer());
    wait.unwrap_or(GRACEFUL_WAIT)
        .clamp(0, 86_400)
        .saturating_add(STOPPING)
}

#[cfg(test)]
mod tests {
    use super::super::tikv_toml::text_at;
    use super::*;

    fn tls() -> TidbTls<'static> {
        static NAMES: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| vec!["client.db.prod.tikv-security".to_owned()]);
        TidbTls {
            cluster: "/var/lib/tidb-tls",
            server: "/var/lib/tidb-server-tls",
            allowed_names: &NAMES,
        }
    }

    #[test]
    fn both_sides_are_set_and_what_a_person_wrote_stays() {
        let source = "# mine\nlease = \"45s\"\ngraceful-wait-before-shutdown = 60\n\n[security]\n# who may\ncluster-verify-cn = [\"prometheus.monitoring\"]\nspilled-file-encryption-method = \"aes128-ctr\"\nauto-tls = true # once\ntls-version = \"TLSv1.1\"\n";
        let edited = edit(source, &tls()).unwrap();
        let read = |key: &str| text_at(&edited, &["security", key]).unwrap().unwrap();
        assert_eq!(read("cluster-ssl-ca"), "/var/lib/tidb-tls/ca.crt");
        assert_eq!(read("cluster-ssl-key"), "/var/lib/tidb-tls/tls.key");
        assert_eq!(read("ssl-cert"), "/var/lib/tidb-server-tls/tls.crt");
        assert_eq!(read("ssl-ca"), "/var/lib/tidb-server-tls/ca.crt");
        assert_eq!(read("tls-version"), "TLSv1.2");
        assert_eq!(read("spilled-file-encryption-method"), "aes128-ctr");
        assert!(edited.contains("auto-tls = false"), "{edited}");
        assert!(edited.contains("# mine\nlease"), "{edited}");
        let list = "[\"prometheus.monitoring\", \"client.db.prod.tikv-security\"]";
        assert!(edited.contains(list), "{edited}");
        assert!(edited.contains("graceful-wait-before-shutdown = 60"));
        assert_eq!(grace_seconds(&edited), 105);
        assert_eq!(edit(&edited, &tls()).unwrap(), edited);
    }

    #[test]
    fn an_empty_file_gets_a_wait_before_any_table() {
        let edited = edit("", &tls()).unwrap();
        let again: toml_edit::DocumentMut = edited.parse().unwrap();
        assert_eq!(again[WAIT].as_integer(), Some(10), "{edited}");
        assert_eq!(grace_seconds(""), 55);
        assert_eq!(edit(&edited, &tls()).unwrap(), edited);
    }

    #[test]
    fn a_newer_version_of_tls_is_not_taken_back() {
        let edited = edit("[security]\ntls-version = \"TLSv1.3\"\n", &tls()).unwrap();
        assert!(edited.contains("tls-version = \"TLSv1.3\""), "{edited}");
    }
}
