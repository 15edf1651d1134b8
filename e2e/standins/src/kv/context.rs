//! Whether a request has come to the right place.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use crate::engine::Operation;
use crate::replica::{Replica, Replicas};
use crate::rows::read::View;
use crate::wire::errors::{
    EpochNotMatch, Error, KeyNotInRegion, NotLeader, RegionNotFound, StaleCommand, StoreNotMatch,
};
use crate::wire::kv::Context;
use crate::wire::region::peer;

/// Why a request is not done.
pub enum Fault {
    /// The sender is to find out anew where to go, or to come again.
    Region(Box<Error>),
    Store(String),
}

impl From<String> for Fault {
    fn from(error: String) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Region(Box::new(error))
    }
}

/// A region that this store leads.
pub struct Led<'a> {
    store: &'a Arc<Replicas>,
    replica: Arc<Replica>,
    term: u64,
}

/// The same, while nobody else writes.
pub struct Held<'a> {
    led: &'a Led<'a>,
    _writing: MutexGuard<'a, ()>,
}

/// Finds the region of a request, which must be led here.
pub fn led<'a>(store: &'a Arc<Replicas>, context: Option<Context>) -> Result<Led<'a>, Fault> {
    let context = context.unwrap_or_default();
    let Some(replica) = store.region(context.region_id) else {
        let message = format!("region {} not found", context.region_id);
        let region_not_found = Some(RegionNotFound {
            region_id: context.region_id,
        });
        return Err(Error {
            message,
            region_not_found,
            ..Error::default()
        }
        .into());
    };
    let asked = context.peer.unwrap_or_default().store_id;
    if asked != store.id() {
        let message = "store is not match".to_owned();
        let store_not_match = Some(StoreNotMatch {
            request_store_id: asked,
            actual_store_id: store.id(),
        });
        return Err(Error {
            message,
            store_not_match,
            ..Error::default()
        }
        .into());
    }
    let Some(term) = replica.led_term() else {
        let leader = Some(replica.leader()).filter(|leader| *leader != 0 && *leader != store.id());
        let leader = leader.map(|leader| peer(replica.info.id, leader));
        let message = format!("peer is not leader for region {}", replica.info.id);
        let not_leader = Some(NotLeader {
            region_id: replica.info.id,
            leader,
        });
        return Err(Error {
            message,
            not_leader,
            ..Error::default()
        }
        .into());
    };
    let region = replica.info.region(&store.stores());
    if context
        .region_epoch
        .is_some_and(|epoch| Some(epoch) != region.region_epoch)
    {
        let message = "current epoch does not match".to_owned();
        let epoch_not_match = Some(EpochNotMatch {
            current_regions: vec![region],
        });
        return Err(Error {
            message,
            epoch_not_match,
            ..Error::default()
        }
        .into());
    }
    Ok(Led {
        store,
        replica,
        term,
    })
}

impl Led<'_> {
    /// Every key, as regions see it, must be in the region.
    pub fn holds<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<(), Fault> {
        let info = &self.replica.info;
        for key in keys {
            if !info.holds(key) {
                let outside = KeyNotInRegion {
                    key: key.to_vec(),
                    region_id: info.id,
                    start_key: info.start.clone(),
                    end_key: info.end.clone(),
                };
                let message = format!("key is not in region {}", info.id);
                return Err(Error {
                    message,
                    key_not_in_region: Some(outside),
                    ..Error::default()
                }
                .into());
            }
        }
        Ok(())
    }

    /// The part of a range that is in the region.
    pub fn clip<'k>(&'k self, from: &'k [u8], to: &'k [u8]) -> (&'k [u8], &'k [u8]) {
        let info = &self.replica.info;
        let from = from.max(&info.start);
        let to = match (to, &info.end[..]) {
            ([], end) => end,
            (to, []) => to,
            (to, end) => to.min(end),
        };
        (from, to)
    }

    /// Looks at rows; a majority agrees that this store leads.
    pub async fn view(&self) -> Result<View<'_>, Fault> {
        self.store
            .confirm(&self.replica, self.term)
            .await
            .map_err(stale)?;
        Ok(View(&self.store.engine))
    }

    /// Keeps others from writing.
    pub async fn hold(&self) -> Held<'_> {
        Held {
            led: self,
            _writing: self.replica.writing.lock().await,
        }
    }
}

impl Held<'_> {
    /// Looks at rows. What is written afterwards needs a majority, so nobody is asked for this.
    pub fn view(&self) -> View<'_> {
        View(&self.led.store.engine)
    }

    /// Writes on a majority of stores.
    pub async fn write(&self, operations: &[Operation]) -> Result<(), Fault> {
        if operations.is_empty() {
            return Ok(());
        }
        self.led
            .store
            .propose(&self.led.replica, self.led.term, operations)
            .await
            .map_err(stale)
    }
}

// What has begun may still happen.
fn stale(error: String) -> Fault {
    Error {
        message: error,
        stale_command: Some(StaleCommand {}),
        ..Error::default()
    }
    .into()
}
