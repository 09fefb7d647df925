//! Layer archives to directories and back, never leaving their root.
//!
//! A layer is a tar of what changed; this crate writes it as the upper directory of an overlay mount wants it:
//!
//! | in the archive | in the directory | source |
//! |---|---|---|
//! | `dir/.wh.name` | `dir/name`, a character device 0:0 | OCI image spec, "Whiteouts"; kernel `overlayfs.rst` |
//! | `dir/.wh..wh..opq` | `trusted.overlay.opaque=y` on `dir` | the same, "Opaque Whiteout" |
//! | everything else | itself | |
//!
//! # Story
//!
//! ```text
//!   thread "inflate"            this thread
//!   reader → gzip/zstd/plain ─▶ tar::Reader → Unpacker → files beneath the directory
//!                     └───────▶ thread "digest": sha256 of the uncompressed bytes = diff id
//! ```
//! [`apply`] must run where it can do no harm if it is wrong: on a [`sys::jail`] thread. [`apply_jailed`] does so.
//!
//! # Invariants
//!
//! - Every path is resolved by the kernel with the layer's directory as root ([`sys::dir`]); owners, modes and attributes
//!   are set through descriptors, never through links (CVE-2021-32760, RUSTSEC-2026-0067).
//! - The directory holds this layer alone. What a whiteout or a missing parent directory means for layers below is said,
//!   not looked up: [`inherit`] gives directories that the archive only implied the looks of the ones they cover.
//! - What the archive asks for is counted while it streams ([`Limits`]).

mod apply;
mod clip;
mod decompress;
mod extract;
mod inherit;
mod limits;
mod pack;
mod parents;
mod pipeline;
mod unpack;
mod xattrs;

pub use apply::{Applied, Options, apply, apply_jailed};
pub use decompress::{Compression, Decompressed, decompress};
pub use extract::{Extract, extract};
pub use inherit::inherit;
pub use limits::Limits;
pub use pack::{Pack, Skip, is_kernels, is_opaque, pack, pack_one};
