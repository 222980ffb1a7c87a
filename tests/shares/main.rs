//! Many dumps: shares, stores, machines, tickets, the watch.

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod crashes;
mod error_reports;
#[cfg(feature = "store")]
mod export;
#[cfg(unix)]
mod failing;
mod far_share;
mod fleet_machines;
mod hostile;
mod on_windows;
mod scan_share;
mod scan_watch;
mod seeds;
mod shards;
mod store_scan;
mod tickets;
#[cfg(all(feature = "online", feature = "store"))]
mod webhook_proxy;
