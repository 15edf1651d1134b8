//! The status port of a TiKV (20180): exact leader count and readiness.

use super::http::{Endpoint, HttpError, Transport};

/// Port of the status server unless the configuration says otherwise.
pub const STATUS_PORT: u16 = 20180;

/// Why the status port gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusPortError {
    /// No answer.
    #[error("TiKV's status port: {0}")]
    Http(#[from] HttpError),
    /// Another status than 200.
    #[error("TiKV's status port {0} answered {1} to GET {2}")]
    Refused(Endpoint, u16, &'static str),
    /// The metric is not there.
    #[error("TiKV's status port {0} does not report the number of leaders (yet)")]
    NoLeaderCount(Endpoint),
}

/// Leaders that this store holds, from its own metrics: exact, while PD's number lags by up to a minute
/// (facts, TLS §4.2).
pub async fn leader_count(
    transport: &Transport,
    endpoint: &Endpoint,
) -> Result<u64, StatusPortError> {
    let answer = transport.get(endpoint, "/metrics").await?;
    if !answer.status.is_success() {
        let status = answer.status.as_u16();
        return Err(StatusPortError::Refused(
            endpoint.clone(),
            status,
            "/metrics",
        ));
    }
    parse_leader_count(&String::from_utf8_lossy(&answer.body))
        .ok_or_else(|| StatusPortError::NoLeaderCount(endpoint.clone()))
}

/// What `/ready` says: `None` where this version has no such path (facts, TLS §4.2).
pub async fn ready(
    transport: &Transport,
    endpoint: &Endpoint,
) -> Result<Option<bool>, StatusPortError> {
    let answer = transport.get(endpoint, "/ready").await?;
    Ok(match answer.status.as_u16() {
        200 => Some(true),
        404 | 405 => None,
        _ => Some(false),
    })
}

/// `tikv_raftstore_region_count{type="leader"}`, summed over instances.
fn parse_leader_count(metrics: &str) -> Option<u64> {
    let counts = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("tikv_raftstore_region_count{")?;
        let (labels, value) = rest.split_once('}')?;
        let leader = labels
            .split(',')
            .any(|label| label.trim() == "type=\"leader\"");
        let value = value.split_whitespace().next()?.parse::<f64>().ok()?;
        // A gauge of a count: never negative, far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        leader.then_some(value.max(0.0) as u64)
    });
    counts.reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::parse_leader_count;

    #[test]
    fn reads_the_leader_gauge() {
        let metrics = "# TYPE tikv_raftstore_region_count gauge\n\
            tikv_raftstore_region_count{type=\"buckets\"} 3\n\
            tikv_raftstore_region_count{type=\"leader\"} 11\n\
            tikv_raftstore_region_count{type=\"region\"} 12\n";
        assert_eq!(parse_leader_count(metrics), Some(11));
        assert_eq!(
            parse_leader_count("tikv_raftstore_region_count_x 1\n"),
            None
        );
        assert_eq!(parse_leader_count(""), None);
    }
}
