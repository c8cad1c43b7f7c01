//! Exact decimal numbers: what a chain counts has up to 78 digits, and a threshold is met or not.
//!
//! Numbers of up to 18 digits behind the point that fit are one machine integer; all others are compared by their
//! digits. Nothing is ever rounded.

use std::cmp::Ordering;
use std::fmt;

/// Digits behind the point of the small form.
const SCALE: usize = 18;

/// Digits of a number at most, written out.
const DIGITS_MAX: usize = 400;

/// A decimal number. Equal numbers are equal, however they were written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Decimal {
    /// Units of 10^-18.
    Small(i128),
    /// Sign, digits before the point without leading zeros, digits behind it without trailing zeros.
    Large(Box<(bool, String, String)>),
}

impl Decimal {
    /// Reads `-12.50` or `1.5e3`; none if it is no number, or has too many digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        if exponent == 0 {
            return Self::of_parts(negative, whole, fraction);
        }
        // The exponent moves the point by that many digits.
        let shift = usize::try_from(exponent.unsigned_abs()).ok().filter(|shift| *shift <= DIGITS_MAX)?;
        let zeros = "0".repeat(shift);
        let (whole, fraction) = if exponent > 0 {
            let digits = format!("{fraction}{zeros}");
            let (moved, rest) = digits.split_at(shift);
            (format!("{whole}{moved}"), rest.to_owned())
        } else {
            let digits = format!("{zeros}{whole}");
            let (rest, moved) = digits.split_at(digits.len() - shift);
            (rest.to_owned(), format!("{moved}{fraction}"))
        };
        Self::of_parts(negative, &whole, &fraction)
    }

    fn of_parts(negative: bool, whole: &str, fraction: &str) -> Option<Self> {
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if whole.len() + fraction.len() > DIGITS_MAX {
            return None;
        }
        if fraction.len() <= SCALE && whole.len() <= 20 {
            let mut units: i128 = 0;
            for byte in whole.bytes().chain(fraction.bytes()) {
                units = units * 10 + i128::from(byte - b'0');
            }
            units *= 10_i128.pow(u32::try_from(SCALE - fraction.len()).unwrap_or(0));
            return Some(Self::Small(if negative { -units } else { units }));
        }
        Some(Self::Large(Box::new((negative, whole.to_owned(), fraction.to_owned()))))
    }

    /// The nearest floating-point number.
    pub(crate) fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    fn parts(&self) -> (bool, String, String) {
        match self {
            Self::Small(units) => {
                let digits = format!("{:0width$}", units.unsigned_abs(), width = SCALE + 1);
                let (whole, fraction) = digits.split_at(digits.len() - SCALE);
                let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
                (*units < 0, whole.to_owned(), fraction.to_owned())
            }
            Self::Large(parts) => (**parts).clone(),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Self::Small(left), Self::Small(right)) = (self, other) {
            return left.cmp(right);
        }
        let ((left_negative, left, left_rest), (right_negative, right, right_rest)) =
            (self.parts(), other.parts());
        if left_negative != right_negative {
            return right_negative.cmp(&left_negative);
        }
        let magnitude = (left.len().cmp(&right.len()))
            .then_with(|| left.cmp(&right))
            .then_with(|| left_rest.cmp(&right_rest));
        if left_negative { magnitude.reverse() } else { magnitude }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, whole, fraction) = self.parts();
        let whole = if whole.is_empty() { "0" } else { &whole };
        f.write_str(if negative { "-" } else { "" })?;
        f.write_str(whole)?;
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        for (left, right) in [
            ("1", "1.0"),
            ("-0", "0"),
            ("007", "7"),
            ("1.5e3", "1500"),
            ("15e-1", "1.5"),
            ("-12.50", "-12.5"),
            ("1e30", "1000000000000000000000000000000"),
            ("+3", "3"),
            (".5", "0.5"),
            ("1e-20", "0.00000000000000000001"),
        ] {
            assert_eq!(number(left), number(right), "{left} {right}");
            assert_eq!(number(left).to_string(), number(right).to_string());
        }
        for bad in ["", ".", "-", "1.2.3", "abc", "0x10", "1e", "1e999", " 1", "NaN"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn order_is_that_of_the_numbers_whatever_their_form() {
        let ascending = [
            "-115792089237316195423570985008687907853269984665640564039457584007913129639935",
            "-3",
            "-2.9999999999999999999999",
            "-2",
            "0",
            "0.0000000000000000000001",
            "0.1",
            "1",
            "1.00000000000000000000000001",
            "2",
            "99999999999999999999",
            "100000000000000000000",
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
        ];
        for (left, right) in ascending.iter().zip(ascending.iter().skip(1)) {
            assert!(number(left) < number(right), "{left} {right}");
            assert!(number(right) > number(left), "{left} {right}");
        }
    }
}
