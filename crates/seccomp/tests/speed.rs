//! How long compiling takes; the figure is printed (`--nocapture`), only the order of magnitude is asserted.

use std::time::Instant;

use seccomp::{Arch, Kernel, Profile, Strictness, compile};

#[test]
fn compiling_the_built_in_profile() {
    let kernel = Kernel { major: 6, minor: 1 };
    let caps = ["CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_CHROOT"];
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        let filter = Profile::builtin(Strictness::Default).resolve(&caps, Arch::X86_64, kernel);
        let resolved = start.elapsed();
        let program = compile(&filter, Arch::X86_64).unwrap();
        times.push((start.elapsed(), resolved, program.instructions()));
    }
    times.sort_unstable();
    let (total, resolved, instructions) = times[times.len() / 2];
    println!(
        "built-in profile: {total:?} of which resolving {resolved:?}; {instructions} instructions"
    );
    assert!(total.as_millis() < 50, "{total:?}");
}
