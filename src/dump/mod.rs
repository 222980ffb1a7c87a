//! What a dump file is: its header, its type, and for a triage dump everything it carries.
//!
//! Knows the layouts of kernel crash dumps (`docs/dump-format.md`); judges nothing. A damaged
//! file gives what can still be read and a list of what is wrong with it. One file a dump type.

mod bitmap;
mod complete;
pub mod damage;
pub mod filler;
pub mod header;
mod layout;
pub mod physical;
mod ranges;
mod summary;
pub mod tagged;
pub mod triage;
pub mod user;
pub mod writer;

pub use crate::facts::Writer;
pub use damage::{Damage, Damages};
pub use header::{BugCheck, DumpType, Header};
pub use physical::PhysicalBody;
pub use triage::TriageDump;

use crate::bytes::{Budget, PagedReader};

/// An opened kernel crash dump.
#[derive(Debug)]
pub struct KernelDump {
    /// The header, as far as it is there.
    pub header: Header,
    /// What follows it.
    pub body: Body,
    /// Everything found wrong, in the order found.
    pub damage: Damages,
}

/// What follows a kernel dump's header.
#[derive(Debug)]
pub enum Body {
    /// A small dump: selected structures and virtual memory.
    Triage(Box<TriageDump>),
    /// Physical memory in the layout the dump type declares; `None` when no page can be found.
    Physical(Option<PhysicalBody>),
    /// Nothing: the type says header only, the type is unknown, or the file ends with the header.
    None,
}

/// Why a file cannot be read as a kernel crash dump at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// The file does not start with a kernel dump signature.
    #[error("not a Windows kernel crash dump")]
    NotKernelDump,
    /// The file ends inside the part of the header without which nothing can be said.
    #[error("the dump ends after {present} bytes, before its bug check code and parameters")]
    HeaderCut {
        /// Bytes present.
        present: u64,
    },
}

/// Reads a kernel crash dump.
///
/// # Errors
/// [`DumpError`] when nothing can be said about the file; everything less is damage.
pub fn open(reader: &PagedReader<'_>, budget: &Budget) -> Result<KernelDump, DumpError> {
    let mut damage = Damages::default();
    let header = header::read(reader, &mut damage)?;
    let body = match header.dump_type {
        DumpType::Triage => match triage::read(reader, &header, budget, &mut damage) {
            Some(triage) => Body::Triage(Box::new(triage)),
            None => Body::None,
        },
        DumpType::HeaderOnly | DumpType::Unknown(_) => Body::None,
        _ => Body::Physical(physical::read(reader, &header, budget, &mut damage)),
    };
    Ok(KernelDump {
        header,
        body,
        damage,
    })
}
