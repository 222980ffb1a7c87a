//! One file by HTTP(S): the only place that opens a connection.
//!
//! Blocking, through `ureq`, with the user's proxies and the system's certificate store. Redirects are followed here,
//! so that none leads from https to http, nor to a host that nobody named.

use std::io::{Read, Seek, Write};
use std::time::Instant;

use super::{Progress, REDIRECT_HOSTS, Response, Servers, host, without_credentials};
use crate::https::Proxies;

/// Where Microsoft's public symbol server keeps its files, as its redirects have it.
const KNOWN_REDIRECTS: [(&str, &str); 2] = [
    ("msdl.microsoft.com", "*.blob.core.windows.net"),
    ("msdl.microsoft.com", "*.vsblob.vsassets.io"),
];

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Bytes of a body that stay in memory while it arrives.
const IN_MEMORY: usize = 4 << 20;
/// Bytes read between two looks at the clock.
const CHUNK: usize = 64 << 10;

/// How one attempt ended.
enum Attempt {
    Done(Response),
    /// It may be better next time; if there is none, this is the answer.
    Again(Response),
}

impl Attempt {
    /// The same, with what may be the reason behind the reason.
    fn because(self, cause: Option<&str>) -> Attempt {
        let Some(cause) = cause else { return self };
        let with = |answer: Response| match answer {
            Response::Failed(why) => Response::Failed(format!("{why}; {cause}")),
            Response::Unreachable(why) => Response::Unreachable(format!("{why}; {cause}")),
            other => other,
        };
        match self {
            Attempt::Done(answer) => Attempt::Done(with(answer)),
            Attempt::Again(answer) => Attempt::Again(with(answer)),
        }
    }
}

fn again(why: impl ToString) -> Attempt {
    Attempt::Again(Response::Failed(why.to_string()))
}

fn done(why: impl ToString) -> Attempt {
    Attempt::Done(Response::Failed(why.to_string()))
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

    pub(super) fn attempt_all(&self, url: &str, limit: u64) -> Response {
        let deadline = Instant::now().checked_add(self.limits.total);
        let mut pause = self.limits.pause;
        let mut last = Response::GivenUp;
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
                404 | 410 => return Attempt::Done(Response::NotFound),
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
        let proxies = self.proxies.get_or_init(Proxies::of_symbol_servers);
        let proxy = proxies.towards(url).map_err(done)?;
        let request = self.agent().get(url).config().proxy(proxy).build();
        request
            .call()
            .map_err(|error| failed_call(error).because(proxies.unrun_script(url)))
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
                Ok(bytes) => Attempt::Done(Response::Body(bytes)),
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
    let unreachable = |why: String| Attempt::Again(Response::Unreachable(why));
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
    fn what_may_be_behind_a_failure_is_said_with_it() {
        let text = |attempt: Attempt| match attempt {
            Attempt::Done(Response::Failed(why)) => why,
            Attempt::Again(Response::Unreachable(why)) => why,
            _ => String::new(),
        };
        let timeout = || failed_call(ureq::Error::Timeout(ureq::Timeout::Connect));
        let said = text(timeout().because(Some("a script is not run")));
        assert!(said.ends_with("; a script is not run"), "{said}");
        assert_eq!(
            format!("{}; x", text(timeout())),
            text(timeout().because(Some("x")))
        );
        assert_eq!(text(timeout()), text(timeout().because(None)));
        assert_eq!(text(done("no").because(Some("x"))), "no; x");
    }

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
