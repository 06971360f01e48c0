//! What was asked of the disk, and what of it is durable.

use std::path::Path;

use raft_journal::io::sim::OperationKind;
use raft_journal::io::{Fs, write_all_at};

use crate::{FILE, disk_with};

#[test]
fn operations_are_counted_and_logged() {
    let (disk, file) = disk_with(b"");
    let before = disk.counts();
    write_all_at(&*file, &[0; 100], 7).unwrap();
    file.sync_data().unwrap();
    file.read_at(&mut [0; 200], 0).unwrap();
    disk.sync_dir(Path::new("/journal")).unwrap();
    let counts = disk.counts() - before;
    assert_eq!((counts.writes, counts.bytes_written, counts.syncs, counts.dir_syncs), (1, 100, 1, 1));
    assert_eq!((counts.reads, counts.bytes_read, counts.creates), (1, 107, 0));
    assert_eq!(disk.mutations(), 3);
    let log = disk.operations();
    let write = log.iter().find(|operation| operation.kind == OperationKind::Write).unwrap();
    assert_eq!((write.path.as_path(), write.offset, write.len, write.mutations_before), (Path::new(FILE), 7, 100, 0));
    assert_eq!(log.last().unwrap().kind, OperationKind::SyncDirectory);
    assert_eq!(disk.unsynced(), (0, 0));
}
