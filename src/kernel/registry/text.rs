//! Text that says whether multicast forwarding is on: `.reg` exports and saved `netsh` output.
//!
//! Only the lines that answer are looked for; a localised `netsh` output is not understood and
//! says nothing.

use super::FORWARDING;

/// What kind of text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// An export of the registry editor.
    RegExport,
    /// Saved output of `netsh interface ipv4 show global`.
    Netsh,
}

/// What a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its kind.
    pub kind: TextKind,
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
}

/// Reads a text in UTF-16 with a byte order mark, or in any superset of ASCII. `None` when it is
/// neither kind of text.
pub fn read_text(bytes: &[u8]) -> Option<Text> {
    let text = decode(bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    if first.starts_with("Windows Registry Editor") || first == "REGEDIT4" {
        return Some(reg_export(&text));
    }
    netsh(&text)
}

fn decode(bytes: &[u8]) -> String {
    let units = |swap: bool| -> String {
        let pairs = bytes.get(2..).unwrap_or_default().as_chunks::<2>().0;
        let units = pairs.iter().map(|pair| match swap {
            true => u16::from_be_bytes(*pair),
            false => u16::from_le_bytes(*pair),
        });
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match bytes {
        [0xFF, 0xFE, ..] => units(false),
        [0xFE, 0xFF, ..] => units(true),
        _ => String::from_utf8_lossy(bytes)
            .trim_start_matches('\u{FEFF}')
            .to_owned(),
    }
}

fn reg_export(text: &str) -> Text {
    let mut found = Text {
        kind: TextKind::RegExport,
        ipv4: None,
        ipv6: None,
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
        if key.ends_with(r"\services\tcpip\parameters") {
            found.ipv4 = Some(value != 0);
        } else if key.ends_with(r"\services\tcpip6\parameters") {
            found.ipv6 = Some(value != 0);
        }
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

fn netsh(text: &str) -> Option<Text> {
    let on = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if !name.trim().eq_ignore_ascii_case("Multicast Forwarding") {
            return None;
        }
        match value.trim().to_ascii_lowercase().as_str() {
            "enabled" => Some(true),
            "disabled" => Some(false),
            _ => None,
        }
    })?;
    // The output names no family; a transcript with the command does.
    let ipv6 = text.to_ascii_lowercase().contains("ipv6 show global");
    Some(Text {
        kind: TextKind::Netsh,
        ipv4: (!ipv6).then_some(on),
        ipv6: ipv6.then_some(on),
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
    }
}
