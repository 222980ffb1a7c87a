//! Tells another system about each new finding: a signed POST, retried, never redirected.
//!
//! The signature is HMAC-SHA256 over the time, a full stop and the body, in `X-Kbtriage-Signature` as
//! `v1=` and hex; the time (seconds since 1970-01-01 UTC) is in `X-Kbtriage-Timestamp`. A receiver
//! refuses old times, and knows a repeated delivery by `Idempotency-Key`.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::redact;
use crate::report::json;
use crate::report::summary::Summary;

/// Findings that wait to be told; more wait in the scan.
const QUEUE: usize = 1024;
/// Deliveries tried for one finding.
const ATTEMPTS: u32 = 5;
/// Longest wait for an answer.
const SILENCE: Duration = Duration::from_secs(20);

/// Where findings go.
#[derive(Clone, Debug)]
pub struct Target {
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
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let loopback = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            if loopback || bare.eq_ignore_ascii_case("localhost") {
                Ok(())
            } else {
                Err(UrlError::Insecure)
            }
        }
        _ => Err(UrlError::Form),
    }
}

/// A thread that tells findings, so that no scan waits for a server.
pub struct Webhook {
    target: Target,
    queue: SyncSender<Vec<u8>>,
    thread: JoinHandle<u64>,
}

impl Webhook {
    /// Starts telling.
    ///
    /// # Errors
    /// Whatever the system says about a new thread.
    pub fn start(target: Target) -> std::io::Result<Webhook> {
        let (queue, waiting) = sync_channel(QUEUE);
        let sender = Sender {
            agent: agent(),
            target: target.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || sender.run(&waiting))?;
        Ok(Webhook {
            target,
            queue,
            thread,
        })
    }

    /// Tells about one dump. Waits when the receiver is far behind.
    pub fn tell(&self, summary: &Summary) {
        let Some(body) = self.target.body(summary) else {
            return;
        };
        if let Err(TrySendError::Full(body)) = self.queue.try_send(body) {
            let _ = self.queue.send(body);
        }
    }

    /// Tells what waits, and gives the number of findings that could not be told.
    pub fn finish(self) -> u64 {
        drop(self.queue);
        self.thread.join().unwrap_or(1)
    }
}

impl Target {
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

fn agent() -> ureq::Agent {
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("kbtriage/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(SILENCE))
        .build()
        .new_agent()
}

struct Sender {
    agent: ureq::Agent,
    target: Target,
}

impl Sender {
    fn run(&self, waiting: &Receiver<Vec<u8>>) -> u64 {
        waiting.iter().filter(|body| !self.deliver(body)).count() as u64
    }

    /// True when the receiver took it.
    fn deliver(&self, body: &[u8]) -> bool {
        let mut pause = self.target.pause;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(pause);
                pause = pause.saturating_mul(2);
            }
            match self.attempt(body) {
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
    fn attempt(&self, body: &[u8]) -> Option<u16> {
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
            .header("Idempotency-Key", format!("{:x}", Sha256::digest(body)))
            .send(body);
        answer.ok().map(|answer| answer.status().as_u16())
    }
}

fn signature(secret: &[u8], time: u64, body: &[u8]) -> String {
    // A key of any length will do for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("v1={:x}", mac.finalize().into_bytes())
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
