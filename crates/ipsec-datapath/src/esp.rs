//! ESP processing (RFC 4303 sections 3.3 and 3.4), in place in a packet's own cell.

mod decapsulate;
mod encapsulate;
mod trailer;

pub use decapsulate::{Opened, open};
pub use encapsulate::{Content, encapsulate};
