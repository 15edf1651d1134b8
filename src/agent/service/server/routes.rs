//! What is answered to whom.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};

use crate::agent::service::board::Board;
use crate::agent::service::desired::DesiredFile;
use crate::agent::service::metrics;
use crate::telemetry::metrics::CONTENT_TYPE as METRICS;

type Reply = Response<Full<Bytes>>;

/// The answer to one request of the one who has the common name `name`.
pub(super) fn answer<B>(
    request: &Request<B>,
    name: Option<&str>,
    desired: &DesiredFile,
    board: &Board,
) -> Reply {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/v1/status" | "/metrics" if !admitted(name, desired) => text(
            StatusCode::FORBIDDEN,
            "the common name of your certificate is not among allowedNames\n",
        ),
        "/v1/status" => serde_json::to_vec(&board.report()).map_or_else(
            |_| {
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the report can not be written\n",
                )
            },
            |body| reply(StatusCode::OK, "application/json", body.into()),
        ),
        "/metrics" => reply(
            StatusCode::OK,
            METRICS,
            metrics::text(&board.report()).into(),
        ),
        _ => text(StatusCode::NOT_FOUND, "/v1/status, /metrics, /healthz\n"),
    }
}

/// Without a readable list nobody is named, so everybody whom the CA signed is admitted, as with an empty list.
fn admitted(name: Option<&str>, desired: &DesiredFile) -> bool {
    let allowed = desired.read().map(|desired| desired.allowed_names);
    let allowed = allowed.unwrap_or_default();
    allowed.is_empty() || name.is_some_and(|name| allowed.iter().any(|one| one == name))
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    reply(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(body.as_bytes()),
    )
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}
