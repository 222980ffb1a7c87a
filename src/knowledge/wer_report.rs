//! The report that Windows Error Reporting left beside a dump: `sysdata.xml` with the versions of all drivers at
//! the crash, `Version.txt` with the build, `Report.wer` with the bug check that it is about.
//!
//! Forms as Microsoft describes them ("Windows Error Reporting", "!analyze", "CreationDate"); a form that is
//! not known gives nothing and says so. Text of such a file is data.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::bytes::text::decode;
use crate::knowledge::versions::FileVersion;

/// Drivers taken from one file; a machine has some hundreds.
const MOST_DRIVERS: usize = 8192;
/// Longest file name or version, in bytes.
const LONGEST: usize = 256;

/// Driver files in lower case and their versions.
type Drivers = Vec<(String, FileVersion)>;

/// What the files of a report say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WerReport {
    /// Windows build, by `sysdata.xml` or `Version.txt`.
    pub build: Option<u32>,
    /// NtBuildLab, by `Version.txt`.
    pub build_lab: Option<String>,
    /// Service pack, by `Version.txt`.
    pub service_pack: Option<u32>,
    /// The bug check that `Report.wer` is about.
    pub bugcheck: Option<u32>,
    /// Driver files in lower case and their versions.
    pub drivers: Vec<(String, FileVersion)>,
    /// What to know about files that were not used.
    pub remarks: Vec<String>,
}

/// Which file of a report a name is of; `None` for others.
pub fn is_part(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with("sysdata.xml") || lower == "version.txt" || lower == "report.wer"
}

impl WerReport {
    /// Adds a file of the report.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let lower = name.to_ascii_lowercase();
        let text = decode(bytes);
        if lower.ends_with("sysdata.xml") {
            match drivers(&text) {
                Some((build, drivers)) => {
                    self.build = self.build.or(build);
                    self.drivers.extend(drivers);
                }
                None => self.remarks.push(format!(
                    "{name} beside the dump has a form that is not known: it was not used"
                )),
            }
        } else if lower == "version.txt" {
            self.version_text(&text);
        } else if lower == "report.wer" {
            self.bugcheck = self.bugcheck.or(signature(&text));
        }
    }

    /// `Version.txt`: lines of a name and a value.
    fn version_text(&mut self, text: &str) {
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if name == "buildstring" && value.starts_with(|c: char| c.is_ascii_digit()) {
                let lab: String = value.chars().take(LONGEST).collect();
                self.build = self.build.or_else(|| lab.split('.').next()?.parse().ok());
                self.build_lab = Some(lab);
            } else if name.starts_with("windows nt version") {
                // Windows NT Version 6.0 Build: 6001 SP 1
                let mut words = value.split_whitespace();
                let build = words.next().and_then(|word| word.parse().ok());
                self.build = self.build.or(build);
                let pack = words.skip_while(|word| *word != "SP").nth(1);
                self.service_pack = pack.and_then(|word| word.parse().ok());
            }
        }
    }

    /// The version of the driver `file`; `None` when the report has none, or several.
    pub fn version(&self, file: &str) -> Option<FileVersion> {
        let mut found = self
            .drivers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(file))
            .map(|(_, version)| *version);
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }
}

/// The bug check in `Report.wer`: the value of the signature that is called `BCCode`.
fn signature(text: &str) -> Option<u32> {
    let mut value_of = None;
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        match value_of {
            None if name.ends_with(".Name") && value.eq_ignore_ascii_case("BCCode") => {
                value_of = Some(name.replace(".Name", ".Value"));
            }
            Some(ref wanted) if name == wanted => {
                let digits = value.trim_start_matches("0x");
                return u32::from_str_radix(digits, 16).ok();
            }
            _ => {}
        }
    }
    None
}

/// Windows build and drivers of a `sysdata.xml`; `None` for one without any driver in the form that is known.
fn drivers(text: &str) -> Option<(Option<u32>, Drivers)> {
    let mut reader = Reader::from_str(text);
    let (mut build, mut drivers) = (None, Vec::new());
    let (mut element, mut driver) = (String::new(), (None::<String>, None::<FileVersion>));
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                element = start.name().as_ref().to_ascii_uppercase();
                if element == "DRIVER" {
                    driver = (None, None);
                }
            }
            Ok(Event::Text(content)) => {
                let content = content.trim();
                if content.is_empty() || content.len() > LONGEST {
                    continue;
                }
                match element.as_str() {
                    "FILENAME" => driver.0 = Some(content.to_ascii_lowercase()),
                    "VERSION" => driver.1 = version(content),
                    "OSVER" => build = build.or_else(|| os_build(content)),
                    _ => {}
                }
            }
            Ok(Event::End(end)) => {
                let driver_ends = end.name().as_ref().eq_ignore_ascii_case("DRIVER");
                if driver_ends && let (Some(name), Some(version)) = std::mem::take(&mut driver) {
                    drivers.push((name, version));
                }
                element.clear();
                if drivers.len() >= MOST_DRIVERS {
                    break;
                }
            }
            // A file that ends or breaks off: what was read before holds.
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    (!drivers.is_empty()).then_some((build, drivers))
}

/// A version, with or without what stands behind it: `6.0.6001.18000 (longhorn_rtm.080118-1840)`.
fn version(text: &str) -> Option<FileVersion> {
    let first = text.split_whitespace().next()?;
    first.replace(',', ".").parse().ok()
}

/// The build in `6.0.6001 1.0`.
fn os_build(text: &str) -> Option<u32> {
    let version = text.split_whitespace().next()?;
    version.split('.').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_drivers_are_read_in_the_form_that_is_known_and_another_is_told() {
        let text = "<?xml version=\"1.0\"?><SYSTEMINFO><SYSTEM><OSVER>6.0.6001 1.0</OSVER></SYSTEM>\
            <DRIVERS><DRIVER><FILENAME>TCPIP.SYS</FILENAME><VERSION>6.0.6001.18063</VERSION></DRIVER>\
            <DRIVER><FILENAME>odd.sys</FILENAME><VERSION>none</VERSION></DRIVER></DRIVERS>";
        let mut report = WerReport::default();
        report.add("WER-1-0.sysdata.xml", text.as_bytes());
        assert_eq!(report.build, Some(6001));
        let expected = "6.0.6001.18063".parse().unwrap();
        assert_eq!(report.version("tcpip.sys"), Some(expected));
        assert_eq!(report.version("odd.sys"), None);
        report.add("sysdata.xml", b"<other><thing/></other>");
        assert_eq!(report.remarks.len(), 1);
        assert_eq!(report.drivers.len(), 1);
    }

    #[test]
    fn the_other_two_files_say_build_and_bug_check() {
        let mut report = WerReport::default();
        report.add(
            "Version.txt",
            b"Windows NT Version 6.0 Build: 6001 SP 1\r\nBuildString: 6001.18000.x86fre.longhorn_rtm.080118-1840\r\n",
        );
        report.add(
            "Report.wer",
            b"Version=1\r\nSig[0].Name=BCCode\r\nSig[0].Value=100000d1\r\n",
        );
        assert_eq!((report.build, report.service_pack), (Some(6001), Some(1)));
        assert_eq!(report.bugcheck, Some(0x1000_00D1));
        assert!(report.build_lab.unwrap().starts_with("6001.18000"));
    }
}
