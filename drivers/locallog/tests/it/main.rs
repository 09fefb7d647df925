//! The contract, on real files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "they wait for threads of the code under test")]

mod ship;

use locallog::{Options, Writer};

#[test]
fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    logging::conformance::all(&logging::conformance::Form {
        sink: &|path, max_size, max_files| {
            Box::new(Writer::open(Options { path: path.to_owned(), max_size, max_files }).unwrap())
        },
        open: |_, path, query| locallog::open(path, query),
        folder: folder.path(),
    });
}
