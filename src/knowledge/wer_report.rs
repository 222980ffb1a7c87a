//! The report that Windows Error Reporting left beside a dump: `sysdata.xml` with the versions of all drivers at
//! the crash, `Version.txt` with the build, `Report.wer` with the bug check that it is about.
//!
//! Forms as Microsoft describes them ("Windows Error Reporting", "!analyze", "CreationDate"); a form that is
//! not known gives nothing and says so. Text of such a file is data.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
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
            match system_data(&text) {
                Some(found) => {
                    self.build = self.build.or(found.build);
                    self.drivers.extend(found.drivers);
                    if found.cut {
                        self.remarks.push(format!(
                            "{name} beside the dump names more than {MOST_DRIVERS} drivers: the rest was not looked at"
                        ));
                    }
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

    /// True when the report has several versions of the driver `file`.
    pub fn contradicts_itself(&self, file: &str) -> bool {
        self.version(file).is_none()
            && self
                .drivers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(file))
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

/// What a `sysdata.xml` says.
#[derive(Default)]
struct SystemData {
    build: Option<u32>,
    drivers: Drivers,
    /// It names more drivers than are taken.
    cut: bool,
}

/// Windows build and drivers of a `sysdata.xml`; `None` for one without any driver in the form that is known.
fn system_data(text: &str) -> Option<SystemData> {
    let mut reader = Reader::from_str(text);
    let mut found = SystemData::default();
    // What stands in the element that began last.
    let mut content = String::new();
    let mut driver = (None::<String>, None::<FileVersion>);
    let push = |content: &mut String, text: &str| {
        if content.len() + text.len() <= LONGEST {
            content.push_str(text);
        }
    };
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                content.clear();
                if start.name().as_ref().eq_ignore_ascii_case("DRIVER") {
                    driver = (None, None);
                }
            }
            Ok(Event::Text(text)) => push(&mut content, &text),
            Ok(Event::CData(text)) => push(&mut content, &text),
            Ok(Event::GeneralRef(reference)) => {
                if let Ok(Some(character)) = reference.resolve_char_ref() {
                    push(&mut content, character.encode_utf8(&mut [0; 4]));
                } else if let Some(text) = resolve_predefined_entity(&reference) {
                    push(&mut content, text);
                }
            }
            Ok(Event::End(end)) => {
                let value = content.trim();
                match end.name().as_ref().to_ascii_uppercase().as_str() {
                    "FILENAME" => driver.0 = Some(file_of(value)),
                    "VERSION" => driver.1 = version(value),
                    "OSVER" => found.build = found.build.or_else(|| os_build(value)),
                    "DRIVER" => {
                        if let (Some(name), Some(version)) = std::mem::take(&mut driver) {
                            found.drivers.push((name, version));
                        }
                    }
                    _ => {}
                }
                content.clear();
                if found.drivers.len() >= MOST_DRIVERS {
                    found.cut = true;
                    break;
                }
            }
            // A file that ends or breaks off: what was read before holds.
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    (!found.drivers.is_empty()).then_some(found)
}

/// The file of a path, in lower case.
fn file_of(path: &str) -> String {
    let file = path.rsplit(['\\', '/']).next().unwrap_or(path);
    file.to_ascii_lowercase()
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
    fn paths_entities_and_sections_are_text_and_contradictions_are_told() {
        let driver = |name: &str, version: &str| {
            format!("<DRIVER><FILENAME>{name}</FILENAME><VERSION>{version}</VERSION></DRIVER>")
        };
        let report = |drivers: &str| {
            let mut report = WerReport::default();
            report.add("sysdata.xml", drivers.as_bytes());
            report
        };
        let expected = Some("6.0.6001.18063".parse().unwrap());
        for name in [
            "C:\\Windows\\System32\\drivers\\tcpip.sys",
            "&#116;cp&#x69;p.sys",
            "<![CDATA[tcpip.sys]]>",
        ] {
            let report = report(&driver(name, "6.0.6001.18063"));
            assert_eq!(report.version("tcpip.sys"), expected, "{name}");
        }
        let both = [
            driver("tcpip.sys", "6.0.6001.18063"),
            driver("tcpip.sys", "6.0.6001.22222"),
        ];
        let twice = report(&both.concat());
        assert!(twice.contradicts_itself("tcpip.sys") && !twice.contradicts_itself("netio.sys"));
        let crowd: String = (0..=MOST_DRIVERS)
            .map(|n| driver(&format!("d{n}.sys"), "1.0.0.0"))
            .collect();
        assert_eq!(report(&crowd).remarks.len(), 1);
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
