//! Seeds for the fuzz targets of archives, scans, templates, side files and stores: small ones of every kind, whole, cut and at the edge
//! of what their formats allow. `KBTRIAGE_SEEDS` names the folder they are written to.

use std::fs;
use std::path::PathBuf;

use crate::support::share::{bzip2, cabinet, gzip, matching, tarball, xz, zip, zstd};
#[cfg(feature = "store")]
use crate::support::share::{numbered, put, run};

/// Every kind of archive with little in it, and what makes each of them fail.
fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let dump = &matching()[..0x800];
    let tar = tarball(&[("a.dmp", dump), ("b.txt", b"text")]);
    let zipped = zip(&[("a.dmp", dump), ("b.txt", b"text")]);
    let mut lying = zipped.clone();
    let end = lying.len() - 22;
    lying[end + 8..end + 16].fill(0xFF);
    let cab = cabinet(&[("a.dmp", dump), ("b.txt", b"text")]);
    let mut far = cab.clone();
    far[16..20].fill(0xF0);
    vec![
        ("plain.tar", tar.clone()),
        ("cut.tar", tar[..700].to_vec()),
        ("packed.tar.gz", gzip(&tar)),
        ("packed.tar.xz", xz(&tar)),
        ("packed.tar.bz2", bzip2(&tar)),
        ("packed.tar.zst", zstd(&tar)),
        ("cut.xz", xz(dump)[..0x700].to_vec()),
        ("cut.zst", zstd(dump)[..60].to_vec()),
        ("plain.zip", zipped.clone()),
        ("cut.zip", zipped[..zipped.len() - 30].to_vec()),
        ("lying.zip", lying),
        (
            "nested.zip",
            zip(&[("in.zip", &zip(&[("in.gz", &gzip(dump))]))]),
        ),
        ("plain.cab", cab.clone()),
        ("cut.cab", cab[..cab.len() / 2].to_vec()),
        ("far.cab", far),
        ("twice.gz", [gzip(dump), gzip(dump)].concat()),
    ]
}

fn templates() -> Vec<(&'static str, Vec<u8>)> {
    let chain = |link: &str| format!("{{{{ a{} }}}}", link.repeat(3000)).into_bytes();
    vec![
        (
            "plain",
            b"{{ title }}: {% for m in machines %}{{ m.name }}{% endfor %}".to_vec(),
        ),
        ("attributes", chain(".a")),
        ("filters", chain("|e")),
        ("brackets", chain("[0]")),
        (
            "hidden",
            format!("{{{{ \"}}}}\"{} }}}}", ".a".repeat(3000)).into_bytes(),
        ),
        ("nested", "{% if a %}".repeat(2000).into_bytes()),
        (
            "parentheses",
            format!("{{{{ {} }}}}", "(".repeat(3000)).into_bytes(),
        ),
    ]
}

/// Files beside a dump or named on the command line, each behind the byte that tells the target which it is.
fn side_files() -> Vec<(&'static str, Vec<u8>)> {
    let sysdata = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><SYSTEMINFO><SYSTEM><OSINFO>\
        <OSVER>6.0.6001 1.0</OSVER></OSINFO></SYSTEM><DRIVERS><DRIVER><FILENAME>tcpip.sys</FILENAME>\
        <VERSION>6.0.6001.18000</VERSION></DRIVER></DRIVERS></SYSTEMINFO>";
    let wide: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(sysdata.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let of = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    vec![
        ("sysdata", of(0, sysdata.as_bytes())),
        ("sysdata-wide", of(0, &wide)),
        (
            "version",
            of(1, b"Windows NT Version 6.0 Build: 6001 SP 1\r\nBuildString: 6001.18000.x86fre.a\r\n"),
        ),
        (
            "report",
            of(2, b"Sig[0].Name=BCCode\r\nSig[0].Value=d1\r\n"),
        ),
        (
            "inventory-csv",
            of(3, b"machine,file,version,as_of\nA,tcpip.sys,6.0.6001.18000,2009-01-02\n"),
        ),
        (
            "inventory-json",
            of(3, b"{\"machine\":\"A\",\"file\":\"tcpip.sys\",\"version\":\"6.0.6001.18000\"}\n"),
        ),
        (
            "list",
            of(
                4,
                b"{\"type\":\"list-head\",\"roots\":[{\"path\":\"r\"}]}\n\
                {\"type\":\"file\",\"root\":0,\"path\":\"a.dmp\"}\n{\"type\":\"list-tail\",\"entries\":1}\n",
            ),
        ),
        ("names", of(5, b"dumps/a\tSERVER-A\ndumps/b\tSERVER-B\n")),
    ]
}

/// A store of two dumps, one of them gone since, and the same cut in the middle of a page.
#[cfg(feature = "store")]
fn stores() -> Vec<(&'static str, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let (share, db) = (dir.path().join("share"), dir.path().join("a.db"));
    for n in 0..2 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    for gone in ["none", "1.dmp"] {
        let _ = fs::remove_file(share.join(gone));
        let [share, db] = [&share, &db].map(|path| path.to_str().unwrap());
        let output = run(&["scan", share, "--db", db, "--quiet"]);
        assert!(output.status.success(), "{output:?}");
    }
    let whole = fs::read(&db).unwrap();
    let cut = whole[..whole.len() / 2 + 100].to_vec();
    vec![("whole", whole), ("cut", cut)]
}

#[cfg(not(feature = "store"))]
fn stores() -> Vec<(&'static str, Vec<u8>)> {
    Vec::new()
}

#[test]
fn seeds() {
    let Some(folder) = std::env::var_os("KBTRIAGE_SEEDS").map(PathBuf::from) else {
        println!("SKIPPED: KBTRIAGE_SEEDS names no folder");
        return;
    };
    let sets = [
        ("archive", archives()),
        ("scan", archives()),
        ("side", side_files()),
        ("store", stores()),
        ("template", templates()),
    ];
    for (target, seeds) in sets {
        let folder = folder.join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
