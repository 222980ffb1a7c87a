//! What a scan refuses before it begins: places that are read or scanned and would be written to, and options that do
//! not go together.

use std::path::Path;

use crate::report::records::Shard;
use crate::scan::{self, Discovery, ListedRoots, Pulse, Roots};
use crate::source::platform::folded;

use super::{Refusal, ScanArgs};

/// Nothing is ever written to the scanned tree.
pub fn refuse_inside(roots: &Roots, path: &Path, option: &str) -> Result<(), Refusal> {
    match scan::inside(roots, path) {
        true => Err(lies_inside(path, option)),
        false => Ok(()),
    }
}

/// Says that a place lies in what is scanned.
pub fn lies_inside(path: &Path, option: &str) -> Refusal {
    format!(
        "{option}: {} lies inside a directory that is scanned, where nothing is written: name another place",
        crate::report::escape::visible(&path.to_string_lossy())
    )
}

/// Options that do not go together, where the parser of arguments cannot tell.
pub fn refuse_together(args: &ScanArgs, shard: Option<Shard>) -> Result<(), Refusal> {
    let listed = args.files_from.is_some();
    if shard.is_some() && !listed {
        return Err(
            "--shard takes its part of a list: kbtriage scan DIR --list --output LIST, then \
             kbtriage scan --files-from LIST --shard K/N"
                .to_owned(),
        );
    }
    if listed && !(args.include.is_empty() && args.exclude.is_empty()) {
        return Err(
            "--include and --exclude choose what a list holds: give them to kbtriage scan DIR --list"
                .to_owned(),
        );
    }
    if shard.is_some() && (args.filter.since.is_some() || !args.filter.only.is_empty()) {
        return Err(
            "--since and --only leave out what the shards' machines need when they are merged: leave them \
             away, and choose afterwards"
                .to_owned(),
        );
    }
    Ok(())
}

/// What is read is not written to, nor is one file written in two ways.
pub fn refuse_same(args: &ScanArgs) -> Result<(), Refusal> {
    #[cfg(feature = "store")]
    let db = args.store.db.as_deref();
    #[cfg(not(feature = "store"))]
    let db: Option<&Path> = None;
    let shown = |path: &Path| crate::report::escape::visible(&path.to_string_lossy());
    let output = args.output.as_deref();
    let analysis = &args.analysis;
    let read = [&args.machine_map, &args.files_from, &analysis.builds]
        .into_iter()
        .flatten()
        .chain(analysis.inventory.iter().chain(&analysis.registry));
    for input in read {
        for (option, target) in [("--output", output), ("--db", db)] {
            if target.is_some_and(|target| scan::same_place(target, input)) {
                return Err(format!(
                    "{option}: {} is one of the files that are read: name another place",
                    shown(input)
                ));
            }
        }
    }
    match (output, db) {
        (Some(output), Some(db)) if scan::same_place(output, db) => Err(format!(
            "--output: {} is the store of --db: name another place",
            shown(output)
        )),
        _ => Ok(()),
    }
}

/// A file that is to be read is not written to.
pub fn refuse_listed(args: &ScanArgs, discovery: &Discovery) -> Result<(), Refusal> {
    let Discovery::List(work) = discovery else {
        return Ok(());
    };
    #[cfg(feature = "store")]
    let db = args.store.db.as_deref();
    #[cfg(not(feature = "store"))]
    let db: Option<&Path> = None;
    let given = [("--output", args.output.as_deref()), ("--db", db)];
    let mut places = None;
    for (option, path) in given {
        let Some(target) = path.and_then(|path| path.canonicalize().ok()) else {
            continue;
        };
        let last = |path: &Path| path.file_name().map(|name| folded(Path::new(name)));
        let name = last(&target);
        let named = |path: &Path| {
            last(path) == name && path.canonicalize().is_ok_and(|real| real == target)
        };
        let places = places.get_or_insert_with(|| ListedRoots::of(work, &Pulse::default()));
        let listed = work.entries.iter().any(|entry| named(&places.path(entry)));
        if listed || args.files_from.as_deref().is_some_and(named) {
            return Err(format!(
                "{option}: {} is one of the files that are read: name another place",
                crate::report::escape::visible(&target.to_string_lossy())
            ));
        }
    }
    Ok(())
}
