//! Multiples of one point, 256 to the power of i times 1 to 128, so that a multiplication is 32 additions.
//!
//! The look-ups take as long as the scalar says, so this table is only for public scalars: it verifies and it
//! refuses to sign. 32 · 128 points are 640 KiB; making them takes about a millisecond.

use std::sync::LazyLock;

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::scalar::Scalar;

/// Bytes of a scalar, each a digit.
const DIGITS: usize = 32;

/// Multiples kept of each power: a digit lies in −128..=128.
const MULTIPLES: usize = 128;

/// The base point's table, made when the first signature is verified with it.
pub(crate) static BASE: LazyLock<WideTable> = LazyLock::new(|| WideTable::new(ED25519_BASEPOINT_POINT));

/// A point's table.
#[derive(Clone)]
pub(crate) struct WideTable(Box<[EdwardsPoint]>);

impl WideTable {
    pub(crate) fn new(point: EdwardsPoint) -> Self {
        let mut table = Vec::with_capacity(DIGITS * MULTIPLES);
        let mut power = point;
        for _ in 0..DIGITS {
            let mut multiple = power;
            for _ in 0..MULTIPLES {
                table.push(multiple);
                multiple += power;
            }
            // 129 times the power was made last: 256 times is twice 128 times.
            let half = multiple - power;
            power = half + half;
        }
        Self(table.into_boxed_slice())
    }

    /// `sum + scalar · point`.
    pub(crate) fn add_multiple(&self, mut sum: EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        let mut carry = 0_usize;
        for (multiples, byte) in self.0.chunks_exact(MULTIPLES).zip(scalar.as_bytes()) {
            let digit = usize::from(*byte) + carry;
            // A digit over 128 is 256 more than a negative one. The highest is below 17: scalars are reduced.
            carry = usize::from(digit > MULTIPLES);
            if carry == 0 {
                if digit > 0 {
                    sum += &multiples[digit - 1];
                }
            } else if digit < 2 * MULTIPLES {
                sum -= &multiples[2 * MULTIPLES - digit - 1];
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::traits::Identity;
    use proptest::prelude::*;

    fn product(scalar: &Scalar) -> EdwardsPoint {
        BASE.add_multiple(EdwardsPoint::identity(), scalar)
    }

    #[test]
    fn digits_at_their_bounds_multiply_right() {
        let mut bytes: Vec<[u8; 32]> = vec![[0; 32], [127; 32], [128; 32], [129; 32], [255; 32]];
        for i in 0..32 {
            let mut one = [0; 32];
            one[i] = 128;
            bytes.push(one);
            one[i] = 129;
            bytes.push(one);
        }
        let group_minus_one = -Scalar::ONE;
        let scalars = bytes.into_iter().map(Scalar::from_bytes_mod_order).chain([group_minus_one]);
        for scalar in scalars {
            assert_eq!(product(&scalar), EdwardsPoint::mul_base(&scalar), "{:?}", scalar.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_product_is_that_of_the_library(bytes in any::<[u8; 32]>()) {
            let scalar = Scalar::from_bytes_mod_order(bytes);
            prop_assert_eq!(product(&scalar), EdwardsPoint::mul_base(&scalar));
        }
    }
}
