//! Things under numbers that are never valid for another thing.

/// The number of a thing: its place and its life in that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    index: u32,
    life: u32,
}

impl Key {
    /// How many bits of [`pack`](Self::pack) are used.
    pub(crate) const BITS: u32 = 48;

    /// As a number for epoll.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.life) << 24 | u64::from(self.index)
    }

    /// Back from [`pack`](Self::pack).
    pub(crate) fn unpack(data: u64) -> Self {
        let part = |shift: u32| (data >> shift & 0xff_ffff) as u32;
        Self { index: part(0), life: part(24) }
    }
}

/// A bounded number of things. An event for one that is gone finds nothing, also when its place is taken again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    most: usize,
}

impl<T> Slab<T> {
    /// Room for `most` things, fewer than 2^24.
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), most }
    }

    /// Puts a thing in, unless there is no room.
    pub(crate) fn insert(&mut self, thing: T) -> Result<Key, T> {
        if self.len() >= self.most {
            return Err(thing);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.1 = Some(thing);
        Ok(Key { index, life: place.0 })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (life, thing) = self.places.get(key.index as usize)?;
        thing.as_ref().filter(|_| *life == key.life)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (life, thing) = self.places.get_mut(key.index as usize)?;
        thing.as_mut().filter(|_| *life == key.life)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (life, thing) = self.places.get_mut(key.index as usize)?;
        if *life != key.life {
            return None;
        }
        let thing = thing.take()?;
        *life = (*life + 1) & 0xff_ffff;
        self.free.push(key.index);
        Some(thing)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (life, thing))| {
            Some((Key { index: index as u32, life: *life }, thing.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_one_life() {
        let mut slab = Slab::new(2);
        let a = slab.insert('a').unwrap();
        let b = slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), Err('c'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert('c').unwrap();
        assert_eq!((slab.get(a), slab.get(b), slab.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(slab.get_mut(a), None);
        assert_eq!(Key::unpack(c.pack()), c);
        assert!(c.pack() < 1 << Key::BITS);
        assert_eq!((slab.len(), slab.iter().count()), (2, 2));
    }
}
