//! Moments in records: RFC 3339 text, for `#[serde(with = "crate::time")]`.

use serde::{Deserialize as _, Deserializer, Serializer};
use stdx::time::Timestamp;

pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}
