//! Atomic writes and locks: the only place that creates or removes files.
//!
//! A file appears whole or not at all: it is written as a sibling named `.tmp-*`, flushed to the disk, renamed over its
//! final name, and the folder is flushed as well, so that the name survives a power cut too.

use crate::{Error, Result, storage::Publish};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

/// How often, and how long apart, a lock that is to be shared is asked for.
const SHARE_TRIES: u32 = 100;
const SHARE_PAUSE: Duration = Duration::from_millis(20);

/// Every temporary file's name starts with this; a killed process can leave one behind, readers never look at it.
pub const TEMP_PREFIX: &str = ".tmp-";

/// A file under construction: removed when dropped, kept under its final name by [`TempFile::persist`].
#[derive(Debug)]
pub struct TempFile {
    file: File,
    path: PathBuf,
    /// What messages show: the temporary name says nothing to the user.
    shown: PathBuf,
    kept: bool,
}

impl TempFile {
    /// Creates `folder/.tmp-<label>-<process id>-<number>`. The label is the name that the file will have, or what is in it.
    /// While it is under construction it is locked, so that [`remove_abandoned`] leaves it.
    ///
    /// # Errors
    /// [`Error::Io`] naming `folder/<label>`.
    pub fn create(folder: &Path, label: &str) -> Result<Self> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = CREATED.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{TEMP_PREFIX}{label}-{}-{number}", std::process::id()));
            let file = match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => file,
                // A killed process of the same id left it, or one on another machine or in another container writes it.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::io(folder.join(label), "create", e)),
            };
            // Where the file system has no locks, nothing is taken for abandoned either.
            let locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            // Between our creating and our locking it may have been taken for abandoned.
            if locked && is_same_file(&file, &path) {
                return Ok(Self { file, path, shown: folder.join(label), kept: false });
            }
        }
    }

    /// The file's name in messages.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Writes all bytes at a place of the file; threads may write to different places at once.
    ///
    /// # Errors
    /// The system's, as it is.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    /// Flushes the file to the disk, renames it to `target` (in the same folder) and flushes the folder.
    /// A file that was at `target` is replaced in one step; whoever has it open keeps the old bytes.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file; the temporary file is then gone and `target` is as it was, unless only the last
    /// step, flushing the folder, failed.
    pub fn persist(mut self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(target, "flush to the disk", e))?;
        fs::rename(&self.path, target).map_err(|e| Error::io(target, "move into place", e))?;
        self.kept = true;
        sync_folder(target.parent().unwrap_or(Path::new(".")))
    }

    /// As [`TempFile::persist`], but only where there is nothing at `target`, in one step: of several processes that do
    /// this at once, on one machine or on several, one succeeds. Returns whether it was this one; the temporary file is gone
    /// in any case.
    ///
    /// # Errors
    /// As [`TempFile::persist`].
    pub fn persist_new(mut self, target: &Path) -> Result<bool> {
        self.file.sync_all().map_err(|e| Error::io(target, "flush to the disk", e))?;
        let moved = match link_new(&self.path, target) {
            // File systems without hard links: CIFS, some of FUSE.
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
                rename_new(&self.path, target).inspect(|moved| self.kept = *moved)
            }
            linked => linked,
        };
        let moved = moved.map_err(|e| Error::io(target, "move into place", e))?;
        if moved {
            sync_folder(target.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(moved)
    }
}

/// Gives a file a second name, unless that is taken; returns whether it has it.
fn link_new(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::hard_link(from, to) {
        // NFS repeats a request whose answer was lost: then the name that is taken is our own.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(is_same_file(&File::open(from)?, to)),
        linked => linked.map(|()| true),
    }
}

/// Renames a file, unless the new name is taken; returns whether it was renamed.
fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        renamed => renamed.map(|()| true),
    }
}

impl Write for TempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a whole file atomically: `path` holds either its old bytes or all the new ones.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let label = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut temp = TempFile::create(folder, &label)?;
    temp.write_all(bytes).map_err(|e| Error::io(path, "write to", e))?;
    temp.persist(path)
}

/// Writes a whole file where there is none yet, in one step, as [`TempFile::persist_new`]. Returns whether it was written.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let label = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut temp = TempFile::create(folder, &label)?;
    temp.write_all(bytes).map_err(|e| Error::io(path, "write to", e))?;
    temp.persist_new(path)
}

/// Removes a temporary file, unless a process that lives still writes it. Returns whether it is gone.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn remove_abandoned(path: &Path) -> Result<bool> {
    // Read and write: NFS locks no file exclusively that is open for reading alone.
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file.map_err(|e| Error::io(path, "open", e))?,
    };
    // Without locks nobody knows; it stays.
    if file.try_lock().is_err() {
        return Ok(false);
    }
    remove_file(path).map(|()| true)
}

/// Makes `path` a symbolic link with this text, in one step, whatever is there.
///
/// # Errors
/// [`Error::Io`] naming the link.
pub fn write_link(path: &Path, text: &Path) -> Result<()> {
    let fault = |e| Error::io(path, "make a link", e);
    let new = path.with_file_name(format!("{TEMP_PREFIX}link-{}", std::process::id()));
    // A killed process of the same id left it.
    remove_file(&new)?;
    std::os::unix::fs::symlink(text, &new).map_err(fault)?;
    fs::rename(&new, path).map_err(fault)
}

/// Sets the time of a file's last change.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn set_modified(path: &Path, time: SystemTime) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_modified(time)).map_err(|e| Error::io(path, "set the time of", e))
}

/// What is appended to the name of a file that was set aside.
pub const STALE_SUFFIX: &str = ".stale";

/// Sets a file aside under its name with [`STALE_SUFFIX`]; one that is gone already is no error.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn set_aside(path: &Path) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(STALE_SUFFIX);
    match fs::rename(path, aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "set aside", e)),
        _ => Ok(()),
    }
}

/// Creates a folder and its parents; flushes the parent so that the folder survives a power cut.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub fn create_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|e| {
        let e = if path.is_file() { io::Error::other("it is a file, not a folder") } else { e };
        Error::io(path, "create the folder", e)
    })?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Removes one file; a file that is already gone is no error.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "remove", e)),
        _ => Ok(()),
    }
}

/// Removes a folder and all that is in it; one that is already gone is no error.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "remove", e)),
        _ => Ok(()),
    }
}

/// Removes a folder that holds nothing; one that holds something stays.
pub fn remove_if_empty(path: &Path) {
    let _ = fs::remove_dir(path);
}

/// Flushes a folder's list of names to the disk.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub fn sync_folder(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(path, "flush to the disk", e))
}

/// Bytes that this process may still write to the file system holding `path` (which must exist).
///
/// # Errors
/// [`Error::Io`] naming the path.
pub fn free_space_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).map_err(|e| Error::io(path, "ask for the free space of", e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Memory that this process may have, in bytes: the machine's, or the limit of its control group where that is lower.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    // The second version of control groups, then the first; "max" is no number.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    limit.map_or(machine, |limit| limit.min(machine))
}

/// The right to change one folder. The system gives it back when the process ends, however it ends.
///
/// The lock is a file `.lock` in the folder, held with `flock` and removed on release, so a finished folder holds no
/// file that nothing protects. While held it names the holder's process id, for the message the second one gets.
///
/// Many processes can share it, each for a piece of the work; nobody has it alone then.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    shared: bool,
    publisher: Option<Box<dyn Publish>>,
}

impl Lock {
    /// Name of the lock file inside the folder.
    pub const FILE_NAME: &'static str = ".lock";

    /// Takes the lock on `folder`, which must exist, without waiting.
    ///
    /// # Errors
    /// [`Error::Cache`] naming the lock and its holder where another process has it, [`Error::Io`] where the folder is
    /// not writable.
    pub fn acquire(folder: &Path) -> Result<Self> {
        Self::take(folder, false)
    }

    /// Takes the lock on `folder`, which must exist, together with others that share it.
    ///
    /// # Errors
    /// As [`Lock::acquire`], where another process has it alone.
    pub fn share(folder: &Path) -> Result<Self> {
        Self::take(folder, true)
    }

    fn take(folder: &Path, shared: bool) -> Result<Self> {
        let path = folder.join(Self::FILE_NAME);
        let mut tries = 0;
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|e| Error::io(&path, "create", e))?;
            let locked = if shared { file.try_lock_shared() } else { file.try_lock() };
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    tries += 1;
                    // The last of those that shared it has it alone for the moment in which it removes the file.
                    if shared && tries < SHARE_TRIES {
                        thread::sleep(SHARE_PAUSE);
                        continue;
                    }
                    return Err(Self::held_elsewhere(path, &mut file));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io(&path, "lock", e)),
            }
            // The holder before us removes the file while it still holds it. If that happened between our opening and
            // our locking, this lock is on a file without a name and protects nothing: try again.
            if !is_same_file(&file, &path) {
                continue;
            }
            write_process_id(&mut file).map_err(|e| Error::io(&path, "write to", e))?;
            return Ok(Self { folder: folder.to_path_buf(), path, file, shared, publisher: None });
        }
    }

    /// The folder that is locked.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same lock on a folder that is the copy of another place: what is written goes there as well.
    pub fn with_publisher(mut self, publisher: Box<dyn Publish>) -> Self {
        self.publisher = Some(publisher);
        self
    }

    /// What takes a manifest to the place of which the folder is a copy.
    pub(crate) fn publisher(&self) -> Option<&dyn Publish> {
        self.publisher.as_deref()
    }

    fn held_elsewhere(path: PathBuf, file: &mut File) -> Error {
        let mut text = String::new();
        let holder = match file.take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok()) {
            Some(pid) => format!("process {pid}"),
            None => "another process".to_owned(),
        };
        Error::Cache {
            path,
            found: format!("{holder} is writing to this folder and holds its lock"),
            remedy: "Wait until it has finished, or stop it; the lock ends with the process.".to_owned(),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Others share it: the last of them removes the file.
        if self.shared && self.file.try_lock().is_err() {
            return;
        }
        // While still held: a newcomer that had the old file open notices that it has no name any more.
        let _ = fs::remove_file(&self.path);
    }
}

fn write_process_id(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_atomic_write_replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_dropped_temporary_file_is_gone_and_the_target_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let mut temp = TempFile::create(folder.path(), "part").unwrap();
        temp.write_all(b"half").unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        drop(temp);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn writing_into_a_missing_folder_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomic(&folder.path().join("no/a.json"), b"x").unwrap_err().to_string();
        assert!(error.contains("no/a.json: cannot create") && !error.contains(TEMP_PREFIX), "{error}");
    }

    #[test]
    fn the_second_lock_is_refused_with_the_holder_and_free_after_release() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(folder.path()).unwrap();
        let error = Lock::acquire(folder.path()).unwrap_err().to_string();
        assert!(error.contains(".lock") && error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        assert!(names(folder.path()).is_empty(), "a released lock leaves no file");
        Lock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_killed_process_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(Lock::FILE_NAME), "999999\n").unwrap();
        let lock = Lock::acquire(folder.path()).unwrap();
        assert_eq!(lock.folder(), folder.path());
    }

    #[test]
    fn a_new_file_is_written_by_one_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let wrote: Vec<bool> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8u8)
                .map(|i| {
                    scope.spawn({
                        let path = &path;
                        move || write_new(path, &[i; 9]).unwrap()
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(wrote.iter().filter(|wrote| **wrote).count(), 1);
        let winner = wrote.iter().position(|wrote| *wrote).unwrap() as u8;
        assert_eq!(fs::read(&path).unwrap(), [winner; 9]);
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn both_ways_to_a_new_name_leave_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for way in [link_new, rename_new] {
            // Not through a link to the other.
            remove_file(&from).unwrap();
            remove_file(&to).unwrap();
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            assert!(!way(&from, &to).unwrap());
            assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"new".to_vec(), b"old".to_vec()));
            fs::remove_file(&to).unwrap();
            assert!(way(&from, &to).unwrap());
            assert_eq!(fs::read(&to).unwrap(), b"new");
        }
        // The answer to the first request was lost, the second finds its own work.
        fs::hard_link(&to, &from).unwrap();
        assert!(link_new(&from, &to).unwrap());
    }

    #[test]
    fn a_temporary_file_is_abandoned_once_nobody_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let temp = TempFile::create(folder.path(), "part").unwrap();
        let path = temp.path.clone();
        assert!(!remove_abandoned(&path).unwrap() && path.exists());
        let other = TempFile::create(folder.path(), "part").unwrap();
        assert_ne!(other.path, path);
        drop((temp, other));
        fs::write(&path, "left").unwrap();
        assert!(remove_abandoned(&path).unwrap() && !path.exists());
        assert!(remove_abandoned(&path).unwrap(), "one that is gone is no error");
    }

    #[test]
    fn a_shared_lock_keeps_out_who_wants_it_alone_and_goes_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (Lock::share(folder.path()).unwrap(), Lock::share(folder.path()).unwrap());
        assert!(Lock::acquire(folder.path()).is_err());
        drop(first);
        assert!(Lock::acquire(folder.path()).is_err());
        drop(second);
        assert!(names(folder.path()).is_empty());
        Lock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn only_one_of_many_racing_threads_holds_the_lock_at_a_time() {
        use std::sync::atomic::AtomicUsize;
        let folder = tempfile::tempdir().unwrap();
        let (inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(_lock) = Lock::acquire(folder.path()) {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            entered.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(entered.load(Ordering::SeqCst) > 0);
    }

    #[test]
    fn free_space_is_reported_for_an_existing_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space_bytes(folder.path()).unwrap() > 0);
        assert!(free_space_bytes(&folder.path().join("missing")).is_err());
    }
}
