//! PD's configuration file: TLS files, one common name, and URLs with https (facts, TLS §1.3).

use toml_edit::{Item, value};

use super::tikv_toml::{TomlProblem, admit, parse, set, table};

/// Keys whose values are URLs of PD.
pub const URL_KEYS: [&str; 6] = [
    "client-urls",
    "advertise-client-urls",
    "peer-urls",
    "advertise-peer-urls",
    "initial-cluster",
    "join",
];

/// Writes TLS into `source`. `own_name` is the only name on PD's list: with exactly one the client port asks for
/// the CA only and the peer port for the name, in every version; below 8.4 PD refuses to start with two.
pub fn edit(source: &str, directory: &str, own_name: &str) -> Result<String, TomlProblem> {
    let mut document = parse(source)?;
    for key in URL_KEYS {
        if let Some(old) = document.get(key).and_then(Item::as_str) {
            let new = old.replace("http://", "https://");
            set(document.as_table_mut(), key, value(new));
        }
    }
    let security = table(document.as_table_mut(), "security")?;
    let file = |name: &str| value(format!("{directory}/{name}"));
    set(security, "cacert-path", file("ca.crt"));
    set(security, "cert-path", file("tls.crt"));
    set(security, "key-path", file("tls.key"));
    let listed = security.get("cert-allowed-cn").and_then(Item::as_array);
    if listed.is_none_or(toml_edit::Array::is_empty) {
        admit(security, &[own_name.to_owned()]);
    }
    Ok(document.to_string())
}

/// True when the file sets a URL that clients or peers listen on.
pub fn sets_urls(source: &str) -> Result<bool, TomlProblem> {
    let document = parse(source)?;
    Ok(["client-urls", "peer-urls"]
        .iter()
        .all(|key| document.get(key).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_https_and_paths_are_set_once() {
        let source =
            "client-urls = \"http://0.0.0.0:2379\" # all\n[replication]\nmax-replicas = 3\n";
        let once = edit(source, "/var/lib/pd-tls", "pd.db.prod.tikv-security").unwrap();
        assert!(
            once.contains("client-urls = \"https://0.0.0.0:2379\" # all"),
            "{once}"
        );
        assert!(once.contains("max-replicas = 3"));
        assert!(once.contains("cacert-path = \"/var/lib/pd-tls/ca.crt\""));
        assert_eq!(
            edit(&once, "/var/lib/pd-tls", "pd.db.prod.tikv-security").unwrap(),
            once
        );
    }
}
