//! Counts an operator's mutating calls, and cuts its line at a chosen one.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hyper::{Method, Request};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::sync::Notify;
use tower::{Layer, Service};

/// The mutating calls of one or several operators, in order.
#[derive(Default)]
pub struct Calls {
    all: Mutex<Vec<String>>,
    /// After this many calls from now the line is cut; 0 is never.
    left: AtomicUsize,
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

    /// The answer of the `k`th call from now never arrives, though the server did it.
    pub fn cut_after(&self, k: usize) {
        self.left.store(k, Ordering::SeqCst);
    }

    /// Waits for the cut.
    pub async fn cut(&self) {
        self.cut.notified().await;
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

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        // Events are for people; nothing depends on them.
        let counts = *request.method() != Method::GET && !path.contains("/events");
        let noted = format!("{} {path}", request.method());
        let sent = self.inner.call(request);
        let calls = self.calls.clone();
        Box::pin(async move {
            let answer = sent.await;
            if !counts {
                return answer;
            }
            calls.all.lock().unwrap().push(noted);
            let less = |left: usize| left.checked_sub(1);
            if calls
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                == Ok(1)
            {
                calls.cut.notify_one();
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}
