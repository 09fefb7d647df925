//! Becoming somebody: groups, ids, capabilities.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::capability;
use crate::error::{Result, Step as _};
use crate::plan::process::ProcessPlan;
use crate::user::Identity;

/// Gives up every capability that the plan does not name, for good.
///
/// Ambient is cleared and inheritable stays empty unless the plan names them: a container's files must not give anyone
/// capabilities by exec (CVE-2022-24769 and its sisters). What the plan names but this process lacks is not there to be given.
pub(super) fn limit_bounding(plan: &ProcessPlan) -> Result<()> {
    rustix::thread::clear_ambient_capability_set().step(|| "clear ambient capabilities")?;
    for number in (0..capability::COUNT).filter(|n| plan.bounding & (1 << n) == 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The first number that this kernel does not have.
            Err(Errno::INVAL) => break,
            Err(e) => {
                return Err(e).step(|| format!("drop capability {number} from the bounding set"));
            }
        }
    }
    Ok(())
}

/// Takes on ids and capabilities. `keep`: a capability to have until exec beyond the plan's, which exec takes away: it
/// computes the sets anew from the bounding set (root) or empties them (others), see capabilities(7).
///
/// `no_groups`: the user namespace refuses setgroups, so whoever wants none gets none and nobody gets any.
pub(super) fn become_user(
    plan: &ProcessPlan,
    identity: &Identity,
    keep: u64,
    no_groups: bool,
) -> Result<()> {
    let had = rustix::thread::capabilities(None).step(|| "read capabilities")?.permitted.bits();
    let groups: Vec<Gid> = identity.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    if !no_groups || identity.groups.iter().any(|g| *g != identity.gid) {
        rustix::thread::set_thread_groups(&groups)
            .step(|| format!("set groups {:?}", identity.groups))?;
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .step(|| format!("become group {}", identity.gid))?;
    if identity.uid != 0 {
        // Without it the change from root to another user would clear what is wanted.
        rustix::thread::set_keep_capabilities(true).step(|| "keep capabilities")?;
    }
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .step(|| format!("become user {}", identity.uid))?;
    let permitted = (plan.permitted | keep) & had;
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain((plan.effective | keep) & permitted),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(plan.inheritable & had),
    };
    rustix::thread::set_capabilities(None, sets).step(|| "set capabilities")?;
    let ambient = plan.ambient & permitted;
    for number in (0..capability::COUNT).filter(|n| ambient & (1 << n) != 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::configure_capability_in_ambient_set(one, true)
            .step(|| format!("raise ambient capability {number}"))?;
    }
    Ok(())
}
