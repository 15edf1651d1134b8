//! Notes an operator's mutating calls, and makes chosen ones go wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::Notify;
use tower::{Layer, Service};

/// What can happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator dies before the server has it.
    CutBefore,
    /// The server did it; the operator dies before it knows.
    CutAfter,
    /// The server answers this and did nothing.
    Refused(u16),
    /// The server did it; the answer is that it took too long.
    TimedOut,
}

/// The mutating calls of one or several operators, in order.
#[derive(Default)]
pub struct Calls {
    all: Mutex<Vec<String>>,
    /// What will happen, by number of the call from now.
    faults: Mutex<BTreeMap<usize, Fault>>,
    cut: Notify,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.lock().unwrap().iter())
            .finish()
    }
}

impl Calls {
    /// So many calls were made.
    pub fn count(&self) -> usize {
        self.all.lock().unwrap().len()
    }

    /// How often each call was made.
    pub fn histogram(&self) -> BTreeMap<String, usize> {
        let mut histogram = BTreeMap::new();
        for call in self.all.lock().unwrap().iter() {
            *histogram.entry(call.clone()).or_default() += 1;
        }
        histogram
    }

    /// What happens to the `k`th call from now.
    pub fn fail(&self, k: usize, fault: Fault) {
        self.faults.lock().unwrap().insert(k, fault);
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// The answer of the `k`th call from now never arrives, though the server did it.
    pub fn cut_after(&self, k: usize) {
        self.fail(k, Fault::CutAfter);
    }

    /// Waits for a cut.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }

    fn next(&self) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let mut later: BTreeMap<usize, Fault> = std::mem::take(&mut faults);
        let now = later.remove(&1);
        *faults = later.into_iter().map(|(k, fault)| (k - 1, fault)).collect();
        now
    }

    async fn die(&self) {
        self.cut.notify_one();
        std::future::pending::<()>().await;
    }
}

/// A client whose mutating calls are noted in `calls`.
pub fn counted(config: Config, calls: Arc<Calls>) -> Client {
    ClientBuilder::try_from(config)
        .unwrap()
        .with_layer(&Counting(calls))
        .build()
}

struct Counting(Arc<Calls>);

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            calls: self.0.clone(),
        }
    }
}

#[derive(Clone)]
struct Counted<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        // Events are for people; nothing depends on them. The Lease is renewed for ever.
        let counts = *request.method() != Method::GET
            && !path.contains("/events")
            && !path.contains("/leases");
        let noted = format!("{} {path}", request.method());
        let calls = self.calls.clone();
        let fault = if counts { calls.next() } else { None };
        match fault {
            Some(Fault::CutBefore) => {
                return Box::pin(async move {
                    calls.die().await;
                    std::future::pending().await
                });
            }
            Some(Fault::Refused(code)) => {
                return Box::pin(async move { Ok(failure(code)) });
            }
            _ => {}
        }
        let sent = self.inner.call(request);
        Box::pin(async move {
            let answer = sent.await?;
            if counts {
                calls.all.lock().unwrap().push(noted);
            }
            match fault {
                Some(Fault::CutAfter) => calls.die().await,
                Some(Fault::TimedOut) => return Ok(failure(504)),
                _ => {}
            }
            Ok(answer.map(Either::Left))
        })
    }
}

fn failure<B>(code: u16) -> Response<Either<B, Full<Bytes>>> {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": "made to fail",
    });
    let body = Full::new(Bytes::from(status.to_string()));
    let mut response = Response::new(Either::Right(body));
    *response.status_mut() = code.try_into().unwrap();
    response
}
