//! The decoder against what GNU readelf and an independent reader say of every function of the real
//! drivers and of assembled programs.

use std::io::Read;

use kbtriage::unwind::ia64::UnwindInfo;
use kbtriage::unwind::ia64::descriptors::{Descriptors, Item, Record, Region, Resource, Spill};
use kbtriage::unwind::{CodeInfo, ModuleSpan};
use serde_json::{Value, json};

use super::elf::{Image, word32, word64};
use crate::support::shared::shared;

/// The name the independent reader has for a register.
fn name(what: Resource) -> String {
    match what {
        Resource::Gr(n) => format!("r{n}"),
        Resource::Fr(n) => format!("f{n}"),
        Resource::Br(n) => format!("b{n}"),
        Resource::Preds => "preds".into(),
        Resource::Psp => "psp".into(),
        Resource::Priunat => "priunat".into(),
        Resource::Rp => "rp".into(),
        Resource::Bsp => "bsp".into(),
        Resource::Bspstore => "bspstore".into(),
        Resource::Rnat => "rnat".into(),
        Resource::Unat => "unat".into(),
        Resource::Fpsr => "fpsr".into(),
        Resource::Pfs => "pfs".into(),
        Resource::Lc => "lc".into(),
    }
}

/// A record as the oracle's JSON has it, without the name of the format. Records that the drivers
/// do not have are covered by the text of readelf.
fn as_json(record: &Record<'_>) -> Value {
    match record {
        Record::When(what, t) => json!({"op": format!("{}_when", name(*what)), "t": t}),
        Record::InGr(what, reg) => json!({"op": format!("{}_gr", name(*what)), "reg": reg}),
        Record::MemStackFixed { t, size } => json!({"op": "mem_stack_f", "t": t, "size": size}),
        Record::SpillBase(off) => json!({"op": "spill_base", "off": off}),
        Record::Mem { gr, fr, .. } => json!({"op": "frgr_mem", "grmask": gr, "frmask": fr}),
        Record::LabelState(label) => json!({"op": "label_state", "label": label}),
        Record::CopyState(label) => json!({"op": "copy_state", "label": label}),
        Record::Epilogue { t, ecount } => json!({"op": "epilogue", "t": t, "ecount": ecount}),
        other => json!({"unexpected": format!("{other:?}")}),
    }
}

/// Regions with their records; padding at the end dropped.
fn regions(descriptors: &[u8]) -> Vec<(Region, Vec<Record<'_>>)> {
    let mut regions: Vec<(Region, Vec<Record<'_>>)> = Vec::new();
    for item in Descriptors::new(descriptors) {
        match item.unwrap() {
            Item::Region(region) => regions.push((region, Vec::new())),
            Item::Record(record) => regions.last_mut().unwrap().1.push(record),
        }
    }
    while regions
        .last()
        .is_some_and(|(r, records)| r.length == 0 && r.format == 1 && records.is_empty())
    {
        regions.pop();
    }
    regions
}

fn sorted(value: &Value) -> Vec<(String, Value)> {
    let object = value.as_object().unwrap();
    let mut pairs: Vec<(String, Value)> = object
        .iter()
        .filter(|(key, _)| *key != "f")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

/// A PE file's bytes by RVA.
pub fn map(file: &[u8]) -> Image {
    let pe = word32(file, 0x3C) as usize;
    let sections = usize::from(u16::from_le_bytes([file[pe + 6], file[pe + 7]]));
    let optional = usize::from(u16::from_le_bytes([file[pe + 20], file[pe + 21]]));
    let mut image = vec![0; word32(file, pe + 24 + 56) as usize];
    let headers = word32(file, pe + 24 + 60) as usize;
    image[..headers].copy_from_slice(&file[..headers]);
    for n in 0..sections {
        let at = pe + 24 + optional + n * 40;
        let (rva, size, from) = (
            word32(file, at + 12) as usize,
            word32(file, at + 16) as usize,
            word32(file, at + 20) as usize,
        );
        let end = (rva + size).min(image.len());
        image[rva..end].copy_from_slice(&file[from..from + end - rva]);
    }
    Image::mapped(0x1_0000, image)
}

fn whole(image: &Image) -> ModuleSpan {
    image.module_at(image.base).unwrap()
}

#[test]
fn every_function_of_the_real_drivers_reads_as_the_independent_decoder_says() {
    let mut functions = 0;
    for (folder, oracle) in [("libusb0-phywe", "phywe"), ("libusb0-thead", "thead")] {
        for file in ["libusb0.sys", "libusb0.dll"] {
            let (Some(file), Some(text)) = (
                shared(&format!("data/ia64/{folder}/{file}")),
                shared(&format!("data/ia64/oracle/{oracle}/{file}.unwind.json.gz")),
            ) else {
                return;
            };
            let image = map(&std::fs::read(file).unwrap());
            let mut json = String::new();
            flate2::read::GzDecoder::new(std::fs::File::open(text).unwrap())
                .read_to_string(&mut json)
                .unwrap();
            let oracle: Value = serde_json::from_str(&json).unwrap();
            let items = oracle["items"].as_array().unwrap();
            assert_eq!(items.len(), image.table.size as usize / 12);
            for (n, item) in items.iter().enumerate() {
                check(&image, n, item);
                functions += 1;
            }
        }
    }
    assert_eq!(functions, 2 * (87 + 172));
}

fn check(image: &Image, n: usize, item: &Value) {
    let row = image.table.rva as usize + n * 12;
    let (begin, end) = (word32(&image.bytes, row), word32(&image.bytes, row + 4));
    assert_eq!(
        (item["begin"].as_u64(), item["end"].as_u64()),
        (Some(begin.into()), Some(end.into()))
    );
    let info = word32(&image.bytes, row + 8);
    let unwind = UnwindInfo::read(image, whole(image), info).unwrap();
    assert_eq!(item["version"], json!(unwind.version));
    assert_eq!(item["flags"], json!(unwind.flags));
    let found = regions(&unwind.descriptors);
    let wanted = item["regions"].as_array().unwrap();
    assert_eq!(found.len(), wanted.len(), "function {n}");
    for ((region, records), wanted) in found.iter().zip(wanted) {
        let kind = if region.prologue { "prologue" } else { "body" };
        assert_eq!(wanted["kind"], json!(kind));
        assert_eq!(wanted["rlen"], json!(region.length));
        assert_eq!(wanted["f"], json!(format!("R{}", region.format)));
        let records: Vec<_> = records.iter().map(|r| sorted(&as_json(r))).collect();
        let wanted = wanted["recs"].as_array().unwrap();
        let wanted: Vec<_> = wanted.iter().map(sorted).collect();
        assert_eq!(records, wanted, "function {n}");
    }
    let slots: u64 = found.iter().map(|(region, _)| region.length).sum();
    assert_eq!(slots, u64::from((end - begin) / 16 * 3), "function {n}");
}

#[test]
fn every_record_format_reads_as_readelf_prints_it() {
    let cases = [
        ("all", "all-records.readelf.txt", 5),
        ("lab", "lab-a.readelf.txt", 10),
    ];
    for (program, text, functions) in cases {
        let (Some(program), Some(text)) = (
            shared(&format!("data/ia64/lab-a/{program}")),
            shared(&format!("data/ia64/oracle/{text}")),
        ) else {
            return;
        };
        let bytes = std::fs::read(program).unwrap();
        let text = std::fs::read_to_string(text).unwrap();
        let wanted: Vec<&str> = text.lines().map(str::trim).collect();
        let blocks: Vec<&[&str]> = wanted
            .split(|line| line.is_empty() || line.starts_with("Unwind section"))
            .filter(|block| !block.is_empty())
            .collect();
        assert_eq!(blocks.len(), functions);
        for block in blocks {
            let at = block[0].rsplit_once("+0x").unwrap().1;
            let at = usize::from_str_radix(at, 16).unwrap();
            let length = word64(&bytes, at) as u32 as usize * 8;
            let printed = print(&bytes[at + 8..at + 8 + length]);
            let wanted: Vec<String> = block[2..]
                .iter()
                .map(|line| line.replace(' ', ""))
                .collect();
            let wanted: Vec<String> = wanted
                .into_iter()
                .filter(|line| line != "R1:prologue(rlen=0)")
                .collect();
            assert_eq!(printed, wanted, "{}", block[0]);
        }
    }
}

/// Descriptors in the notation of GNU readelf, formats included, without padding and spaces.
fn print(descriptors: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for (region, records) in regions(descriptors) {
        let kind = if region.prologue { "prologue" } else { "body" };
        let length = region.length;
        lines.push(match region.format {
            2 => {
                let (mask, first) = region.saved;
                let names = bits(mask.into(), 4, |n| {
                    ["pr", "psp", "ar.pfs", "rp"][n].to_owned()
                });
                let names: Vec<String> = names.into_iter().rev().collect();
                format!(
                    "R2:prologue_gr(mask=[{}],grsave=r{first},rlen={length})",
                    names.join(",")
                )
            }
            format => format!("R{format}:{kind}(rlen={length})"),
        });
        lines.extend(records.iter().map(|record| line(record, length)));
    }
    lines
}

fn bits(mask: u32, count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    (0..count)
        .filter(|n| mask >> n & 1 != 0)
        .map(name)
        .collect()
}

fn fr(mask: u32) -> String {
    bits(mask, 20, |n| {
        format!("f{}", if n < 4 { n + 2 } else { n + 12 })
    })
    .join(",")
}

fn gr(mask: u8) -> String {
    bits(mask.into(), 4, |n| format!("r{}", n + 4)).join(",")
}

fn br(mask: u8) -> String {
    bits(mask.into(), 5, |n| format!("b{}", n + 1)).join(",")
}

/// Which of P7 and P8 a timed or placed register belongs to.
fn timed(what: Resource) -> (&'static str, &'static str) {
    match what {
        Resource::Rp => ("P7", "rp"),
        Resource::Pfs => ("P7", "pfs"),
        Resource::Preds => ("P7", "pr"),
        Resource::Lc => ("P7", "lc"),
        Resource::Unat => ("P7", "unat"),
        Resource::Fpsr => ("P7", "fpsr"),
        Resource::Psp => ("P7", "psp"),
        Resource::Bsp => ("P8", "bsp"),
        Resource::Bspstore => ("P8", "bspstore"),
        Resource::Rnat => ("P8", "rnat"),
        Resource::Priunat => ("P8", "priunat"),
        other => panic!("{other:?}"),
    }
}

fn line(record: &Record<'_>, length: u64) -> String {
    match *record {
        Record::Mem {
            gr: 0,
            br: 0,
            fr: mask,
        } if mask < 16 => {
            format!("P6:fr_mem(frmask=[{}])", fr(mask))
        }
        Record::Mem {
            gr: mask,
            br: 0,
            fr: 0,
        } => format!("P6:gr_mem(grmask=[{}])", gr(mask)),
        Record::Mem {
            gr: 0,
            br: mask,
            fr: 0,
        } => format!("P1:br_mem(brmask=[{}])", br(mask)),
        Record::Mem { gr: g, fr: f, .. } => {
            format!("P5:frgr_mem(grmask=[{}],frmask=[{}])", gr(g), fr(f))
        }
        Record::BrGr { mask, first } => format!("P2:br_gr(brmask=[{}],gr=r{first})", br(mask)),
        Record::GrGr { mask, first } => format!("P9:gr_gr(grmask=[{}],r{first})", gr(mask)),
        Record::InGr(what, reg) => format!("P3:{}_gr(reg=r{reg})", timed(what).1),
        Record::RpBr(reg) => format!("P3:rp_br(reg=b{reg})"),
        Record::SpillMask(mask) => {
            let slots: Vec<char> = mask
                .iter()
                .flat_map(|byte| [6, 4, 2, 0].map(|shift| byte >> shift & 3))
                .map(|code| ['-', 'f', 'r', 'b'][usize::from(code)])
                .take(length as usize)
                .collect();
            let bundles: Vec<String> = slots.chunks(3).map(|b| b.iter().collect()).collect();
            format!("P4:spill_mask(imask=[{}])", bundles.join(","))
        }
        Record::MemStackFixed { t, size } => format!("P7:mem_stack_f(t={t},size={size})"),
        Record::MemStackVariable { t } => format!("P7:mem_stack_v(t={t})"),
        Record::SpillBase(off) => format!("P7:spill_base(pspoff=0x10-{:#x})", off * 4),
        Record::When(Resource::Priunat, t) => format!("P8:priunat_when_gr(t={t})"),
        Record::WhenPriunatInMemory(t) => format!("P8:priunat_when_mem(t={t})"),
        Record::When(what, t) => {
            let (format, name) = timed(what);
            format!("{format}:{name}_when(t={t})")
        }
        Record::Psprel(what, off) => {
            let (format, name) = timed(what);
            format!("{format}:{name}_psprel(pspoff=0x10-{:#x})", off * 4)
        }
        Record::Sprel(Resource::Psp, off) => format!("P7:psp_sprel(spoff={:#x})", off * 4),
        Record::Sprel(what, off) => format!("P8:{}_sprel(spoff={:#x})", timed(what).1, off * 4),
        Record::Abi { abi, context } => {
            let abi = ["@svr4", "@hpux", "@nt"][usize::from(abi)];
            format!("P10:unwabi(abi={abi},context={context:#04x})")
        }
        Record::Moved { qp, t, what, to } => moved(qp, t, what, to),
        Record::LabelState(n) if n < 32 => format!("B1:label_state(label={n})"),
        Record::LabelState(n) => format!("B4:label_state(label={n})"),
        Record::CopyState(n) if n < 32 => format!("B1:copy_state(label={n})"),
        Record::CopyState(n) => format!("B4:copy_state(label={n})"),
        Record::Epilogue { t, ecount } => format!("B2:epilogue(t={t},ecount={ecount})"),
    }
}

fn moved(qp: u8, t: u64, what: Resource, to: Spill) -> String {
    let what = match what {
        Resource::Preds => "pr".to_owned(),
        Resource::Priunat => "@priunat".to_owned(),
        Resource::Bsp
        | Resource::Bspstore
        | Resource::Rnat
        | Resource::Unat
        | Resource::Fpsr
        | Resource::Pfs
        | Resource::Lc => format!("ar.{}", name(what)),
        other => name(other),
    };
    let (p, qp) = match qp {
        0 => ("", String::new()),
        n => ("_p", format!("qp=p{n},")),
    };
    let x = |plain: u8| if qp.is_empty() { plain } else { plain + 2 };
    let placed = match qp.is_empty() {
        true => format!("reg={what},t={t}"),
        false => format!("{qp}t={t},reg={what}"),
    };
    // readelf prints the target modulo 32, its one known fault.
    match to {
        Spill::Psprel(off) => {
            format!(
                "X{}:spill_psprel{p}({placed},pspoff=0x10-{:#x})",
                x(1),
                off * 4
            )
        }
        Spill::Sprel(off) => format!("X{}:spill_sprel{p}({placed},spoff={:#x})", x(1), off * 4),
        Spill::Gr(n) => format!(
            "X{}:spill_reg{p}({qp}t={t},reg={what},treg=r{})",
            x(2),
            n % 32
        ),
        Spill::Fr(n) => format!(
            "X{}:spill_reg{p}({qp}t={t},reg={what},treg=f{})",
            x(2),
            n % 32
        ),
        Spill::Br(n) => format!(
            "X{}:spill_reg{p}({qp}t={t},reg={what},treg=b{})",
            x(2),
            n % 32
        ),
        Spill::Restore => format!("X{}:restore{p}({qp}t={t},reg={what})", x(2)),
    }
}
