//! Symbol servers over HTTP(S): the only file that opens a connection.
//!
//! Blocking, through `ureq`, with the user's proxies and the system's certificate store. Whether it
//! may be asked at all is decided by the caller. Redirects are followed here, so that none leads
//! from https to http. Protocol: a symbol server is a symbol store behind GET.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

#[cfg(feature = "online")]
use std::io::{Read, Seek, Write};

/// "Not found" answers remembered for the run.
const MAX_ABSENT: usize = 100_000;

/// The variable that names further hosts to which a redirect may lead; `*.` before one means those below it.
const REDIRECT_HOSTS: &str = "KBTRIAGE_REDIRECT_HOSTS";
/// Where Microsoft's public symbol server keeps its files, as its redirects have it.
#[cfg_attr(not(feature = "online"), allow(dead_code))]
const KNOWN_REDIRECTS: [(&str, &str); 2] = [
    ("msdl.microsoft.com", "*.blob.core.windows.net"),
    ("msdl.microsoft.com", "*.vsblob.vsassets.io"),
];

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
pub enum Answer {
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
    proxies: std::sync::OnceLock<super::proxies::Proxies>,
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
    pub fn get(&self, base: &str, path: &str, limit: u64) -> Answer {
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
            return Answer::NotFound;
        }
        if failed(&|_| ()) >= self.limits.failures {
            return Answer::GivenUp;
        }
        let answer = self.attempt_all(&url, limit);
        let failures = self.limits.failures;
        if let Answer::Failed(reason) | Answer::Unreachable(reason) = &answer
            && let Ok(mut silent) = self.silent.lock()
        {
            let server = without_credentials(base);
            silent.entry(server).or_insert_with(|| reason.clone());
        }
        match &answer {
            Answer::Failed(_) => failed(&|count| *count = count.saturating_add(1)),
            // Waiting for it again with every file would take minutes.
            Answer::Unreachable(_) => failed(&|count| *count = failures),
            _ => failed(&|count| *count = 0),
        };
        if answer == Answer::NotFound
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
    fn attempt_all(&self, _url: &str, _limit: u64) -> Answer {
        Answer::Failed("this build has no HTTP".to_owned())
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

#[cfg(feature = "online")]
mod online {
    use super::super::proxies::Proxies;
    use super::*;
    use std::time::Instant;

    /// Redirects that are followed.
    const MAX_REDIRECTS: usize = 5;
    /// Bytes of a body that stay in memory while it arrives.
    const IN_MEMORY: usize = 4 << 20;
    /// Bytes read between two looks at the clock.
    const CHUNK: usize = 64 << 10;

    /// How one attempt ended.
    enum Attempt {
        Done(Answer),
        /// It may be better next time; if there is none, this is the answer.
        Again(Answer),
    }

    fn again(why: impl ToString) -> Attempt {
        Attempt::Again(Answer::Failed(why.to_string()))
    }

    fn done(why: impl ToString) -> Attempt {
        Attempt::Done(Answer::Failed(why.to_string()))
    }

    impl Servers {
        fn agent(&self) -> &ureq::Agent {
            self.agent.get_or_init(|| {
                crate::https::agent()
                    // Each request says which proxy it goes through.
                    .proxy(None)
                    .timeout_connect(Some(self.limits.connect))
                    .timeout_resolve(Some(self.limits.connect))
                    .timeout_recv_response(Some(self.limits.silence))
                    .timeout_per_read(Some(self.limits.silence))
                    .build()
                    .new_agent()
            })
        }

        pub(super) fn attempt_all(&self, url: &str, limit: u64) -> Answer {
            let deadline = Instant::now().checked_add(self.limits.total);
            let mut pause = self.limits.pause;
            let mut last = Answer::GivenUp;
            for attempt in 0..self.limits.attempts {
                if attempt > 0 {
                    std::thread::sleep(pause);
                    pause = pause.saturating_mul(2);
                }
                match self.attempt(url, limit, deadline) {
                    Attempt::Done(answer) => return answer,
                    Attempt::Again(answer) => last = answer,
                }
                if deadline.is_some_and(|d| Instant::now() >= d) {
                    break;
                }
            }
            last
        }

        fn attempt(&self, url: &str, limit: u64, deadline: Option<Instant>) -> Attempt {
            let mut url = url.to_owned();
            for _ in 0..=MAX_REDIRECTS {
                let response = match self.call(&url) {
                    Ok(response) => response,
                    Err(attempt) => return attempt,
                };
                let status = response.status().as_u16();
                match status {
                    200 => return self.body(response, &url, limit, deadline),
                    404 | 410 => return Attempt::Done(Answer::NotFound),
                    301 | 302 | 303 | 307 | 308 => {
                        let location = response.headers().get("location");
                        let location = location.and_then(|l| l.to_str().ok()).unwrap_or_default();
                        match redirected(&url, location, &self.named) {
                            Ok(next) => url = next,
                            Err(why) => return done(why),
                        }
                    }
                    408 | 429 | 500..=599 => {
                        return again(format!("HTTP status {status}"));
                    }
                    _ => return done(format!("HTTP status {status}")),
                }
            }
            done("too many redirects")
        }

        fn call(&self, url: &str) -> Result<ureq::http::Response<ureq::Body>, Attempt> {
            let proxy = self
                .proxies
                .get_or_init(Proxies::of_user)
                .towards(url)
                .map_err(done)?;
            let request = self.agent().get(url).config().proxy(proxy).build();
            request.call().map_err(failed_call)
        }

        /// Takes the body and says once that it ended.
        fn body(
            &self,
            response: ureq::http::Response<ureq::Body>,
            url: &str,
            limit: u64,
            deadline: Option<Instant>,
        ) -> Attempt {
            let mut progress = Progress {
                url: without_credentials(url),
                received: 0,
                total: None,
                ended: false,
            };
            let attempt = self.receive(response, limit, deadline, &mut progress);
            progress.ended = true;
            self.tell(&progress);
            attempt
        }

        fn tell(&self, progress: &Progress) {
            if let Some(tell) = &self.progress {
                tell(progress);
            }
        }

        fn receive(
            &self,
            response: ureq::http::Response<ureq::Body>,
            limit: u64,
            deadline: Option<Instant>,
            progress: &mut Progress,
        ) -> Attempt {
            let total = response
                .headers()
                .get("content-length")
                .and_then(|l| l.to_str().ok())
                .and_then(|l| l.parse::<u64>().ok());
            let too_large = || done(format!("larger than {limit} bytes"));
            if total.is_some_and(|total| total > limit) {
                return too_large();
            }
            progress.total = total;
            let mut reader = response.into_body().into_reader();
            // What is large goes to a file first: a server that sends without end takes no memory.
            let mut bytes = tempfile::SpooledTempFile::new(IN_MEMORY);
            let mut chunk = vec![0; CHUNK];
            loop {
                let n = match reader.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(n) => n,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return again(error),
                };
                if let Err(error) = bytes.write_all(chunk.get(..n).unwrap_or_default()) {
                    return done(error);
                }
                progress.received = progress.received.saturating_add(n as u64);
                if progress.received > limit {
                    return too_large();
                }
                if deadline.is_some_and(|d| Instant::now() >= d) {
                    return done("the time for one file is up");
                }
                self.tell(progress);
            }
            match total {
                Some(total) if total != progress.received => {
                    again(format!("{} of {total} bytes arrived", progress.received))
                }
                _ => match whole(bytes, progress.received) {
                    Ok(bytes) => Attempt::Done(Answer::Body(bytes)),
                    Err(error) => done(error),
                },
            }
        }
    }

    /// A body that arrived, read back once.
    fn whole(mut spool: tempfile::SpooledTempFile, len: u64) -> std::io::Result<Vec<u8>> {
        spool.rewind()?;
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        spool.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn failed_call(error: ureq::Error) -> Attempt {
        use std::io::ErrorKind;
        let unreachable = |why: String| Attempt::Again(Answer::Unreachable(why));
        match &error {
            // Asking again changes neither a certificate nor an address. A handshake that fails
            // comes as invalid data.
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::BadUri(_) => done(error),
            ureq::Error::Io(io) => match io.kind() {
                ErrorKind::InvalidData => done(io),
                ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => unreachable(io.to_string()),
                _ => again(io),
            },
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                unreachable(error.to_string())
            }
            _ => again(error),
        }
    }

    /// Where a redirect leads, if it may be followed.
    fn redirected(from: &str, location: &str, named: &[String]) -> Result<String, String> {
        let next = joined(from, location).ok_or("a redirect leads nowhere")?;
        let (old, new) = (host(from), host(&next));
        let known = KNOWN_REDIRECTS
            .iter()
            .any(|(server, files)| *server == old && is_host(files, &new));
        if old != new && !known && !named.iter().any(|entry| is_host(entry, &new)) {
            return Err(format!(
                "a redirect to {new} was refused: {REDIRECT_HOSTS}={new} allows it"
            ));
        }
        let secure = from
            .get(..6)
            .is_some_and(|s| s.eq_ignore_ascii_case("https:"));
        match secure && !next.starts_with("https:") {
            true => Err("a redirect from https to http was refused".to_owned()),
            false => Ok(next),
        }
    }

    /// True when `entry` means `host`: itself, or with `*.` what lies below.
    fn is_host(entry: &str, host: &str) -> bool {
        match entry.strip_prefix("*.") {
            Some(domain) => host
                .strip_suffix(domain)
                .is_some_and(|below| below.ends_with('.') && below.len() > 1),
            None => entry == host,
        }
    }

    /// The address a `Location` means. Relative paths without a slash are not used by servers.
    fn joined(base: &str, location: &str) -> Option<String> {
        let lower = location.to_ascii_lowercase();
        if lower.starts_with("https://") || lower.starts_with("http://") {
            let (scheme, rest) = location.split_once("://")?;
            return Some(format!("{}://{rest}", scheme.to_ascii_lowercase()));
        }
        let (scheme, rest) = base.split_once("://")?;
        if let Some(other) = location.strip_prefix("//") {
            return Some(format!("{scheme}://{other}"));
        }
        let host = rest.split('/').next()?;
        location
            .starts_with('/')
            .then(|| format!("{scheme}://{host}{location}"))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_redirect_stays_with_the_host_or_those_that_were_named() {
            let named = ["files.example".to_owned(), "*.cdn.example".to_owned()];
            let to = |location: &str| redirected("https://a.example/x", location, &named).is_ok();
            for good in [
                "/y",
                "https://A.example:444/y",
                "https://files.example/",
                "https://b.cdn.example/",
            ] {
                assert!(to(good), "{good}");
            }
            for bad in [
                "https://b.example/",
                "https://cdn.example/",
                "https://evilcdn.example/",
                "https://a.example.evil.example/",
                "https://a.example@evil.example/",
                "https://evil.example\\@a.example/",
            ] {
                assert!(!to(bad), "{bad}");
            }
            let microsoft =
                |location: &str| redirected("https://msdl.microsoft.com/x", location, &[]).is_ok();
            assert!(microsoft("https://x.blob.core.windows.net/y"));
            assert!(!microsoft("https://blob.core.windows.net.evil.example/y"));
        }

        #[test]
        fn a_location_is_resolved_against_the_address_it_came_from() {
            let base = "https://a.example/x/y";
            let to = |location| joined(base, location);
            assert_eq!(to("/z").as_deref(), Some("https://a.example/z"));
            assert_eq!(to("//b.example/z").as_deref(), Some("https://b.example/z"));
            assert_eq!(
                to("HTTP://b.example/z").as_deref(),
                Some("http://b.example/z")
            );
            assert_eq!(to("ftp://b.example/z"), None);
        }

        #[test]
        fn no_redirect_leads_from_https_to_http() {
            let to = |from: &str, location: &str| redirected(from, location, &[]);
            let refused = Err("a redirect from https to http was refused".to_owned());
            assert_eq!(to("https://a/x", "http://a/y"), refused);
            assert_eq!(to("https://a/x", "HTTP://a/y"), refused);
            let there = Ok("https://a/y".to_owned());
            assert_eq!(to("https://a/x", "/y"), there);
            assert_eq!(to("http://a/x", "https://a/y"), there);
            assert_eq!(to("HTTPS://a/x", "http://a/y"), refused);
        }
    }
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
