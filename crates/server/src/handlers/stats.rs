//! What a container uses, once or every second.

use super::Daemon;
use crate::convert;
use crate::edge::conn::Outcome;
use crate::reply;
use crate::router::Call;
use api::ApiVersion;
use api::stats::{CpuStats, Stats};
use bytes::Bytes;
use engine::stats::Watch;
use futures_util::stream;
use std::io;
use std::time::Duration;
use stdx::time::Timestamp;
use stdx::{Error, Result};

/// Between two samples; Docker's.
const TICK: Duration = Duration::from_secs(1);

pub(crate) async fn stats(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let streams = call.query.flag_or_true("stream");
    let one_shot = call.version >= ApiVersion::v1(41) && call.query.flag("one-shot");
    if streams && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    let watch = daemon.engine.watch_stats(&call.name)?;
    let mut look = Look { watch, cpu: CpuStats::default(), read: Timestamp::ZERO };
    if !streams {
        return reply::ok(&look.once(one_shot).await?);
    }
    let lines = stream::unfold((look, false), |(mut look, again)| async move {
        if again {
            tokio::time::sleep(TICK).await;
        }
        if look.watch.is_gone() {
            return None;
        }
        let line = look.next().await.map(|stats| {
            let mut line = serde_json::to_vec(&stats).unwrap_or_default();
            line.push(b'\n');
            Bytes::from(line)
        });
        Some((line.map_err(io::Error::other), (look, true)))
    });
    Ok(reply::stream("application/json", lines))
}

/// A container, and what of the last sample the next one repeats.
struct Look {
    watch: Watch,
    cpu: CpuStats,
    read: Timestamp,
}

impl Look {
    /// One answer. Without `one_shot` there is a sample before it, so that clients can tell a rate.
    async fn once(&mut self, one_shot: bool) -> Result<Stats> {
        let mut stats = self.next().await?;
        if one_shot {
            // Docker leaves them out here.
            (stats.name, stats.id) = (String::new(), String::new());
        } else if !self.read.is_zero() {
            tokio::time::sleep(TICK).await;
            stats = self.next().await?;
        }
        Ok(stats)
    }

    async fn next(&mut self) -> Result<Stats> {
        let (id, name) = self.watch.identity();
        let sample = self.watch.sample().await?;
        let mut stats =
            sample.as_ref().map_or_else(convert::stats::nothing, convert::stats::to_wire);
        (stats.id, stats.name) = (id, format!("/{name}"));
        stats.preread = self.read.to_string();
        stats.precpu_stats = std::mem::replace(&mut self.cpu, stats.cpu_stats.clone());
        self.read = sample.map_or(Timestamp::ZERO, |s| s.read);
        Ok(stats)
    }
}
