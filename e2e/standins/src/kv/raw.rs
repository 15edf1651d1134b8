//! Raw rows.

use std::sync::Arc;

use super::context::{Fault, led};
use crate::engine::{Family, Operation};
use crate::replica::Replicas;
use crate::rows::codec::data_key;
use crate::wire::kv::{Context, KvPair};
use crate::wire::raw::{
    RawBatchDeleteRequest, RawBatchGetRequest, RawBatchPutRequest, RawDeleteRangeRequest,
    RawDeleteRequest, RawDone, RawGetRequest, RawGetResponse, RawPairs, RawPutRequest,
    RawScanRequest,
};

type Store = Arc<Replicas>;

pub async fn get(store: &Store, request: RawGetRequest) -> Result<RawGetResponse, Fault> {
    let led = led(store, request.context)?;
    led.holds([&request.key[..]])?;
    let value = led
        .view()
        .await?
        .raw_get(Family::named(&request.cf)?, &request.key)?;
    Ok(RawGetResponse {
        not_found: value.is_none(),
        value: value.unwrap_or_default(),
        ..RawGetResponse::default()
    })
}

pub async fn batch_get(store: &Store, request: RawBatchGetRequest) -> Result<RawPairs, Fault> {
    let led = led(store, request.context)?;
    led.holds(request.keys.iter().map(Vec::as_slice))?;
    let (view, family) = (led.view().await?, Family::named(&request.cf)?);
    let mut pairs = Vec::new();
    for key in request.keys {
        if let Some(value) = view.raw_get(family, &key)? {
            pairs.push(KvPair {
                key,
                value,
                error: None,
            });
        }
    }
    Ok(RawPairs {
        pairs,
        ..RawPairs::default()
    })
}

pub async fn scan(store: &Store, request: RawScanRequest) -> Result<RawPairs, Fault> {
    let led = led(store, request.context)?;
    // Backwards the range is given from its end.
    let (from, to) = if request.reverse {
        (&request.end_key, &request.start_key)
    } else {
        (&request.start_key, &request.end_key)
    };
    let (from, to) = led.clip(from, to);
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let rows = led.view().await?.raw_scan(
        Family::named(&request.cf)?,
        from,
        to,
        limit,
        request.reverse,
    )?;
    let pairs = rows.into_iter().map(|(key, value)| KvPair {
        key,
        value: if request.key_only { Vec::new() } else { value },
        error: None,
    });
    Ok(RawPairs {
        pairs: pairs.collect(),
        ..RawPairs::default()
    })
}

pub async fn put(store: &Store, request: RawPutRequest) -> Result<RawDone, Fault> {
    write(
        store,
        request.context,
        &request.cf,
        vec![(request.key, Some(request.value))],
    )
    .await
}

pub async fn batch_put(store: &Store, request: RawBatchPutRequest) -> Result<RawDone, Fault> {
    let rows = request
        .pairs
        .into_iter()
        .map(|pair| (pair.key, Some(pair.value)))
        .collect();
    write(store, request.context, &request.cf, rows).await
}

pub async fn delete(store: &Store, request: RawDeleteRequest) -> Result<RawDone, Fault> {
    write(
        store,
        request.context,
        &request.cf,
        vec![(request.key, None)],
    )
    .await
}

pub async fn batch_delete(store: &Store, request: RawBatchDeleteRequest) -> Result<RawDone, Fault> {
    let rows = request.keys.into_iter().map(|key| (key, None)).collect();
    write(store, request.context, &request.cf, rows).await
}

pub async fn delete_range(store: &Store, request: RawDeleteRangeRequest) -> Result<RawDone, Fault> {
    let led = led(store, request.context)?;
    let family = Family::named(&request.cf)?;
    let held = led.hold().await;
    let (from, to) = led.clip(&request.start_key, &request.end_key);
    let rows = held.view().raw_scan(family, from, to, usize::MAX, false)?;
    let operations: Vec<_> = rows
        .iter()
        .map(|(key, _)| Operation::delete(family, data_key(key)))
        .collect();
    held.write(&operations).await?;
    Ok(RawDone::default())
}

async fn write(
    store: &Store,
    context: Option<Context>,
    cf: &str,
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
) -> Result<RawDone, Fault> {
    let led = led(store, context)?;
    led.holds(rows.iter().map(|(key, _)| key.as_slice()))?;
    let family = Family::named(cf)?;
    let operations = rows.into_iter().map(|(key, value)| Operation {
        family,
        key: data_key(&key),
        value,
    });
    led.hold()
        .await
        .write(&operations.collect::<Vec<_>>())
        .await?;
    Ok(RawDone::default())
}
