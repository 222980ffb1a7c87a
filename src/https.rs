//! How a connection is made, to a symbol server or to who is told of findings: certificates are those the system
//! trusts, no redirect is followed unseen, and an answer of any status is an answer.

mod proxies;

use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use ureq::tls::{RootCerts, TlsConfig};

pub use proxies::Proxies;

/// The beginning of an agent's configuration; its time limits and its proxy are the caller's.
pub fn agent() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("kbtriage/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
}
