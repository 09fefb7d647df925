//! Applies an archive to a new directory and says how long it took: `apply ARCHIVE DIRECTORY`.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // A measuring program.

use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, archive, directory] = arguments.as_slice() else {
        return println!("apply ARCHIVE DIRECTORY");
    };
    std::fs::create_dir(directory).unwrap();
    let dir = sys::dir::Dir::open(directory).unwrap();
    let mut reader = std::fs::File::open(archive).unwrap();
    let start = Instant::now();
    let applied = layer::apply_jailed(&dir, &mut reader, &layer::Options::default()).unwrap();
    let taken = start.elapsed();
    let rate = applied.bytes as f64 / taken.as_secs_f64() / 1e6;
    println!(
        "{} entries, {} bytes in {taken:?}: {rate:.0} MB/s, {}",
        applied.entries, applied.bytes, applied.diff_id
    );
}
