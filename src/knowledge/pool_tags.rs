//! Owners of pool tags that crashes meet often, from Microsoft's published list of tags (pooltag.txt of the
//! debugging tools). Only an owner's name for a person: nothing is decided by it.

use super::defect;

/// Tag and owner, ascending by tag.
const OWNERS: &[(&str, &str)] = &[
    ("Afd ", "sockets, afd.sys"),
    ("AfdB", "sockets, afd.sys"),
    ("AfdE", "sockets, afd.sys"),
    ("CM  ", "registry"),
    ("CMVa", "registry"),
    ("CcSc", "cache manager"),
    ("CcVa", "cache manager"),
    ("CIcr", "code integrity"),
    ("Even", "event objects"),
    ("FMfn", "filter manager"),
    ("FMic", "filter manager"),
    ("FMsl", "filter manager"),
    ("File", "file objects"),
    ("Icp ", "I/O completion ports"),
    ("Io  ", "I/O manager"),
    ("IoNm", "names of the I/O manager"),
    ("Irp ", "request packets"),
    ("Key ", "registry keys"),
    ("MmCa", "memory manager, mapped files"),
    ("MmSt", "memory manager, mapped files"),
    ("Ntfx", "ntfs.sys"),
    ("NtfF", "ntfs.sys"),
    ("ObNm", "names of objects"),
    ("Pool", "tables of the pool itself"),
    ("Proc", "processes"),
    ("Sema", "semaphores"),
    ("TcpE", "TCP endpoints, tcpip.sys"),
    ("Thre", "threads"),
    ("Toke", "security tokens"),
    ("UdpA", "UDP endpoints, tcpip.sys"),
    ("Vad ", "address ranges of processes"),
    ("Wmip", "WMI"),
];

/// Who owns memory under a tag; `None`: not listed here.
pub fn owner(tag: &str) -> Option<&'static str> {
    let own = defect::pool_tags().iter().find(|row| row.tag == tag);
    own.map(|row| row.owner).or_else(|| {
        let (_, owner) = OWNERS.iter().find(|(known, _)| *known == tag)?;
        Some(owner)
    })
}
