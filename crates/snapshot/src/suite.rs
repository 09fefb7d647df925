//! Checks that every storage driver must pass, after containerd's suite for its snapshotters.
//!
//! They mount for real, detached: nothing appears in anybody's mount table and nothing has to be unmounted. Root is
//! needed. A driver's own test is `snapshot::suite::run("name", |root| Box::new(Driver::open(root).expect("open")))`.

mod content;
mod mounted;
mod rules;

pub use mounted::Mounted;

use crate::{Key, Name, Snapshotter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Opens the driver under test on a directory, which may hold a store already.
pub type Open<'a> = &'a dyn Fn(&Path) -> Box<dyn Snapshotter>;

/// One check: a sentence and what proves it.
type Check = (&'static str, fn(&mut Stage<'_>));

const CHECKS: &[Check] = &[
    ("a snapshot without parent is empty and writable", content::empty_and_writable),
    ("a child sees its parent, which never changes", content::child_sees_parent),
    ("what is removed or replaced stays so in children", content::removals_are_kept),
    ("attributes and links survive a commit", content::attributes_survive),
    ("the root directory looks like the parent's", content::root_looks_like_parent),
    ("a view cannot be written", content::view_is_read_only),
    ("128 layers read as one tree", content::many_layers),
    ("what is written without mounting is in the layer", content::written_without_mounting),
    ("layers made side by side are put on one another", content::rebase),
    ("keys and names exist once", rules::exist_once),
    ("what is not there is not found", rules::not_found),
    ("views are not committed", rules::views_stay_views),
    ("a parent is not removed before its children", rules::parents_stay),
    ("a reopened store is the same", rules::reopened),
    ("unowned snapshots are swept, missing ones told", rules::swept),
    ("the trash is emptied", rules::trash),
    ("usage counts the snapshot alone", rules::usage),
    ("walking shows parents first", rules::walk),
    ("of many commits of one name one succeeds", rules::racing_commits),
    ("a commit is visible when it is whole", rules::whole_when_visible),
];

/// Runs every check on a fresh store of its own and panics with the sentences of those that failed.
pub fn run(driver: &str, open: impl Fn(&Path) -> Box<dyn Snapshotter>) {
    let mut failed = Vec::new();
    for (sentence, check) in CHECKS {
        let mut stage = Stage::new(driver, &open);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut stage)));
        if outcome.is_err() {
            failed.push(*sentence);
        }
    }
    assert!(failed.is_empty(), "{driver} fails: {}", failed.join("; "));
}

/// One check's store.
struct Stage<'a> {
    root: PathBuf,
    open: Open<'a>,
    store: Box<dyn Snapshotter>,
}

impl<'a> Stage<'a> {
    fn new(driver: &str, open: Open<'a>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("suite-{driver}-{}-{number}", std::process::id()));
        drop(std::fs::remove_dir_all(&root));
        std::fs::create_dir_all(&root).expect("make a directory for the suite");
        let store = open(&root);
        Self { root, open, store }
    }

    /// The same store, opened again as a new process would.
    fn reopen(&mut self) {
        self.store = (self.open)(&self.root);
    }

    /// Prepares, mounts, lets `work` write, unmounts, commits.
    fn layer(&self, name: &str, parent: Option<&str>, work: impl FnOnce(&Path)) -> Name {
        let key = key(&format!("making-{name}"));
        let mounts = self.store.prepare(&key, parent.map(self::name).as_ref()).expect("prepare");
        work(Mounted::new(&mounts).path());
        let name = self::name(name);
        self.store.commit(&name, &key).expect("commit");
        name
    }

    /// Shows a throw-away view of `parent` to `look`.
    fn look(&self, parent: &str, look: impl FnOnce(&Path)) {
        let key = key(&format!("looking-at-{parent}"));
        let mounts = self.store.view(&key, Some(&name(parent))).expect("view");
        look(Mounted::new(&mounts).path());
        self.store.remove_active(&key).expect("remove the view");
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.root));
    }
}

fn key(text: &str) -> Key {
    Key::new(text).expect("the suite's keys are valid")
}

fn name(text: &str) -> Name {
    Name::new(text).expect("the suite's names are valid")
}
