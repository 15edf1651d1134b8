//! RocksDB's log format: blocks of 32 KiB with records that carry a masked CRC-32C. Write-ahead logs and manifests.

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// The bytes that add `payload` to a log that is `offset` bytes long.
pub fn record(mut offset: usize, mut payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + HEADER);
    let mut begun = false;
    loop {
        let left = BLOCK - offset % BLOCK;
        if left < HEADER {
            out.extend(std::iter::repeat_n(0, left));
            offset += left;
            continue;
        }
        let length = payload.len().min(left - HEADER);
        let (part, rest) = payload.split_at(length);
        let kind = match (begun, rest.is_empty()) {
            (false, true) => FULL,
            (false, false) => FIRST,
            (true, false) => MIDDLE,
            (true, true) => LAST,
        };
        out.extend(masked(crc(&[&[kind], part].concat())).to_le_bytes());
        out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        out.push(kind);
        out.extend(part);
        offset += HEADER + length;
        payload = rest;
        begun = true;
        if payload.is_empty() {
            return out;
        }
    }
}

/// All whole records of a log, until the first that does not fit.
pub fn records(log: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut open) = (Vec::new(), Vec::new());
    let mut offset = 0;
    while offset + HEADER <= log.len() {
        let left = BLOCK - offset % BLOCK;
        if left < HEADER {
            offset += left;
            continue;
        }
        let Some((kind, part)) = part_at(log, offset) else { break };
        offset += HEADER + part.len();
        match kind {
            FULL => found.push(part.to_vec()),
            FIRST => open = part.to_vec(),
            MIDDLE => open.extend(part),
            _ => {
                open.extend(part);
                found.push(std::mem::take(&mut open));
            }
        }
    }
    found
}

/// Whether a log begins as a log must.
pub fn first_record_fits(log: &[u8]) -> bool {
    part_at(log, 0).is_some()
}

fn part_at(log: &[u8], offset: usize) -> Option<(u8, &[u8])> {
    let head = log.get(offset..offset + HEADER)?;
    let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
    let kind = head[6];
    // Recyclable records have another header; TiKV does not write them.
    if !(FULL..=LAST).contains(&kind) {
        return None;
    }
    let part = log.get(offset + HEADER..offset + HEADER + length)?;
    let expected = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    (masked(crc(&[&[kind], part].concat())) == expected).then_some((kind, part))
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

#[cfg(test)]
mod tests {
    use super::{record, records};

    #[test]
    fn reads_what_it_writes_across_blocks() {
        let payloads: Vec<Vec<u8>> = [1, 40_000, 32_761, 7, 100_000].map(|length| vec![7; length]).to_vec();
        let mut log = Vec::new();
        for payload in &payloads {
            let bytes = record(log.len(), payload);
            log.extend(bytes);
        }
        assert_eq!(records(&log), payloads);
    }
}
