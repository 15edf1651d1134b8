//! Leader election on a real API server.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use reconcile::apiserver::ApiServer;
use reconcile::namespace;
use tikv_security::operator::lease::{LeaseConfig, Term, while_leading};
use tokio::sync::oneshot;

fn config(namespace: &str, identity: &str) -> LeaseConfig {
    LeaseConfig {
        namespace: namespace.to_owned(),
        name: "tikv-security-operator".to_owned(),
        identity: identity.to_owned(),
        duration: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn leadership_passes_at_once_when_it_is_given_back() {
    let (client, ns) = namespace(ApiServer::shared().config()).await;
    let (end, ended) = oneshot::channel::<()>();
    let (enter, entered) = oneshot::channel::<()>();
    let (first, mine) = (client.clone(), config(&ns, "one"));
    let first = tokio::spawn(async move {
        while_leading(first, &mine, async {
            enter.send(()).unwrap();
            ended.await.unwrap();
        })
        .await
    });
    entered.await.unwrap();

    let inside = Arc::new(AtomicUsize::new(0));
    let (second, mine, count) = (client.clone(), config(&ns, "two"), inside.clone());
    let second = tokio::spawn(async move {
        while_leading(second, &mine, async {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .await
    });
    // Longer than the Lease lasts: it is renewed, so the second one stays out.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(inside.load(Ordering::SeqCst), 0);

    end.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Term::Done(()));
    assert_eq!(second.await.unwrap(), Term::Done(()));
    assert_eq!(inside.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn work_stops_when_somebody_else_has_the_lease() {
    let (client, ns) = namespace(ApiServer::shared().config()).await;
    let (enter, entered) = oneshot::channel::<()>();
    let (holder, mine) = (client.clone(), config(&ns, "one"));
    let term = tokio::spawn(async move {
        while_leading(holder, &mine, async {
            enter.send(()).unwrap();
            std::future::pending::<()>().await;
        })
        .await
    });
    entered.await.unwrap();
    let leases = Api::<Lease>::namespaced(client, &ns);
    let theft = serde_json::json!({"spec": {"holderIdentity": "thief"}});
    leases
        .patch(
            "tikv-security-operator",
            &PatchParams::default(),
            &Patch::Merge(theft),
        )
        .await
        .unwrap();
    assert_eq!(term.await.unwrap(), Term::Lost);
}

#[tokio::test]
async fn a_holder_that_fell_silent_is_followed() {
    let (client, ns) = namespace(ApiServer::shared().config()).await;
    let (enter, entered) = oneshot::channel::<()>();
    let (holder, mine) = (client.clone(), config(&ns, "one"));
    let crashed = tokio::spawn(async move {
        while_leading(holder, &mine, async {
            enter.send(()).unwrap();
            std::future::pending::<()>().await;
        })
        .await
    });
    entered.await.unwrap();
    crashed.abort();
    assert_eq!(
        while_leading(client.clone(), &config(&ns, "two"), async {}).await,
        Term::Done(())
    );
    // Deleted by hand: it is made again.
    let leases = Api::<Lease>::namespaced(client.clone(), &ns);
    let name = "tikv-security-operator";
    leases.delete(name, &DeleteParams::default()).await.unwrap();
    assert_eq!(
        while_leading(client, &config(&ns, "three"), async {}).await,
        Term::Done(())
    );
}
