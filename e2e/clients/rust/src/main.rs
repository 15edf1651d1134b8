//! An application in Rust, with the client that applications have: the crate tikv-client. It uses the files of a `TikvClientCertificate` as
//! `client-config --for rust` prints it, writes and reads raw and in a transaction, and says on each line what it did.
//! `tikv-security-real-client DIRECTORY PD...`

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use tikv_client::{Config, RawClient, TransactionClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("which directory?")?;
    let pd: Vec<String> = arguments.collect();
    let file = |name: &str| format!("{directory}/{name}");
    let config =
        Config::default().with_security(file("ca.crt"), file("tls.crt"), file("tls.key"));
    let key = "real-client/rust".to_owned();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let value = format!("{now:?}").into_bytes();

    let raw = RawClient::new_with_config(pd.clone(), config.clone()).await?;
    raw.put(key.clone(), value.clone()).await?;
    if raw.get(key.clone()).await? != Some(value.clone()) {
        return Err("raw: another value".into());
    }
    println!("raw: written and read");

    let client = TransactionClient::new_with_config(pd, config).await?;
    let mut writes = client.begin_optimistic().await?;
    writes.put(key.clone(), value.clone()).await?;
    writes.commit().await?;
    let mut reads = client.begin_optimistic().await?;
    let found = reads.get(key).await?;
    reads.rollback().await?;
    if found != Some(value) {
        return Err("transaction: another value".into());
    }
    println!("transaction: committed and read");
    Ok(())
}
