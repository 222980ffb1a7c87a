//! Seeds for the fuzz targets of archives, scans and templates: small ones of every kind, whole, cut and at the edge
//! of what their formats allow. `KBTRIAGE_SEEDS` names the folder they are written to.

use std::fs;
use std::path::PathBuf;

use crate::support::share::{bzip2, cabinet, gzip, matching, tarball, xz, zip, zstd};

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

#[test]
fn seeds() {
    let Some(folder) = std::env::var_os("KBTRIAGE_SEEDS").map(PathBuf::from) else {
        println!("SKIPPED: KBTRIAGE_SEEDS names no folder");
        return;
    };
    let sets = [
        ("archive", archives()),
        ("scan", archives()),
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
