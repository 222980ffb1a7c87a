//! A second reader of minidumps for tests: straight from the published MINIDUMP_* structures, by plain
//! indexing, for files known to be good. Shares nothing with the product and uses no library.

pub struct Oracle {
    pub time: u64,
    pub flags: u64,
    pub system: System,
    pub process_id: Option<u32>,
    pub create_time: Option<u64>,
    pub threads: Option<u32>,
    pub exception: Option<Exception>,
    pub modules: Vec<Module>,
    pub unloaded: Vec<(String, u64, u32, u32, u32)>,
}

pub struct System {
    pub architecture: u16,
    pub processors: u8,
    pub product: u8,
    pub version: (u32, u32, u32),
    pub platform: u32,
    pub csd: String,
}

pub struct Exception {
    pub thread: u32,
    pub code: u32,
    pub address: u64,
    pub parameters: Vec<u64>,
    /// Instruction and stack pointer of the CONTEXT, x86 and x64 only.
    pub registers: Option<(u64, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    pub path: String,
    pub base: u64,
    pub size: u32,
    pub stamp: u32,
    pub checksum: u32,
    pub version: Option<String>,
    pub pdb: Option<(String, String)>,
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    b[at] as u16 | (b[at + 1] as u16) << 8
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u16_at(b, at) as u32 | (u16_at(b, at + 2) as u32) << 16
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u32_at(b, at) as u64 | (u32_at(b, at + 4) as u64) << 32
}

fn string(b: &[u8], at: u32) -> String {
    let at = at as usize;
    let bytes = u32_at(b, at) as usize;
    let units: Vec<u16> = (0..bytes / 2).map(|i| u16_at(b, at + 4 + 2 * i)).collect();
    String::from_utf16_lossy(&units)
}

fn leaf(path: &str) -> String {
    let cut = path.rfind(['\\', '/']).map_or(0, |i| i + 1);
    path[cut..].to_owned()
}

pub fn read(b: &[u8]) -> Oracle {
    assert_eq!(&b[..4], b"MDMP");
    let stream = |kind: u32| {
        let (count, directory) = (u32_at(b, 8) as usize, u32_at(b, 12) as usize);
        (0..count)
            .map(|i| directory + 12 * i)
            .find(|at| u32_at(b, *at) == kind)
            .map(|at| (u32_at(b, at + 8) as usize, u32_at(b, at + 4) as usize))
    };
    let (s, _) = stream(7).expect("system information");
    let architecture = u16_at(b, s);
    let misc = stream(15).map(|(at, _)| at);
    Oracle {
        time: u32_at(b, 20).into(),
        flags: u64_at(b, 24),
        system: System {
            architecture,
            processors: b[s + 6],
            product: b[s + 7],
            version: (u32_at(b, s + 8), u32_at(b, s + 12), u32_at(b, s + 16)),
            platform: u32_at(b, s + 20),
            csd: string(b, u32_at(b, s + 24)),
        },
        process_id: misc
            .filter(|at| u32_at(b, at + 4) & 1 != 0)
            .map(|at| u32_at(b, at + 8)),
        create_time: misc
            .filter(|at| u32_at(b, at + 4) & 2 != 0)
            .map(|at| u32_at(b, at + 12).into()),
        threads: stream(3).map(|(at, _)| u32_at(b, at)),
        exception: stream(6).map(|(at, _)| exception(b, at, architecture)),
        modules: stream(4).map_or(Vec::new(), |(at, size)| {
            let count = u32_at(b, at) as usize;
            let first = at + if size == 8 + 108 * count { 8 } else { 4 };
            (0..count).map(|i| module(b, first + 108 * i)).collect()
        }),
        unloaded: stream(14).map_or(Vec::new(), |(at, _)| {
            let (header, entry) = (u32_at(b, at) as usize, u32_at(b, at + 4) as usize);
            (0..u32_at(b, at + 8) as usize)
                .map(|i| at + header + i * entry)
                .map(|e| {
                    let name = leaf(&string(b, u32_at(b, e + 20)));
                    (
                        name,
                        u64_at(b, e),
                        u32_at(b, e + 8),
                        u32_at(b, e + 16),
                        u32_at(b, e + 12),
                    )
                })
                .collect()
        }),
    }
}

fn exception(b: &[u8], at: usize, architecture: u16) -> Exception {
    let context = u32_at(b, at + 164) as usize;
    let size = u32_at(b, at + 160);
    Exception {
        thread: u32_at(b, at),
        code: u32_at(b, at + 8),
        address: u64_at(b, at + 24),
        parameters: (0..u32_at(b, at + 32) as usize)
            .map(|i| u64_at(b, at + 40 + 8 * i))
            .collect(),
        registers: match architecture {
            0 if size > 0 => Some((
                u32_at(b, context + 0xB8).into(),
                u32_at(b, context + 0xC4).into(),
            )),
            9 if size > 0 => Some((u64_at(b, context + 0xF8), u64_at(b, context + 0x98))),
            _ => None,
        },
    }
}

fn module(b: &[u8], at: usize) -> Module {
    let (cv_size, cv) = (u32_at(b, at + 76) as usize, u32_at(b, at + 80) as usize);
    let pdb = (cv_size > 24 && &b[cv..cv + 4] == b"RSDS").then(|| {
        let name: Vec<u8> = b[cv + 24..cv + cv_size]
            .iter()
            .copied()
            .take_while(|c| *c != 0)
            .collect();
        let mut key = format!(
            "{:08X}{:04X}{:04X}",
            u32_at(b, cv + 4),
            u16_at(b, cv + 8),
            u16_at(b, cv + 10)
        );
        for byte in &b[cv + 12..cv + 20] {
            key += &format!("{byte:02X}");
        }
        key += &format!("{:x}", u32_at(b, cv + 20));
        (leaf(&String::from_utf8_lossy(&name)), key)
    });
    let (high, low) = (u32_at(b, at + 32), u32_at(b, at + 36));
    let version = (u32_at(b, at + 24) == 0xFEEF_04BD && (high, low) != (0, 0)).then(|| {
        [high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF]
            .map(|part| part.to_string())
            .join(".")
    });
    Module {
        path: string(b, u32_at(b, at + 20)),
        base: u64_at(b, at),
        size: u32_at(b, at + 8),
        stamp: u32_at(b, at + 16),
        checksum: u32_at(b, at + 12),
        version,
        pdb,
    }
}
