//! Block device weights and rates.

use oci::runtime::{BlockIo, ThrottleDevice};
use stdx::{Error, Result};

use super::{On, OnError, Plan, not_on_v2};
use crate::convert::io_weight_of_blkio;

pub(super) fn plan(block: &BlockIo, out: &mut Plan<'_>) -> Result<()> {
    let on = |out: &Plan<'_>, what: &str| match (out.present.on("blkio"), out.present.on("io")) {
        (Some(_), _) => Ok(On::V1),
        (None, Some(_)) => Ok(On::V2),
        (None, None) => Err(Error::invalid(format!(
            "cannot set {what}: the io cgroup controller is not available"
        ))),
    };
    for (name, weight) in [("weight", block.weight), ("leaf weight", block.leaf_weight)] {
        if let Some(weight) = weight.filter(|w| *w != 0 && !(10..=1000).contains(w)) {
            return Err(Error::invalid(format!(
                "invalid blkio {name} {weight} (range is 10-1000)"
            )));
        }
    }
    if let Some(weight) = block.weight.filter(|w| *w != 0) {
        // Whether weights exist depends on the scheduler: bfq brings its own file and, on v2, io.cost the plain one.
        match on(out, "blkio weight")? {
            On::V1 => {
                let files = vec!["blkio.bfq.weight".to_owned(), "blkio.weight".to_owned()];
                out.push("blkio", files, weight, OnError::Fail);
            }
            On::V2 => {
                // The bfq file has v1's scale; which one answers is only known when writing.
                let file = if out.present.current("io", "io.bfq.weight")?.is_some() {
                    ("io.bfq.weight", u64::from(weight))
                } else {
                    ("io.weight", io_weight_of_blkio(weight))
                };
                out.write("io", file.0, file.1);
            }
        }
    }
    if let Some(weight) = block.leaf_weight.filter(|w| *w != 0) {
        match on(out, "blkio leaf weight")? {
            On::V1 => out.write("blkio", "blkio.leaf_weight", weight),
            On::V2 => return Err(not_on_v2("blkio leaf weight")),
        }
    }
    for device in &block.weight_device {
        let name = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            match on(out, "blkio device weight")? {
                On::V1 => {
                    let files = vec![
                        "blkio.bfq.weight_device".to_owned(),
                        "blkio.weight_device".to_owned(),
                    ];
                    out.push("blkio", files, format!("{name} {weight}"), OnError::Fail);
                }
                On::V2 if out.present.current("io", "io.bfq.weight")?.is_some() => {
                    out.write("io", "io.bfq.weight", format!("{name} {weight}"));
                }
                On::V2 => {
                    out.write("io", "io.weight", format!("{name} {}", io_weight_of_blkio(weight)));
                }
            }
        }
        if let Some(weight) = device.leaf_weight.filter(|w| *w != 0) {
            match on(out, "blkio device leaf weight")? {
                On::V1 => {
                    out.write("blkio", "blkio.leaf_weight_device", format!("{name} {weight}"));
                }
                On::V2 => return Err(not_on_v2("blkio device leaf weight")),
            }
        }
    }
    let rates: [(&[ThrottleDevice], &str, &str); 4] = [
        (&block.throttle_read_bps_device, "blkio.throttle.read_bps_device", "rbps"),
        (&block.throttle_write_bps_device, "blkio.throttle.write_bps_device", "wbps"),
        (&block.throttle_read_iops_device, "blkio.throttle.read_iops_device", "riops"),
        (&block.throttle_write_iops_device, "blkio.throttle.write_iops_device", "wiops"),
    ];
    for (devices, v1, v2) in rates {
        for ThrottleDevice { major, minor, rate } in devices {
            match on(out, "blkio throttle")? {
                On::V1 => out.write("blkio", v1, format!("{major}:{minor} {rate}")),
                // 0 lifts the limit on v1; on v2 the word is max.
                On::V2 if *rate == 0 => {
                    out.write("io", "io.max", format!("{major}:{minor} {v2}=max"));
                }
                On::V2 => out.write("io", "io.max", format!("{major}:{minor} {v2}={rate}")),
            }
        }
    }
    Ok(())
}
