//! What the kernel says of memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// More than the list of counters is long: it is made anew for each read.
const LIST: usize = 32 * 1024;

/// The kernel's count of processes it has killed for want of memory, in whatever group.
pub(super) struct OomKills {
    counters: Option<File>,
    list: Vec<u8>,
}

impl OomKills {
    pub(super) fn new() -> Self {
        Self {
            counters: File::open("/proc/vmstat").ok(),
            list: vec![0; LIST],
        }
    }

    /// The count since the host started; 0 where the kernel does not say.
    pub(super) fn count(&mut self) -> u64 {
        let list = &mut self.list;
        self.counters
            .as_ref()
            .and_then(|counters| counters.read_at(list, 0).ok())
            .and_then(|length| std::str::from_utf8(&list[..length]).ok())
            .and_then(|list| list.rsplit_once("oom_kill ")?.1.lines().next()?.parse().ok())
            .unwrap_or_default()
    }
}
