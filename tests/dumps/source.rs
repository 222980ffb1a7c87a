//! What happens to every kind of thing a person can name instead of a dump.

use std::fs;
use std::io::Write;
use std::path::Path;

use kbtriage::source::{ErrorKind, FileKind, identify, open};

fn kind_of_error(path: &Path) -> ErrorKind {
    let error = open(path).err().expect("it must not open");
    assert!(!error.message.contains('\n'));
    assert!(!error.message.is_empty());
    error.kind
}

#[test]
fn a_regular_file_opens_with_its_size_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.dmp");
    fs::write(&path, b"PAGEDU64 and more").unwrap();
    let source = open(&path).unwrap();
    assert_eq!(source.info.path, path.to_str().unwrap());
    assert_eq!(source.info.path_exact, None);
    assert_eq!(source.info.size, Some(17));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    assert!((now - source.info.modified.unwrap()).abs() < 60);
    let mut prefix = [0; 8];
    assert_eq!(source.bytes().read_up_to(0, &mut prefix).unwrap(), 8);
    assert_eq!(identify(&prefix, 17), FileKind::KernelDump64);
    assert_eq!(source.check_unchanged(), Ok(()));
}

#[test]
fn a_file_that_grows_while_it_is_read_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.dmp");
    fs::write(&path, b"PAGEDU64").unwrap();
    let source = open(&path).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"more").unwrap();
    let error = source.check_unchanged().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Growing);
    assert_eq!(
        source.bytes().len(),
        8,
        "the length stays what it was at opening"
    );
}

#[cfg(unix)]
#[test]
fn another_file_of_the_same_size_and_time_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("MEMORY.DMP"), dir.path().join("new"));
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_300_000_000);
    let set = |path: &Path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    fs::write(&path, b"PAGEDU64 of the first crash").unwrap();
    set(&path);
    let source = open(&path).unwrap();
    fs::write(&other, b"PAGEDU64 of another  crash!").unwrap();
    set(&other);
    assert_eq!(source.check_unchanged(), Ok(()));
    fs::rename(&other, &path).unwrap();
    assert_eq!(
        source.check_unchanged().unwrap_err().kind,
        ErrorKind::Growing
    );
    // Written over in place, with its time set back.
    let source = open(&path).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&path, b"PAGEDU64 of a third    crash").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(27)
        .unwrap();
    set(&path);
    assert_eq!(
        source.check_unchanged().unwrap_err().kind,
        ErrorKind::Growing
    );
}

#[test]
fn an_empty_placeholder_opens_and_is_called_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let source = open(file.path()).unwrap();
    assert_eq!(source.info.size, Some(0));
    let refusal = identify(&[], 0).refusal().unwrap();
    assert_eq!(refusal.kind, ErrorKind::NotADump);
    assert!(refusal.message.starts_with("empty file"));
}

#[test]
fn a_directory_is_sent_to_scan() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(dir.path()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::IsDirectory);
    assert_eq!(error.message, "is a directory: kbtriage scan DIR");
}

#[test]
fn what_does_not_exist_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(kind_of_error(&dir.path().join("no")), ErrorKind::NotFound);
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert_eq!(kind_of_error(&file.join("below")), ErrorKind::NotFound);
}

crate::support::only_on!(
    unix,
    a_link_is_followed_and_a_dangling_one_is_named,
    "a link needs a privilege"
);
crate::support::only_on!(
    unix,
    pipes_sockets_and_devices_are_refused_without_being_opened,
    "no pipes in the file system"
);
crate::support::only_on!(
    unix,
    a_file_that_may_not_be_read_says_so,
    "the test uses Unix permissions"
);

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_link_is_followed_and_a_dangling_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        symlink(&file, &link).unwrap();
        let error = open(&link).err().unwrap();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("link"), "{error}");
        fs::write(&file, b"MDMP").unwrap();
        assert_eq!(open(&link).unwrap().info.size, Some(4));
    }

    #[test]
    fn pipes_sockets_and_devices_are_refused_without_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap();
        assert!(made.success());
        // Nobody writes: opening it the usual way would wait for ever.
        let error = open(&pipe).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.starts_with("a pipe"), "{error}");

        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(kind_of_error(&socket), ErrorKind::Unsupported);
        assert_eq!(
            kind_of_error(Path::new("/dev/zero")),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn a_file_that_may_not_be_read_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locked");
        fs::write(&path, b"MDMP").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        match fs::File::open(&path) {
            Err(_) => assert_eq!(kind_of_error(&path), ErrorKind::Permission),
            Ok(_) => println!("SKIPPED: the user of this test may read everything"),
        }
    }
}
