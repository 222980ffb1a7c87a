//! Which machine a dump is counted for: what the dump itself says, else what its place says.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use regex::Regex;

use crate::report::summary::MachineName;

/// Longest name taken, in characters.
const LONGEST: usize = 255;

/// How a machine is found for a dump.
#[derive(Clone, Debug, Default)]
pub struct MachineNamer {
    /// Named for every dump of the run.
    pub fixed: Option<String>,
    /// The names of directories or files (paths below the root, in lower case with `/`) and the
    /// machine of all below them; the longest wins.
    pub mapping: BTreeMap<String, String>,
    /// Applied to the path below the root, with `/` (on Windows with `\` where that does not match): the group `machine`, or the first one, is the name.
    pub pattern: Option<Regex>,
}

/// A mapping file that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: expected a path below the root, a tab and a machine's name")]
pub struct MappingError {
    /// The line, from 1.
    pub line: usize,
}

impl MachineNamer {
    /// The machine of a dump at `relative` whose own name for its machine is `own`.
    pub fn name(&self, relative: &Path, own: Option<&str>) -> Option<MachineName> {
        let named = |name: &str, source: &str| {
            let name: String = name.trim().chars().take(LONGEST).collect();
            (!name.is_empty()).then(|| MachineName {
                name,
                source: source.to_owned(),
            })
        };
        if let Some(name) = &self.fixed {
            return named(name, "option");
        }
        if let Some(name) = own.and_then(|own| named(own, "dump")) {
            return Some(name);
        }
        if !self.mapping.is_empty() {
            let path = slashed(relative).to_lowercase();
            let mapped = std::iter::successors(Some(path.as_str()), |path| {
                path.rsplit_once('/').map(|(above, _)| above)
            })
            .find_map(|path| self.mapping.get(path));
            if let Some(name) = mapped {
                return named(name, "mapping");
            }
        }
        match &self.pattern {
            Some(pattern) => {
                let path = slashed(relative);
                // As the path is shown there.
                let shown = cfg!(windows).then(|| path.replace('/', r"\"));
                let shown = shown.as_deref().and_then(|path| pattern.captures(path));
                let found = pattern.captures(&path).or(shown)?;
                let name = found.name("machine").or_else(|| found.get(1))?;
                named(name.as_str(), "path")
            }
            // By default the first directory below the root; a file right below it has none.
            None => {
                let mut parts = relative.components();
                match (parts.next(), parts.next()) {
                    (Some(Component::Normal(first)), Some(_)) => {
                        let first = first.to_string_lossy();
                        named(&first, "path").filter(|_| !is_windows_folder(&first))
                    }
                    _ => None,
                }
            }
        }
    }

    /// Reads a mapping: lines of path, tab, name; blank lines and `#` comments are left out.
    ///
    /// # Errors
    /// [`MappingError`] for a line of another form.
    pub fn read_mapping(text: &str) -> Result<BTreeMap<String, String>, MappingError> {
        let mut mapping = BTreeMap::new();
        for (line, number) in text.trim_start_matches('\u{FEFF}').lines().zip(1..) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (path, name) = line
                .split_once('\t')
                .map(|(path, name)| (path.trim().replace('\\', "/"), name.trim()))
                .filter(|(path, name)| !path.is_empty() && !name.is_empty())
                .ok_or(MappingError { line: number })?;
            mapping.insert(path.trim_matches('/').to_lowercase(), name.to_owned());
        }
        Ok(mapping)
    }
}

/// Folders that Windows itself makes for dumps and error reports, in lower case: no machine's name.
const WINDOWS_FOLDERS: [&str; 9] = [
    "crashdumps",
    "livekernelreports",
    "memory dumps",
    "minidump",
    "reportarchive",
    "reportqueue",
    "temp",
    "wer",
    "windows",
];
/// How the folder of one error report begins: its kind, or how bad it was.
const REPORT_FOLDERS: [&str; 5] = [
    "appcrash_",
    "apphang_",
    "critical_",
    "kernel_",
    "noncritical_",
];

/// True for a folder that Windows made, on whatever machine.
fn is_windows_folder(name: &str) -> bool {
    let name = name.to_lowercase();
    WINDOWS_FOLDERS.contains(&name.as_str())
        || REPORT_FOLDERS.iter().any(|start| name.starts_with(start))
}

fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namer: &MachineNamer, path: &str, own: Option<&str>) -> Option<(String, String)> {
        namer
            .name(Path::new(path), own)
            .map(|found| (found.name, found.source))
    }

    fn pair(name: &str, source: &str) -> Option<(String, String)> {
        Some((name.to_owned(), source.to_owned()))
    }

    #[test]
    fn the_first_directory_is_the_machine_unless_the_dump_knows_better() {
        let namer = MachineNamer::default();
        assert_eq!(
            name(&namer, "WEB01/2008/a.dmp", None),
            pair("WEB01", "path")
        );
        assert_eq!(name(&namer, "a.dmp", None), None);
        assert_eq!(
            name(&namer, "WEB01/a.dmp", Some("SQL7")),
            pair("SQL7", "dump")
        );
    }

    #[test]
    fn a_folder_that_windows_made_is_no_machine() {
        let namer = MachineNamer::default();
        for path in [
            "ReportQueue/Kernel_d1_1c2f_cab_0a3b/Mini.dmp",
            "Kernel_1000009f_dc4b_00000000_cab_1/sysdata.xml",
            "minidump/Mini122209-01.dmp",
            "LiveKernelReports/WATCHDOG/a.dmp",
        ] {
            assert_eq!(name(&namer, path, None), None, "{path}");
        }
        assert_eq!(
            name(&namer, "WEB01/ReportQueue/a.dmp", None),
            pair("WEB01", "path")
        );
    }

    #[test]
    fn a_mapping_counts_for_all_below_and_a_pattern_for_the_rest() {
        let namer = MachineNamer {
            mapping: MachineNamer::read_mapping("# c\nold\\X\tWEB02\nold\tWEB03\n").unwrap(),
            pattern: Some(Regex::new("(?P<machine>[A-Z]+[0-9]+)_").unwrap()),
            ..MachineNamer::default()
        };
        assert_eq!(name(&namer, "Old/x/a.dmp", None), pair("WEB02", "mapping"));
        assert_eq!(name(&namer, "old/y/a.dmp", None), pair("WEB03", "mapping"));
        assert_eq!(name(&namer, "in/SQL9_a.dmp", None), pair("SQL9", "path"));
        assert_eq!(name(&namer, "in/a.dmp", None), None);
        assert_eq!(
            MachineNamer::read_mapping("ok\tA\nbroken"),
            Err(MappingError { line: 2 })
        );
    }
}
