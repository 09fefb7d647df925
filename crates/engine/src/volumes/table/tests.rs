//! Who uses what, with a real store and a driver that does nothing.

use super::*;
use std::path::Path;
use stdx::Kind;

#[derive(Debug)]
struct Nothing;

impl volume::Driver for Nothing {
    fn create(&self, name: &volume::Name, _: &volume::Options, _: Durability) -> Result<()> {
        if name.as_str() == "full" {
            return Err(Error::new(Kind::NoSpace, "no space left"));
        }
        Ok(())
    }
    fn remove(&self, _: &volume::Name) -> Result<()> {
        Ok(())
    }
    fn mount(&self, name: &volume::Name, _: &str) -> Result<PathBuf> {
        self.path(name)
    }
    fn unmount(&self, _: &volume::Name, _: &str) -> Result<()> {
        Ok(())
    }
    fn path(&self, name: &volume::Name) -> Result<PathBuf> {
        Ok(Path::new("/volumes").join(name.as_str()))
    }
    fn usage(&self, _: &volume::Name) -> Result<u64> {
        Ok(0)
    }
    fn list(&self) -> Result<Vec<volume::Name>> {
        Ok(Vec::new())
    }
}

fn table(dir: &Path) -> Volumes {
    let store = Arc::new(Store::open(&dir.join("store")).unwrap());
    let events = Arc::new(Events::new());
    Volumes::open(store, Arc::new(Nothing), events, &HashMap::new()).unwrap()
}

fn wanted(name: &str, anonymous: bool) -> Wanted {
    Wanted { name: name.to_owned(), anonymous, ..Wanted::default() }
}

fn names(volumes: &Volumes) -> Vec<String> {
    volumes.all().into_iter().map(|v| format!("{}:{}", v.record.name, v.users)).collect()
}

#[test]
fn what_is_used_stays() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = table(dir.path());
    volumes.create(&wanted("data", false)).unwrap();
    volumes.create(&wanted("data", false)).unwrap();
    let both = [wanted("data", false), wanted("own", true)];
    let new = volumes.acquire("c1", &both, Durability::Power).unwrap();
    assert_eq!(new.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["own"]);
    volumes.stored(&new);
    volumes.acquire("c2", &both[..1], Durability::Power).unwrap();
    assert_eq!(names(&volumes), ["data:2", "own:1"]);
    let error = volumes.remove("data").unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::Conflict, "remove data: volume is in use - [c1, c2]")
    );
    assert_eq!(volumes.remove("none").unwrap_err().message(), "get none: no such volume");
    // What goes with its container is closed to others from then on.
    assert_eq!(volumes.claim("c1", ["data", "own"].into_iter()), ["own"]);
    let refused = volumes.acquire("c3", &both[1..], Durability::Power).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict);
    volumes.keep(&["own".to_owned()]);
    volumes.acquire("c3", &both[1..], Durability::Power).unwrap();
    assert!(volumes.claim("c1", ["own"].into_iter()).is_empty(), "another uses it");
    volumes.release("c3", ["own"].into_iter());
    assert_eq!(volumes.claim("c1", ["data", "own"].into_iter()), ["own"]);
    volumes.release("c1", ["data", "own"].into_iter());
    assert_eq!(names(&volumes), ["data:1"]);
    volumes.release("c2", ["data"].into_iter());
    volumes.remove("data").unwrap();
    assert!(names(&volumes).is_empty());
}

#[test]
fn a_container_that_fails_to_be_made_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = table(dir.path());
    volumes.create(&wanted("data", false)).unwrap();
    let all = [wanted("data", false), wanted("fresh", false), wanted("full", false)];
    let error = volumes.acquire("c1", &all, Durability::Process).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace);
    assert_eq!(names(&volumes), ["data:0"]);
    let short = "volume name is too short, names should be at least two alphanumeric characters";
    for (driver, name, text) in [
        ("foo", "vv", "error looking up volume plugin foo: plugin \"foo\" not found"),
        ("", "a", short),
    ] {
        let wanted = Wanted { driver: driver.to_owned(), ..wanted(name, false) };
        let error = volumes.create(&wanted).unwrap_err();
        assert_eq!(error.to_string(), format!("create {name}: {text}"));
    }
}
