//! Bytes as eight bit planes, and the S-box of SM4 computed on them: no table, no branch that depends on a secret.

/// Bit `b` of 64 bytes lies in plane `b`; byte `k` is bit `k` of each plane.
pub(super) type Planes = [u64; 8];

/// SM4's field: x⁸+x⁷+x⁶+x⁵+x⁴+x²+1.
const FIELD: u16 = 0x1f5;
/// SM4's affine map: the row of its circulant matrix for bit 0 (each next row is turned left by one), and its constant.
/// Found by search against the table of GB/T 32907-2016.
const ROW: u8 = 0xa7;
const CONSTANT: u8 = 0xd3;

/// The S-box: an inversion between two affine maps.
pub(super) fn s_box(x: &Planes) -> Planes {
    affine(&invert(&affine(x)))
}

/// The S-box on the four bytes of one word, for key schedules.
pub(super) fn substitute(word: u32) -> u32 {
    let mut planes = [0; 8];
    for (k, byte) in word.to_le_bytes().into_iter().enumerate() {
        for (bit, plane) in planes.iter_mut().enumerate() {
            *plane |= u64::from(byte >> bit & 1) << k;
        }
    }
    let planes = s_box(&planes);
    let mut bytes = [0; 4];
    for (k, byte) in bytes.iter_mut().enumerate() {
        for (bit, plane) in planes.iter().enumerate() {
            *byte |= u8::from(plane >> k & 1 == 1) << bit;
        }
    }
    u32::from_le_bytes(bytes)
}

fn affine(x: &Planes) -> Planes {
    let mut result = [0; 8];
    let mut row = ROW;
    for (bit, plane) in result.iter_mut().enumerate() {
        for (from, input) in x.iter().enumerate() {
            if row >> from & 1 == 1 {
                *plane ^= input;
            }
        }
        if CONSTANT >> bit & 1 == 1 {
            *plane = !*plane;
        }
        row = row.rotate_left(1);
    }
    result
}

/// x²⁵⁴: the inverse, and 0 for 0.
fn invert(x: &Planes) -> Planes {
    let x2 = square(x);
    let x3 = multiply(&x2, x);
    let x12 = square(&square(&x3));
    let x15 = multiply(&x12, &x3);
    let mut x240 = x15;
    for _ in 0..4 {
        x240 = square(&x240);
    }
    let x252 = multiply(&x240, &x12);
    multiply(&x252, &x2)
}

fn multiply(a: &Planes, b: &Planes) -> Planes {
    let mut product = [0; 15];
    for (i, a) in a.iter().enumerate() {
        for (j, b) in b.iter().enumerate() {
            product[i + j] ^= a & b;
        }
    }
    reduce(product)
}

fn square(a: &Planes) -> Planes {
    let mut product = [0; 15];
    for (i, a) in a.iter().enumerate() {
        product[2 * i] = *a;
    }
    reduce(product)
}

fn reduce(mut product: [u64; 15]) -> Planes {
    for high in (8..15).rev() {
        for bit in 0..8 {
            if FIELD >> bit & 1 == 1 {
                product[high - 8 + bit] ^= product[high];
            }
        }
    }
    let mut result = [0; 8];
    result.copy_from_slice(&product[..8]);
    result
}
