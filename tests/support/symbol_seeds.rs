//! Writes the seeds of the targets `image` and `pdb`: files of the test writers, and real ones cut
//! down to what the readers look at where `../shared` is present.

use std::fs;
use std::path::{Path, PathBuf};

use super::symbols::{GUID, Out, Pdb, Pe, msf_streams, msf_with};

/// Longest seed, in bytes.
const MAX: usize = 120 << 10;

/// Writes them to the folders `image` and `pdb` of `root`.
pub fn write(root: &Path) {
    for kind in ["image", "pdb"] {
        fs::create_dir_all(root.join(kind)).expect("a folder");
    }
    fs::write(
        root.join("image/written"),
        Pe::new(1, GUID, 1, "tcpip.pdb").write(),
    )
    .expect("seed");
    let mut pdb = Pdb::new(
        GUID,
        1,
        &[(0x10, "_f@8"), (0x40, "?g@C@@QAEXXZ"), (0x80, "@h@4")],
    );
    pdb.machine = 0x14c;
    pdb.contributions = vec![(0x10, 0x20), (0x40, 0x20)];
    pdb.omap = vec![(0x1000, 0x1000), (0x1040, 0x2000), (0x1080, 0)];
    let mut record = Out::default();
    record.u32(0x1010).u32(0x20).u32(1).u16(2).u16(0x0803);
    pdb.fpo = record.0;
    let mut record = Out::default();
    record
        .u32(0x1040)
        .u32(0x20)
        .u32(4)
        .u32(8)
        .u32(0)
        .u32(0)
        .u16(3)
        .u16(4)
        .u32(4);
    pdb.frame_data = record.0;
    let streams = msf_streams(&pdb.write()).expect("a whole file");
    let parts: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
    fs::write(root.join("pdb/written"), msf_with(512, &parts)).expect("seed");
    for file in files(Path::new("../shared/data/symbols")) {
        let name = file.display().to_string().replace(['/', '.'], "_");
        let bytes = fs::read(&file).expect("a file");
        if let Some(mut streams) = msf_streams(&bytes) {
            // Types are not read.
            for types in [2, 4] {
                streams[types].clear();
            }
            let mut parts: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
            // Large PDBs: leave streams out from the end until the rest fits.
            while msf_with(512, &parts).len() > MAX && parts.len() > 6 {
                let largest = (6..parts.len())
                    .max_by_key(|i| parts[*i].len())
                    .expect("some");
                if parts[largest].is_empty() {
                    break;
                }
                parts[largest] = &[];
            }
            let seed = msf_with(512, &parts);
            if seed.len() <= MAX {
                fs::write(root.join("pdb").join(name), seed).expect("seed");
            }
        } else if bytes.len() <= MAX {
            fs::write(root.join("image").join(name), bytes).expect("seed");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}
