//! Text that says whether multicast forwarding is on: `.reg` exports and saved `netsh` output.
//!
//! Only the lines that answer are looked for; `netsh` output is read in the languages of [`super::netsh`].

use super::{FORWARDING, netsh};
use crate::bytes::text::decode;

/// What kind of text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// An export of the registry editor.
    RegExport,
    /// Saved output of `netsh interface ipv4 show global`.
    Netsh,
}

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its kind.
    pub kind: TextKind,
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
    /// It says both on and off: neither is believed.
    pub contradictory: bool,
    /// The line about multicast forwarding, where its value is not understood.
    pub unread: Option<String>,
}

/// Reads a text in UTF-16 with a byte order mark, or in any superset of ASCII. `None` when it is
/// neither kind of text.
pub fn read_text(bytes: &[u8]) -> Option<Text> {
    let text = decode(bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    if first.starts_with("Windows Registry Editor") || first == "REGEDIT4" {
        return Some(reg_export(&text));
    }
    netsh_output(bytes, &text)
}

fn reg_export(text: &str) -> Text {
    let mut found = Text {
        kind: TextKind::RegExport,
        ipv4: None,
        ipv6: None,
        contradictory: false,
        unread: None,
    };
    let mut key = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            key = name.to_ascii_lowercase();
            continue;
        }
        let Some(value) = dword(line) else {
            continue;
        };
        // Of several control sets the current one counts; an export of another says nothing.
        if !key.starts_with(r"hkey_local_machine\system\currentcontrolset\") {
            continue;
        }
        let known = if key.ends_with(r"\services\tcpip\parameters") {
            &mut found.ipv4
        } else if key.ends_with(r"\services\tcpip6\parameters") {
            &mut found.ipv6
        } else {
            continue;
        };
        found.contradictory |= known.is_some_and(|known| known != (value != 0));
        *known = Some(value != 0);
    }
    if found.contradictory {
        (found.ipv4, found.ipv6) = (None, None);
    }
    found
}

/// The DWORD of a line that sets the value asked for.
fn dword(line: &str) -> Option<u32> {
    let (name, data) = line.split_once('=')?;
    let name = name.trim().strip_prefix('"')?.strip_suffix('"')?;
    let digits = data.trim().strip_prefix("dword:")?;
    name.eq_ignore_ascii_case(FORWARDING)
        .then(|| u32::from_str_radix(digits.trim(), 16).ok())
        .flatten()
}

fn netsh_output(bytes: &[u8], text: &str) -> Option<Text> {
    let tables = netsh::read(bytes, text)?;
    Some(Text {
        kind: TextKind::Netsh,
        ipv4: tables.ipv4,
        ipv6: tables.ipv6,
        contradictory: tables.contradictory,
        unread: tables.unread,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_says_what_its_current_control_set_holds() {
        let text = "Windows Registry Editor Version 5.00\r\n\r\n\
            [HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters]\r\n\
            \"Hostname\"=\"ALPHA\"\r\n\"EnableMulticastForwarding\"=dword:00000001\r\n\
            [HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet002\\Services\\Tcpip6\\Parameters]\r\n\
            \"EnableMulticastForwarding\"=dword:00000001\r\n";
        let mut wide = vec![0xFF, 0xFE];
        wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        for bytes in [text.as_bytes().to_vec(), wide] {
            let found = read_text(&bytes).unwrap();
            assert_eq!(found.kind, TextKind::RegExport);
            assert_eq!((found.ipv4, found.ipv6), (Some(true), None));
        }
    }

    #[test]
    fn netsh_output_says_whether_forwarding_was_enabled() {
        let text = "Querying active state...\n\nGeneral Global Parameters\n\
            ---------------------------------------------\n\
            Default Hop Limit                    : 128 hops\n\
            Multicast Forwarding                 : disabled\n";
        let found = read_text(text.as_bytes()).unwrap();
        assert_eq!((found.kind, found.ipv4), (TextKind::Netsh, Some(false)));
        assert_eq!(read_text(b"Mehrfachweiterleitung : aktiviert"), None);
        let unread = "Yleiset\n-------\nJotain : kielletty\n";
        let found = read_text(unread.as_bytes()).unwrap();
        assert_eq!(
            (found.kind, found.ipv4, found.ipv6),
            (TextKind::Netsh, None, None)
        );
    }
}
