//! Type 1: every page of every run of the header's physical memory descriptor, one after another.

use super::physical::{FileRun, PageMap};
use super::{Damages, Header};

/// Lays the header's runs out behind the header.
pub fn read(header: &Header, page_size: u64, damage: &mut Damages) -> Option<PageMap> {
    let memory = header.physical_memory.as_ref()?;
    let mut offset = header.size();
    let mut runs = Vec::with_capacity(memory.runs.len());
    for run in &memory.runs {
        runs.push(FileRun {
            base_page: run.base_page,
            page_count: run.page_count,
            offset,
        });
        let next = run
            .page_count
            .checked_mul(page_size)
            .and_then(|bytes| offset.checked_add(bytes));
        let Some(next) = next else {
            damage.note("a run of pages is larger than any file", None);
            break;
        };
        offset = next;
    }
    let total = runs
        .iter()
        .try_fold(0u64, |sum, run| sum.checked_add(run.page_count));
    if total != Some(memory.pages) {
        damage.note(
            "the number of pages in the header is not the sum of its runs",
            None,
        );
    }
    Some(PageMap::Runs(runs))
}
