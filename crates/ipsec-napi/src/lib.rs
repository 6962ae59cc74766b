//! The binding: plain data in, plain data out, one method per verb of the seam. No policy, no
//! defaults, no retries. The seam's documentation is packages/ipsec-node/src/dataplane/dataplane.ts.

// In a test build the macros export nothing, so nothing is used.
#![cfg_attr(test, allow(dead_code))]

mod convert;
mod dataplane;
mod errors;
mod events;
mod host;
mod ike_crypto;
mod job;
mod packet;
mod path_validation;
mod types;
