//! The registry, as far as the question needs it: a few values of the SYSTEM hive.
//!
//! One reader serves a hive in a dump's memory and a hive file; text exports are read beside it.
//! Absence of a value says nothing: Windows 6.0 keeps the setting of `netsh` elsewhere.

mod hive;
mod memory;
pub mod netsh;
mod search;
mod text;

pub use hive::{Cells, FileCells, Hive};
pub use memory::{MemoryCells, listed_hive, system_hive};
pub use search::search;
pub use text::{TextKind, read_text};

/// A DWORD value with the time its key was last written, a FILETIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dated {
    /// The value.
    pub value: u32,
    /// Last write of the key.
    pub written: Option<u64>,
}

/// What is asked of a SYSTEM hive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemValues {
    /// `Tcpip\Parameters\EnableMulticastForwarding`.
    pub forwarding_ipv4: Option<Dated>,
    /// `Tcpip6\Parameters\EnableMulticastForwarding`.
    pub forwarding_ipv6: Option<Dated>,
    /// `ComputerName\ComputerName`.
    pub computer_name: Option<String>,
    /// `Windows\CSDVersion`: service pack in the second byte.
    pub csd_version: Option<u32>,
}

/// The name of the value.
pub const FORWARDING: &str = "EnableMulticastForwarding";

/// Reads the values of the control set in use.
pub fn system_values<C: Cells>(hive: &Hive<'_, C>) -> SystemValues {
    let mut values = SystemValues::default();
    let Some(root) = hive.root() else {
        return values;
    };
    let number = hive
        .path(&root, &["Select"])
        .and_then(|select| hive.dword(&select, "Current"))
        .filter(|number| (1..=999).contains(number));
    let Some(set) =
        number.and_then(|number| hive.path(&root, &[&format!("ControlSet{number:03}")]))
    else {
        return values;
    };
    let dated = |service: &str| {
        let key = hive.path(&set, &["Services", service, "Parameters"])?;
        Some(Dated {
            value: hive.dword(&key, FORWARDING)?,
            written: key.written,
        })
    };
    values.forwarding_ipv4 = dated("Tcpip");
    values.forwarding_ipv6 = dated("Tcpip6");
    values.computer_name = hive
        .path(&set, &["Control", "ComputerName", "ComputerName"])
        .and_then(|key| hive.string(&key, "ComputerName"));
    values.csd_version = hive
        .path(&set, &["Control", "Windows"])
        .and_then(|key| hive.dword(&key, "CSDVersion"));
    values
}
