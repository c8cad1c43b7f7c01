//! Amounts of a chain as people read them.

use bowline_types::EvmHash;

const WEI_PER_ETHER: u128 = 1_000_000_000_000_000_000;
const WEI_PER_GWEI: u128 = 1_000_000_000;

/// Wei as ether with six digits, rounded down; what is no number stays as it is.
pub(super) fn ether(wei: &str) -> String {
    wei.parse().map_or_else(|_| format!("{wei} wei"), |wei: u128| fixed(wei, WEI_PER_ETHER, "ETH"))
}

/// Wei as gwei with six digits, rounded down; what is no number stays as it is.
pub(super) fn gwei(wei: &str) -> String {
    wei.parse().map_or_else(|_| format!("{wei} wei"), |wei: u128| fixed(wei, WEI_PER_GWEI, "gwei"))
}

fn fixed(wei: u128, unit: u128, name: &str) -> String {
    let millionths = wei % unit * 1_000_000 / unit;
    let digits = format!("{}.{millionths:06}", wei / unit);
    format!("{} {name}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A hash that fits a table: its beginning and its end.
pub(super) fn short(hash: &EvmHash) -> String {
    let text = hash.to_string();
    match (text.get(..10), text.get(60..)) {
        (Some(start), Some(end)) => format!("{start}…{end}"),
        _ => text,
    }
}

/// Seconds as people say them.
pub(super) fn seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// A row of bars as high as the values, the highest one full; at most `bars_max`, each the mean of its share.
pub(super) fn sparkline(values: &[f64], bars_max: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let per_bar = values.len().div_ceil(bars_max.max(1)).max(1);
    let means: Vec<f64> =
        values.chunks(per_bar).map(|share| share.iter().sum::<f64>() / share.len() as f64).collect();
    let highest = means.iter().copied().fold(0.0, f64::max);
    let bar = |mean: &f64| {
        let level = if highest > 0.0 { (mean / highest * 7.0).round() as usize } else { 0 };
        BARS.get(level).copied().unwrap_or('█')
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_what_matters_and_no_more() {
        assert_eq!(ether("9999999000000000000000"), "9999.999 ETH");
        assert_eq!((ether("0"), ether("1")), ("0 ETH".to_owned(), "0 ETH".to_owned()));
        assert_eq!(gwei("875000000"), "0.875 gwei");
        assert_eq!(ether("many"), "many wei");
        assert_eq!(
            (seconds(119), seconds(120), seconds(7_300)),
            ("119 s".into(), "2 min".into(), "2 h".into())
        );
        assert_eq!(short(&EvmHash::new([0xab; 32])), "0xabababab…ababab");
    }

    #[test]
    fn a_sparkline_fits_and_shows_the_highest_full() {
        assert_eq!(sparkline(&[0.0, 3.5, 7.0], 40), "▁▅█");
        assert_eq!(sparkline(&[], 40), "");
        assert_eq!(sparkline(&[0.0, 0.0], 40), "▁▁");
        let many: Vec<f64> = (0..1_000).map(f64::from).collect();
        let line = sparkline(&many, 40);
        assert!(line.chars().count() <= 40 && line.starts_with('▁') && line.ends_with('█'), "{line}");
    }
}
