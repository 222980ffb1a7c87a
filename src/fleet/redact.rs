//! Takes the names of machines, or paths, out of a summary before it leaves the site.
//!
//! What is known to hold one is dropped; free text and paths lose the machine's own names wherever they
//! stand as words of their own.

use crate::report::summary::Summary;

/// What stands for what was taken out.
const REDACTED: &str = "redacted";
/// The note that names the machines of a dump and of a registry file.
const REGISTRY_NOTE: &str = "system.registry-file";

/// Takes names of machines out.
pub fn machine(summary: &mut Summary) {
    let mut names: Vec<String> = Vec::new();
    names.extend(summary.machine.take().map(|machine| machine.name));
    if let Some(system) = &mut summary.system {
        names.extend(system.machine.take());
    }
    names.retain(|name| !name.is_empty());
    // A file of another machine is named in there: whose it is does not matter.
    for note in &mut summary.notes {
        if note.code == REGISTRY_NOTE {
            REDACTED.clone_into(&mut note.message);
        }
    }
    summary.source.path_exact = None;
    each_text(summary, |text| {
        for name in &names {
            if let Some(without) = without_word(text, name) {
                *text = without;
            }
        }
    });
}

/// Takes paths out: of the dump, its archive and its members, of drivers and of source files. Drivers keep
/// their file names.
pub fn path(summary: &mut Summary) {
    let source = &mut summary.source;
    let mut known = vec![std::mem::replace(&mut source.path, REDACTED.to_owned())];
    source.path_exact = None;
    if let Some(container) = source.container.take() {
        known.extend([container.path, container.member]);
    }
    known.retain(|path| !path.is_empty());
    for module in &mut summary.modules {
        module.path = None;
    }
    if let Some(location) = summary.fault.as_mut().and_then(|f| f.location.as_mut()) {
        location.file = None;
    }
    each_text(summary, |text| {
        for path in &known {
            if text.contains(path.as_str()) {
                *text = text.replace(path.as_str(), REDACTED);
            }
        }
    });
}

/// Every free text and path of a summary.
fn each_text(summary: &mut Summary, mut change: impl FnMut(&mut String)) {
    let source = &mut summary.source;
    change(&mut source.path);
    if let Some(container) = &mut source.container {
        change(&mut container.path);
        change(&mut container.member);
    }
    if let Some(error) = &mut summary.error {
        change(&mut error.message);
    }
    for note in &mut summary.notes {
        change(&mut note.message);
    }
    if let Some(dump) = &mut summary.dump {
        for damage in &mut dump.damage {
            change(&mut damage.what);
        }
    }
    for finding in &mut summary.memory_findings {
        change(&mut finding.detail);
    }
    for module in &mut summary.modules {
        if let Some(path) = &mut module.path {
            change(path);
        }
    }
    if let Some(location) = summary.fault.as_mut().and_then(|f| f.location.as_mut())
        && let Some(file) = &mut location.file
    {
        change(file);
    }
    let answers = summary.hotfix.iter_mut().chain(&mut summary.other_articles);
    for answer in answers {
        change(&mut answer.applicability.reason);
        for evidence in &mut answer.matching.evidence {
            change(&mut evidence.summary);
        }
    }
}

/// `text` with every `name` that stands as a word replaced, whatever the case of ASCII letters; `None` when
/// there is none.
fn without_word(text: &str, name: &str) -> Option<String> {
    // Byte offsets are the same in lower case.
    let (lower, wanted) = (text.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut out = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(at) = lower.get(from..).and_then(|rest| rest.find(&wanted)) {
        let start = from + at;
        let end = start + wanted.len();
        let before = text.get(..start)?.chars().next_back();
        let after = text.get(end..)?.chars().next();
        from = end;
        if before.is_some_and(char::is_alphanumeric) || after.is_some_and(char::is_alphanumeric) {
            continue;
        }
        out.push_str(text.get(copied..start)?);
        out.push_str(REDACTED);
        copied = end;
    }
    (copied > 0).then(|| out + text.get(copied..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{ErrorKind, SourceInfo};
    use crate::report::model::{
        Container, DamageRecord, ErrorRecord, MemoryFinding, Note, Severity,
    };
    use crate::report::summary::MachineName;
    use crate::triage::{Engine, Request};

    const MACHINE: &str = "SENTINEL-HOST";
    const DOMAIN: &str = "OTHER-SENTINEL";
    const PATH: &str = "/mnt/sentinel dumps/SENTINEL-HOST/in.zip!sentinel member.dmp";

    /// A summary that names the machine and the path wherever one can stand.
    fn telling() -> Summary {
        let fixture = "/fixtures/dumps/server2008-x64-d1.dmp";
        let bytes: Vec<u8> =
            std::fs::read(format!("{}{fixture}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let info = SourceInfo {
            path: PATH.to_owned(),
            path_exact: Some(PATH.as_bytes().to_vec()),
            ..SourceInfo::default()
        };
        let report = Engine::default().triage(&bytes, Request::new(&info)).report;
        let mut summary = Summary::of(
            report,
            Some(MachineName {
                name: MACHINE.to_owned(),
                source: "dump".to_owned(),
            }),
        );
        let text = || format!("{PATH} of sentinel-host");
        summary.source.container = Some(Container {
            path: "/mnt/sentinel dumps/SENTINEL-HOST/in.zip".to_owned(),
            member: "sentinel member.dmp".to_owned(),
        });
        summary.system.as_mut().unwrap().machine = Some(MACHINE.to_owned());
        summary.error = Some(ErrorRecord {
            kind: ErrorKind::Io,
            message: text(),
        });
        let note = |code: &str, message| Note {
            code: code.to_owned(),
            severity: Severity::Info,
            field: None,
            message,
        };
        summary.notes = vec![
            note(
                REGISTRY_NOTE,
                format!("the registry file is of {DOMAIN}, the dump of {MACHINE}: it was not used"),
            ),
            note("other", text()),
        ];
        summary.dump.as_mut().unwrap().damage.push(DamageRecord {
            what: text(),
            offset: None,
        });
        summary.memory_findings.push(MemoryFinding {
            kind: "lock".to_owned(),
            address: None,
            tag: None,
            detail: text(),
            list: Vec::new(),
        });
        summary.modules[0].path = Some(text());
        let hotfix = summary.hotfix.as_mut().unwrap();
        hotfix.applicability.reason = text();
        hotfix.matching.evidence[0].summary = text();
        let other = hotfix.clone();
        summary.other_articles.push(other);
        summary
    }

    fn written(summary: &Summary) -> String {
        serde_json::to_string(summary).unwrap().to_lowercase()
    }

    #[test]
    fn neither_machine_nor_path_is_left_in_any_field() {
        let whole = telling();
        let before = written(&whole);
        assert!(before.matches("sentinel").count() > 15, "{before}");
        let mut both = whole.clone();
        machine(&mut both);
        path(&mut both);
        assert!(!written(&both).contains("sentinel"), "{}", written(&both));
        // What it is about is still told.
        assert_eq!(both.verdict(), whole.verdict());
        assert_eq!(both.bucket, whole.bucket);
        assert_eq!(both.crash_id, whole.crash_id);
        let mut one = whole.clone();
        machine(&mut one);
        let text = written(&one);
        assert!(!text.contains("sentinel-host") && !text.contains("other-sentinel"));
        assert!(text.contains("sentinel member.dmp"));
        let mut one = whole.clone();
        path(&mut one);
        let text = written(&one);
        assert!(!text.contains("sentinel member") && !text.contains("sentinel dumps"));
        assert!(text.contains("sentinel-host"));
    }

    #[test]
    fn a_name_is_replaced_where_it_is_a_word() {
        let without = |text, name| without_word(text, name);
        assert_eq!(
            without("/mnt/web01/Web01.dmp", "WEB01").as_deref(),
            Some("/mnt/redacted/redacted.dmp")
        );
        assert_eq!(without("/mnt/WEB011/a.dmp", "WEB01"), None);
        assert_eq!(without("é-ä", "Ä"), None);
        assert_eq!(
            without("of ä, not bä", "ä").as_deref(),
            Some("of redacted, not bä")
        );
    }
}
