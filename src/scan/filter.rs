//! Which files are wanted, by patterns on the path below a root.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Include and exclude patterns. A pattern without `/` is about the name at any depth, one with it
/// about the whole path below the root; upper and lower case count as the same, as on Windows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is not a pattern: {source}")]
pub struct PatternError {
    pattern: String,
    source: globset::Error,
}

impl Filter {
    /// A filter of the given patterns; without any, everything is wanted.
    ///
    /// # Errors
    /// [`PatternError`] for a pattern that cannot be read.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Filter, PatternError> {
        Ok(Filter {
            include: set(include)?,
            exclude: set(exclude)?,
        })
    }

    /// True when the file at `relative` is wanted.
    pub fn wants_file(&self, relative: &Path) -> bool {
        self.include
            .as_ref()
            .is_none_or(|set| set.is_match(relative))
            && !self.excludes(relative)
    }

    /// True when the file or directory at `relative` is left out, with all below it.
    pub fn excludes(&self, relative: &Path) -> bool {
        self.exclude
            .as_ref()
            .is_some_and(|set| set.is_match(relative))
    }
}

fn set(patterns: &[String]) -> Result<Option<GlobSet>, PatternError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let failed = |pattern: &String| {
        let pattern = pattern.clone();
        move |source| PatternError { pattern, source }
    };
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        // Elsewhere a backslash takes the meaning from the character behind it.
        let pattern = &match cfg!(windows) {
            true => pattern.replace('\\', "/"),
            false => pattern.clone(),
        };
        let trimmed = pattern.trim_end_matches('/');
        // `.` is the folder that is scanned.
        let below = trimmed.strip_prefix('.').unwrap_or_default();
        let anchored = match trimmed.contains('/') {
            true if below.starts_with('/') => below.trim_start_matches('/').to_owned(),
            true => trimmed.trim_start_matches('/').to_owned(),
            false => format!("**/{trimmed}"),
        };
        let glob = GlobBuilder::new(&anchored)
            .case_insensitive(true)
            .literal_separator(true)
            .build()
            .map_err(failed(pattern))?;
        builder.add(glob);
    }
    let last = patterns.last().cloned().unwrap_or_default();
    builder.build().map(Some).map_err(failed(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_pattern_holds_at_any_depth_and_in_any_case() {
        let filter = Filter::new(&["*.dmp".to_owned()], &["old".to_owned()]).unwrap();
        assert!(filter.wants_file(Path::new("a/b/MEMORY.DMP")));
        assert!(!filter.wants_file(Path::new("a/b/memory.txt")));
        assert!(filter.excludes(Path::new("a/Old")));
        assert!(!filter.excludes(Path::new("a/older")));
    }

    #[test]
    fn a_path_pattern_is_about_the_path_below_the_root() {
        let filter = Filter::new(&[], &["host1/*.tmp".to_owned()]).unwrap();
        assert!(filter.excludes(Path::new("host1/x.tmp")));
        assert!(!filter.excludes(Path::new("host1/sub/x.tmp")));
        assert!(!filter.excludes(Path::new("other/host1/x.tmp")));
        assert!(Filter::new(&["a[".to_owned()], &[]).is_err());
        let here = Filter::new(&["./host1/*".to_owned(), "./*.dmp".to_owned()], &[]).unwrap();
        assert!(here.wants_file(Path::new("host1/x")) && here.wants_file(Path::new("x.dmp")));
        assert!(!here.wants_file(Path::new("a/x.dmp")));
    }

    #[cfg(windows)]
    #[test]
    fn a_backslash_separates_on_windows() {
        let filter = Filter::new(&[], &[r"host1\*.tmp".to_owned(), r"old\".to_owned()]).unwrap();
        assert!(filter.excludes(Path::new(r"host1\x.tmp")));
        assert!(!filter.excludes(Path::new(r"other\host1\x.tmp")));
        assert!(filter.excludes(Path::new(r"a\Old")));
    }
}
