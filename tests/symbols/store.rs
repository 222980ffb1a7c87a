//! Stores and plain directories of every form the debuggers know, with files written by the test.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::support::symbol_cabinets::{lzx, lzx_huffman, mszip};
use crate::support::symbol_pair::{STAMP, library, name_of, one_tier, pdb, pe, put, tcpip, text};
use crate::support::symbols::{GUID, Pdb, Pe};
use kbtriage::machine::Machine;
use kbtriage::symbols::{Lookup, ModuleIdentity, Resolved, import, is_cabinet, unpack};
use tempfile::TempDir;

fn resolve(path: &str) -> Arc<Resolved> {
    library(path).resolve(&tcpip(), Machine::X64, None)
}

fn assert_loaded(path: &str) {
    let resolved = resolve(path);
    assert!(
        resolved.image.found().is_some(),
        "{path}: {:?}",
        resolved.image
    );
    assert_eq!(
        name_of(&resolved, 0x1040).as_deref(),
        Some("TtStopTimer"),
        "{path}: {:?}",
        resolved.symbols
    );
}

#[test]
fn a_one_tier_store_serves_as_store_and_as_directory() {
    let dir = TempDir::new().unwrap();
    one_tier(dir.path());
    assert_loaded(&text(&dir));
    assert_loaded(&format!("srv*{}", text(&dir)));
    assert_loaded(&format!("/kbtriage-gone;srv*{0}", text(&dir)));
}

#[test]
fn a_two_tier_store_is_read_below_the_first_two_letters() {
    let dir = TempDir::new().unwrap();
    put(dir.path().join("index2.txt"), b"");
    one_tier(&dir.path().join("tc"));
    assert_loaded(&format!("srv*{}", text(&dir)));
    assert_loaded(&text(&dir));
    // Without the marker the same tree is no two-tier store.
    fs::remove_file(dir.path().join("index2.txt")).unwrap();
    let resolved = resolve(&format!("srv*{}", text(&dir)));
    assert!(matches!(resolved.image, Lookup::Missing { .. }));
}

#[test]
fn names_and_keys_in_other_case_are_found() {
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("TCPIP.SYS").join(pe().key().to_uppercase());
    put(image.join("TcpIp.Sys"), &pe().write());
    let symbols = dir
        .path()
        .join("TcpIP.pdb")
        .join(pdb().key().to_lowercase());
    put(symbols.join("TCPIP.PDB"), &pdb().write());
    assert_loaded(&format!("srv*{}", text(&dir)));
}

#[test]
fn compressed_files_of_both_methods_are_unpacked() {
    for pack in [mszip, lzx, lzx_huffman] {
        let dir = TempDir::new().unwrap();
        let image = dir
            .path()
            .join("tcpip.sys")
            .join(pe().key())
            .join("tcpip.sy_");
        put(image, &pack("tcpip.sys", &pe().write()));
        let symbols = dir
            .path()
            .join("tcpip.pdb")
            .join(pdb().key())
            .join("tcpip.pd_");
        put(symbols, &pack("tcpip.pdb", &pdb().write()));
        assert_loaded(&format!("srv*{}", text(&dir)));
    }
}

/// Makes a cabinet of a name and a content.
type Packer = fn(&str, &[u8]) -> Vec<u8>;

#[test]
fn a_cabinet_unpacks_to_what_was_packed_and_a_damaged_one_is_refused() {
    let content: Vec<u8> = (0..100_001u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    let packers: [(Packer, usize); 3] = [(mszip, 97), (lzx, 97), (lzx_huffman, 2003)];
    for (pack, step) in packers {
        let cabinet = pack("a.pdb", &content);
        assert!(is_cabinet(&cabinet));
        assert_eq!(unpack(&cabinet, 1 << 20).unwrap(), content);
        assert!(unpack(&cabinet, 100_000).is_err());
        for at in (0..cabinet.len()).step_by(step) {
            let mut broken = cabinet.clone();
            broken[at] ^= 0x55;
            let _ = unpack(&broken, 1 << 20);
            let _ = unpack(&cabinet[..at], 1 << 20);
        }
    }
}

#[test]
fn file_ptr_leads_to_the_file_and_a_message_is_passed_on() {
    let dir = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    put(elsewhere.path().join("t.sys"), &pe().write());
    put(elsewhere.path().join("t.pdb"), &pdb().write());
    let image = dir
        .path()
        .join("tcpip.sys")
        .join(pe().key())
        .join("file.ptr");
    let symbols = dir
        .path()
        .join("tcpip.pdb")
        .join(pdb().key())
        .join("file.ptr");
    put(
        image.clone(),
        format!("PATH:{}/t.sys\r\n", text(&elsewhere)).as_bytes(),
    );
    put(
        symbols,
        format!("path:{}/t.pdb", text(&elsewhere)).as_bytes(),
    );
    assert_loaded(&format!("srv*{}", text(&dir)));

    put(image, b"MSG: withdrawn");
    let Lookup::Missing { tried } = &resolve(&format!("srv*{}", text(&dir))).image else {
        panic!("a message is no file");
    };
    assert!(tried.iter().any(|t| t.ends_with("withdrawn")), "{tried:?}");
}

#[cfg(not(windows))]
#[test]
fn file_ptr_to_a_windows_share_is_reported() {
    let dir = TempDir::new().unwrap();
    let image = dir
        .path()
        .join("tcpip.sys")
        .join(pe().key())
        .join("file.ptr");
    put(image, br"PATH:\\server\share\tcpip.sys");
    let Lookup::Missing { tried } = &resolve(&format!("srv*{}", text(&dir))).image else {
        panic!("nothing to find");
    };
    assert!(tried.iter().any(|t| t.contains("cannot open")), "{tried:?}");
}

#[test]
fn plain_directories_are_searched_as_debuggers_do() {
    for below in ["", "symbols/sys", "Symbols/Sys", "sys", "anything"] {
        let dir = TempDir::new().unwrap();
        put(dir.path().join(below).join("tcpip.sys"), &pe().write());
        put(dir.path().join(below).join("TCPIP.pdb"), &pdb().write());
        assert_loaded(&text(&dir));
    }
    let deep = TempDir::new().unwrap();
    put(deep.path().join("a/b/tcpip.sys"), &pe().write());
    assert!(matches!(
        resolve(&text(&deep)).image,
        Lookup::Missing { .. }
    ));
}

#[test]
fn a_pdb_beside_its_image_is_found() {
    let dir = TempDir::new().unwrap();
    put(
        dir.path()
            .join("tcpip.sys")
            .join(pe().key())
            .join("tcpip.sys"),
        &pe().write(),
    );
    put(
        dir.path()
            .join("tcpip.sys")
            .join(pe().key())
            .join("tcpip.pdb"),
        &pdb().write(),
    );
    assert_loaded(&format!("srv*{}", text(&dir)));
}

#[test]
fn an_image_of_another_build_is_reported_with_both_identities_and_never_used() {
    let dir = TempDir::new().unwrap();
    let other = Pe {
        stamp: STAMP + 1,
        ..pe()
    };
    put(dir.path().join("tcpip.sys"), &other.write());
    // Even under the right key: a store may hold the wrong file.
    put(dir.path().join("tcpip.sys.d/x"), b"");
    let resolved = resolve(&text(&dir));
    let Lookup::Mismatched {
        wanted,
        found,
        path,
    } = &resolved.image
    else {
        panic!("{:?}", resolved.image);
    };
    assert_eq!((wanted, found), (&pe().key(), &other.key()));
    assert!(path.ends_with("tcpip.sys"));
    assert!(resolved.names().is_none());

    let store = TempDir::new().unwrap();
    put(
        store
            .path()
            .join("tcpip.sys")
            .join(pe().key())
            .join("tcpip.sys"),
        &other.write(),
    );
    assert_eq!(resolve(&text(&store)).image.state().as_str(), "mismatched");
}

#[test]
fn a_pdb_is_compared_by_its_dbi_age_and_not_by_the_age_tools_raise() {
    for (info, dbi, fits) in [(3, 1, true), (1, 3, false), (1, 1, true)] {
        let dir = TempDir::new().unwrap();
        put(dir.path().join("tcpip.sys"), &pe().write());
        let rewritten = Pdb {
            info_age: info,
            dbi_age: dbi,
            ..pdb()
        };
        put(dir.path().join("tcpip.pdb"), &rewritten.write());
        let resolved = resolve(&text(&dir));
        assert_eq!(
            resolved.symbols.state().as_str(),
            if fits { "loaded" } else { "mismatched" }
        );
        assert_eq!(resolved.exports.is_some(), !fits);
    }
}

#[test]
fn a_missing_store_and_things_that_are_no_files_are_only_reported() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(
        dir.path()
            .join("tcpip.sys")
            .join(pe().key())
            .join("tcpip.sys"),
    )
    .unwrap();
    for path in [
        "/kbtriage-gone".to_owned(),
        "srv*/kbtriage-gone".to_owned(),
        text(&dir),
    ] {
        let Lookup::Missing { tried } = &resolve(&path).image else {
            panic!("nothing to find at {path}");
        };
        assert!(!tried.is_empty());
    }
    assert!(!Path::new("/kbtriage-gone").exists());
}

#[test]
fn damaged_files_are_reported_with_their_reason() {
    let dir = TempDir::new().unwrap();
    one_tier(dir.path());
    let file = dir
        .path()
        .join("tcpip.pdb")
        .join(pdb().key())
        .join("tcpip.pdb");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 4096]).unwrap();
    let resolved = resolve(&text(&dir));
    let Lookup::Missing { tried } = &resolved.symbols else {
        panic!("{:?}", resolved.symbols);
    };
    assert!(tried.iter().any(|t| t.contains("cut off")), "{tried:?}");
}

#[test]
fn a_downstream_store_is_filled_with_what_the_next_one_has() {
    let (near, far) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    one_tier(far.path());
    let down = near.path().join("down");
    let path = format!("srv*{}*{}", down.display(), text(&far));
    assert_loaded(&path);
    assert!(down.join("pingme.txt").is_file());
    let copy = down.join("tcpip.pdb").join(pdb().key()).join("tcpip.pdb");
    assert_eq!(fs::read(copy).unwrap(), pdb().write());
    drop(far);
    assert_loaded(&path);
}

#[test]
fn a_two_tier_downstream_store_is_filled_in_its_own_layout() {
    let (near, far) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    one_tier(far.path());
    put(near.path().join("index2.txt"), b"");
    assert_loaded(&format!("cache*{};{}", text(&near), text(&far)));
    assert!(
        near.path()
            .join("tc/tcpip.sys")
            .join(pe().key())
            .join("tcpip.sys")
            .is_file()
    );
}

#[test]
fn a_store_that_cannot_be_written_does_not_stop_the_search() {
    let (dir, far) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    one_tier(far.path());
    // A regular file in the place of the folder: no user may write below it.
    put(dir.path().join("file"), b"");
    let path = format!("srv*{}/file/down*{}", text(&dir), text(&far));
    assert_loaded(&path);
}

#[test]
fn many_writers_of_one_store_leave_only_whole_files() {
    let (near, far) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let big = Pdb::new(GUID, 1, &[]);
    let big = Pdb {
        publics: (0..20_000)
            .map(|i| (i * 16, format!("Function{i}")))
            .collect(),
        ..big
    };
    put(far.path().join("tcpip.sys"), &pe().write());
    put(far.path().join("tcpip.pdb"), &big.write());
    let path = format!("cache*{};{}", text(&near), text(&far));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let resolved = resolve(&path);
                assert_eq!(
                    name_of(&resolved, 0x1000 + 16 * 777).as_deref(),
                    Some("Function777")
                );
            });
        }
    });
    let folder = near.path().join("tcpip.pdb").join(big.key());
    let left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left, ["tcpip.pdb"]);
    assert_eq!(fs::read(folder.join("tcpip.pdb")).unwrap(), big.write());
}

#[test]
fn hostile_pdb_names_in_an_image_lead_nowhere_outside_the_store() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("deep/store");
    // What an escape would open.
    for outside in [
        dir.path().join("evil.pdb"),
        dir.path().join("deep/evil.pdb"),
    ] {
        put(outside, &pdb().write());
    }
    let absolute = format!("{}/evil.pdb", text(&dir));
    let long = "a".repeat(4096) + ".pdb";
    let long_path = format!(r"{}\evil.pdb", "a".repeat(4096));
    let cases: &[(&str, bool)] = &[
        (r"..\..\evil.pdb", true),
        ("../evil.pdb", true),
        (r"..\../evil.pdb", true),
        (&absolute, true),
        (r"C:\Windows\evil.pdb", true),
        (r"\\server\share\evil.pdb", true),
        ("//server/share/evil.pdb", true),
        (r"\\?\C:\evil.pdb", true),
        (r"\\.\C:\evil.pdb", true),
        ("c:evil.pdb", true),
        // NUL ends the name of a record: what is behind it is never seen.
        ("evil.pdb\0/../../other.pdb", true),
        (&long_path, true),
        ("\0evil.pdb", false),
        ("evil.pdb:stream", false),
        ("evil.pdb::$DATA", false),
        (r"c:\evil.pdb:stream:$DATA", false),
        ("evil.pdb.", false),
        ("evil.pdb...", false),
        ("evil.pdb ", false),
        (" evil.pdb", false),
        ("nul", false),
        ("NUL.pdb", false),
        ("con.pdb", false),
        ("aux", false),
        ("prn.tar.pdb", false),
        ("COM1.pdb", false),
        ("lpt9", false),
        ("CONIN$", false),
        (r"\\.\PhysicalDrive0\", false),
        ("..", false),
        (".", false),
        ("", false),
        ("evil.pdb/", false),
        ("evil.pdb/..", false),
        ("evil\u{1}.pdb", false),
        ("evil\u{202e}bdp.pdb", false),
        ("evil*.pdb", false),
        ("ev?l.pdb", false),
        ("$(evil).pdb|x", false),
        (&long, false),
    ];
    for (name, plain) in cases {
        let image = Pe::new(STAMP, GUID, 1, name);
        put(
            store.join("tcpip.sys").join(image.key()).join("tcpip.sys"),
            &image.write(),
        );
        let resolved = resolve(store.to_str().unwrap());
        assert!(resolved.image.found().is_some(), "{name:?}");
        assert_eq!(resolved.symbols.state().as_str(), "missing", "{name:?}");
        let asked = resolved.pdb.as_ref().map(|pdb| pdb.name.as_str());
        assert_eq!(asked, plain.then_some("evil.pdb"), "{name:?}");
    }
    // The same names, now with a downstream store to fill and the PDB where only the last
    // component leads: the copy goes under that component, and nothing appears beside the store.
    let (near, far) = (dir.path().join("near"), dir.path().join("far"));
    let key = Pdb::new(GUID, 1, &[]).key();
    put(
        far.join("evil.pdb").join(&key).join("evil.pdb"),
        &pdb().write(),
    );
    let before = everything(dir.path(), &near);
    for (name, _) in cases.iter().filter(|(_, plain)| *plain) {
        let image = Pe::new(STAMP, GUID, 1, name);
        put(
            far.join("tcpip.sys").join(image.key()).join("tcpip.sys"),
            &image.write(),
        );
        let path = format!("srv*{}*{}", near.display(), far.display());
        assert_eq!(
            resolve(&path).symbols.state().as_str(),
            "loaded",
            "{name:?}"
        );
        assert!(near.join("evil.pdb").join(&key).join("evil.pdb").is_file());
        fs::remove_dir_all(&near).unwrap();
    }
    fs::remove_dir_all(far.join("tcpip.sys")).unwrap();
    assert_eq!(everything(dir.path(), &near), before);
}

/// All files and folders below `root` but not below `except`.
fn everything(root: &Path, except: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().flatten() {
        let path = entry.path();
        if path == except {
            continue;
        }
        if path.is_dir() {
            found.extend(everything(&path, except));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn hostile_names_of_modules_and_of_imported_files_are_refused_or_reduced() {
    for (name, plain) in [
        (r"\SystemRoot\..\..\tcpip.sys", Some("tcpip.sys")),
        ("tcpip.sys\0", None),
        ("tcpip.sys:ads", None),
        ("com1.sys", None),
        ("tcpip.sys.", None),
    ] {
        let identity = ModuleIdentity::new(name, STAMP, 0x4000).ok();
        let own = identity.as_ref().map(|identity| identity.name.as_str());
        assert_eq!(own, plain, "{name:?}");
    }
    // What another machine brought: names that Unix allows and Windows or a store does not.
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut names = vec!["nul.pdb", "ab:c.pdb", "tcpip.pdb.", "ok.pdb"];
    if cfg!(windows) {
        // A stream of the file `ab` there; the others can be made by a verbatim path.
        names.retain(|name| !name.contains(':'));
    }
    let root = from.path().canonicalize().unwrap();
    for name in &names {
        put(root.join(name), &pdb().write());
    }
    let imported = import(&root, &to.path().join("store")).unwrap();
    let taken: Vec<&str> = imported
        .taken
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(taken, ["ok.pdb"]);
    assert_eq!(imported.refused.len(), names.len() - 1);
}

/// Written by another program: the cabinet of the `cab` crate's own test (MIT), LZX.
#[test]
fn a_cabinet_of_another_program_is_unpacked() {
    let cabinet = b"\x4d\x53\x43\x46\x00\x00\x00\x00\x97\x00\x00\x00\x00\x00\x00\
        \x00\x2c\x00\x00\x00\x00\x00\x00\x00\x03\x01\x01\x00\x02\x00\
        \x00\x00\x2d\x05\x00\x00\x5b\x00\x00\x00\x01\x00\x03\x13\x0f\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x21\x53\x0d\xb2\x20\x00\
        \x68\x69\x2e\x74\x78\x74\x00\x10\x00\x00\x00\x0f\x00\x00\x00\
        \x00\x00\x21\x53\x0b\xb2\x20\x00\x62\x79\x65\x2e\x74\x78\x74\
        \x00\x5c\xef\x2a\xc7\x34\x00\x1f\x00\x5b\x80\x80\x8d\x00\x30\
        \xf0\x01\x10\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x48\
        \x65\x6c\x6c\x6f\x2c\x20\x77\x6f\x72\x6c\x64\x21\x0d\x0a\x53\
        \x65\x65\x20\x79\x6f\x75\x20\x6c\x61\x74\x65\x72\x21\x0d\x0a\
        \x00";
    assert_eq!(unpack(cabinet, 1 << 20).unwrap(), b"Hello, world!\r\n");
}

#[test]
fn compressed_files_are_imported_under_their_whole_names() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    // As symsrv lays them, and as somebody carries them in one folder.
    let laid = from.path().join("tcpip.sys").join(pe().key());
    put(
        laid.join("tcpip.sy_"),
        &lzx_huffman("tcpip.sys", &pe().write()),
    );
    put(
        from.path().join("flat/tcpip.pd_"),
        &mszip("tcpip.pdb", &pdb().write()),
    );
    let imported = import(from.path(), to.path()).unwrap();
    let taken: Vec<&str> = imported
        .taken
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(taken, ["tcpip.pdb", "tcpip.sys"]);
    assert_eq!(imported.refused, []);
    assert_loaded(&format!("srv*{}", text(&to)));
}

#[test]
fn reading_a_store_changes_nothing_in_it() {
    let dir = TempDir::new().unwrap();
    put(dir.path().join("index2.txt"), b"");
    one_tier(&dir.path().join("tc"));
    let before = everything(dir.path(), Path::new("/"));
    let files = before.iter().filter(|path| path.is_file());
    #[cfg(unix)]
    for path in files
        .clone()
        .chain(before.iter().filter(|path| path.is_dir()))
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let times = || -> Vec<_> {
        let times = files.clone().map(|path| fs::metadata(path).unwrap());
        times.map(|m| m.modified().unwrap()).collect()
    };
    let then = times();
    assert_loaded(&format!("srv*{}", text(&dir)));
    assert_loaded(&text(&dir));
    assert_eq!(everything(dir.path(), Path::new("/")), before);
    assert_eq!(times(), then);
    #[cfg(unix)]
    for path in before.iter().filter(|path| path.is_dir()) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn the_marker_of_two_tiers_counts_in_other_case_too() {
    let dir = TempDir::new().unwrap();
    put(dir.path().join("INDEX2.TXT"), b"");
    one_tier(&dir.path().join("TC"));
    assert_loaded(&format!("srv*{}", text(&dir)));
}

#[test]
fn the_real_near_miss_of_tcpip_is_refused_and_the_right_one_is_loaded() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/symbols");
    if !store.is_dir() {
        println!("SKIPPED: ../shared is absent");
        return;
    }
    let near_miss = store.join("tcpip.sys/9503E2DE2eb000");
    let wanted = ModuleIdentity::new("tcpip.sys", 0x8CA8_73CB, 0x2eb000).unwrap();
    let refused = library(near_miss.to_str().unwrap()).image(&wanted, Machine::X64);
    let Lookup::Mismatched {
        wanted: asked,
        found,
        ..
    } = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (asked.as_str(), found.as_str()),
        ("8CA873CB2eb000", "9503E2DE2eb000")
    );

    let resolved = library(store.to_str().unwrap()).resolve(&wanted, Machine::X64, None);
    assert_eq!(resolved.symbols.state().as_str(), "loaded");
    let version = resolved.image.found().unwrap().version().unwrap();
    assert!(version.file.unwrap().to_string().starts_with("10.0."));
    assert_eq!(version.original_filename(), Some("tcpip.sys"));
    assert!(resolved.pdb_path.as_ref().unwrap().starts_with(&store));
}

#[cfg(unix)]
#[test]
fn what_a_link_in_a_store_leads_out_to_is_not_taken() {
    let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    one_tier(dir.path());
    let key = pdb().key();
    let inside = dir.path().join("tcpip.pdb").join(&key).join("tcpip.pdb");
    let outside = elsewhere.path().join("tcpip.pdb");
    fs::rename(&inside, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    let resolved = resolve(&format!("srv*{}", text(&dir)));
    assert!(resolved.image.found().is_some());
    assert_eq!(name_of(&resolved, 0x1040), None, "{:?}", resolved.symbols);
    // A link that stays inside is the store's own affair.
    fs::remove_file(&inside).unwrap();
    fs::create_dir(dir.path().join("files")).unwrap();
    fs::rename(&outside, dir.path().join("files/tcpip.pdb")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("files/tcpip.pdb"), &inside).unwrap();
    assert_loaded(&format!("srv*{}", text(&dir)));
}

#[cfg(unix)]
#[test]
fn a_cache_is_private_and_a_file_of_another_user_in_it_is_not_believed() {
    use crate::support::symbol_pair::library_with;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let (dir, base) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    one_tier(dir.path());
    let cache = base.path().join("new/cache");
    let run = || {
        let library = library_with(&text(&dir), Some(&cache));
        name_of(&library.resolve(&tcpip(), Machine::X64, None), 0x1040)
    };
    assert_eq!(run().as_deref(), Some("TtStopTimer"));
    let mut folders = vec![cache.clone()];
    let mut index = None;
    while let Some(folder) = folders.pop() {
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => index = Some(entry.path()),
            }
        }
    }
    let index = index.expect("an index was kept");
    // A PDB that no parser takes: from here on only the cache can name anything.
    let file = dir
        .path()
        .join("tcpip.pdb")
        .join(pdb().key())
        .join("tcpip.pdb");
    let len = fs::metadata(&file).unwrap().len() as usize;
    fs::write(&file, vec![0; len]).unwrap();
    assert_eq!(run().as_deref(), Some("TtStopTimer"));
    if std::os::unix::fs::chown(&index, Some(12_345), None).is_err() {
        println!("SKIPPED: no right to give a file to another user");
        return;
    }
    assert_eq!(fs::metadata(&index).unwrap().uid(), 12_345);
    assert_eq!(run(), None, "a file of somebody else was believed");
}
