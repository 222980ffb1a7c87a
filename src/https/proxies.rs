//! Which proxy leads to a server: by the variables every network tool reads, else by the system.
//!
//! `HTTPS_PROXY` for https, `HTTP_PROXY` for http, `ALL_PROXY` for both, `NO_PROXY` against all;
//! in lower case too, which wins, as for curl ("Environment", curl(1)). Where none of them is set,
//! Windows' own setting counts, as `INTERNET_PROXY_INFO` describes it ("WinINet", Microsoft's documentation).
//! Proxies are spoken to with `CONNECT`, for http as well.

use ureq::{Proxy, ProxyProtocol};

/// The proxies of a run. A setting that cannot be understood is an error where it would apply:
/// going around a proxy that somebody asked for would be worse.
#[derive(Debug)]
pub struct Proxies {
    https: Choice,
    http: Choice,
    except: Vec<Exception>,
}

type Choice = Result<Option<Proxy>, String>;

/// Servers that are asked directly.
#[derive(Debug)]
enum Exception {
    /// An entry of `NO_PROXY`.
    Domain(String),
    /// An entry of Windows' list: a pattern for the whole name.
    Pattern(String),
    /// `<local>` in Windows' list: names without a dot.
    Local,
}

impl Exception {
    fn holds(&self, host: &str, port: Option<u16>) -> bool {
        match self {
            Exception::Domain(entry) => fits(entry, host, port),
            Exception::Pattern(entry) => {
                let entry = entry.split_once("://").map_or(&**entry, |(_, rest)| rest);
                let (name, only) = split_port(entry);
                (only.is_none() || only == port) && is_like(name, host)
            }
            Exception::Local => !host.contains(['.', ':']),
        }
    }
}

impl Proxies {
    /// As the environment and, without a word there, the system say.
    pub fn of_user() -> Proxies {
        let proxies = Proxies::read(&|name| std::env::var(name).ok());
        if matches!((&proxies.https, &proxies.http), (Ok(None), Ok(None)))
            && let Some((servers, past)) = internet_settings()
        {
            return Proxies::of_windows(&servers, &past);
        }
        proxies
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_uppercase()];
            names.into_iter().find_map(|name| Some((set(&name)?, name)))
        };
        let choice = |name: &str| {
            [name, "all_proxy"]
                .into_iter()
                .find_map(either)
                .map(|(value, name)| proxy(&name, value.trim()))
                .transpose()
        };
        let except = either("no_proxy").map_or_else(String::new, |(value, _)| value);
        Proxies {
            https: choice("https_proxy"),
            http: choice("http_proxy"),
            except: except
                .split([',', ' ', ';'])
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .map(Exception::Domain)
                .collect(),
        }
    }

    /// As the values `ProxyServer` and `ProxyOverride` say: `host:port` for every scheme or `scheme=host:port` for
    /// one, several behind each other.
    fn of_windows(servers: &str, past: &str) -> Proxies {
        let entries = |text: &str| -> Vec<String> {
            let entries = text.split(|c: char| c == ';' || c.is_whitespace());
            let entries = entries.map(str::to_ascii_lowercase);
            entries.filter(|entry| !entry.is_empty()).collect()
        };
        let servers = entries(servers);
        let of_scheme = |scheme: &str| {
            let fitting = |entry: &String| {
                let (own, to) = entry.split_once('=')?;
                (own == scheme).then(|| to.to_owned())
            };
            servers.iter().find_map(fitting)
        };
        let of_all = || servers.iter().find(|entry| !entry.contains('=')).cloned();
        let choice = |scheme: &str| {
            of_scheme(scheme)
                .or_else(of_all)
                .or_else(|| Some(format!("socks4://{}", of_scheme("socks")?)))
                .map(|to| proxy("the proxy setting of Windows", &to))
                .transpose()
        };
        Proxies {
            https: choice("https"),
            http: choice("http"),
            except: entries(past)
                .into_iter()
                .map(|entry| match entry.as_str() {
                    "<local>" => Exception::Local,
                    _ => Exception::Pattern(entry),
                })
                .collect(),
        }
    }

    /// The proxy to an address; `None` for the direct way.
    ///
    /// # Errors
    /// Text that names the setting that cannot be used.
    pub fn towards(&self, url: &str) -> Result<Option<Proxy>, String> {
        let (scheme, host, port) = parts(url);
        // No proxy leads back to this computer, and none is told what is asked here.
        let is_here = host == "localhost"
            || host.ends_with(".localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        if is_here || self.except.iter().any(|entry| entry.holds(&host, port)) {
            return Ok(None);
        }
        match scheme.as_str() {
            "https" => self.https.clone(),
            _ => self.http.clone(),
        }
    }
}

/// `ProxyServer` and `ProxyOverride` of the user, where a proxy is switched on.
#[cfg(windows)]
fn internet_settings() -> Option<(String, String)> {
    let settings = winreg::RegKey::predef(winreg::enums::HKEY_CURRENT_USER)
        .open_subkey(r"Software\Microsoft\Windows\CurrentVersion\Internet Settings")
        .ok()?;
    let enabled: u32 = settings.get_value("ProxyEnable").ok()?;
    let servers: String = settings.get_value("ProxyServer").ok()?;
    let past: String = settings.get_value("ProxyOverride").unwrap_or_default();
    (enabled != 0).then_some((servers, past))
}

/// Other systems keep no such setting.
#[cfg(not(windows))]
fn internet_settings() -> Option<(String, String)> {
    None
}

fn proxy(variable: &str, value: &str) -> Result<Proxy, String> {
    let proxy = Proxy::new(value).map_err(|_| format!("{variable} holds no address of a proxy"))?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => Ok(proxy),
        other => Err(format!(
            "{variable} names a {other} proxy, which is not supported"
        )),
    }
}

/// Scheme, host and port of an address, in lower case.
fn parts(url: &str) -> (String, String, Option<u16>) {
    let url = url.to_ascii_lowercase();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = split_port(authority);
    (scheme.to_owned(), host.to_owned(), port)
}

/// A host without the brackets of an IPv6 address, and the port behind it.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, port.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match authority.split_once(':') {
        // More colons: an IPv6 address as NO_PROXY has it.
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// True when an entry of `NO_PROXY` means that host: `*`, the host, a domain above it (with or
/// without a dot or `*.` before it), each with or without a port.
fn fits(entry: &str, host: &str, port: Option<u16>) -> bool {
    let (name, only) = split_port(entry);
    if only.is_some() && only != port {
        return false;
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    let name = name.strip_prefix('.').unwrap_or(name);
    let below = |above: &str| {
        host.strip_suffix(above)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.is_empty() || below(name)
}

/// True when the whole of `host` fits a pattern with `*` for any text. Both are in lower case.
fn is_like(pattern: &str, host: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = host.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(&|name| {
            let set = variables.iter().find(|(own, _)| *own == name);
            set.map(|(_, value)| (*value).to_owned())
        })
    }

    fn port(proxies: &Proxies, url: &str) -> Option<u16> {
        proxies.towards(url).unwrap().map(|proxy| proxy.port())
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_stands_in() {
        let both = proxies(&[("HTTP_PROXY", "http://p:1"), ("HTTPS_PROXY", "http://p:2")]);
        assert_eq!(port(&both, "http://a.example/x"), Some(1));
        assert_eq!(port(&both, "HTTPS://a.example/x"), Some(2));
        let one = proxies(&[("HTTPS_PROXY", "p:2")]);
        assert_eq!(port(&one, "http://a.example"), None);
        assert_eq!(port(&one, "https://a.example"), Some(2));
        let all = proxies(&[
            ("ALL_PROXY", "p:3"),
            ("http_proxy", "p:4"),
            ("HTTP_PROXY", "p:5"),
        ]);
        assert_eq!(port(&all, "http://a.example"), Some(4));
        assert_eq!(port(&all, "https://a.example"), Some(3));
        assert_eq!(
            port(&proxies(&[("http_proxy", " ")]), "http://a.example"),
            None
        );
    }

    #[test]
    fn no_proxy_names_hosts_and_the_domains_above_them() {
        let direct = |entry: &str, url: &str| {
            let set = proxies(&[("ALL_PROXY", "p:3"), ("NO_PROXY", entry)]);
            port(&set, url).is_none()
        };
        for entry in [
            "*",
            "a.example",
            ".example",
            "*.example",
            "x, A.Example",
            "a.example:8",
        ] {
            assert!(direct(entry, "http://user@A.example:8/x"), "{entry}");
        }
        assert!(direct("::1", "http://[::1]:8/x"));
        assert!(direct("127.0.0.1", "http://127.0.0.1:8/x"));
        for entry in ["", "b.example", "ample", "a.example:9", "a.example.b"] {
            assert!(!direct(entry, "http://a.example:8/x"), "{entry}");
        }
    }

    #[test]
    fn windows_settings_name_one_proxy_or_one_for_each_scheme() {
        let one = Proxies::of_windows("p:1", "");
        assert_eq!(port(&one, "http://a.example"), Some(1));
        assert_eq!(port(&one, "https://a.example"), Some(1));
        let each = Proxies::of_windows("http=p:1;HTTPS=http://p:2;ftp=p:3", "");
        assert_eq!(port(&each, "http://a.example"), Some(1));
        assert_eq!(port(&each, "https://a.example"), Some(2));
        let secure = Proxies::of_windows("https=p:2 ftp=p:3", "");
        assert_eq!(port(&secure, "http://a.example"), None);
        assert_eq!(port(&Proxies::of_windows("", ""), "http://a.example"), None);
        let socks = Proxies::of_windows("socks=p:4", "");
        let error = socks.towards("https://a.example").unwrap_err();
        assert!(error.contains("proxy setting of Windows"), "{error}");
    }

    #[test]
    fn windows_settings_name_servers_that_are_asked_directly() {
        let direct = |past: &str, url: &str| {
            let set = Proxies::of_windows("p:1", past);
            port(&set, url).is_none()
        };
        assert!(direct("<local>", "http://symbols/store"));
        assert!(!direct("<local>", "http://symbols.example/store"));
        assert!(!direct("<local>", "http://[fe80::1]/store"));
        for entry in [
            "a.corp.example",
            "*.corp.example",
            "a.*.example",
            "x.y; *.Corp.Example;<local>",
            "http://a.corp.example",
            "a.corp.example:8",
        ] {
            assert!(direct(entry, "http://A.corp.example:8/x"), "{entry}");
        }
        assert!(direct("10.*", "https://10.1.2.3/x"));
        // Not as NO_PROXY has it: an entry is no domain above.
        for entry in ["", "corp.example", "b.corp.example", "a.corp.example:9"] {
            assert!(!direct(entry, "http://a.corp.example:8/x"), "{entry}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_not_gone_around() {
        let socks = proxies(&[("ALL_PROXY", "socks5://p:1")]);
        assert!(
            socks
                .towards("http://a.example")
                .unwrap_err()
                .contains("SOCKS5")
        );
        let nonsense = proxies(&[("http_proxy", "ftp://p")]);
        let error = nonsense.towards("http://a.example").unwrap_err();
        assert!(error.contains("http_proxy"), "{error}");
        assert_eq!(nonsense.towards("https://a.example"), Ok(None));
    }
}
