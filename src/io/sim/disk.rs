//! The simulated disk: directories that keep apart the names of now and the durable ones, and the files they name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::contents::{FILE_BYTES_MAX, PAGE_BYTES, digest, mix, pages_of};
use super::inode::Inode;
use super::survival::Fates;

/// Identifies a file whatever its name.
pub(super) type FileId = u64;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Directory,
}

/// A change of a directory that no sync of it has covered.
#[derive(Clone)]
enum NameChange {
    Add { name: String, node: Node },
    Rename { from: String, to: String, node: Node },
    Remove { name: String },
}

impl NameChange {
    fn names(&self) -> [&str; 2] {
        match self {
            Self::Add { name, .. } | Self::Remove { name } => [name, name],
            Self::Rename { from, to, .. } => [from, to],
        }
    }

    fn apply(&self, names: &mut Names) {
        let names = Arc::make_mut(names);
        match self {
            Self::Add { name, node } => _ = names.insert(name.clone(), *node),
            Self::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
            Self::Remove { name } => _ = names.remove(name),
        }
    }
}

/// Names, shared by copies of a disk until one of them changes.
type Names = Arc<BTreeMap<String, Node>>;

#[derive(Clone, Default)]
pub(super) struct Directory {
    /// The names that everybody sees.
    pub(super) names: Names,
    /// The names on the disk.
    durable: Names,
    unsynced: Vec<NameChange>,
    /// When the operations were issued that made them.
    pub(super) uncovered: Vec<u64>,
    /// When the operation was issued that changes the directory now.
    now: u64,
}

impl Directory {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
        self.uncovered.push(self.now);
    }

    fn settle(&mut self) {
        self.durable = Arc::clone(&self.names);
        self.unsynced.clear();
        self.uncovered.clear();
    }

    /// Whether power loss could bring the file back.
    fn may_name(&self, id: FileId) -> bool {
        let node = Node::File(id);
        self.durable.values().any(|other| *other == node)
            || self.unsynced.iter().any(|change| match change {
                NameChange::Add { node: other, .. } | NameChange::Rename { node: other, .. } => *other == node,
                NameChange::Remove { .. } => false,
            })
    }

    /// The names that power loss leaves. Changes survive independently, but one that survives brings along the
    /// earlier ones of the same names: else a rename could lose the file that it moved.
    fn after_power_cut(&self, fates: &mut Fates<'_>) -> Names {
        let mut survive: Vec<bool> = self.unsynced.iter().map(|_| fates.name()).collect();
        let mut needed = BTreeSet::new();
        for (change, survives) in self.unsynced.iter().zip(&mut survive).rev() {
            *survives |= change.names().iter().any(|name| needed.contains(name));
            if *survives {
                needed.extend(change.names());
            }
        }
        let mut names = Arc::clone(&self.durable);
        for (change, _) in self.unsynced.iter().zip(survive).filter(|(_, survives)| *survives) {
            change.apply(&mut names);
        }
        names
    }
}

/// Directories by their path, `""` being the root, and files.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) directories: BTreeMap<String, Directory>,
    files: BTreeMap<FileId, Inode>,
    files_made: u64,
    /// Ticks when an operation is issued, and when it returns.
    pub(super) clock: u64,
    /// Room for file contents, bytes.
    pub(super) capacity: Option<u64>,
}

impl Default for Disk {
    fn default() -> Self {
        let root = (String::new(), Directory::default());
        Self { directories: BTreeMap::from([root]), files: BTreeMap::new(), files_made: 0, clock: 0, capacity: None }
    }
}

/// A path as the disk spells it: `/a/b`. Relative paths begin at the root.
pub(super) fn key(path: &Path) -> Arc<str> {
    // As nearly all are spelled already.
    if let Some(spelled) = path.to_str().filter(|path| path.starts_with('/') && is_plain(path)) {
        return spelled.into();
    }
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy()),
            Component::ParentDir => _ = names.pop(),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    names.iter().fold(String::new(), |key, name| key + "/" + name).into()
}

/// Whether a path has no parts but names.
fn is_plain(path: &str) -> bool {
    !cfg!(windows) && path.split('/').skip(1).all(|name| !matches!(name, "" | "." | ".."))
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", ""))
}

pub(super) fn fail<T>(kind: io::ErrorKind, key: &str, why: &str) -> io::Result<T> {
    Err(io::Error::new(kind, format!("simulated disk: {why}: {key}")))
}

impl Disk {
    pub(super) fn node(&self, key: &str) -> Option<Node> {
        if key.is_empty() {
            return Some(Node::Directory);
        }
        let (dir, name) = split(key);
        self.directories.get(dir)?.names.get(name).copied()
    }

    /// The file that a path names.
    pub(super) fn file_at(&self, key: &str) -> io::Result<FileId> {
        match self.node(key) {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Directory) => fail(io::ErrorKind::IsADirectory, key, "is a directory"),
            None => fail(io::ErrorKind::NotFound, key, "no such file"),
        }
    }

    pub(super) fn directory(&mut self, key: &str) -> io::Result<&mut Directory> {
        if let Some(Node::File(_)) = self.node(key) {
            return fail(io::ErrorKind::NotADirectory, key, "is no directory");
        }
        match self.directories.get_mut(key) {
            Some(directory) => {
                directory.now = self.clock;
                Ok(directory)
            }
            None => fail(io::ErrorKind::NotFound, key, "no such directory"),
        }
    }

    pub(super) fn file(&mut self, id: FileId) -> io::Result<&mut Inode> {
        match self.files.get_mut(&id) {
            Some(inode) => {
                inode.now = self.clock;
                Ok(inode)
            }
            None => fail(io::ErrorKind::NotFound, "", "the file is gone"),
        }
    }

    /// Makes an empty file, or finds the one that is there.
    pub(super) fn create_file(&mut self, key: &str) -> io::Result<FileId> {
        if self.node(key).is_some() {
            return self.file_at(key);
        }
        let (dir, name) = split(key);
        let id = self.files_made;
        self.directory(dir)?.change(NameChange::Add { name: name.to_owned(), node: Node::File(id) });
        self.files_made += 1;
        self.files.insert(id, Inode::empty());
        Ok(id)
    }

    pub(super) fn create_directory(&mut self, key: &str) -> io::Result<()> {
        let (dir, name) = split(key);
        match self.node(key) {
            Some(Node::Directory) => return Ok(()),
            Some(Node::File(_)) => return fail(io::ErrorKind::AlreadyExists, key, "is a file"),
            None => self.directory(dir)?.change(NameChange::Add { name: name.to_owned(), node: Node::Directory }),
        }
        self.directories.insert(key.to_owned(), Directory::default());
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = self.file_at(from)?;
        let (from_dir, from_name) = split(from);
        let (to_dir, to_name) = split(to);
        if from_dir != to_dir {
            return fail(io::ErrorKind::CrossesDevices, to, "no renames into other directories");
        }
        if from == to {
            return Ok(());
        }
        let replaced = if self.node(to).is_some() { Some(self.file_at(to)?) } else { None };
        let (from, to, node) = (from_name.to_owned(), to_name.to_owned(), Node::File(id));
        self.directory(from_dir)?.change(NameChange::Rename { from, to, node });
        self.forget_name(replaced);
        Ok(())
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = self.file_at(from)?;
        if self.node(to).is_some() {
            return fail(io::ErrorKind::AlreadyExists, to, "the name is taken");
        }
        let (dir, name) = split(to);
        self.directory(dir)?.change(NameChange::Add { name: name.to_owned(), node: Node::File(id) });
        Ok(())
    }

    /// How many names a file has now.
    pub(super) fn names_of(&self, id: FileId) -> u64 {
        let named = |directory: &Directory| directory.names.values().filter(|node| **node == Node::File(id)).count();
        self.directories.values().map(named).sum::<usize>() as u64
    }

    pub(super) fn remove(&mut self, key: &str) -> io::Result<()> {
        let id = self.file_at(key)?;
        let (dir, name) = split(key);
        self.directory(dir)?.change(NameChange::Remove { name: name.to_owned() });
        self.forget_name(Some(id));
        Ok(())
    }

    fn forget_name(&mut self, id: Option<FileId>) {
        let Some(id) = id else { return };
        let named = self.names_of(id) > 0;
        if let Some(inode) = self.files.get_mut(&id) {
            inode.named = named;
        }
    }

    /// Makes a directory's names durable.
    pub(super) fn sync_directory(&mut self, key: &str) -> io::Result<()> {
        self.directory(key)?.settle();
        self.drop_unreachable();
        Ok(())
    }

    /// Frees the files that nobody can reach any more, not even after power loss.
    pub(super) fn drop_unreachable(&mut self) {
        let directories = &self.directories;
        self.files.retain(|id, inode| {
            inode.named || inode.handles > 0 || directories.values().any(|directory| directory.may_name(*id))
        });
    }

    /// Gives back a handle.
    pub(super) fn close(&mut self, id: FileId) {
        if let Some(inode) = self.files.get_mut(&id) {
            inode.handles = inode.handles.saturating_sub(1);
            if !inode.named {
                self.drop_unreachable();
            }
        }
    }

    /// Writes what there is room for; how many bytes.
    pub(super) fn write(&mut self, id: FileId, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if end > FILE_BYTES_MAX {
            return fail(io::ErrorKind::FileTooLarge, "", "offset beyond the largest file");
        }
        let mut free = self.pages_free();
        let inode = self.file(id)?;
        let mut room = 0;
        for (page, place) in pages_of(offset..end) {
            if !inode.is_allocated(page) {
                if free == 0 {
                    break;
                }
                free -= 1;
                inode.allocate(page);
            }
            room += place.len();
        }
        if room == 0 {
            return fail(io::ErrorKind::StorageFull, "", "no space left");
        }
        inode.write(bytes.get(..room).unwrap_or(bytes), offset);
        Ok(room)
    }

    /// Reserves the first `len` bytes, or nothing.
    pub(super) fn allocate(&mut self, id: FileId, len: u64) -> io::Result<()> {
        if len > FILE_BYTES_MAX {
            return fail(io::ErrorKind::FileTooLarge, "", "size beyond the largest file");
        }
        let free = self.pages_free();
        let inode = self.file(id)?;
        let missing: Vec<_> =
            pages_of(0..len).map(|(page, _)| page).filter(|page| !inode.is_allocated(*page)).collect();
        if missing.len() as u64 > free {
            return fail(io::ErrorKind::StorageFull, "", "no space left to reserve");
        }
        for page in missing {
            inode.allocate(page);
        }
        if len > inode.cache.len() {
            inode.set_len(len);
        }
        Ok(())
    }

    pub(super) fn pages_used(&self) -> u64 {
        let holding = self.files.values().filter(|inode| inode.named || inode.handles > 0);
        holding.map(Inode::pages_allocated).sum()
    }

    fn pages_free(&self) -> u64 {
        match self.capacity {
            Some(capacity) => (capacity / PAGE_BYTES as u64).saturating_sub(self.pages_used()),
            None => u64::MAX,
        }
    }

    /// Unsynced changes of bytes and sizes, and of names.
    pub(super) fn unsynced(&self) -> (usize, usize) {
        let changes = self.files.values().map(|inode| inode.unsynced.len()).sum();
        (changes, self.directories.values().map(|directory| directory.unsynced.len()).sum())
    }

    /// When the operations were issued that no sync has covered and none gave up.
    pub(super) fn uncovered(&self) -> BTreeSet<u64> {
        let names = self.directories.values().flat_map(|directory| directory.uncovered.iter().copied());
        names.chain(self.files.values().flat_map(|inode| inode.uncovered(u64::MAX))).collect()
    }

    /// The paths of all files, in order.
    pub(super) fn file_keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for (dir, directory) in &self.directories {
            let files = directory.names.iter().filter(|(_, node)| matches!(node, Node::File(_)));
            keys.extend(files.map(|(name, _)| format!("{dir}/{name}")));
        }
        keys
    }

    /// The same disk without its users.
    pub(super) fn without_handles(&self) -> Self {
        let mut disk = self.clone();
        disk.files.values_mut().for_each(|inode| inode.handles = 0);
        disk.drop_unreachable();
        disk
    }

    /// A disk at rest that power loss may leave.
    pub(super) fn after_power_cut(&self, fates: &mut Fates<'_>) -> Self {
        let mut left = Self { files_made: self.files_made, capacity: self.capacity, ..Self::default() };
        // A parent comes before its children.
        for (dir, directory) in &self.directories {
            let kept = dir.is_empty() || left.node(dir) == Some(Node::Directory);
            if !kept {
                continue;
            }
            let names = directory.after_power_cut(fates);
            for node in names.values() {
                if let Node::File(id) = node
                    && let Some(inode) = self.files.get(id)
                    // By another name it is there already.
                    && !left.files.contains_key(id)
                {
                    left.files.insert(*id, inode.after_power_cut(fates));
                }
            }
            let settled = Directory { durable: Arc::clone(&names), names, ..Directory::default() };
            left.directories.insert(dir.clone(), settled);
        }
        left
    }

    /// A digest of all names and contents as they are seen now.
    pub(super) fn digest(&self) -> u64 {
        let mut sum = 0;
        for (dir, directory) in &self.directories {
            sum = mix(sum, digest(dir.as_bytes()));
            for (name, node) in directory.names.iter() {
                sum = mix(sum, digest(name.as_bytes()));
                sum = match node {
                    Node::Directory => mix(sum, 0),
                    Node::File(id) => mix(sum, self.files.get(id).map_or(0, |inode| inode.cache.digest())),
                };
            }
        }
        sum
    }

    /// Replaces a file's contents, as if they had always been there; the file, its name and its directories included.
    pub(super) fn put_file(&mut self, key: &str, bytes: &[u8]) -> io::Result<()> {
        for (at, _) in key.match_indices('/').skip(1) {
            self.create_directory(&key[..at])?;
            self.directory(split(&key[..at]).0)?.settle();
        }
        let id = self.create_file(key)?;
        self.directory(split(key).0)?.settle();
        let inode = self.file(id)?;
        inode.sync(u64::MAX);
        inode.set_len(0);
        inode.write(bytes, 0);
        for (page, _) in pages_of(0..bytes.len() as u64) {
            inode.allocate(page);
        }
        inode.sync(u64::MAX);
        self.drop_unreachable();
        Ok(())
    }

    /// Removes a file, as if it had never been there.
    pub(super) fn lose_file(&mut self, key: &str) -> io::Result<()> {
        self.remove(key)?;
        self.sync_directory(split(key).0)
    }
}
