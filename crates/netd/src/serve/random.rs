//! Numbers that nobody guesses.

use rustix::rand::{GetRandomFlags, getrandom};

/// The kernel's random numbers, fetched many at a time.
#[derive(Debug)]
pub(crate) struct Random {
    pool: [u8; 512],
    used: usize,
}

impl Random {
    pub(crate) fn new() -> Self {
        Self { pool: [0; 512], used: 512 }
    }

    /// For a query's id.
    pub(crate) fn id(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    /// For an order.
    pub(crate) fn seed(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > self.pool.len() {
            let mut filled = 0;
            while filled < self.pool.len() {
                match getrandom(&mut self.pool[filled..], GetRandomFlags::empty()) {
                    Ok(n) => filled += n,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => panic!("the kernel gives no random numbers: {e}"),
                }
            }
            self.used = 0;
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.pool[self.used..self.used + N]);
        // What was given once is nowhere any more.
        self.pool[self.used..self.used + N].fill(0);
        self.used += N;
        bytes
    }
}
