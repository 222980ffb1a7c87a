//! Which files that run in the kernel are part of Windows, and which of them fault for their callers.
//!
//! By name (`data/windows-modules.tsv`): a dump says nothing better of most of its modules. What is not
//! listed is not known to be part of Windows.

use super::conditions::glob_lower_case;
use super::tables::windows::{FILES, PATTERNS};

/// What a file of Windows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel or the HAL: faults for its caller.
    Kernel,
    /// A port driver or a library: does so too.
    Framework,
    /// A driver in its own right.
    Driver,
}

impl Part {
    /// True for code that faults because of what its caller gave it.
    pub fn faults_for_its_caller(self) -> bool {
        self != Part::Driver
    }
}

/// The part of Windows that a file is, by its name in any case. `None`: not known to be one.
pub fn part(file: &str) -> Option<Part> {
    let file = file.to_ascii_lowercase();
    // A crash and hibernation have copies of their own of the drivers of the disk they write to.
    let original = ["dump_", "hiber_"]
        .iter()
        .find_map(|start| file.strip_prefix(start))
        .unwrap_or(&file);
    let exact = FILES.binary_search_by(|(known, _)| (*known).cmp(original));
    if let Ok(at) = exact {
        return FILES.get(at).map(|(_, part)| *part);
    }
    PATTERNS
        .iter()
        .find(|(pattern, _)| glob_lower_case(pattern, original))
        .map(|(_, part)| *part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_windows_is_told_in_any_case_and_as_the_copy_of_a_crash() {
        assert_eq!(part("NTOSKRNL.exe"), Some(Part::Kernel));
        assert_eq!(part("ntkrnlpa.exe"), Some(Part::Kernel));
        assert_eq!(part("NDIS.SYS"), Some(Part::Framework));
        assert_eq!(part("tcpip.sys"), Some(Part::Driver));
        assert_eq!(part("dump_stornvme.sys"), Some(Part::Driver));
        assert_eq!(part("mrxsmb20.sys"), Some(Part::Driver));
        for other in ["nvlddmkm.sys", "dump_iaStorA.sys", "acmewfp.sys", "", "*"] {
            assert_eq!(part(other), None, "{other}");
        }
    }
}
