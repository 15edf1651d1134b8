//! A CA whose key the cluster keeps: made here, or put into a Secret by a person.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{IssuedCa, Issuer, IssuerClass, IssuerError, NewCa, Order};
use crate::tls::anchor::CaCertificates;
use crate::tls::authority::{Authority, IssueError};
use crate::tls::bundle::TlsSet;
use crate::tls::leaf::IssuedLeaf;
use crate::tls::private::PrivatePem;

/// A CA whose key is at hand.
#[derive(Clone)]
pub struct OwnCa {
    name: String,
    authority: Arc<Authority>,
}

/// The files of a CA, as a Secret has them.
#[derive(Clone, Debug)]
pub struct CaFiles {
    /// The signer and its chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: PrivatePem,
    /// The root, where it does not end the chain.
    pub anchor: Option<Vec<u8>>,
}

impl OwnCa {
    /// A CA that is stored. `name` is for people.
    pub fn new(name: impl Into<String>, authority: Authority) -> Self {
        Self {
            name: name.into(),
            authority: Arc::new(authority),
        }
    }

    /// A CA that others use too.
    pub fn shared(name: impl Into<String>, authority: Arc<Authority>) -> Self {
        Self {
            name: name.into(),
            authority,
        }
    }

    /// A CA as a person put it somewhere.
    pub fn of_files(name: impl Into<String>, files: &CaFiles) -> Result<Self, IssuerError> {
        let name = name.into();
        let read = || -> Result<Authority, IssueError> {
            let anchor = files.anchor.as_deref();
            let certificates = CaCertificates::parse(&files.certificate, anchor)?;
            Authority::stored(certificates, files.key.expose())
        };
        let authority = read().map_err(|error| IssuerError::of_issue(&name, &error))?;
        Ok(Self::new(name, authority))
    }
}

impl Issuer for OwnCa {
    fn authority<'a>(&'a self, _: &'a NewCa) -> BoxFuture<'a, Result<IssuedCa, IssuerError>> {
        let made = IssuedCa {
            certificates: self.authority.certificates().clone(),
            key: self.authority.key_pem(),
        };
        async move { Ok(made) }.boxed()
    }

    fn look(&self) -> BoxFuture<'_, Result<Option<CaCertificates>, IssuerError>> {
        async move { Ok(Some(self.authority.certificates().clone())) }.boxed()
    }

    fn issue<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<IssuedLeaf, IssuerError>> {
        issue(&self.name, self.authority.clone(), order.clone()).boxed()
    }
}

/// Makes a CA that signs itself. It issues nothing: what it made does.
#[derive(Clone, Copy, Debug)]
pub struct SelfSigning;

impl Issuer for SelfSigning {
    fn authority<'a>(&'a self, wanted: &'a NewCa) -> BoxFuture<'a, Result<IssuedCa, IssuerError>> {
        async move {
            let made = Authority::generate(&wanted.common_name, wanted.now, wanted.duration)
                .map_err(|error| IssuerError::of_issue("selfSigned", &error))?;
            Ok(IssuedCa {
                certificates: made.certificates().clone(),
                key: made.key_pem(),
            })
        }
        .boxed()
    }

    fn look(&self) -> BoxFuture<'_, Result<Option<CaCertificates>, IssuerError>> {
        async { Ok(None) }.boxed()
    }

    fn issue<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<IssuedLeaf, IssuerError>> {
        let error = IssuerError::not_made("selfSigned");
        async move { Err(error) }.boxed()
    }
}

/// Signs on a thread of its own: an RSA key takes seconds, and a key elsewhere blocks.
pub(super) async fn issue(
    name: &str,
    authority: Arc<Authority>,
    order: Order,
) -> Result<IssuedLeaf, IssuerError> {
    let work = {
        let order = order.clone();
        let authority = (*authority)
            .clone()
            .pointing_to(order.pointers.clone())
            .numbering(order.number.clone());
        move || authority.issue_for(&order.spec, order.what_for, order.now)
    };
    let done = tokio::task::spawn_blocking(work).await;
    let leaf = match done {
        Ok(Ok(leaf)) => leaf,
        Ok(Err(error)) => return Err(IssuerError::of_issue(name, &error)),
        Err(_) => return Err(IssuerError::broken_off(name)),
    };
    checked(name, &order, leaf)
}

/// Nothing that is not what was asked for, or that the cluster would not trust, goes on to a pod.
pub fn checked(name: &str, order: &Order, leaf: IssuedLeaf) -> Result<IssuedLeaf, IssuerError> {
    let set = TlsSet {
        ca: order.anchor_pem.as_bytes().to_vec(),
        certificate: leaf.certificate_pem.as_bytes().to_vec(),
        key: leaf.key_pem.clone(),
    };
    match set.check_order(&order.spec, order.what_for, order.now) {
        Ok(_) => Ok(leaf),
        Err(problem) => Err(IssuerError {
            issuer: name.to_owned(),
            class: IssuerClass::WrongAnswer,
            message: format!("the certificate that it gave is not used: {problem}"),
            remedy: "Let its rules give certificates with these names, for servers and clients, and check that its CA is the one that the cluster trusts.",
        }),
    }
}
