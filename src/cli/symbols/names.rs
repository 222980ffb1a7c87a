//! `symbols resolve` and `symbols find`: asking symbols by address and by name.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::dumps::DumpModules;
use super::{SymbolArgs, failure, report_problems, report_silent_servers};
use crate::bytes::ModuleId;
use crate::cli::analysis::one_file;
use crate::report::escape::visible;
use crate::symbols::{Glob, Lookup, ModuleIdentity, SymbolHit, SymbolKind, SymbolLibrary};

/// Names printed for one pattern.
const MAX_FOUND: usize = 10_000;

/// The name for addresses in a dump's modules
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kbtriage symbols resolve MEMORY.DMP 0xfffff8027c5b1b36
  kbtriage symbols resolve MEMORY.DMP tcpip+0xb1b36 'nt!KeBugCheckEx'

Exit status: 0 every place has a name; 1 some has none.")]
pub struct ResolveArgs {
    /// The dump
    #[arg(value_name = "DUMP", value_parser = one_file())]
    dump: PathBuf,
    /// An address, MODULE+OFFSET or MODULE!NAME; numbers are hexadecimal
    #[arg(value_name = "PLACE", required = true)]
    places: Vec<String>,
    #[command(flatten)]
    symbols: SymbolArgs,
}

/// Names by pattern
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  kbtriage symbols find MEMORY.DMP 'tcpip!*Mfe*'

Exit status: 0 something was found; 1 nothing was.")]
pub struct FindArgs {
    /// The dump
    #[arg(value_name = "DUMP", value_parser = one_file())]
    dump: PathBuf,
    /// MODULE!PATTERN, both with * and ?
    #[arg(value_name = "GLOB")]
    pattern: String,
    #[command(flatten)]
    symbols: SymbolArgs,
}

/// Runs `symbols resolve`.
pub fn resolve(args: &ResolveArgs, out: &mut dyn Write) -> io::Result<u8> {
    let Some((dump, library)) = open(&args.dump, &args.symbols)? else {
        return Ok(1);
    };
    let mut unnamed = false;
    for text in &args.places {
        match place(text, &dump, &library) {
            Ok((id, rva)) => unnamed |= !print(id, rva, &dump, &library, out)?,
            Err(message) => {
                failure(&format!("{text}: {message}"))?;
                unnamed = true;
            }
        }
    }
    report_silent_servers(&library)?;
    Ok(u8::from(unnamed))
}

/// Runs `symbols find`.
pub fn find(args: &FindArgs, out: &mut dyn Write) -> io::Result<u8> {
    let Some((dump, library)) = open(&args.dump, &args.symbols)? else {
        return Ok(1);
    };
    let (modules, names) = args.pattern.split_once('!').unwrap_or(("*", &args.pattern));
    let (modules, names) = (Glob::new(modules), Glob::new(names));
    let mut left = MAX_FOUND;
    for (module, id) in dump
        .modules
        .iter()
        .zip(0..=u16::MAX)
        .map(|(m, id)| (m, ModuleId(id)))
    {
        let Some(identity) = dump.identity(id) else {
            continue;
        };
        let (short, file) = (short_name(id, &identity, &dump), identity.name.as_str());
        if !modules.matches(short) && !modules.matches(file) {
            continue;
        }
        let resolved = library.resolve(&identity, dump.machine, dump.record(id).as_ref());
        let Some(symbols) = resolved.names() else {
            continue;
        };
        for (name, rva) in symbols.find(&names, left) {
            left = left.saturating_sub(1);
            let address = module.base.saturating_add(u64::from(rva));
            let width = dump.machine.pointer_width() * 2;
            writeln!(out, "0x{address:0width$x}  {short}!{}", visible(&name))?;
        }
    }
    report_silent_servers(&library)?;
    if left == 0 {
        failure("there are more: make the pattern narrower")?;
    }
    Ok(u8::from(left == MAX_FOUND))
}

fn open(
    path: &std::path::Path,
    symbols: &SymbolArgs,
) -> io::Result<Option<(DumpModules, SymbolLibrary)>> {
    let library = SymbolLibrary::new(symbols.options(false));
    report_problems(&library)?;
    match DumpModules::read(path) {
        Ok(dump) => Ok(Some((dump, library))),
        Err(message) => {
            failure(&format!("{}: {message}", path.display()))?;
            Ok(None)
        }
    }
}

/// The module and RVA that a person means.
fn place(
    text: &str,
    dump: &DumpModules,
    library: &SymbolLibrary,
) -> Result<(ModuleId, u32), String> {
    if let Some((module, name)) = text.split_once('!') {
        let (name, offset) = match name.rsplit_once('+') {
            Some((name, offset)) => (name, number(offset).ok_or("not a hexadecimal number")?),
            None => (name, 0),
        };
        let id = dump.find(module).ok_or("no such module")?;
        let identity = dump.identity(id).ok_or("its file name is not usable")?;
        let resolved = library.resolve(&identity, dump.machine, dump.record(id).as_ref());
        let start = resolved.names().and_then(|names| names.address_of(name));
        let start =
            start.ok_or_else(|| format!("no such name; symbols: {}", resolved.symbols.state()))?;
        let rva = u64::from(start)
            .checked_add(offset)
            .and_then(|rva| u32::try_from(rva).ok());
        return Ok((id, rva.ok_or("the offset is too large")?));
    }
    if let Some((module, offset)) = text.rsplit_once('+') {
        let id = dump.find(module).ok_or("no such module")?;
        let offset = number(offset).ok_or("not a hexadecimal number")?;
        return Ok((
            id,
            u32::try_from(offset).map_err(|_| "the offset is too large")?,
        ));
    }
    let address = number(text).ok_or("not an address, MODULE+OFFSET or MODULE!NAME")?;
    let (id, offset) = dump.modules.locate(address).ok_or("in no loaded module")?;
    Ok((
        id,
        u32::try_from(offset).map_err(|_| "the offset is too large")?,
    ))
}

/// A hexadecimal number, with `0x` and with the debugger's backquote if they are there.
fn number(text: &str) -> Option<u64> {
    let text = text.replace('`', "");
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(&text);
    u64::from_str_radix(digits, 16).ok()
}

/// Prints one place; false when it has no name.
fn print(
    id: ModuleId,
    rva: u32,
    dump: &DumpModules,
    library: &SymbolLibrary,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let (Some(module), Some(identity)) = (dump.modules.get(id), dump.identity(id)) else {
        failure("the module's file name is not usable")?;
        return Ok(false);
    };
    let short = short_name(id, &identity, dump);
    let resolved = library.resolve(&identity, dump.machine, dump.record(id).as_ref());
    let hit = resolved.names().and_then(|names| names.name_at(rva));
    let width = dump.machine.pointer_width() * 2;
    let address = module.base.saturating_add(u64::from(rva));
    write!(out, "0x{address:0width$x}  {short}+{rva:#x}")?;
    match &hit {
        Some(hit) => writeln!(out, "  {}", described(short, hit))?,
        None => writeln!(
            out,
            "  (no name; {})",
            why(&resolved.image, &resolved.symbols)
        )?,
    }
    Ok(hit.is_some())
}

fn why<A, B>(image: &Lookup<A>, symbols: &Lookup<B>) -> String {
    format!("image {}, symbols {}", image.state(), symbols.state())
}

fn described(module: &str, hit: &SymbolHit) -> String {
    let mut text = format!("{module}!{}", hit.name);
    if hit.displacement > 0 {
        text.push_str(&format!("+{:#x}", hit.displacement));
    }
    match hit.kind {
        SymbolKind::Exact => {}
        SymbolKind::Cold => text.push_str(" (in a part moved away; offset in that part)"),
        SymbolKind::Approximate => text.push_str(" (approximate: the nearest name below)"),
        SymbolKind::Export => text.push_str(" (from the export table)"),
    }
    if !hit.aliases.is_empty() {
        text.push_str(&format!("  also: {}", hit.aliases.join(", ")));
    }
    if let (Some(file), Some(line)) = (&hit.file, hit.line) {
        text.push_str(&format!("  [{file}:{line}]"));
    }
    visible(&text)
}

/// A module's name as debuggers write it: without extension, and `nt` for the kernel.
fn short_name<'a>(id: ModuleId, identity: &'a ModuleIdentity, dump: &DumpModules) -> &'a str {
    if dump.find("nt") == Some(id) {
        return "nt";
    }
    let name = identity.name.as_str();
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
