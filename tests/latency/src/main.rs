//! `latency-fs FOLDER MOUNTPOINT MICROSECONDS`: shows FOLDER, read-only, at MOUNTPOINT through FUSE, where every call
//! takes so long, whatever number is under way. Says `ready` once it is mounted; unmounts at the end of standard
//! input and says how many calls of each kind came. Linux, as root or with fusermount3.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirEntryExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};

/// Calls under way at most.
const THREADS: usize = 256;
/// How long the kernel may answer from what it was told.
const TTL: Duration = Duration::from_secs(1);

struct Far {
    wait: Duration,
    state: Mutex<State>,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

#[derive(Default)]
struct State {
    /// By the file's own number, which stays the same however often it is mounted; the folder's is 1.
    paths: HashMap<u64, PathBuf>,
    files: HashMap<u64, Arc<File>>,
    opened: u64,
}

impl Far {
    fn wait(&self, what: &'static str) {
        *self
            .counts
            .lock()
            .expect("no panic")
            .entry(what)
            .or_default() += 1;
        thread::sleep(self.wait);
    }

    fn path(&self, number: INodeNo) -> Option<PathBuf> {
        self.state
            .lock()
            .expect("no panic")
            .paths
            .get(&number.0)
            .cloned()
    }

    fn attributes(&self, path: PathBuf, is_top: bool) -> io::Result<FileAttr> {
        let found = fs::symlink_metadata(&path)?;
        let number = if is_top { 1 } else { found.ino() };
        self.state
            .lock()
            .expect("no panic")
            .paths
            .insert(number, path);
        Ok(attributes(number, &found))
    }
}

fn attributes(number: u64, found: &Metadata) -> FileAttr {
    let changed = Duration::from_secs(found.ctime().unsigned_abs());
    FileAttr {
        ino: INodeNo(number),
        size: found.len(),
        blocks: found.blocks(),
        atime: UNIX_EPOCH,
        mtime: found.modified().unwrap_or(UNIX_EPOCH),
        ctime: UNIX_EPOCH + changed,
        crtime: UNIX_EPOCH,
        kind: kind(found.file_type()),
        perm: (found.mode() & 0o7777) as u16,
        nlink: 1,
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn kind(kind: fs::FileType) -> FileType {
    if kind.is_dir() {
        FileType::Directory
    } else if kind.is_symlink() {
        FileType::Symlink
    } else if kind.is_fifo() {
        FileType::NamedPipe
    } else {
        FileType::RegularFile
    }
}

impl Filesystem for Far {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_background(THREADS as u16);
        let _ = config.set_congestion_threshold(THREADS as u16);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.wait("lookup");
        let path = self.path(parent).map(|folder| folder.join(name));
        match path.map(|path| self.attributes(path, false)) {
            Some(Ok(found)) => reply.entry(&TTL, &found, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.wait("getattr");
        match self
            .path(number)
            .map(|path| self.attributes(path, number.0 == 1))
        {
            Some(Ok(found)) => reply.attr(&TTL, &found),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.wait("open");
        let Some(Ok(file)) = self.path(number).map(File::open) else {
            return reply.error(Errno::ENOENT);
        };
        let mut state = self.state.lock().expect("no panic");
        state.opened += 1;
        let handle = state.opened;
        state.files.insert(handle, Arc::new(file));
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.wait("read");
        let file = self
            .state
            .lock()
            .expect("no panic")
            .files
            .get(&handle.0)
            .cloned();
        let mut bytes = vec![0; size as usize];
        match file.map(|file| file.read_at(&mut bytes, offset)) {
            Some(Ok(read)) => reply.data(&bytes[..read]),
            _ => reply.error(Errno::EIO),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        // Nobody waits for it.
        self.state.lock().expect("no panic").files.remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.wait("opendir");
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.wait("readdir");
        let Some(Ok(entries)) = self.path(number).map(fs::read_dir) else {
            return reply.error(Errno::ENOENT);
        };
        let mut entries: Vec<fs::DirEntry> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for (entry, place) in entries.iter().zip(1..).skip(offset as usize) {
            let Ok(found) = entry.file_type() else {
                continue;
            };
            if reply.add(INodeNo(entry.ino()), place, kind(found), entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, mount, wait] = arguments.as_slice() else {
        return Err("latency-fs FOLDER MOUNTPOINT MICROSECONDS".into());
    };
    let counts = Arc::new(Mutex::new(BTreeMap::new()));
    let far = Far {
        wait: Duration::from_micros(wait.parse()?),
        state: Mutex::default(),
        counts: Arc::clone(&counts),
    };
    far.attributes(fs::canonicalize(folder)?, true)?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("far".to_owned())];
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    let session = fuser::spawn_mount(far, mount, &config)?;
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    let counts = counts.lock().expect("no panic").clone();
    let said: Vec<String> = counts
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    println!("{}", said.join(", "));
    session.umount_and_join()?;
    Ok(())
}
