//! Tells another system about each new finding: a signed POST, retried, never redirected.
//!
//! The signature is HMAC-SHA256 over the time, a full stop and the body, in `X-Kbtriage-Signature` as
//! `v1=` and hex; the time (seconds since 1970-01-01 UTC) is in `X-Kbtriage-Timestamp`. A receiver
//! refuses old times, and knows a repeated delivery by `Idempotency-Key`.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::hmac;
use sha2::{Digest, Sha256};

use super::redact;
use crate::https::Proxies;
use crate::report::json;
use crate::report::summary::Summary;

/// Findings that wait to be told: what comes beyond is counted and not told. No scan waits for a receiver.
const QUEUE: usize = 4096;
/// Bytes of them.
const QUEUED: usize = 32 << 20;
/// Deliveries tried for one finding.
const ATTEMPTS: u32 = 5;
/// Findings in a row that could not be told before a receiver is given up for the run.
const FAILURES: u32 = 3;
/// Longest wait for an answer.
const SILENCE: Duration = Duration::from_secs(20);
/// Longest wait for one more delivery once a run is over, and for all of them; and once it was interrupted.
const NEXT: Duration = Duration::from_secs(30);
const LAST: Duration = Duration::from_secs(600);
const INTERRUPTED: Duration = Duration::from_secs(2);
/// Wait between two looks at whether they are done.
const PAUSE: Duration = Duration::from_millis(20);

/// Where findings go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address.
    pub url: String,
    /// Key of the signature.
    pub secret: Vec<u8>,
    /// Leave out names of machines.
    pub without_machine: bool,
    /// Leave out paths.
    pub without_path: bool,
    /// Wait before the second attempt; doubled each time.
    pub pause: Duration,
}

/// Why an address is not told anything.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an address.
    #[error("not an address such as https://host/path")]
    Form,
    /// Plain HTTP to another computer.
    #[error("plain http only to this computer itself: use https")]
    Insecure,
}

/// Checks that `url` is HTTPS, or HTTP to a loopback address.
///
/// # Errors
/// [`UrlError`].
pub fn check(url: &str) -> Result<(), UrlError> {
    let uri: ureq::http::Uri = url.parse().map_err(|_| UrlError::Form)?;
    let host = uri.host().ok_or(UrlError::Form)?;
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") => {
            if is_here(host) {
                Ok(())
            } else {
                Err(UrlError::Insecure)
            }
        }
        _ => Err(UrlError::Form),
    }
}

/// True for this computer itself.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback || bare.eq_ignore_ascii_case("localhost")
}

/// A body, and what a receiver knows a repeated delivery by: dumps of one crash share it.
struct Message {
    body: Vec<u8>,
    key: String,
}

/// A thread that tells findings, so that no scan waits for a server.
pub struct Webhook {
    target: Endpoint,
    queue: SyncSender<Message>,
    state: Arc<State>,
    unrun_script: Option<&'static str>,
}

/// What the scan and the thread know of each other.
#[derive(Default)]
struct State {
    /// Findings that are not told, and those that wait or are being told.
    untold: AtomicU64,
    waiting: AtomicU64,
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// Nothing more is tried.
    given_up: AtomicBool,
}

impl Webhook {
    /// Starts telling, through the proxy that leads to the address.
    ///
    /// # Errors
    /// The setting of a proxy that cannot be used; whatever the system says about a new thread.
    pub fn start(target: Endpoint) -> std::io::Result<Webhook> {
        let (queue, waiting) = sync_channel(QUEUE);
        let state = Arc::new(State::default());
        let proxies = Proxies::of_user();
        let proxy = proxies
            .towards(&target.url)
            .map_err(std::io::Error::other)?;
        let unrun_script = proxies.unrun_script(&target.url);
        let sender = Sender {
            agent: agent(proxy),
            target: target.clone(),
            state: Arc::clone(&state),
        };
        std::thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || sender.run(&waiting))?;
        Ok(Webhook {
            target,
            queue,
            state,
            unrun_script,
        })
    }

    /// What may be the reason when findings cannot be told: a proxy script of the system, which is not run.
    pub fn unrun_script(&self) -> Option<&'static str> {
        self.unrun_script
    }

    /// Tells about one dump, unless too many wait already.
    pub fn tell(&self, summary: &Summary) {
        let Some(body) = self.target.body(summary) else {
            return;
        };
        let verdict = summary.verdict().map(|verdict| verdict.as_str());
        let key = match &summary.crash_id {
            Some(crash) => Sha256::digest(format!("{crash} {}", verdict.unwrap_or_default())),
            None => Sha256::digest(&body),
        };
        let key = format!("{key:x}");
        let len = body.len();
        let room = self.state.bytes.load(Ordering::Relaxed).saturating_add(len) <= QUEUED;
        self.state.bytes.fetch_add(len, Ordering::Relaxed);
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        if !room || self.queue.try_send(Message { body, key }).is_err() {
            self.state.bytes.fetch_sub(len, Ordering::Relaxed);
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            self.state.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells what waits, for a while and no longer once the run was `interrupted`, and gives the number of
    /// findings that could not be told. A delivery that hangs is left behind.
    pub fn finish(self, interrupted: &dyn Fn() -> bool) -> u64 {
        drop(self.queue);
        let began = Instant::now();
        let mut stopped: Option<Instant> = None;
        let (mut left, mut since) = (u64::MAX, began);
        loop {
            let now = self.state.waiting.load(Ordering::Acquire);
            if now == 0 {
                break;
            }
            if now < left {
                (left, since) = (now, Instant::now());
            }
            if stopped.is_none() && interrupted() {
                stopped = Some(Instant::now());
            }
            let silent = since.elapsed() > NEXT || began.elapsed() > LAST;
            if silent || stopped.is_some_and(|at| at.elapsed() > INTERRUPTED) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.state.given_up.store(true, Ordering::Release);
        let untold = self.state.untold.load(Ordering::Acquire);
        untold.saturating_add(self.state.waiting.load(Ordering::Acquire))
    }
}

impl Endpoint {
    /// The body about one dump: its summary, without what is not to be told.
    fn body(&self, summary: &Summary) -> Option<Vec<u8>> {
        let mut summary = summary.clone();
        if self.without_machine {
            redact::machine(&mut summary);
        }
        if self.without_path {
            redact::path(&mut summary);
        }
        let mut body = Vec::new();
        json::write_compact(&mut body, &summary).ok()?;
        Some(body)
    }
}

fn agent(proxy: Option<ureq::Proxy>) -> ureq::Agent {
    crate::https::agent()
        .proxy(proxy)
        .timeout_global(Some(SILENCE))
        .build()
        .new_agent()
}

struct Sender {
    agent: ureq::Agent,
    target: Endpoint,
    state: Arc<State>,
}

impl Sender {
    fn run(&self, waiting: &Receiver<Message>) {
        let mut failures = 0;
        for finding in waiting {
            let told = failures < FAILURES && !self.is_over() && self.deliver(&finding);
            failures = if told { 0 } else { failures + 1 };
            if !told {
                self.state.untold.fetch_add(1, Ordering::Release);
            }
            self.state
                .bytes
                .fetch_sub(finding.body.len(), Ordering::Relaxed);
            self.state.waiting.fetch_sub(1, Ordering::Release);
        }
    }

    fn is_over(&self) -> bool {
        self.state.given_up.load(Ordering::Acquire)
    }

    /// True when the receiver took it.
    fn deliver(&self, finding: &Message) -> bool {
        let mut pause = self.target.pause;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(pause);
                pause = pause.saturating_mul(2);
            }
            if self.is_over() {
                return false;
            }
            match self.attempt(finding) {
                Some(200..=299) => return true,
                // Asked to come back, failing, or not there.
                Some(408 | 425 | 429 | 500..=599) | None => {}
                // Refused, or sent elsewhere: another try gives the same.
                Some(_) => return false,
            }
        }
        false
    }

    /// The status of the answer.
    fn attempt(&self, Message { body, key }: &Message) -> Option<u16> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let answer = self
            .agent
            .post(&self.target.url)
            .header("Content-Type", "application/json")
            .header("X-Kbtriage-Timestamp", time.to_string())
            .header(
                "X-Kbtriage-Signature",
                signature(&self.target.secret, time, body),
            )
            .header("Idempotency-Key", key)
            .send(body);
        answer.ok().map(|answer| answer.status().as_u16())
    }
}

fn signature(secret: &[u8], time: u64, body: &[u8]) -> String {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
    mac.sign().as_ref().iter().fold("v1=".to_owned(), hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_computer_only() {
        for url in [
            "https://a.example/x",
            "http://127.0.0.1:8/x",
            "http://[::1]/",
            "http://localhost/",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        assert_eq!(check("http://a.example/x"), Err(UrlError::Insecure));
        assert_eq!(
            check("http://127.0.0.1.a.example/"),
            Err(UrlError::Insecure)
        );
        assert_eq!(check("ftp://a.example/"), Err(UrlError::Form));
        assert_eq!(check("a.example"), Err(UrlError::Form));
    }

    #[test]
    fn the_signature_is_hmac_sha256_of_time_stop_and_body() {
        // printf '%s' '1700000000.{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signature(b"secret", 1_700_000_000, b"{}"),
            "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
    }
}
