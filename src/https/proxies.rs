//! Which proxy leads to a server: by the variables every network tool reads, else by the system.
//!
//! `HTTPS_PROXY` for https, `HTTP_PROXY` for http, `ALL_PROXY` for both, `NO_PROXY` against all;
//! in lower case too, which wins, as for curl ("Environment", curl(1)). Symbol servers have `_NT_SYMBOL_PROXY` behind them. Where none of them is set,
//! Windows' own setting counts, as `INTERNET_PROXY_INFO` describes it ("WinINet", Microsoft's documentation). A script
//! that it names is not run: that takes a browser's JavaScript.
//! Proxies are spoken to with `CONNECT`, for http as well.

use ureq::{Proxy, ProxyProtocol};

/// The proxies of a run. A setting that cannot be understood is an error where it would apply:
/// going around a proxy that somebody asked for would be worse.
#[derive(Debug)]
pub struct Proxies {
    https: Choice,
    http: Choice,
    except: Vec<Exception>,
    /// Windows names a script that knows the proxies, and no proxy.
    script: bool,
}

/// What is said of a request that failed where the script would have known the way.
const SCRIPT: &str = "Windows names a proxy script, which is not run: set HTTPS_PROXY or ALL_PROXY";

/// Where Windows keeps its setting and, of the machine alone, whether users have one of their own: the policy
/// "Make proxy settings per-machine (rather than per-user)".
const SETTINGS: &str = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings";
const POLICY: &str = r"Software\Policies\Microsoft\Windows\CurrentVersion\Internet Settings";

/// Half of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hive {
    User,
    Machine,
}

/// A value of the registry by its key and name, numbers as text.
type Registry<'a> = &'a dyn Fn(Hive, &str, &str) -> Option<String>;

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
        Proxies::of_system(&["all_proxy"])
    }

    /// The same for symbol servers, for which the debuggers have a variable of their own.
    pub fn of_symbol_servers() -> Proxies {
        Proxies::of_system(&["all_proxy", "_nt_symbol_proxy"])
    }

    fn of_system(others: &[&str]) -> Proxies {
        let proxies = Proxies::read(&|name| std::env::var(name).ok(), others);
        match (&proxies.https, &proxies.http) {
            (Ok(None), Ok(None)) => Proxies::of_registry(&registry).unwrap_or(proxies),
            _ => proxies,
        }
    }

    /// As Windows' setting says, where there is one.
    fn of_registry(value: Registry<'_>) -> Option<Proxies> {
        let per_user = value(Hive::Machine, POLICY, "ProxySettingsPerUser");
        let hive = match per_user.as_deref() {
            Some("0") => Hive::Machine,
            _ => Hive::User,
        };
        let set = |name: &str| value(hive, SETTINGS, name).filter(|text| !text.trim().is_empty());
        let enabled = set("ProxyEnable").is_some_and(|number| number != "0");
        if let Some(servers) = set("ProxyServer").filter(|_| enabled) {
            let past = set("ProxyOverride").unwrap_or_default();
            return Some(Proxies::of_windows(&servers, &past));
        }
        set("AutoConfigURL").map(|_| Proxies {
            https: Ok(None),
            http: Ok(None),
            except: Vec::new(),
            script: true,
        })
    }

    /// `others` stand behind the variable of the scheme.
    fn read(variable: &dyn Fn(&str) -> Option<String>, others: &[&str]) -> Proxies {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_uppercase()];
            names.into_iter().find_map(|name| Some((set(&name)?, name)))
        };
        let choice = |name: &str| {
            std::iter::once(name)
                .chain(others.iter().copied())
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
            script: false,
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
            script: false,
        }
    }

    /// The proxy to an address; `None` for the direct way.
    ///
    /// # Errors
    /// Text that names the setting that cannot be used.
    pub fn towards(&self, url: &str) -> Result<Option<Proxy>, String> {
        let (scheme, host, port) = parts(url);
        // No proxy leads back to this computer, and none is told what is asked here.
        if is_here(&host) || self.except.iter().any(|entry| entry.holds(&host, port)) {
            return Ok(None);
        }
        match scheme.as_str() {
            "https" => self.https.clone(),
            _ => self.http.clone(),
        }
    }

    /// What to say when an address that is asked directly gives no answer, and a script that is not run would
    /// perhaps name a proxy for it.
    pub fn unrun_script(&self, url: &str) -> Option<&'static str> {
        let (_, host, _) = parts(url);
        (self.script && !is_here(&host)).then_some(SCRIPT)
    }
}

#[cfg(windows)]
fn registry(hive: Hive, key: &str, name: &str) -> Option<String> {
    use winreg::enums::{HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE};
    let hive = winreg::RegKey::predef(match hive {
        Hive::User => HKEY_CURRENT_USER,
        Hive::Machine => HKEY_LOCAL_MACHINE,
    });
    let key = hive.open_subkey(key).ok()?;
    let number = || key.get_value::<u32, _>(name).ok();
    let text = key.get_value::<String, _>(name).ok();
    text.or_else(|| number().map(|number| number.to_string()))
}

/// Other systems have none.
#[cfg(not(windows))]
fn registry(_: Hive, _: &str, _: &str) -> Option<String> {
    None
}

/// True for this computer itself.
fn is_here(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback())
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
        proxies_with(variables, &["all_proxy"])
    }

    fn proxies_with(variables: &[(&str, &str)], others: &[&str]) -> Proxies {
        let set = |name: &str| {
            let set = variables.iter().find(|(own, _)| *own == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        Proxies::read(&set, others)
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

    /// As a registry with these values of `hive`, and perhaps the policy, says.
    fn registered(hive: Hive, values: &[(&str, &str)], policy: Option<&str>) -> Option<Proxies> {
        Proxies::of_registry(&|asked, key, name| {
            if (asked, key) == (Hive::Machine, POLICY) {
                assert_eq!(name, "ProxySettingsPerUser");
                return policy.map(str::to_owned);
            }
            assert_eq!(key, SETTINGS);
            let set = values.iter().find(|(own, _)| *own == name);
            set.filter(|_| asked == hive)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn windows_settings_are_the_users_unless_a_policy_makes_them_the_machines() {
        let one = [
            ("ProxyEnable", "1"),
            ("ProxyServer", "p:1"),
            ("ProxyOverride", "<local>"),
        ];
        for (hive, policy, read) in [
            (Hive::User, None, true),
            (Hive::User, Some("1"), true),
            (Hive::User, Some("0"), false),
            (Hive::Machine, Some("0"), true),
            (Hive::Machine, None, false),
        ] {
            let found = registered(hive, &one, policy);
            assert_eq!(found.is_some(), read, "{hive:?} {policy:?}");
            if let Some(found) = found {
                assert_eq!(port(&found, "https://a.example"), Some(1));
                assert_eq!(port(&found, "https://a"), None);
            }
        }
        let off = [("ProxyEnable", "0"), ("ProxyServer", "p:1")];
        assert!(registered(Hive::User, &off, None).is_none());
    }

    #[test]
    fn a_script_that_is_not_run_is_named_where_a_request_goes_directly() {
        let script = ("AutoConfigURL", "http://wpad.example/proxy.pac");
        let off = [script, ("ProxyEnable", "0"), ("ProxyServer", "p:1")];
        let found = registered(Hive::User, &off, None).unwrap();
        assert_eq!(port(&found, "https://a.example"), None);
        let said = found.unrun_script("https://a.example/x");
        assert!(said.is_some_and(|said| said.contains("HTTPS_PROXY")));
        assert_eq!(found.unrun_script("http://127.0.0.1:8/x"), None);
        // A proxy beside it is used.
        let both = [script, ("ProxyEnable", "1"), ("ProxyServer", "p:1")];
        let found = registered(Hive::User, &both, None).unwrap();
        assert_eq!(port(&found, "https://a.example"), Some(1));
        assert_eq!(found.unrun_script("https://a.example/x"), None);
        let empty = [("AutoConfigURL", " ")];
        assert!(registered(Hive::User, &empty, None).is_none());
        assert_eq!(proxies(&[]).unrun_script("https://a.example/x"), None);
    }

    #[cfg(windows)]
    #[test]
    fn texts_and_numbers_of_the_registry_are_read() {
        let key = r"Software\Microsoft\Windows NT\CurrentVersion";
        let text = registry(Hive::Machine, key, "CurrentBuildNumber").unwrap();
        assert!(text.parse::<u32>().is_ok_and(|build| build > 6000));
        assert!(registry(Hive::Machine, key, "InstallDate").is_some());
        assert_eq!(registry(Hive::Machine, key, "no such value"), None);
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
