//! Ids for containers that want some of their own: 65536 each, nobody's else.
//!
//! A container's record is what owns its range. This table is made of the records when the daemon starts, so a crash
//! neither loses a range nor gives it away twice.

use super::subids;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stdx::{Error, Kind, Result};
use store::records::container::{ContainerRecord, IdRange, UserNamespace};

/// Ids a container has: as many as a file system without 32-bit ids could tell apart, and what tools expect.
const SIZE: u32 = 65536;

/// The first id of the pool and the one after its last. Beyond what shadow-utils hands out (up to 600,100,000) and what
/// systemd knows (containers up to 0x6fffffff, foreign ids from 0x7ffe0000), below what a signed number holds.
const POOL: (u32, u32) = (0x7000_0000, 0x7ffe_0000);

/// Who has which range.
#[derive(Debug)]
pub(crate) struct Ranges {
    /// Places in the pool that the host has given to others.
    foreign: Vec<(u32, u32)>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// First id → container.
    owners: BTreeMap<u32, String>,
    /// Where to look next: what was freed is used again as late as possible.
    next: u32,
}

impl Ranges {
    /// Those that `known` containers have, and none that the host has given to somebody (`/etc/subuid`). `instance` tells
    /// this daemon from others of the host, six hexadecimal digits.
    pub(crate) fn of_host(
        known: &HashMap<String, ContainerRecord>,
        instance: Option<&str>,
    ) -> Self {
        let spread = instance.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        Self::open(known, subids::given(&subids::Files::read()), spread.unwrap_or(0))
    }

    /// Those that `known` containers have. `foreign`: ids that the host has given to others, start and size. `spread`
    /// keeps a second daemon of this host, which this one does not know of, from beginning at the same place.
    fn open(
        known: &HashMap<String, ContainerRecord>,
        foreign: Vec<(u32, u32)>,
        spread: u32,
    ) -> Self {
        let mut owners = BTreeMap::new();
        for record in known.values() {
            if let Some(UserNamespace::Own { uids, .. }) = &record.user_namespace {
                // Also those of a daemon that was set to a fixed range within the pool.
                let within = uids.iter().filter(|r| (POOL.0..POOL.1).contains(&r.outside));
                owners.extend(within.map(|r| (r.outside, record.id.clone())));
            }
        }
        let next = POOL.0 + spread % places() * SIZE;
        Self { foreign, table: Mutex::new(Table { owners, next }) }
    }

    /// A range for a container that is being made. It is the container's own once its record is written; until then, and
    /// when that fails, [`release`](Self::release) gives it back.
    pub(crate) fn take(&self, container: &str) -> Result<IdRange> {
        let mut table = self.table();
        let first = table.next;
        for place in 0..places() {
            let outside = POOL.0 + ((first - POOL.0) / SIZE + place) % places() * SIZE;
            if table.owners.contains_key(&outside) || self.is_foreign(outside) {
                continue;
            }
            table.owners.insert(outside, container.to_owned());
            table.next = outside.checked_add(SIZE).filter(|n| *n < POOL.1).unwrap_or(POOL.0);
            return Ok(IdRange { inside: 0, outside, size: SIZE });
        }
        Err(Error::new(
            Kind::Conflict,
            format!("--userns=auto: all {} ranges of ids are in use by containers", places()),
        ))
    }

    /// Gives back what a container had.
    pub(crate) fn release(&self, container: &str) {
        self.table().owners.retain(|_, owner| owner != container);
    }

    fn is_foreign(&self, outside: u32) -> bool {
        let end = |(start, size): (u32, u32)| u64::from(start) + u64::from(size);
        self.foreign.iter().any(|&one| {
            u64::from(outside) < end(one) && u64::from(one.0) < u64::from(outside) + u64::from(SIZE)
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn places() -> u32 {
    (POOL.1 - POOL.0) / SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(foreign: Vec<(u32, u32)>, spread: u32) -> Ranges {
        Ranges::open(&HashMap::new(), foreign, spread)
    }

    #[test]
    fn nobody_gets_what_another_has_and_freed_ones_come_last() {
        let ranges = empty(Vec::new(), 0);
        let first = ranges.take("a").unwrap();
        assert_eq!((first.inside, first.outside, first.size), (0, 0x7000_0000, 65536));
        ranges.release("a");
        let second = ranges.take("b").unwrap();
        assert_eq!(second.outside, 0x7001_0000);
        let mut seen: Vec<u32> = (2..places()).map(|_| ranges.take("c").unwrap().outside).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len() + 2, places() as usize);
        assert!(!seen.contains(&first.outside) && !seen.contains(&second.outside));
        // Around the end, to the one that was freed.
        assert_eq!(ranges.take("d").unwrap(), first);
        let error = ranges.take("e").unwrap_err().to_string();
        assert_eq!(error, "--userns=auto: all 4094 ranges of ids are in use by containers");
        ranges.release("b");
        assert_eq!(ranges.take("e").unwrap(), second);
    }

    #[test]
    fn what_the_host_gave_to_others_is_left_out() {
        let ranges = empty(vec![(0x7000_ffff, 2), (0x7002_0000, 1), (u32::MAX, u32::MAX)], 0);
        assert_eq!(ranges.take("a").unwrap().outside, 0x7003_0000);
    }

    #[test]
    fn another_daemon_begins_elsewhere() {
        assert_eq!(empty(Vec::new(), 5).take("a").unwrap().outside, 0x7005_0000);
        let last = empty(Vec::new(), places() - 1);
        assert_eq!(last.take("a").unwrap().outside, POOL.1 - SIZE);
        assert_eq!(last.take("b").unwrap().outside, POOL.0);
    }
}
