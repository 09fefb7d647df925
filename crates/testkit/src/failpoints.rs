//! The named points at which the programs can be stopped, read from the sources: the matrix misses none.

use crate::root;
use std::collections::BTreeSet;
use std::path::Path;

/// Every name in a `fail_point!` of the product.
///
/// # Panics
/// When the sources cannot be read.
pub fn all() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["bin", "crates", "drivers"] {
        collect(&root().join(folder), &mut names);
    }
    names
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("read the sources").flatten() {
        let path = entry.path();
        // The macro's own example is no point.
        if path.is_dir() && !path.ends_with("testkit") && !path.ends_with("stdx") {
            collect(&path, names);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("read a source file");
            for piece in text.split("fail_point!(\"").skip(1) {
                names.extend(piece.split('"').next().map(str::to_owned));
            }
        }
    }
}
