//! `BatchCommands`: many calls in one message, as client-go sends them.

use std::sync::Arc;

use futures_util::future::join_all;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use super::one;
use crate::net::server::Reply;
use crate::net::stream::UNKNOWN;
use crate::replica::Replicas;

/// Requests and responses are the same message but for what is in them: one field, whose number names the call.
#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(bytes = "vec", repeated, tag = "1")]
    commands: Vec<Vec<u8>>,
    #[prost(uint64, repeated, tag = "2")]
    ids: Vec<u64>,
}

const EMPTY: u32 = 255;

/// Answers all calls of a batch.
pub async fn handle(store: &Arc<Replicas>, body: &[u8]) -> Reply {
    let batch = match Batch::decode(body) {
        Ok(batch) => batch,
        Err(error) => return Reply::Failure(UNKNOWN, error.to_string()),
    };
    let answers = join_all(batch.commands.iter().map(|command| answer(store, command))).await;
    match answers.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(commands) => Reply::Message(
            Batch {
                commands,
                ids: batch.ids,
            }
            .encode_to_vec(),
        ),
        Err((code, error)) => Reply::Failure(code, error),
    }
}

async fn answer(store: &Arc<Replicas>, command: &[u8]) -> Result<Vec<u8>, (u32, String)> {
    let (number, content) = field(command).map_err(|error| (UNKNOWN, error))?;
    let reply = match number {
        EMPTY => Reply::Message(content.to_vec()),
        _ => one(store, name(number), content).await,
    };
    match reply {
        Reply::Message(body) => {
            let mut out = Vec::with_capacity(body.len() + 8);
            encode_key(number, WireType::LengthDelimited, &mut out);
            encode_varint(body.len() as u64, &mut out);
            out.extend(body);
            Ok(out)
        }
        Reply::Failure(code, error) => Err((code, error)),
        Reply::Http(status, _) => Err((UNKNOWN, format!("HTTP status {status}"))),
    }
}

fn field(mut command: &[u8]) -> Result<(u32, &[u8]), String> {
    let (number, _) = decode_key(&mut command).map_err(|error| error.to_string())?;
    let length = decode_varint(&mut command).map_err(|error| error.to_string())?;
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    Ok((number, command.get(..length).ok_or("a command is cut off")?))
}

fn name(number: u32) -> &'static str {
    match number {
        1 => "/tikvpb.Tikv/KvGet",
        2 => "/tikvpb.Tikv/KvScan",
        3 => "/tikvpb.Tikv/KvPrewrite",
        4 => "/tikvpb.Tikv/KvCommit",
        6 => "/tikvpb.Tikv/KvCleanup",
        7 => "/tikvpb.Tikv/KvBatchGet",
        8 => "/tikvpb.Tikv/KvBatchRollback",
        9 => "/tikvpb.Tikv/KvScanLock",
        10 => "/tikvpb.Tikv/KvResolveLock",
        13 => "/tikvpb.Tikv/RawGet",
        14 => "/tikvpb.Tikv/RawBatchGet",
        15 => "/tikvpb.Tikv/RawPut",
        16 => "/tikvpb.Tikv/RawBatchPut",
        17 => "/tikvpb.Tikv/RawDelete",
        18 => "/tikvpb.Tikv/RawBatchDelete",
        19 => "/tikvpb.Tikv/RawScan",
        20 => "/tikvpb.Tikv/RawDeleteRange",
        23 => "/tikvpb.Tikv/KvPessimisticLock",
        24 => "/tikvpb.Tikv/KvPessimisticRollback",
        25 => "/tikvpb.Tikv/KvCheckTxnStatus",
        26 => "/tikvpb.Tikv/KvTxnHeartBeat",
        _ => "this command",
    }
}
