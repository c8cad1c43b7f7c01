//! What a transaction may pay (EIP-1559): pure arithmetic, all of it in wei a unit of gas.
//!
//! A first transaction offers twice the base fee and the tip, so that it stays payable while the base fee doubles,
//! but never more than the cap. One that replaces it must offer a tenth more in both figures, or nodes refuse it; an
//! eighth more is offered.

/// The fees of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fees {
    /// `maxFeePerGas`.
    pub(crate) fee_max: u128,
    /// `maxPriorityFeePerGas`.
    pub(crate) tip: u128,
}

/// The cap is lower than what the chain asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chain asks for {needed} wei a unit of gas, the cap is {cap}")]
pub(crate) struct AboveCap {
    pub(crate) needed: u128,
    pub(crate) cap: u128,
}

/// Fees of a send's first transaction.
pub(crate) fn first(base_fee: u128, tip: u128, cap: u128) -> Result<Fees, AboveCap> {
    let needed = base_fee.saturating_add(tip);
    if needed > cap {
        return Err(AboveCap { needed, cap });
    }
    let fee_max = base_fee.saturating_mul(2).saturating_add(tip).min(cap);
    Ok(Fees { fee_max, tip })
}

/// Fees of a transaction that takes the place of another one.
pub(crate) fn replacement(previous: Fees, base_fee: u128, tip: u128, cap: u128) -> Result<Fees, AboveCap> {
    let raised = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
    let tip = raised(previous.tip).max(tip);
    let wanted = base_fee.saturating_mul(2).saturating_add(tip);
    let needed = raised(previous.fee_max).max(base_fee.saturating_add(tip));
    if needed > cap {
        return Err(AboveCap { needed, cap });
    }
    Ok(Fees { fee_max: needed.max(wanted.min(cap)), tip })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_transaction_survives_a_doubling_of_the_base_fee_within_the_cap() {
        assert_eq!(first(100, 2, 1_000), Ok(Fees { fee_max: 202, tip: 2 }));
        assert_eq!(first(100, 2, 150), Ok(Fees { fee_max: 150, tip: 2 }));
        assert_eq!(first(100, 2, 101), Err(AboveCap { needed: 102, cap: 101 }));
        assert_eq!(first(u128::MAX, 1, u128::MAX), Ok(Fees { fee_max: u128::MAX, tip: 1 }));
    }

    #[test]
    fn a_replacement_offers_more_than_a_tenth_more_of_both_and_never_exceeds_the_cap() {
        for fee_max in [1, 7, 100, 202, 30_000_000_000] {
            for base_fee in [0, 1, 90, 5_000] {
                let previous = Fees { fee_max, tip: fee_max.min(2) };
                let new = replacement(previous, base_fee, 1, u128::MAX).unwrap();
                assert!(new.fee_max * 10 >= previous.fee_max * 11, "{previous:?} {new:?}");
                assert!(new.tip * 10 >= previous.tip * 11 && new.tip <= new.fee_max, "{previous:?} {new:?}");
                assert!(new.fee_max >= base_fee + new.tip);
            }
        }
        let previous = Fees { fee_max: 100, tip: 2 };
        assert!(replacement(previous, 10, 1, 112).is_err());
        assert_eq!(replacement(previous, 10, 1, 113), Ok(Fees { fee_max: 113, tip: 3 }));
    }
}
