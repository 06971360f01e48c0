//! Disks around other disks: the calls that are passed on as they are.

/// In an `impl Fs` or `impl File`: these calls go to what is in this field.
macro_rules! pass_on {
    ($below:tt:) => {};
    ($below:tt: create_dir $($rest:tt)*) => {
        fn create_dir(&self, path: &std::path::Path) -> std::io::Result<()> {
            self.$below.create_dir(path)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: kind $($rest:tt)*) => {
        fn kind(&self, path: &std::path::Path) -> std::io::Result<raft_journal::io::PathKind> {
            self.$below.kind(path)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: list $($rest:tt)*) => {
        fn list(&self, dir: &std::path::Path) -> std::io::Result<Vec<String>> {
            self.$below.list(dir)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: rename $($rest:tt)*) => {
        fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
            self.$below.rename(from, to)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: remove $($rest:tt)*) => {
        fn remove(&self, path: &std::path::Path) -> std::io::Result<()> {
            self.$below.remove(path)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: sync_dir $($rest:tt)*) => {
        fn sync_dir(&self, dir: &std::path::Path) -> std::io::Result<()> {
            self.$below.sync_dir(dir)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: lock $($rest:tt)*) => {
        fn lock(&self, path: &std::path::Path) -> std::io::Result<Option<Box<dyn Send + Sync>>> {
            self.$below.lock(path)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: entropy $($rest:tt)*) => {
        fn entropy(&self) -> u64 {
            self.$below.entropy()
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: tasks $($rest:tt)*) => {
        fn tasks(&self) -> std::sync::Arc<dyn raft_journal::io::Tasks> {
            self.$below.tasks()
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: read_at $($rest:tt)*) => {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.$below.read_at(buffer, offset)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: write_at $($rest:tt)*) => {
        fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
            self.$below.write_at(bytes, offset)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: sync_data $($rest:tt)*) => {
        fn sync_data(&self) -> std::io::Result<()> {
            self.$below.sync_data()
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: len $($rest:tt)*) => {
        fn len(&self) -> std::io::Result<u64> {
            self.$below.len()
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: set_len $($rest:tt)*) => {
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.$below.set_len(len)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: allocate $($rest:tt)*) => {
        fn allocate(&self, len: u64) -> std::io::Result<()> {
            self.$below.allocate(len)
        }
        pass_on!($below: $($rest)*);
    };
    ($below:tt: drop_cache $($rest:tt)*) => {
        fn drop_cache(&self, range: std::ops::Range<u64>) -> std::io::Result<bool> {
            self.$below.drop_cache(range)
        }
        pass_on!($below: $($rest)*);
    };
}

pub(crate) use pass_on;
