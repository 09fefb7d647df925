//! Giving memory back.

/// How far below the caller's frame the stack is left alone: more than one system call needs.
const KEPT: usize = 4 << 10;

/// How far down unused stack is looked for. Within the kernel's guard gap (256 pages) of whatever the stack has grown
/// to, so nothing else can be mapped there.
const RELEASED: usize = 512 << 10;

/// Gives the pages of this process's stack back that were used once and are not now.
///
/// For small processes that did something big at their start and then wait for most of their life. Does nothing in
/// another thread than the first, whose stack is no such mapping.
pub fn release_unused_stack() {
    if rustix::thread::gettid() != rustix::process::getpid() {
        return;
    }
    let marker = 0_u8;
    let page = rustix::param::page_size();
    let end = ((&raw const marker).addr().saturating_sub(KEPT)) & !(page - 1);
    let start = end.saturating_sub(RELEASED);
    // JUSTIFICATION: rustix's madvise is unsafe as well, and no safe crate knows what of a stack is unused.
    // SAFETY: the range lies below this function's frame by more than the red zone and all that this call needs, in the
    // first thread's stack or in its guard gap: no live object is there. Freed pages read as zeros when the stack
    // grows over them again. Parts that are not mapped are skipped by the kernel (ENOMEM, which says nothing more).
    unsafe {
        libc::madvise(
            std::ptr::with_exposed_provenance_mut(start),
            end - start,
            libc::MADV_DONTNEED,
        );
    }
}

/// Gives what was freed and is kept for the next allocation back to the kernel, of all threads' heaps. Takes
/// milliseconds after something large; other threads' allocations wait for parts of it.
pub fn trim() {
    // Other C libraries than GNU's give large pieces back by themselves, and have no such call.
    #[cfg(target_env = "gnu")]
    {
        // JUSTIFICATION: there is no safe way to the C library's allocator.
        // SAFETY: malloc_trim takes the allocator's own locks and touches free memory only.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn another_thread_is_left_alone() {
        let deep = [7_u8; 4096];
        super::release_unused_stack();
        assert!(deep.iter().all(|b| *b == 7));
    }
}
