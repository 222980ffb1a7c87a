//! Which proxy leads to a server: by the variables every network tool reads, else by the system.
//!
//! `HTTPS_PROXY` for https, `HTTP_PROXY` for http, `ALL_PROXY` for both, `NO_PROXY` against all;
//! in lower case too, which wins, as for curl ("Environment", curl(1)). Where none of them is set,
//! Windows' own setting counts. Proxies are spoken to with `CONNECT`, for http as well.

use ureq::{Proxy, ProxyProtocol};

/// The proxies of a run. A variable that cannot be understood is an error where it would apply:
/// going around a proxy that somebody asked for would be worse.
#[derive(Debug)]
pub(super) struct Proxies {
    https: Choice,
    http: Choice,
    except: Vec<String>,
    system: Option<Proxy>,
}

type Choice = Result<Option<Proxy>, String>;

impl Proxies {
    /// As the environment and, without a word there, the system say.
    pub fn of_user() -> Proxies {
        let mut proxies = Proxies::read(&|name| std::env::var(name).ok());
        if matches!((&proxies.https, &proxies.http), (Ok(None), Ok(None))) {
            proxies.system = Proxy::try_from_env();
        }
        proxies
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| set(name).or_else(|| set(&name.to_ascii_uppercase()));
        let choice = |name: &str| {
            [name, "all_proxy"]
                .into_iter()
                .find_map(|name| Some((name, either(name)?)))
                .map(|(name, value)| proxy(name, value.trim()))
                .transpose()
        };
        let except = either("no_proxy").unwrap_or_default();
        Proxies {
            https: choice("https_proxy"),
            http: choice("http_proxy"),
            except: except
                .split([',', ' ', ';'])
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
            system: None,
        }
    }

    /// The proxy to an address; `None` for the direct way.
    ///
    /// # Errors
    /// Text that names the variable that cannot be used.
    pub fn towards(&self, url: &str) -> Result<Option<Proxy>, String> {
        let (scheme, host, port) = parts(url);
        // No proxy leads back to this computer, and none is told what is asked here.
        let is_here = host == "localhost"
            || host.ends_with(".localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        if is_here {
            return Ok(None);
        }
        if self.except.iter().any(|entry| fits(entry, &host, port)) {
            return Ok(None);
        }
        if let Some(system) = &self.system {
            let past = url.parse().is_ok_and(|uri| system.is_no_proxy(&uri));
            return Ok((!past).then(|| system.clone()));
        }
        match scheme.as_str() {
            "https" => self.https.clone(),
            _ => self.http.clone(),
        }
    }
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
