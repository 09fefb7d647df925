//! OCI runtimes by name: the built-in one, those of the configuration, and `runc` and `crun` where the host has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use stdx::{Error, Result};

/// The name of the built-in runtime.
pub const BUILT_IN: &str = "gantry";
/// Names that nobody can give to another program: they mean the same everywhere.
pub const RESERVED: [&str; 2] = [BUILT_IN, "runc"];
/// containerd's name for what runs `runc`; clients of Docker say it, too.
const CONTAINERD_RUNC: &str = "io.containerd.runc.v2";
/// Where programs are when the daemon was started without `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Another runtime's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is; a name without slashes is looked up in the daemon's `PATH`.
    pub path: PathBuf,
    /// Arguments before the command.
    pub args: Vec<String>,
}

/// Who runs a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// The runtime in the shim.
    BuiltIn,
    /// This program, called by the shim.
    Other(Program),
}

/// The runtimes of a daemon; what is configured may change while it runs.
#[derive(Debug)]
pub struct Runtimes {
    set: RwLock<Arc<Set>>,
}

#[derive(Debug)]
struct Set {
    configured: BTreeMap<String, Program>,
    default: String,
}

impl Runtimes {
    /// The runtimes of a configuration; `default`: the one of containers that name none, empty for the built-in one.
    pub fn new(configured: BTreeMap<String, Program>, default: &str) -> Result<Self> {
        Ok(Self { set: RwLock::new(Arc::new(Set::checked(configured, default)?)) })
    }

    /// Takes over another configuration.
    pub fn reload(&self, configured: BTreeMap<String, Program>, default: &str) -> Result<()> {
        let new = Arc::new(Set::checked(configured, default)?);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The runtime that `name` means; the empty name means the default.
    ///
    /// # Errors
    /// `InvalidArgument` in Docker's words.
    pub fn find(&self, name: &str) -> Result<Runtime> {
        self.now().find(name)
    }

    /// The name of the runtime of containers that name none.
    pub fn default_name(&self) -> String {
        self.now().default.clone()
    }

    /// Every runtime's name and program; `None` for the built-in one.
    pub fn all(&self) -> Vec<(String, Option<Program>)> {
        let set = self.now();
        let own = [BUILT_IN, CONTAINERD_RUNC, "crun", "runc"];
        let names = own.into_iter().map(str::to_owned).chain(set.configured.keys().cloned());
        let names: std::collections::BTreeSet<String> = names.collect();
        let known = |name: String| match set.find(&name).ok()? {
            Runtime::BuiltIn => Some((name, None)),
            Runtime::Other(program) => Some((name, Some(program))),
        };
        names.into_iter().filter_map(known).collect()
    }

    fn now(&self) -> Arc<Set> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Set {
    fn checked(configured: BTreeMap<String, Program>, default: &str) -> Result<Self> {
        let default = if default.is_empty() { BUILT_IN } else { default }.to_owned();
        let set = Self { configured, default };
        if set.find(&set.default).is_err() {
            let text = format!("specified default runtime '{}' does not exist", set.default);
            return Err(Error::invalid(text));
        }
        Ok(set)
    }

    fn find(&self, name: &str) -> Result<Runtime> {
        let name = if name.is_empty() { self.default.as_str() } else { name };
        if let Some(program) = self.configured.get(name) {
            let found = look_up(&program.path).unwrap_or_else(|| program.path.clone());
            return Ok(Runtime::Other(Program { path: found, args: program.args.clone() }));
        }
        let on_host = |name: &str| {
            look_up(Path::new(name)).map(|path| Runtime::Other(Program { path, args: Vec::new() }))
        };
        match name {
            BUILT_IN => Ok(Runtime::BuiltIn),
            // Everything that was made for Docker may say its stock runtime's name; where there is no such program
            // what runs containers here is meant.
            "runc" | CONTAINERD_RUNC => Ok(on_host("runc").unwrap_or(Runtime::BuiltIn)),
            "crun" => on_host("crun").ok_or_else(|| unknown(name)),
            _ => Err(unknown(name)),
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!("unknown or invalid runtime name: {name}"))
}

/// The program at that path, or of that name in `PATH`.
fn look_up(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return Some(program.to_owned());
    }
    let path = std::env::var_os("PATH").filter(|p| !p.is_empty()).unwrap_or_else(|| PATH.into());
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str) -> Program {
        Program { path: path.into(), args: vec!["--debug".to_owned()] }
    }

    #[test]
    fn names_mean_programs() {
        let configured = BTreeMap::from([("mine".to_owned(), program("/opt/mine"))]);
        let runtimes = Runtimes::new(configured, "").unwrap();
        assert_eq!(runtimes.find("").unwrap(), Runtime::BuiltIn);
        assert_eq!(runtimes.find("gantry").unwrap(), Runtime::BuiltIn);
        assert_eq!(runtimes.find("mine").unwrap(), Runtime::Other(program("/opt/mine")));
        let error = runtimes.find("nope").unwrap_err().to_string();
        assert_eq!(error, "unknown or invalid runtime name: nope");
        assert_eq!(runtimes.default_name(), "gantry");
        assert!(runtimes.all().contains(&("gantry".to_owned(), None)));
        assert!(runtimes.all().contains(&("mine".to_owned(), Some(program("/opt/mine")))));
    }

    #[test]
    fn the_default_must_be_known_and_may_change() {
        let error = Runtimes::new(BTreeMap::new(), "mine").unwrap_err().to_string();
        assert_eq!(error, "specified default runtime 'mine' does not exist");
        let runtimes = Runtimes::new(BTreeMap::new(), "gantry").unwrap();
        let configured = BTreeMap::from([("mine".to_owned(), program("/opt/mine"))]);
        runtimes.reload(configured, "mine").unwrap();
        assert_eq!(runtimes.find("").unwrap(), Runtime::Other(program("/opt/mine")));
        runtimes.reload(BTreeMap::new(), "mine").unwrap_err();
        assert_eq!(runtimes.default_name(), "mine", "a mistake changes nothing");
    }

    #[test]
    fn names_without_slashes_are_looked_up() {
        assert!(look_up(Path::new("sh")).unwrap().is_absolute());
        assert_eq!(look_up(Path::new("no-such-program")), None);
        assert_eq!(look_up(Path::new("/no/such")), Some("/no/such".into()));
    }
}
