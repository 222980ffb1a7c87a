//! Many dumps: shares, stores, machines, tickets, the watch.

#[path = "../support/mod.rs"]
mod support;

mod fleet_machines;
mod scan_share;
mod scan_watch;
mod store_scan;
mod tickets;
