//! A write at a place of a file, all of it.

use std::fs::File;

#[cfg(unix)]
pub fn pwrite(file: &File, bytes: &[u8], offset: u64) {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset).expect("a write");
}

#[cfg(windows)]
pub fn pwrite(file: &File, bytes: &[u8], offset: u64) {
    assert_eq!(std::os::windows::fs::FileExt::seek_write(file, bytes, offset).expect("a write"), bytes.len());
}
