//! The symbol path: what `_NT_SYMBOL_PATH` and `--symbols` say, as a list of places to look.
//!
//! Syntax: "Symbol path for Windows debuggers" and "Using SymSrv" in the debugger documentation.
//! Parsing touches no file. What cannot work on this system is kept as a problem to report.

use std::path::PathBuf;

/// The server meant when a path says `srv*` and nothing else.
pub const DEFAULT_SERVER: &str = "https://msdl.microsoft.com/download/symbols";

/// Where a path was given: a server in the environment is no consent to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Typed for this command.
    CommandLine,
    /// Found in an environment variable.
    Environment,
}

/// One place of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A folder that is a symbol store.
    Folder(PathBuf),
    /// The tool's own downstream store, under its cache directory.
    DefaultFolder,
    /// A symbol server.
    Server {
        /// Base address, without a slash at the end.
        url: String,
        /// Who named it.
        origin: Origin,
    },
}

/// One element of a symbol path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// What kind of place it is.
    pub kind: ElementKind,
    /// A store that receives what is found here (`cache*`).
    pub copy_to: Option<StoreLocation>,
}

/// Kind of an [`Element`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementKind {
    /// A folder with files in it, or a store.
    Directory(PathBuf),
    /// Stores, nearest first; what a later one has is copied into the folders before it.
    Chain(Vec<StoreLocation>),
}

/// A part of a path that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct PathProblem {
    /// The part, as written.
    pub part: String,
    /// Why not.
    pub reason: &'static str,
}

/// A parsed symbol path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolPath {
    /// Places in the order of search.
    pub elements: Vec<Element>,
    /// Parts left out.
    pub problems: Vec<PathProblem>,
}

impl SymbolPath {
    /// Parses a path; nothing in it makes the whole fail.
    pub fn parse(text: &str, origin: Origin) -> SymbolPath {
        let mut path = SymbolPath::default();
        let mut copy_to: Option<StoreLocation> = None;
        for part in text.split(';').map(unquoted).filter(|p| !p.is_empty()) {
            path.part(part, origin, &mut copy_to);
        }
        path
    }

    /// Adds another path behind this one.
    pub fn append(&mut self, other: SymbolPath) {
        self.elements.extend(other.elements);
        self.problems.extend(other.problems);
    }

    /// The hosts of all servers in it, in lower case.
    pub fn hosts(&self) -> Vec<String> {
        let places = self.elements.iter().flat_map(|element| {
            let chain = match &element.kind {
                ElementKind::Chain(places) => places.as_slice(),
                ElementKind::Directory(_) => &[],
            };
            chain.iter().chain(&element.copy_to)
        });
        places
            .filter_map(|place| match place {
                StoreLocation::Server { url, .. } => Some(super::server::host(url)),
                StoreLocation::Folder(_) | StoreLocation::DefaultFolder => None,
            })
            .collect()
    }

    /// True when a server is named anywhere in it.
    pub fn names_a_server(&self) -> bool {
        self.elements.iter().any(|element| match &element.kind {
            ElementKind::Chain(places) => places
                .iter()
                .any(|p| matches!(p, StoreLocation::Server { .. })),
            ElementKind::Directory(_) => false,
        })
    }

    /// Every folder in it that has a name.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for element in &self.elements {
            let (own, chain) = match &element.kind {
                ElementKind::Directory(folder) => (Some(folder), &[][..]),
                ElementKind::Chain(places) => (None, places.as_slice()),
            };
            folders.extend(own.cloned());
            let places = chain.iter().chain(&element.copy_to);
            folders.extend(places.filter_map(named_folder));
        }
        folders
    }

    /// Folders that files are to be read from and that have to be there. One that a server's files are copied to is
    /// made when there are some.
    pub fn required_folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for element in &self.elements {
            match &element.kind {
                ElementKind::Directory(folder) => folders.push(folder.clone()),
                ElementKind::Chain(places) => {
                    let server = places
                        .iter()
                        .any(|p| matches!(p, StoreLocation::Server { .. }));
                    // So is one of `cache*`, where what stands behind it is copied to.
                    let copied = |place: &&StoreLocation| {
                        let mut others = self.elements.iter();
                        others.any(|other| other.copy_to.as_ref() == Some(*place))
                    };
                    let named = places.iter().filter(|place| !copied(place));
                    folders.extend(named.filter_map(named_folder).filter(|_| !server));
                }
            }
        }
        folders
    }

    fn part(&mut self, part: &str, origin: Origin, copy_to: &mut Option<StoreLocation>) {
        let mut tokens = part.split('*');
        let first = tokens.next().unwrap_or_default();
        let kind = match first.to_ascii_lowercase().as_str() {
            "cache" if part.contains('*') => {
                let place = match tokens.next().map(unquoted).filter(|t| !t.is_empty()) {
                    None => Some(StoreLocation::DefaultFolder),
                    Some(folder) => self.folder(folder).map(StoreLocation::Folder),
                };
                if let Some(place) = place {
                    *copy_to = Some(place.clone());
                    self.push(ElementKind::Chain(vec![place]), None);
                }
                return;
            }
            "srv" if part.contains('*') => self.chain(tokens, origin),
            "symsrv" if part.contains('*') => {
                // The name of the server library; there is only one here.
                tokens.next();
                self.chain(tokens, origin)
            }
            _ if part.contains('*') => {
                return self.problem(part, "neither srv*, symsrv* nor cache*");
            }
            _ if is_url(part) => Some(ElementKind::Chain(vec![
                StoreLocation::DefaultFolder,
                server(part, origin),
            ])),
            _ => self.folder(part).map(ElementKind::Directory),
        };
        if let Some(kind) = kind {
            self.push(kind, copy_to.clone());
        }
    }

    fn chain<'a>(
        &mut self,
        tokens: impl Iterator<Item = &'a str>,
        origin: Origin,
    ) -> Option<ElementKind> {
        let mut places = Vec::new();
        for token in tokens.map(unquoted) {
            match token {
                "" => places.push(StoreLocation::DefaultFolder),
                url if is_url(url) => places.push(server(url, origin)),
                folder => places.extend(self.folder(folder).map(StoreLocation::Folder)),
            }
        }
        match places.as_slice() {
            [] => return None,
            [StoreLocation::DefaultFolder] => places.push(server(DEFAULT_SERVER, origin)),
            [StoreLocation::Server { .. }, ..] => places.insert(0, StoreLocation::DefaultFolder),
            _ => {}
        }
        Some(ElementKind::Chain(places))
    }

    fn push(&mut self, kind: ElementKind, copy_to: Option<StoreLocation>) {
        self.elements.push(Element { kind, copy_to });
    }

    /// A folder, if this system can open such a path.
    fn folder(&mut self, text: &str) -> Option<PathBuf> {
        if !cfg!(windows) {
            let unc = text.starts_with(r"\\");
            let drive = text.as_bytes().get(1) == Some(&b':')
                && text.starts_with(|c: char| c.is_ascii_alphabetic());
            if unc || drive {
                let reason = match unc {
                    true => {
                        "a network share by its Windows name cannot be opened here: mount it and name the folder"
                    }
                    false => {
                        "a Windows drive cannot be opened here: name the folder as this system does"
                    }
                };
                self.problem(text, reason);
                return None;
            }
        }
        Some(PathBuf::from(text))
    }

    fn problem(&mut self, part: &str, reason: &'static str) {
        self.problems.push(PathProblem {
            part: part.to_owned(),
            reason,
        });
    }
}

fn named_folder(place: &StoreLocation) -> Option<PathBuf> {
    match place {
        StoreLocation::Folder(folder) => Some(folder.clone()),
        StoreLocation::DefaultFolder | StoreLocation::Server { .. } => None,
    }
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text)
}

fn is_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

fn server(url: &str, origin: Origin) -> StoreLocation {
    StoreLocation::Server {
        url: url.trim_end_matches('/').to_owned(),
        origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<ElementKind> {
        let path = SymbolPath::parse(text, Origin::CommandLine);
        assert_eq!(path.problems, []);
        path.elements.into_iter().map(|e| e.kind).collect()
    }

    fn folder(path: &str) -> StoreLocation {
        StoreLocation::Folder(PathBuf::from(path))
    }

    #[test]
    fn directories_and_chains_are_told_apart() {
        assert_eq!(
            kinds("/a; \"/b c\" ;;srv*/cache*https://server/symbols/"),
            [
                ElementKind::Directory("/a".into()),
                ElementKind::Directory("/b c".into()),
                ElementKind::Chain(vec![
                    folder("/cache"),
                    server("https://server/symbols", Origin::CommandLine)
                ]),
            ]
        );
    }

    #[test]
    fn the_long_form_names_a_library_that_is_skipped() {
        assert_eq!(kinds("symsrv*symsrv.dll*/a*/b"), kinds("SRV*/a*/b"));
    }

    #[test]
    fn a_server_without_a_store_before_it_gets_the_default_one() {
        let expected = [ElementKind::Chain(vec![
            StoreLocation::DefaultFolder,
            server(DEFAULT_SERVER, Origin::CommandLine),
        ])];
        assert_eq!(kinds("srv*"), expected);
        assert_eq!(kinds(&format!("srv*{DEFAULT_SERVER}")), expected);
        assert_eq!(kinds(&format!("srv**{DEFAULT_SERVER}")), expected);
        assert_eq!(kinds(DEFAULT_SERVER), expected);
    }

    #[test]
    fn a_cache_receives_what_everything_to_its_right_finds() {
        let path = SymbolPath::parse("/a;cache*/c;/b", Origin::Environment);
        let copies: Vec<_> = path.elements.iter().map(|e| e.copy_to.clone()).collect();
        assert_eq!(copies, [None, None, Some(folder("/c"))]);
    }

    #[cfg(not(windows))]
    #[test]
    fn windows_places_are_reported_where_they_cannot_be_opened() {
        let path = SymbolPath::parse(
            r"\\srv\sym;C:\sym;srv*C:\c*\\srv\sym;x*y;/ok",
            Origin::Environment,
        );
        let parts: Vec<_> = path.problems.iter().map(|p| p.part.as_str()).collect();
        assert_eq!(
            parts,
            [r"\\srv\sym", r"C:\sym", r"C:\c", r"\\srv\sym", "x*y"]
        );
        assert_eq!(path.elements.len(), 1);
        assert!(!path.names_a_server());
    }
}
