//! The C library's allocator, told to give memory back.
//!
//! By default glibc keeps an arena for each thread, up to eight for each processor, and once a large block was freed it takes
//! later ones from the arenas too. Under load that doubles what the process holds (docs/decisions/0014). The only unsafe code
//! of the project; other C libraries need no such thing.

/// Blocks of so many bytes are mapped on their own and given back when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES: i32 = 256 << 10;

/// As many arenas as processors, and large blocks on their own; what the operator set in the environment stays. Before there are other
/// threads, for arenas that are there already stay.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "glibc has these settings in no other form")]
pub fn settle_allocator() {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let settings = [
        ("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, i32::try_from(processors).unwrap_or(i32::MAX)),
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
    ];
    for (variable, parameter, value) in settings {
        if std::env::var_os(variable).is_none() {
            // SAFETY: mallopt takes two numbers, locks the allocator while it sets one of its parameters, and touches no memory of
            // ours. It may be called at any time.
            let _set_or_unknown = unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Nothing to do.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn settle_allocator() {}
