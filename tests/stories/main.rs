//! User stories through the real programs: one module per story.

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a skipped story says why")]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::disallowed_methods, reason = "they wait and start programs as users do")]

mod again;
mod announced;
mod compat;
mod compose;
mod edges;
mod egress;
mod figures;
mod files;
mod flags;
mod floods;
mod gateways;
mod health;
mod hostile;
mod images;
mod isolation;
mod lan;
mod life;
mod limits;
mod links;
mod logs;
mod network;
mod networks;
mod nospace;
mod options;
mod plugins;
mod races;
mod restart;
mod run;
mod runtimes;
mod secure;
mod slow;
mod storm;
mod strict;
mod terminal;
mod userns;
mod volumes;
mod websocket;

/// A moment that all events so far are before, in whole seconds since 1970: what happened in the second that has begun
/// is after "now", for Docker as for us.
fn a_moment_from_now() -> String {
    (stdx::time::Timestamp::now().unix_seconds() + 1).to_string()
}
