//! OCI values, which speak cgroup v1, turned into those of cgroup v2.

use stdx::{Error, Result};

/// `cpu.weight` (1 to 10000, 100 is usual) for OCI `cpu.shares` (2 to 262144, 1024 is usual); 0 means unset.
///
/// The curve through minimum, default and maximum that runc and crun use since 2025, `10^((l² + 125 l)/612 - 7/34)` with
/// `l = log2(shares)`: the older linear formula gave the default shares a weight of 39 instead of 100.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            // The result is between 1 and 10000, so the cast is exact.
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

/// `io.weight` (1 to 10000, 100 is usual) for OCI `blockIO.weight` (10 to 1000); 0 means unset.
pub(crate) fn io_weight_of_blkio(weight: u16) -> u64 {
    match u64::from(weight) {
        0 => 0,
        weight => 1 + (weight.max(10) - 10) * 9999 / 990,
    }
}

/// `memory.swap.max` for OCI memory-plus-swap: `None` leaves it, `Some("max")` lifts it.
///
/// The v1 value is a sum, the v2 one is swap alone. `memory` is the limit it is to be seen with, -1 when there is none.
pub(crate) fn swap_max(
    memory_and_swap: Option<i64>,
    memory: Option<i64>,
) -> Result<Option<String>> {
    let swap = match memory_and_swap {
        // Lifting the memory limit alone lifts swap too, as on v1, where memory may not exceed memory plus swap.
        None | Some(0) if memory == Some(-1) => return Ok(Some("max".to_owned())),
        None | Some(0) => return Ok(None),
        Some(-1) => return Ok(Some("max".to_owned())),
        Some(swap) => swap,
    };
    if swap < 0 {
        return Err(Error::invalid(format!("invalid memory+swap value: {swap}")));
    }
    match memory {
        None | Some(0 | -1) => Err(Error::invalid("unable to set swap limit without memory limit")),
        Some(memory) if memory < 0 => {
            Err(Error::invalid(format!("invalid memory value: {memory}")))
        }
        Some(memory) if swap < memory => {
            Err(Error::invalid("memory+swap limit should be >= memory limit"))
        }
        Some(memory) => Ok(Some((swap - memory).to_string())),
    }
}

/// A limit as v2 writes it: -1 is `max`.
pub(crate) fn max_or(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (10, 4),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert!((3..262_144).map(weight_of_shares).is_sorted());
    }

    #[test]
    fn block_weights_become_io_weights() {
        for (weight, expected) in [(0, 0), (10, 1), (500, 4950), (1000, 10_000), (5, 1)] {
            assert_eq!(io_weight_of_blkio(weight), expected, "{weight}");
        }
    }

    #[test]
    fn swap_is_the_difference() {
        let check = |swap: Option<i64>, memory: Option<i64>, expected: &str| {
            let text = match swap_max(swap, memory) {
                Ok(value) => value.unwrap_or_else(|| "-".to_owned()),
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expected, "{swap:?} {memory:?}");
        };
        check(None, None, "-");
        check(Some(0), Some(100), "-");
        check(None, Some(-1), "max");
        check(Some(-1), Some(100), "max");
        check(Some(-1), None, "max");
        check(Some(300), Some(100), "200");
        check(Some(100), Some(100), "0");
        check(Some(50), Some(100), "memory+swap limit should be >= memory limit");
        check(Some(50), None, "unable to set swap limit without memory limit");
        check(Some(50), Some(-1), "unable to set swap limit without memory limit");
        check(Some(50), Some(-5), "invalid memory value: -5");
        check(Some(-7), Some(5), "invalid memory+swap value: -7");
    }
}
