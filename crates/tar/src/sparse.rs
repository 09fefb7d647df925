//! Maps of sparse files, in GNU's four spellings.

use crate::entry::Extent;
use crate::header;
use crate::pax::{self, Records};

/// A map that is to be checked against the file's sizes.
pub(crate) type Map = Vec<Extent>;

/// The four pairs in an old GNU header, or the 21 of a block behind it. `Ok(true)` when the list has ended.
pub(crate) fn add_gnu_pairs(map: &mut Map, pairs: &[u8]) -> Result<bool, &'static str> {
    for pair in pairs.chunks_exact(24) {
        let (offset, len) = pair.split_at(12);
        match (offset[0], len[0]) {
            (0, 0) => return Ok(true),
            // One of the two ends the list for GNU tar, the other for Go.
            (0, _) | (_, 0) => return Err("a sparse map that ends in half a pair"),
            _ => {}
        }
        let value = |field| {
            header::number(field)
                .and_then(|n| u64::try_from(n).ok())
                .ok_or("an unreadable sparse map")
        };
        map.push(Extent { offset: value(offset)?, len: value(len)? });
    }
    Ok(false)
}

/// Which of the pax spellings is used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pax {
    /// Not sparse.
    None,
    /// 0.0 and 0.1: the map is in the extended header.
    Here(Map),
    /// 1.0: the map precedes the data.
    InData,
}

/// The map of a pax entry.
pub(crate) fn from_records(records: &Records) -> Result<Pax, &'static str> {
    let version = (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor"));
    let list = records.get("GNU.sparse.map");
    let sparse_keys = records.values.keys().any(|k| k.starts_with(b"GNU.sparse."));
    match version {
        (Some(b"1"), Some(b"0")) if list.is_none() && records.sparse_pairs.is_empty() => {
            return Ok(Pax::InData);
        }
        (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {}
        _ => return Err("an unknown version of sparse files"),
    }
    let numbers = match (list, records.sparse_pairs.is_empty()) {
        (None, true) if !sparse_keys => return Ok(Pax::None),
        // A file that is one hole has an empty map.
        (None, true) if records.get("GNU.sparse.numblocks") == Some(b"0") => Vec::new(),
        (None, true) => return Err("a sparse file without a map"),
        (Some(_), false) => return Err("a sparse file with two maps"),
        (None, false) => records.sparse_pairs.clone(),
        (Some(list), true) => {
            let numbers: Option<Vec<u64>> = list.split(|b| *b == b',').map(pax::decimal).collect();
            numbers.ok_or("an unreadable sparse map")?
        }
    };
    if !numbers.len().is_multiple_of(2) {
        return Err("a sparse map that ends in half a pair");
    }
    if let Some(blocks) = records.get("GNU.sparse.numblocks")
        && pax::decimal(blocks) != Some(numbers.len() as u64 / 2)
    {
        return Err("a sparse map of another length than it says");
    }
    Ok(Pax::Here(
        numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], len: pair[1] }).collect(),
    ))
}

/// Ascending, inside the file, and together as long as the stored data. Empty extents (GNU marks the end with one) go.
pub(crate) fn checked(map: Map, real_size: u64, stored: u64) -> Result<Map, &'static str> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for extent in &map {
        if extent.offset < end {
            return Err("a sparse map whose parts overlap");
        }
        end = extent.offset.checked_add(extent.len).ok_or("a sparse map that overflows")?;
        sum = sum.checked_add(extent.len).ok_or("a sparse map that overflows")?;
    }
    if end > real_size {
        return Err("a sparse map that reaches beyond its file");
    }
    if sum != stored {
        return Err("a sparse map of another length than its data");
    }
    Ok(map.into_iter().filter(|extent| extent.len > 0).collect())
}
