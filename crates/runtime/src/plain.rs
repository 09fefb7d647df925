//! A process as every OCI runtime understands it: our extensions of the specification resolved, and nothing asked for
//! that this machine cannot give.

use crate::error::{Result, Step as _};
use crate::plan::process::resource;
use crate::user::{Wanted, name, resolve};
use oci::runtime::{Process, Rlimit, User};
use rustix::thread::CapabilitySet;
use sys::dir::Dir;

/// Puts ids in the place of names that only the files of the container with this root know, and clips resource limits
/// to what this process may give.
///
/// # Errors
/// [`crate::Error::User`] in Docker's words, and what reading the files says.
pub fn plain(process: &Process, root: &Dir) -> Result<Process> {
    let user = &process.user;
    let wanted = match &user.username {
        Some(text) => Wanted::parse(text)?,
        None => Wanted::Ids { uid: user.uid, gid: user.gid },
    };
    let names = user
        .additional_groups
        .iter()
        .filter_map(|group| name(group).transpose())
        .collect::<Result<Vec<_>>>()?;
    let identity = resolve(root, &wanted, &user.additional_gids, &names)?;
    let capabilities = rustix::thread::capabilities(None).step(|| "read capabilities")?;
    let mut plain = process.clone();
    plain.user = User {
        uid: identity.uid,
        gid: identity.gid,
        umask: user.umask,
        additional_gids: identity.groups,
        ..User::default()
    };
    if !capabilities.effective.contains(CapabilitySet::SYS_RESOURCE) {
        plain.rlimits.iter_mut().for_each(clip);
    }
    Ok(plain)
}

/// Nobody without `CAP_SYS_RESOURCE` can raise a hard limit: what is more than ours becomes ours, as with our own
/// containers.
fn clip(limit: &mut Rlimit) {
    let own = resource(&limit.kind).and_then(|r| rustix::process::getrlimit(r).maximum);
    if let Some(own) = own {
        limit.hard = limit.hard.min(own);
        limit.soft = limit.soft.min(limit.hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join("etc").join(name), text).unwrap();
        };
        write("passwd", "u:x:7:8:u:/home/u:/bin/sh\n");
        write("group", "g:x:8:\nmore:x:9:u\nthird:x:10:\n");
        let root = Dir::open(folder.path()).unwrap();
        let process = |user: &str| Process {
            user: User {
                username: Some(user.to_owned()),
                additional_groups: vec!["third".to_owned(), "11".to_owned()],
                ..User::default()
            },
            ..Process::default()
        };
        let user = plain(&process("u"), &root).unwrap().user;
        let additional_gids = vec![8, 9, 10, 11];
        assert_eq!(user, User { uid: 7, gid: 8, additional_gids, ..User::default() });
        let error = plain(&process("nobody"), &root).unwrap_err().to_string();
        assert_eq!(error, "unable to find user nobody: no matching entries in passwd file");
    }

    #[test]
    fn limits_are_clipped_to_ones_own() {
        let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let mut limit = Rlimit { kind: "RLIMIT_NOFILE".into(), soft: u64::MAX, hard: u64::MAX };
        clip(&mut limit);
        assert_eq!(limit.hard, own.unwrap_or(u64::MAX));
        assert_eq!(limit.soft, limit.hard);
    }
}
