//! A SYSTEM hive, as a file and in a test machine's memory with the route that leads to it.
//!
//! Layouts from the published structures, stated a second time; nothing is shared with the reader.
#![allow(dead_code)]

use super::memory_machine::Mode;
use super::memory_state::State;

const BIN_HEADER: usize = 0x20;

/// A value: name, type, data.
pub type Value<'a> = (&'a str, u32, Vec<u8>);

/// A hive's cells behind each other in one bin; no cell crosses a block of 4 KiB.
pub struct Hive {
    pub bytes: Vec<u8>,
    pub root: u32,
    /// FILETIME every key was last written.
    pub written: u64,
}

pub fn text(value: &str) -> Vec<u8> {
    value
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

impl Hive {
    pub fn new(written: u64) -> Hive {
        let mut bytes = b"hbin".to_vec();
        bytes.resize(BIN_HEADER, 0);
        Hive {
            bytes,
            root: 0,
            written,
        }
    }

    fn cell(&mut self, data: &[u8]) -> u32 {
        let size = (data.len() + 4).next_multiple_of(8);
        if self.bytes.len() / 0x1000 != (self.bytes.len() + size - 1) / 0x1000 {
            self.bytes
                .resize(self.bytes.len().next_multiple_of(0x1000), 0);
        }
        let index = self.bytes.len() as u32;
        self.bytes.extend((-(size as i32)).to_le_bytes());
        self.bytes.extend(data);
        self.bytes.resize(index as usize + size, 0);
        index
    }

    pub fn key(&mut self, name: &str, values: &[Value<'_>], children: &[(&str, u32)]) -> u32 {
        let list = (!children.is_empty()).then(|| {
            let mut list = b"lf".to_vec();
            list.extend((children.len() as u16).to_le_bytes());
            for (child, cell) in children {
                list.extend(cell.to_le_bytes());
                let mut hint = child.as_bytes().to_vec();
                hint.resize(4, 0);
                list.extend(&hint[..4]);
            }
            self.cell(&list)
        });
        let cells: Vec<u32> = values
            .iter()
            .map(|(name, kind, data)| self.value(name, *kind, data))
            .collect();
        let value_list = (!cells.is_empty()).then(|| {
            let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
            self.cell(&bytes)
        });
        let mut node = vec![0; 0x4C];
        node[..2].copy_from_slice(b"nk");
        node[2..4].copy_from_slice(&0x20u16.to_le_bytes());
        node[4..12].copy_from_slice(&self.written.to_le_bytes());
        let mut put =
            |at: usize, value: u32| node[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(0x14, children.len() as u32);
        put(0x1C, list.unwrap_or(u32::MAX));
        put(0x20, u32::MAX);
        put(0x24, values.len() as u32);
        put(0x28, value_list.unwrap_or(u32::MAX));
        node[0x48..0x4A].copy_from_slice(&(name.len() as u16).to_le_bytes());
        node.extend(name.as_bytes());
        self.cell(&node)
    }

    fn value(&mut self, name: &str, kind: u32, data: &[u8]) -> u32 {
        let (length, reference) = if data.len() <= 4 {
            let mut inline = data.to_vec();
            inline.resize(4, 0);
            (
                data.len() as u32 | 0x8000_0000,
                u32::from_le_bytes(inline.try_into().unwrap()),
            )
        } else {
            (data.len() as u32, self.cell(data))
        };
        let mut bytes = b"vk".to_vec();
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(reference.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(0u16.to_le_bytes());
        bytes.extend(name.as_bytes());
        self.cell(&bytes)
    }

    /// A SYSTEM hive whose second control set is in use; the first says the opposite.
    pub fn system(written: u64, forwarding: Option<u32>, computer: &str) -> Hive {
        let mut hive = Hive::new(written);
        let dword = |value: u32| value.to_le_bytes().to_vec();
        let mut sets = Vec::new();
        for (name, on) in [
            ("ControlSet001", forwarding.map(|on| 1 - on)),
            ("ControlSet002", forwarding),
        ] {
            let values: Vec<Value<'_>> = on
                .map(|on| ("EnableMulticastForwarding", 4, dword(on)))
                .into_iter()
                .chain([("Hostname", 1, text(computer))])
                .collect();
            let parameters = hive.key("Parameters", &values, &[]);
            let tcpip = hive.key("Tcpip", &[], &[("Parameters", parameters)]);
            let services = hive.key("Services", &[], &[("Tcpip", tcpip)]);
            let inner = hive.key("ComputerName", &[("ComputerName", 1, text(computer))], &[]);
            let outer = hive.key("ComputerName", &[], &[("ComputerName", inner)]);
            let windows = hive.key("Windows", &[("CSDVersion", 4, dword(0x100))], &[]);
            let control = hive.key(
                "Control",
                &[],
                &[("ComputerName", outer), ("Windows", windows)],
            );
            let set = hive.key(name, &[], &[("Control", control), ("Services", services)]);
            sets.push((name, set));
        }
        let select = hive.key("Select", &[("Current", 4, dword(2))], &[]);
        sets.push(("Select", select));
        hive.root = hive.key("CMI-CreateHive", &[], &sets);
        let size = hive.bytes.len().next_multiple_of(0x1000);
        hive.bytes.resize(size, 0);
        hive
    }

    /// The hive as a file.
    pub fn file(&self) -> Vec<u8> {
        let mut bytes = vec![0; 0x1000];
        bytes[..4].copy_from_slice(b"regf");
        bytes[4] = 7;
        bytes[8] = 7;
        bytes[0x0C..0x14].copy_from_slice(&(self.written + 10_000_000).to_le_bytes());
        bytes[0x24..0x28].copy_from_slice(&self.root.to_le_bytes());
        bytes[0x28..0x2C].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        bytes.extend(&self.bytes);
        bytes
    }

    /// Puts the hive into the state's memory, behind a handle of the System process.
    pub fn load(&self, state: &mut State) {
        let mode = state.machine.mode;
        let w = mode.pointer() as u64;
        let narrow = mode.is_32_bit();
        let pick = |x86: u64, x64: u64| if narrow { x86 } else { x64 };
        let base = match mode {
            Mode::X86 | Mode::X86Pae => 0x8D00_0000,
            _ => 0xFFFF_F8A0_0000_1000,
        };
        let at = |page: u64| base + page * 0x1000;
        let m = &mut state.machine;
        let (hive, other) = (at(0), at(2));
        let name = r"\SystemRoot\System32\Config\";
        for (cm_hive, block, file) in [(hive, at(4), "SYSTEM"), (other, at(5), "SOFTWARE")] {
            m.put(cm_hive, &vec![0; pick(0x5E0, 0xB48) as usize]);
            m.put_u32(cm_hive, 0xBEE0_BEE0);
            m.put_ptr(cm_hive + pick(0x24, 0x48), block);
            m.put(block, b"regf");
            m.put_u32(block + 0x24, self.root);
            let path: Vec<u8> = format!("{name}{file}")
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect();
            // Only the last 31 characters have room.
            m.put(block + 0x30, &path[path.len().saturating_sub(62)..]);
        }
        // The head of the list of hives lies in the kernel's own data.
        let head = at(6);
        let links = [head, other + pick(0x308, 0x5D0), hive + pick(0x308, 0x5D0)];
        for i in 0..3 {
            m.put_ptr(links[i], links[(i + 1) % 3]);
            m.put_ptr(links[i] + w, links[(i + 2) % 3]);
        }
        // Cells: directory, table, blocks that do not follow each other.
        let (directory, table) = (at(7), at(8));
        m.put_ptr(hive + pick(0x70, 0xA0) + pick(4, 8), directory);
        m.put_ptr(directory, table);
        for (i, block) in self.bytes.chunks(0x1000).enumerate() {
            let place = at(0x20 + i as u64 * 2);
            m.put(place, block);
            m.put_ptr(table + i as u64 * pick(0x10, 0x20), place);
        }
        // A handle to something else, and one to a key of the other hive.
        let (handle_table, entries) = (at(9), at(10));
        let (file, key, block) = (at(11), at(12), at(13));
        m.put_ptr(handle_table, entries);
        m.put(entries, &[0; 0x1000]);
        m.put(file, &[0x5A; 0x100]);
        m.put_ptr(entries + pick(8, 16), file | 1);
        m.put_ptr(entries + 2 * pick(8, 16), key | 1);
        m.put_ptr(key + pick(0x18, 0x30) + w, block);
        m.put_ptr(block + pick(0x10, 0x18), other);
        let system = state.system + pick(0xDC, 0x160);
        state.machine.put_ptr(system, handle_table);
        state.refresh();
    }
}
