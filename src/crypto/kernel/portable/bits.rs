//! Sixty-four consecutive counter blocks as 128 bit planes, and back: plane `i` holds bit `i` of each block.

/// Blocks that are sliced at once.
pub(super) const BATCH: usize = 64;
/// Bit `k` of a plane belongs to block `k`.
pub(super) type Sliced = [u64; 128];

/// The blocks from `counter` on, as big-endian numbers.
pub(super) fn slice(counter: u128) -> Sliced {
    let mut low = [0; 64];
    let mut high = [0; 64];
    for (k, (low, high)) in (0_u128..).zip(low.iter_mut().zip(&mut high)) {
        let block = counter.wrapping_add(k);
        [*high, *low] = [64, 0].map(|from| u64_at(block, from));
    }
    transpose(&mut low);
    transpose(&mut high);
    let mut planes = [0; 128];
    planes[..64].copy_from_slice(&low);
    planes[64..].copy_from_slice(&high);
    planes
}

/// The blocks of `planes`, as they are in memory.
pub(super) fn unslice(planes: &Sliced) -> [[u8; 16]; BATCH] {
    let mut halves = [[0; 64]; 2];
    halves.as_flattened_mut().copy_from_slice(planes);
    let [low, high] = &mut halves;
    transpose(low);
    transpose(high);
    std::array::from_fn(|k| (u128::from(high[k]) << 64 | u128::from(low[k])).to_be_bytes())
}

/// XORs `blocks` with the key stream that `stream` makes of 64 counters at a time.
pub(super) fn xor(
    mut counter: u128,
    blocks: &mut [[u8; 16]],
    stream: impl Fn(u128) -> [[u8; 16]; BATCH],
) {
    for batch in blocks.chunks_mut(BATCH) {
        let stream = stream(counter);
        counter = counter.wrapping_add(BATCH as u128);
        for (block, key) in batch.iter_mut().zip(&stream) {
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
        }
    }
}

fn u64_at(block: u128, from: u32) -> u64 {
    u64::try_from(block >> from & u128::from(u64::MAX)).unwrap_or_default()
}

/// Bit `j` of row `k` changes places with bit `k` of row `j`: halves, then quarters, down to single bits.
fn transpose(rows: &mut [u64; 64]) {
    let mut width = 32;
    let mut mask = u64::from(u32::MAX);
    while width > 0 {
        for pair in rows.chunks_exact_mut(2 * width) {
            let (upper, lower) = pair.split_at_mut(width);
            for (upper, lower) in upper.iter_mut().zip(lower) {
                let changed = (*upper >> width ^ *lower) & mask;
                *upper ^= changed << width;
                *lower ^= changed;
            }
        }
        width /= 2;
        mask ^= mask << width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_bits_of_blocks() {
        let counter = u128::MAX - 40;
        let planes = slice(counter);
        for (k, block) in unslice(&planes).into_iter().enumerate() {
            let expected = counter.wrapping_add(k as u128);
            assert_eq!(u128::from_be_bytes(block), expected);
            for (bit, plane) in planes.iter().enumerate() {
                assert_eq!(u128::from(plane >> k & 1), expected >> bit & 1);
            }
        }
    }
}
