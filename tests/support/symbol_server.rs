//! A symbol server on loopback that also misbehaves, plain or with TLS, and a proxy that tunnels.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does with one address.
#[derive(Clone)]
pub enum Act {
    File(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Announces more than it sends.
    Truncated(Vec<u8>),
    /// Fails this many times, then sends the file.
    Flaky(u32, Vec<u8>),
    /// Announces so many bytes and sends none.
    Announced(u64),
    /// Never ends.
    Endless,
    /// A byte now and then, for ever.
    Drip(Duration),
    /// Sends nothing.
    Silent,
    /// Sends the file after a while.
    Late(Duration, Vec<u8>),
}

type Acts = Arc<Mutex<BTreeMap<String, Act>>>;
type Asked = Arc<Mutex<Vec<(String, Instant)>>>;

pub struct Server {
    pub base: String,
    acts: Acts,
    asked: Asked,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub fn start() -> Server {
        Server::with("http", Some)
    }

    /// One that shows a certificate.
    pub fn start_tls(identity: &Identity) -> Server {
        let config = identity.config.clone();
        Server::with("https", move |stream| {
            let connection = ServerConnection::new(config.clone()).ok()?;
            Some(StreamOwned::new(connection, stream))
        })
    }

    fn with<S: Read + Write>(
        scheme: &str,
        wrap: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            base: format!("{scheme}://{}", listener.local_addr().unwrap()),
            acts: Arc::default(),
            asked: Arc::default(),
            stop: Arc::default(),
        };
        let (acts, asked, stop) = (
            server.acts.clone(),
            server.asked.clone(),
            server.stop.clone(),
        );
        let wrap = Arc::new(wrap);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (acts, asked, stop) = (acts.clone(), asked.clone(), stop.clone());
                let wrap = wrap.clone();
                std::thread::spawn(move || {
                    if let Some(mut stream) = wrap(stream) {
                        serve(&mut stream, &acts, &asked, &stop);
                    }
                });
            }
        });
        server
    }

    pub fn on(&self, path: &str, act: Act) {
        self.acts.lock().unwrap().insert(path.to_owned(), act);
    }

    pub fn asked(&self, path: &str) -> usize {
        self.times(path).len()
    }

    /// When an address was asked for.
    pub fn times(&self, path: &str) -> Vec<Instant> {
        let asked = self.asked.lock().unwrap();
        let fitting = asked.iter().filter(|(asked, _)| asked == path);
        fitting.map(|(_, at)| *at).collect()
    }

    /// Every address asked for, in order.
    pub fn paths(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, _)| path.clone()).collect()
    }

    pub fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The head of a request, byte by byte; `None` when the connection ends before it does.
fn head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 || head.len() > 1 << 16 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn serve<S: Read + Write>(
    stream: &mut S,
    acts: &Mutex<BTreeMap<String, Act>>,
    asked: &Mutex<Vec<(String, Instant)>>,
    stop: &AtomicBool,
) {
    let Some(request) = head(stream) else { return };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push((path.clone(), Instant::now()));
    let act = {
        let mut acts = acts.lock().unwrap();
        match acts.get_mut(&path) {
            Some(Act::Flaky(left, _)) if *left > 0 => {
                *left -= 1;
                Act::Status(503)
            }
            Some(Act::Flaky(_, file)) => Act::File(file.clone()),
            Some(act) => act.clone(),
            None => Act::Status(404),
        }
    };
    let head = |status: &str, len: u64| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n")
    };
    let open = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let mut send = |text: &str, bytes: &[u8]| {
        stream.write_all(text.as_bytes())?;
        stream.write_all(bytes)?;
        stream.flush()
    };
    let running = || !stop.load(Ordering::Relaxed);
    let _ = match act {
        Act::File(bytes) => send(&head("200 OK", bytes.len() as u64), &bytes),
        Act::Status(status) => send(&head(&format!("{status} No"), 0), b""),
        Act::Redirect(to) => send(
            &format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            b"",
        ),
        Act::Truncated(bytes) => send(
            &head("200 OK", bytes.len() as u64),
            &bytes[..bytes.len() / 2],
        ),
        Act::Announced(len) => send(&head("200 OK", len), b"MZ"),
        Act::Endless => {
            let mut sent = send(open, b"");
            while sent.is_ok() && running() {
                sent = send("", &[0; 1 << 16]);
            }
            Ok(())
        }
        Act::Drip(pause) => {
            let mut sent = send(open, b"");
            while sent.is_ok() && running() {
                std::thread::sleep(pause);
                sent = send("", b"M");
            }
            Ok(())
        }
        Act::Silent => {
            while running() {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Act::Late(pause, bytes) => {
            std::thread::sleep(pause);
            send(&head("200 OK", bytes.len() as u64), &bytes)
        }
        Act::Flaky(..) => Ok(()),
    };
}

/// A certificate signed by its own key, and the key.
pub struct Identity {
    config: Arc<ServerConfig>,
    /// The certificate as a file of trusted ones.
    pub pem: String,
}

impl Identity {
    /// One for these hosts.
    pub fn new(hosts: &[&str]) -> Identity {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::Pkcs8(key))
            .unwrap();
        Identity {
            config: Arc::new(config),
            pem: made.cert.pem(),
        }
    }
}

/// The host that a [`Proxy`] finds here.
pub const FAR_HOST: &str = "symbols.example";

/// A proxy that does what `CONNECT` says.
pub struct Proxy {
    pub base: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            base: listener.local_addr().unwrap().to_string(),
            heads: Arc::default(),
        };
        let heads = proxy.heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heads = heads.clone();
                std::thread::spawn(move || tunnel(stream, &heads));
            }
        });
        proxy
    }

    /// The heads of all requests, as they came.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(mut near: TcpStream, heads: &Mutex<Vec<String>>) -> Option<()> {
    let head = head(&mut near)?;
    heads.lock().unwrap().push(head.clone());
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    // A name that only the proxy knows: what leads to this computer itself goes through none.
    let target = target.replace(FAR_HOST, "127.0.0.1");
    let mut far = TcpStream::connect(target).ok()?;
    near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    let (mut from, mut to) = (near.try_clone().ok()?, far.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut far, &mut near);
    let _ = near.shutdown(Shutdown::Write);
    Some(())
}
