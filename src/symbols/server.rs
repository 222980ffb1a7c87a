//! Symbol servers as one run knows them: what they lack, which gave no answer, when to stop asking.
//!
//! Whether one may be asked at all is decided by the caller; `online` asks. Protocol: a symbol server is a symbol
//! store behind GET.

#[cfg(feature = "online")]
mod online;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

/// "Not found" answers remembered for the run.
const MAX_ABSENT: usize = 100_000;

/// The variable that names further hosts to which a redirect may lead; `*.` before one means those below it.
const REDIRECT_HOSTS: &str = "KBTRIAGE_REDIRECT_HOSTS";
/// How a server is dealt with.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Time to open a connection.
    pub connect: Duration,
    /// Longest silence while an answer is expected or read.
    pub silence: Duration,
    /// Time for one file in all, with all attempts' bodies.
    pub total: Duration,
    /// Attempts for one address.
    pub attempts: u32,
    /// Pause before the second attempt; it doubles each time.
    pub pause: Duration,
    /// Files in a row that may fail before a server is left alone for the run.
    pub failures: u32,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            total: Duration::from_secs(900),
            attempts: 3,
            pause: Duration::from_millis(500),
            failures: 3,
        }
    }
}

/// What a server said.
#[cfg_attr(not(feature = "online"), allow(dead_code))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A body, within the limit.
    Body(Vec<u8>),
    /// It has no such file.
    NotFound,
    /// Nothing usable: why.
    Failed(String),
    /// No connection to it: why.
    Unreachable(String),
    /// It failed too often in this run and is not asked again.
    GivenUp,
}

/// Bytes of one download that have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Address without credentials.
    pub url: String,
    /// Bytes so far.
    pub received: u64,
    /// Bytes in all, when the server said so.
    pub total: Option<u64>,
    /// Nothing more will come of this attempt, whole or not.
    pub ended: bool,
}

/// Told about downloads; called from the thread that waits for one.
pub type OnProgress = dyn Fn(&Progress) + Send + Sync;

/// HTTP with the memory of one run.
pub struct Servers {
    limits: ServerLimits,
    failed: Mutex<BTreeMap<String, u32>>,
    /// Servers that gave no answer, each with the first reason.
    silent: Mutex<BTreeMap<String, String>>,
    /// Hosts that the user named: a redirect may lead to one of them.
    #[cfg_attr(not(feature = "online"), allow(dead_code))]
    named: Vec<String>,
    absent: Mutex<BTreeSet<String>>,
    #[cfg_attr(not(feature = "online"), allow(dead_code))]
    progress: Option<Box<OnProgress>>,
    #[cfg(feature = "online")]
    agent: std::sync::OnceLock<ureq::Agent>,
    #[cfg(feature = "online")]
    proxies: std::sync::OnceLock<crate::https::Proxies>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Servers {
    /// Opens nothing yet.
    pub fn new(limits: ServerLimits, progress: Option<Box<OnProgress>>) -> Servers {
        let named = std::env::var(REDIRECT_HOSTS).unwrap_or_default();
        Servers {
            limits,
            named: named
                .split([',', ' ', ';'])
                .filter(|host| !host.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
            failed: Mutex::default(),
            silent: Mutex::default(),
            absent: Mutex::default(),
            progress,
            #[cfg(feature = "online")]
            agent: std::sync::OnceLock::new(),
            #[cfg(feature = "online")]
            proxies: std::sync::OnceLock::new(),
        }
    }

    /// Hosts that the user named in the symbol path, besides the variable's.
    pub fn naming(mut self, hosts: impl IntoIterator<Item = String>) -> Servers {
        self.named.extend(hosts);
        self
    }

    /// Gets one file below `base`. `path` is made of checked components.
    pub fn get(&self, base: &str, path: &str, limit: u64) -> Response {
        let failed = |change: &dyn Fn(&mut u32)| match self.failed.lock() {
            Ok(mut failed) => {
                let count = failed.entry(base.to_owned()).or_default();
                change(count);
                *count
            }
            Err(_) => 0,
        };
        let url = format!("{base}/{path}");
        if self.absent.lock().is_ok_and(|absent| absent.contains(&url)) {
            return Response::NotFound;
        }
        if failed(&|_| ()) >= self.limits.failures {
            return Response::GivenUp;
        }
        let answer = self.attempt_all(&url, limit);
        let failures = self.limits.failures;
        if let Response::Failed(reason) | Response::Unreachable(reason) = &answer
            && let Ok(mut silent) = self.silent.lock()
        {
            let server = without_credentials(base);
            silent.entry(server).or_insert_with(|| reason.clone());
        }
        match &answer {
            Response::Failed(_) => failed(&|count| *count = count.saturating_add(1)),
            // Waiting for it again with every file would take minutes.
            Response::Unreachable(_) => failed(&|count| *count = failures),
            _ => failed(&|count| *count = 0),
        };
        if answer == Response::NotFound
            && let Ok(mut absent) = self.absent.lock()
            && absent.len() < MAX_ABSENT
        {
            absent.insert(url);
        }
        answer
    }

    /// Servers that gave no answer so far, without credentials, each with the first reason.
    pub fn silent(&self) -> Vec<(String, String)> {
        let silent = self.silent.lock();
        silent.map_or_else(
            |_| Vec::new(),
            |silent| {
                silent
                    .iter()
                    .map(|(s, why)| (s.clone(), why.clone()))
                    .collect()
            },
        )
    }

    #[cfg(not(feature = "online"))]
    fn attempt_all(&self, _url: &str, _limit: u64) -> Response {
        Response::Failed("this build has no HTTP".to_owned())
    }
}

/// An address without user name, password and query.
pub fn without_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// The host of an address in lower case, without user and port.
pub fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let end = match authority.starts_with('[') {
        true => authority.find(']').map_or(authority.len(), |at| at + 1),
        false => authority.find(':').unwrap_or(authority.len()),
    };
    authority
        .get(..end)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_queries_are_not_shown() {
        let shown = without_credentials("https://user:word@host:8/x/y?token=1");
        assert_eq!(shown, "https://host:8/x/y");
        assert_eq!(without_credentials("https://host"), "https://host");
    }
}
