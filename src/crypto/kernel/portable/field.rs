//! The S-boxes of AES and SM4 on bytes that lie as eight bit planes: no table, no branch that depends on a secret.
//!
//! Both are an inversion in a field of 256 elements between affine maps. All such fields are the same but for a change of
//! basis, so one inversion does for both: in the quadratic extension of the field of 16 elements. The bases are changed
//! within the affine maps, whose matrices the compiler works out.

/// Bit `b` of 64 bytes lies in plane `b`; byte `k` is bit `k` of each plane.
pub(super) type Planes = [u64; 8];
/// The same of numbers of four bits: the field of 16 elements, modulo z⁴+z+1.
type Nibbles = [u64; 4];

/// AES (FIPS 197 §5.1.1): x⁸+x⁴+x³+x+1, nothing before, the map after.
pub(super) const AES: SBox = SBox::new(0x11b, (0x01, 0x00), (0xf1, 0x63));
/// SM4: x⁸+x⁷+x⁶+x⁵+x⁴+x²+1, the same map before and after. Found by search against the table of GB/T 32907-2016.
pub(super) const SM4: SBox = SBox::new(0x1f5, (0xa7, 0xd3), (0xa7, 0xd3));

/// An S-box: a map, the inversion, a map.
pub(super) struct SBox {
    before: Affine,
    after: Affine,
}

/// Bit `i` of the result is the parity of the input under `rows[i]`, plus bit `i` of `constant`.
struct Affine {
    rows: [u8; 8],
    constant: u8,
}

impl SBox {
    /// From the polynomial, and for both maps the row for bit 0 of a circulant matrix (each next row is turned left by
    /// one) and the constant.
    const fn new(field: u16, before: (u8, u8), after: (u8, u8)) -> Self {
        let from_tower = basis(field);
        let to_tower = inverse(from_tower);
        let (first, last) = (circulant(before.0), circulant(after.0));
        Self {
            before: Affine {
                rows: rows(compose(to_tower, first)),
                constant: map(to_tower, before.1),
            },
            after: Affine {
                rows: rows(compose(last, from_tower)),
                constant: after.1,
            },
        }
    }

    /// The S-box on 64 bytes.
    #[inline]
    pub(super) fn apply(&self, x: &Planes) -> Planes {
        self.after.apply(&invert(&self.before.apply(x)))
    }

    /// The S-box on the four bytes of one word, for key schedules.
    pub(super) fn substitute(&self, word: u32) -> u32 {
        let mut planes = [0; 8];
        for (k, byte) in word.to_le_bytes().into_iter().enumerate() {
            for (bit, plane) in planes.iter_mut().enumerate() {
                *plane |= u64::from(byte >> bit & 1) << k;
            }
        }
        let planes = self.apply(&planes);
        let mut word = 0;
        for k in 0..4 {
            for (bit, plane) in planes.iter().enumerate() {
                word |= u32::from(plane >> k & 1 == 1) << (8 * k + bit);
            }
        }
        word
    }
}

impl Affine {
    #[inline]
    fn apply(&self, x: &Planes) -> Planes {
        let mut result = [0; 8];
        for (bit, plane) in result.iter_mut().enumerate() {
            // What is asked here is known to the compiler, not secret.
            for (from, input) in x.iter().enumerate() {
                if self.rows[bit] >> from & 1 == 1 {
                    *plane ^= input;
                }
            }
            if self.constant >> bit & 1 == 1 {
                *plane = !*plane;
            }
        }
        result
    }
}

/// The inverse in GF(16)[y]/(y²+y+z³), and 0 for 0: (b·y+a)⁻¹ = (b·y+a+b) / (b²z³+ab+a²).
fn invert([a0, a1, a2, a3, b0, b1, b2, b3]: &Planes) -> Planes {
    let (a, b) = ([*a0, *a1, *a2, *a3], [*b0, *b1, *b2, *b3]);
    let sum = add(a, b);
    let norm = add(times_z3(square(b)), multiply(a, sum));
    // x¹⁴ is the inverse in the field of 16 elements.
    let x2 = square(norm);
    let x4 = square(x2);
    let inverse = multiply(multiply(x2, x4), square(x4));
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (multiply(sum, inverse), multiply(b, inverse));
    [a0, a1, a2, a3, b0, b1, b2, b3]
}

fn add(a: Nibbles, b: Nibbles) -> Nibbles {
    [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]]
}

fn square(a: Nibbles) -> Nibbles {
    [a[0] ^ a[2], a[2], a[1] ^ a[3], a[3]]
}

fn times_z3(a: Nibbles) -> Nibbles {
    [a[1], a[1] ^ a[2], a[2] ^ a[3], a[0] ^ a[3]]
}

fn multiply(a: Nibbles, b: Nibbles) -> Nibbles {
    let z4 = a[1] & b[3] ^ a[2] & b[2] ^ a[3] & b[1];
    let z5 = a[2] & b[3] ^ a[3] & b[2];
    let z6 = a[3] & b[3];
    [
        a[0] & b[0] ^ z4,
        a[0] & b[1] ^ a[1] & b[0] ^ z4 ^ z5,
        a[0] & b[2] ^ a[1] & b[1] ^ a[2] & b[0] ^ z5 ^ z6,
        a[0] & b[3] ^ a[1] & b[2] ^ a[2] & b[1] ^ a[3] & b[0] ^ z6,
    ]
}

/// The columns of a matrix, for the compiler: image of each bit.
type Columns = [u8; 8];

/// What each bit of the tower is in the field: 1, β, β², β³ and these times γ, with β⁴+β+1 = 0 and γ²+γ = β³.
const fn basis(field: u16) -> Columns {
    let mut beta = 2;
    while product(square_of(beta, field), square_of(beta, field), field) ^ beta ^ 1 != 0 {
        beta += 1;
    }
    let beta_3 = product(square_of(beta, field), beta, field);
    let mut gamma = 2;
    while square_of(gamma, field) ^ gamma ^ beta_3 != 0 {
        gamma += 1;
    }
    let mut columns = [1, beta, square_of(beta, field), beta_3, 0, 0, 0, 0];
    let mut i = 0;
    while i < 4 {
        columns[4 + i] = product(columns[i], gamma, field);
        i += 1;
    }
    columns
}

const fn square_of(a: u8, field: u16) -> u8 {
    product(a, a, field)
}

const fn product(a: u8, b: u8, field: u16) -> u8 {
    let (mut a, mut b, mut result) = (a as u16, b, 0);
    while b != 0 {
        if b & 1 == 1 {
            result ^= a;
        }
        a <<= 1;
        if a & 0x100 != 0 {
            a ^= field;
        }
        b >>= 1;
    }
    result.to_le_bytes()[0]
}

const fn map(matrix: Columns, x: u8) -> u8 {
    let (mut result, mut bit) = (0, 0);
    while bit < 8 {
        if x >> bit & 1 == 1 {
            result ^= matrix[bit];
        }
        bit += 1;
    }
    result
}

const fn compose(second: Columns, first: Columns) -> Columns {
    let (mut result, mut bit) = ([0; 8], 0);
    while bit < 8 {
        result[bit] = map(second, first[bit]);
        bit += 1;
    }
    result
}

const fn inverse(matrix: Columns) -> Columns {
    let (mut result, mut bit) = ([0; 8], 0);
    while bit < 8 {
        while map(matrix, result[bit]) != 1 << bit {
            result[bit] += 1;
        }
        bit += 1;
    }
    result
}

/// The matrix whose first row is `row`; rows and columns change places.
const fn circulant(mut row: u8) -> Columns {
    let (mut transposed, mut bit) = ([0; 8], 0);
    while bit < 8 {
        transposed[bit] = row;
        row = row.rotate_left(1);
        bit += 1;
    }
    rows(transposed)
}

const fn rows(columns: Columns) -> [u8; 8] {
    let (mut result, mut i) = ([0; 8], 0);
    while i < 64 {
        result[i / 8] |= (columns[i % 8] >> (i / 8) & 1) << (i % 8);
        i += 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::{AES, SM4};

    /// Corners of the tables of FIPS 197 and GB/T 32907-2016; the rest is compared with OpenSSL.
    #[test]
    fn published_values() {
        assert_eq!(AES.substitute(0xff53_1000), 0x16ed_ca63);
        assert_eq!(SM4.substitute(0xff10_0100), 0x482b_90d6);
    }
}
