//! From a document to an article or to the look-alikes: keys, words, ranges.

use std::borrow::Cow;
use std::fmt::Display;

use super::document::{Document, Item, LoadError, Result, Table};
use crate::knowledge::Basis;
use crate::knowledge::article::{
    ActionRow, Article, EvidenceRow, LookAlike, LookAlikeRule, RangeRow, SystemRow, VersionRow,
};
use crate::knowledge::conditions::{Conditions, Function};
use crate::knowledge::matching::{Effect, MatchStatus, Strength};
use crate::knowledge::versions::{Applicability, FileVersion};

const ARCHITECTURES: [&str; 5] = ["x86", "x64", "ia64", "arm64", "arm"];
const PRODUCTS: [&str; 3] = ["workstation", "server", "domain-controller"];
const ACCESSES: [&str; 3] = ["read", "write", "execute"];
/// A word of more than this is no id.
const MAX_ID: usize = 64;

/// Reads the rule file of one article; `origin` names it in errors.
///
/// # Errors
/// The first thing that is wrong: file, line, what was expected.
pub fn article(text: &str, origin: &str) -> std::result::Result<Article, LoadError> {
    let document = Document { origin, text };
    let root = document.parse()?;
    let mut table = Table::new(document, "the article", &root);
    let kb_item = table.required("kb")?;
    let kb = kb_item.text()?;
    if !is_name(&kb) {
        return kb_item.fail("a name such as KB972887 or MS08-001");
    }
    if crate::knowledge::article::same(&kb, "KB943650") {
        return kb_item.fail("another article than KB943650, which is built in");
    }
    let article = Article {
        kb: kb.into(),
        title: table.required("title")?.text()?.into(),
        decides: file_name(&table.required("decides")?)?.into(),
        fixed_in: table
            .optional("fixed_in")
            .map(|item| version(&item))
            .transpose()?,
        systems: rows(&mut table, "system", system)?.into(),
        versions: rows(&mut table, "version", version_row)?.into(),
        evidence: rows(&mut table, "evidence", evidence)?.into(),
        actions: rows(&mut table, "action", action)?.into(),
        would_settle: texts(&mut table, "would_settle")?.into(),
    };
    if article.systems.is_empty() {
        return Err(table
            .error("expected at least one [[system]]: the Windows builds it is about".to_owned()));
    }
    if article.evidence.is_empty() {
        return Err(table.error("expected at least one [[evidence]]: a sign of it".to_owned()));
    }
    table.finish()?;
    Ok(article)
}

/// Reads the look-alikes; `origin` names the file in errors.
///
/// # Errors
/// The first thing that is wrong: file, line, what was expected.
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn look_alikes(text: &str, origin: &str) -> std::result::Result<Vec<LookAlike>, LoadError> {
    let document = Document { origin, text };
    let root = document.parse()?;
    let mut table = Table::new(document, "the look-alikes", &root);
    let found = rows(&mut table, "look_alike", |item| {
        let mut row = item.table("[[look_alike]]")?;
        let look_alike = LookAlike {
            id: row.required("id")?.text()?.into(),
            name: row
                .optional("name")
                .map(|item| item.text())
                .transpose()?
                .unwrap_or_default()
                .into(),
            place: row.required("place")?.text()?.into(),
            symptom: row.required("symptom")?.text()?.into(),
            tell: row.required("tell")?.text()?.into(),
            alone: row
                .optional("alone")
                .map(|i| i.truth())
                .transpose()?
                .unwrap_or(true),
            rules: rows(&mut row, "rule", |item| {
                let mut rule = item.table("[[look_alike.rule]]")?;
                let read = LookAlikeRule {
                    when: conditions(&rule.required("when")?)?,
                    why: rule.required("why")?.text()?.into(),
                };
                rule.finish()?;
                Ok(read)
            })?
            .into(),
        };
        row.finish()?;
        Ok(look_alike)
    })?;
    table.finish()?;
    Ok(found)
}

fn rows<'a, 'd, T>(
    table: &mut Table<'a, 'd>,
    key: &'static str,
    each: impl FnMut(&Item<'a, 'd>) -> Result<T>,
) -> Result<Vec<T>> {
    table
        .optional(key)
        .map_or(Ok(Vec::new()), |item| item.list(each))
}

fn texts(table: &mut Table<'_, '_>, key: &'static str) -> Result<Vec<Cow<'static, str>>> {
    rows(table, key, |item| Ok(item.text()?.into()))
}

/// Letters, digits, `-` and `.`: what may stand in a ticket, a bucket and a file name.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_ID
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn id(item: &Item<'_, '_>, dotted: bool) -> Result<String> {
    let text = item.text()?;
    let expected = match dotted {
        true => "an id of two words, such as frame.receive-path",
        false => "an id such as install-hotfix",
    };
    let lower = text.bytes().all(|b| !b.is_ascii_uppercase());
    let dots = text.matches('.').count();
    match is_name(&text) && lower && dots == usize::from(dotted) && !text.ends_with('.') {
        true => Ok(text),
        false => item.fail(expected),
    }
}

fn file_name(item: &Item<'_, '_>) -> Result<String> {
    let text = item.text()?;
    match text.contains(['/', '\\', ':', '!']) || !text.contains('.') {
        true => item.fail("a file name without a path, such as tcpip.sys"),
        false => Ok(text.to_ascii_lowercase()),
    }
}

fn version(item: &Item<'_, '_>) -> Result<FileVersion> {
    const EXPECTED: &str = "a version such as 6.0.6001.18000";
    item.text()?.parse().or_else(|_| item.fail(EXPECTED))
}

fn basis(item: &Item<'_, '_>) -> Result<Basis> {
    item.word(Basis::ALL, Basis::as_str)
}

fn build(item: &Item<'_, '_>) -> Result<u32> {
    Ok(u32::try_from(item.number(u64::from(u32::MAX))?).unwrap_or(u32::MAX))
}

fn system(item: &Item<'_, '_>) -> Result<SystemRow> {
    range(item, "[[system]]", "a build", build)
}

fn version_row(item: &Item<'_, '_>) -> Result<VersionRow> {
    range(item, "[[version]]", "a version", version)
}

/// A row for a range of what `read` reads, which is `what` in words.
fn range<T: PartialOrd + Display>(
    item: &Item<'_, '_>,
    table: &str,
    what: &str,
    read: impl Fn(&Item<'_, '_>) -> Result<T>,
) -> Result<RangeRow<T>> {
    let mut row = item.table(table)?;
    let from = read(&row.required("from")?)?;
    let to_item = row.required("to")?;
    let to = read(&to_item)?;
    if to < from {
        return to_item.fail(&format!("{what} from {from} on"));
    }
    let read = RangeRow {
        from,
        to,
        applicability: row
            .required("applicability")?
            .word(Applicability::ALL, Applicability::as_str)?,
        basis: basis(&row.required("basis")?)?,
        reason: row.required("reason")?.text()?.into(),
    };
    row.finish()?;
    Ok(read)
}

fn evidence(item: &Item<'_, '_>) -> Result<EvidenceRow> {
    let mut row = item.table("[[evidence]]")?;
    let id = id(&row.required("id")?, true)?;
    let supports = row.required("for")?.truth()?;
    let effect_item = row.required("effect")?;
    let effect = effect_item.word(Effect::ALL, Effect::as_str)?;
    if effect.side().is_some_and(|side| side != supports) {
        let side = if supports { "for" } else { "against" };
        return effect_item.fail(&format!("an effect of evidence {side} the match"));
    }
    let strength_item = row.required("strength")?;
    let strength = strength_item.word(Strength::ALL, Strength::as_str)?;
    if (strength == Strength::Excluding) != (effect == Effect::Excludes) {
        return strength_item.fail("excluding with the effect excludes, and with no other");
    }
    let read = EvidenceRow {
        id: id.into(),
        supports,
        strength,
        effect,
        basis: basis(&row.required("basis")?)?,
        says: row.required("says")?.text()?.into(),
        when: conditions(&row.required("when")?)?,
    };
    row.finish()?;
    Ok(read)
}

fn action(item: &Item<'_, '_>) -> Result<ActionRow> {
    let mut row = item.table("[[action]]")?;
    let read = ActionRow {
        id: id(&row.required("do")?, false)?.into(),
        text: row.required("text")?.text()?.into(),
        command: row
            .optional("command")
            .map(|i| i.text())
            .transpose()?
            .map(Cow::Owned),
        applicability: rows(&mut row, "applicability", |item| {
            item.word(Applicability::ALL, Applicability::as_str)
        })?
        .into(),
        at_least: match row.optional("at_least") {
            Some(item) => item.word(MatchStatus::ALL, MatchStatus::as_str)?,
            None => MatchStatus::Possible,
        },
    };
    row.finish()?;
    Ok(read)
}

/// The conditions of a rule: at least one.
fn conditions(item: &Item<'_, '_>) -> Result<Conditions> {
    let mut table = item.table("when")?;
    let mut read = Conditions {
        builds: rows(&mut table, "builds", builds)?.into(),
        codes: rows(&mut table, "codes", build)?.into(),
        architectures: rows(&mut table, "architectures", |item| {
            Ok(item.word(&ARCHITECTURES, |word| word)?.into())
        })?
        .into(),
        parameters: rows(&mut table, "parameters", parameter)?.into(),
        modules: rows(&mut table, "modules", |item| Ok(file_name(item)?.into()))?.into(),
        functions: rows(&mut table, "functions", function)?.into(),
        on_stack: rows(&mut table, "on_stack", function)?.into(),
        stack_modules: rows(&mut table, "stack_modules", |item| {
            Ok(file_name(item)?.into())
        })?
        .into(),
        stack_repeats: rows(&mut table, "stack_repeats", |item| {
            Ok(file_name(item)?.into())
        })?
        .into(),
        products: rows(&mut table, "products", |item| {
            Ok(item.word(&PRODUCTS, |word| word)?.into())
        })?
        .into(),
        loaded: rows(&mut table, "loaded", |item| Ok(file_name(item)?.into()))?.into(),
        ..Conditions::default()
    };
    let number = |item: Option<Item<'_, '_>>, most: u64| item.map(|i| i.number(most)).transpose();
    read.named = table.optional("named").map(|i| i.truth()).transpose()?;
    read.foreign = table.optional("foreign").map(|i| i.truth()).transpose()?;
    read.access = table
        .optional("access")
        .map(|i| i.word(&ACCESSES, |word| word))
        .transpose()?
        .map(Cow::Borrowed);
    read.address_below = number(table.optional("address_below"), u64::MAX)?;
    read.uptime_below = number(table.optional("uptime_below"), u64::MAX)?;
    read.irql = number(table.optional("irql"), 31)?.and_then(|n| u8::try_from(n).ok());
    let small = |item: Option<Item<'_, '_>>| -> Result<Option<u32>> {
        Ok(number(item, 4096)?.and_then(|n| u32::try_from(n).ok()))
    };
    read.processors_at_least = small(table.optional("processors_at_least"))?;
    let at_least = table.optional("loaded_at_least");
    read.loaded_at_least = number(at_least, 255)?
        .and_then(|n| u8::try_from(n).ok())
        .unwrap_or(0);
    if let Some(item) = table.optional("linked_since") {
        let mut linked = item.table("linked_since")?;
        let file = file_name(&linked.required("file")?)?;
        let date = linked.required("date")?;
        read.linked_since = Some((file.into(), day(&date)?));
        linked.finish()?;
    }
    if read == Conditions::default() {
        return item.fail("at least one condition");
    }
    table.finish()?;
    Ok(read)
}

/// A build, or two joined by `-`.
fn builds(item: &Item<'_, '_>) -> Result<(u32, u32)> {
    const EXPECTED: &str = "a build such as 6001, or two such as \"6000-6002\"";
    if let Ok(one) = build(item) {
        return Ok((one, one));
    }
    let text = item.text()?;
    let range = text
        .split_once('-')
        .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))
        .filter(|(from, to): &(u32, u32)| from <= to);
    range.map_or_else(|| item.fail(EXPECTED), Ok)
}

fn parameter(item: &Item<'_, '_>) -> Result<(u8, u64)> {
    let mut table = item.table("an item of parameters")?;
    let index_item = table.required("index")?;
    let index = index_item.number(4)?;
    if index == 0 {
        return index_item.fail("a number from 1 to 4");
    }
    let value = table.required("is")?.number(u64::MAX)?;
    table.finish()?;
    Ok((u8::try_from(index).unwrap_or(0), value))
}

fn function(item: &Item<'_, '_>) -> Result<Function> {
    let text = item.text()?;
    let parts = text.split_once('!').filter(|(module, name)| {
        !module.is_empty()
            && !name.is_empty()
            && !module.contains(['.', '*'])
            && !name.contains('!')
    });
    match parts {
        Some((module, name)) => Ok(Function {
            module: module.to_ascii_lowercase().into(),
            name: name.to_owned().into(),
        }),
        None => item.fail("module!Function, the module without a suffix, such as tcpip!Tcp*"),
    }
}

/// Unix seconds of the start of a day, UTC.
fn day(item: &Item<'_, '_>) -> Result<u64> {
    let text = item.text()?;
    let mut parts = text.split('-').map(str::parse::<u32>);
    let mut next = || parts.next().and_then(std::result::Result::ok);
    let date = next()
        .zip(next())
        .zip(next())
        .and_then(|((year, month), day)| {
            let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
            let year = i32::try_from(year)
                .ok()
                .filter(|y| (1970..2100).contains(y))?;
            time::Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()
        });
    let seconds = date.and_then(|d| u64::try_from(d.midnight().assume_utc().unix_timestamp()).ok());
    seconds.map_or_else(|| item.fail("a day such as 2010-01-31"), Ok)
}
