//! A content store in memory, for other crates' tests.

use crate::{Expected, Info, Ingester, Manager, Provider, Writer, mismatch, not_found, wrong_size};
use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Error, Kind, Result};
use types::{Algorithm, Digest};

type Blobs = Arc<Mutex<HashMap<Digest, Arc<[u8]>>>>;

/// Blobs in a map.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    blobs: Blobs,
}

fn lock(blobs: &Blobs) -> MutexGuard<'_, HashMap<Digest, Arc<[u8]>>> {
    blobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digest of `bytes`.
pub fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let hash = |algorithm| ring::digest::digest(algorithm, bytes);
    match algorithm {
        Algorithm::Sha256 => Digest::from_sha256(
            hash(&ring::digest::SHA256).as_ref().try_into().expect("SHA-256 has 32 bytes"),
        ),
        Algorithm::Sha512 => Digest::from_sha512(
            hash(&ring::digest::SHA512).as_ref().try_into().expect("SHA-512 has 64 bytes"),
        ),
    }
}

impl Provider for Memory {
    fn info(&self, digest: &Digest) -> Result<Info> {
        let blobs = lock(&self.blobs);
        let blob = blobs.get(digest).ok_or_else(|| not_found(digest))?;
        Ok(Info { digest: digest.clone(), size: blob.len() as u64 })
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        let blob = lock(&self.blobs).get(digest).cloned().ok_or_else(|| not_found(digest))?;
        Ok(Box::new(Cursor::new(blob)))
    }

    fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let blob = lock(&self.blobs).get(digest).cloned().ok_or_else(|| not_found(digest))?;
        if blob.len() as u64 > limit {
            return Err(Error::new(
                Kind::DataLoss,
                format!("content {digest} is over {limit} bytes"),
            ));
        }
        Ok(blob.to_vec())
    }
}

impl Ingester for Memory {
    fn writer(&self, expected: Expected) -> Result<Box<dyn Writer>> {
        Ok(Box::new(MemoryWriter { blobs: Arc::clone(&self.blobs), expected, bytes: Vec::new() }))
    }
}

impl Manager for Memory {
    fn remove(&self, digest: &Digest) -> Result<()> {
        lock(&self.blobs).remove(digest);
        Ok(())
    }

    fn walk(&self, visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()> {
        let all: Vec<Info> = lock(&self.blobs)
            .iter()
            .map(|(digest, blob)| Info { digest: digest.clone(), size: blob.len() as u64 })
            .collect();
        all.iter().try_for_each(visit)
    }
}

#[derive(Debug)]
struct MemoryWriter {
    blobs: Blobs,
    expected: Expected,
    bytes: Vec<u8>,
}

impl io::Write for MemoryWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(buf);
        match self.expected.size {
            Some(size) if self.bytes.len() as u64 > size => {
                let actual = self.bytes.len() as u64;
                Err(io::Error::other(wrong_size(&self.expected.digest, size, actual)))
            }
            _ => Ok(buf.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer for MemoryWriter {
    fn commit(self: Box<Self>) -> Result<Info> {
        let size = self.bytes.len() as u64;
        let expected = &self.expected;
        if let Some(wanted) = expected.size.filter(|s| *s != size) {
            return Err(wrong_size(&expected.digest, wanted, size));
        }
        let actual = digest(expected.digest.algorithm(), &self.bytes);
        if actual != expected.digest {
            return Err(mismatch(&expected.digest, &actual));
        }
        lock(&self.blobs).insert(actual.clone(), self.bytes.into());
        Ok(Info { digest: actual, size })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn passes_the_suite() {
        crate::suite::run(|_| super::Memory::default());
    }
}
