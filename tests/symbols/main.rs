//! Images, PDBs, stores, servers and caches.

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod generated;
mod image;
mod itanium;
mod library;
mod names;
mod online;
mod server;
mod store;
