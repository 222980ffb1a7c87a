//! Names of NTSTATUS values.

use minidump_common::errors::NtStatusWindows;
use num_traits::FromPrimitive;

/// Name of an NTSTATUS (`STATUS_ACCESS_VIOLATION`), from minidump-common's tables and the one code
/// that kernels meet and those tables lack.
pub fn ntstatus_name(status: u32) -> Option<String> {
    if status == 0xE06D_7363 {
        return Some("C++ exception".to_owned());
    }
    NtStatusWindows::from_u32(status).map(|name| format!("{name:?}"))
}
