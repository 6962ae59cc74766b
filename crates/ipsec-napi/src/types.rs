//! Plain data of the seam. Shapes, units and meanings are those of dataplane.ts.

use crate::errors::NativeError;
use napi::bindgen_prelude::{BigInt, Uint8Array};
use napi_derive::napi;

#[napi(object)]
pub struct NativeAddressRange {
    pub from: String,
    pub to: String,
}

#[napi(object)]
pub struct NativeNumberRange {
    pub from: u32,
    pub to: u32,
}

#[napi(object)]
pub struct NativeSelector {
    pub local: Vec<NativeAddressRange>,
    pub remote: Vec<NativeAddressRange>,
    /// Absent: any.
    pub protocol: Option<u32>,
    pub local_ports: Vec<NativeNumberRange>,
    pub remote_ports: Vec<NativeNumberRange>,
    pub icmp_types: Vec<NativeNumberRange>,
    pub icmp_codes: Vec<NativeNumberRange>,
}

#[napi(object)]
pub struct NativeSpdEntry {
    pub name: String,
    pub outbound: bool,
    pub inbound: bool,
    pub selector: NativeSelector,
    /// PROTECT, BYPASS or DISCARD.
    pub action: String,
    pub builtin: bool,
}

#[napi(object)]
pub struct NativeSa {
    pub outbound: bool,
    pub spi: u32,
    pub entry: String,
    pub selector: NativeSelector,
    pub suite: String,
    /// Encryption key, then salt or integrity key; copied.
    pub key: Uint8Array,
    pub endpoint: NativeEndpoint,
    /// tunnel or transport; absent: tunnel.
    pub mode: Option<String>,
    pub esn: bool,
    pub replay_window: u32,
    pub sequence_number: BigInt,
    /// Absent: no durable bound.
    pub reserved_up_to: Option<BigInt>,
    pub tfc_pad_to_bytes: u32,
    /// copy, set or clear.
    pub dont_fragment: String,
}

#[napi(object)]
pub struct NativeSaKey {
    pub outbound: bool,
    pub spi: u32,
}

#[napi(object)]
pub struct NativeEndpoint {
    pub local: String,
    pub remote: String,
    /// udp or esp.
    pub encapsulation: String,
    pub local_port: u32,
    pub remote_port: u32,
}

#[napi(object)]
pub struct NativeDatagram {
    /// The unspecified address: the kernel chooses.
    pub local: String,
    pub local_port: u32,
    pub remote: String,
    pub remote_port: u32,
    /// Absent: a NAT keepalive.
    pub payload: Option<Uint8Array>,
}

#[napi(object)]
pub struct NativeSaDrop {
    pub reason: String,
    pub count: BigInt,
}

#[napi(object)]
pub struct NativeSaState {
    pub outbound: bool,
    pub spi: u32,
    pub entry: String,
    pub sequence_number: BigInt,
    pub reserved_up_to: Option<BigInt>,
    pub packets: BigInt,
    pub bytes: BigInt,
    pub age_ms: f64,
    pub idle_ms: Option<f64>,
    pub drops: Vec<NativeSaDrop>,
}

#[napi(object)]
pub struct NativeOptions {
    pub gateway: String,
    pub interface: String,
    pub mtu: u32,
    pub listen: Vec<String>,
    pub port: u32,
    pub ike_port: u32,
    /// Whether IKE is served.
    pub ike: bool,
    pub udp: bool,
    pub esp: bool,
    pub protected_interfaces: Vec<String>,
    pub unprotected_interfaces: Vec<String>,
    pub tun_segmentation: bool,
    pub udp_gso: bool,
    pub udp_gro: bool,
    pub keep_guard: bool,
    pub guard: bool,
}

#[napi(object)]
pub struct NativeFacts {
    pub tun_segmentation: bool,
    pub udp_gso: bool,
    pub udp_gro: bool,
    pub notes: Vec<String>,
    pub guard_found: bool,
}

/// A reply without content.
#[napi(object)]
#[derive(Default)]
pub struct NativeReply {
    pub error: Option<NativeError>,
}

#[napi(object)]
#[derive(Default)]
pub struct NativeBoundReply {
    pub error: Option<NativeError>,
    /// The durable bound in force.
    pub bound: Option<BigInt>,
}

#[napi(object)]
#[derive(Default)]
pub struct NativeOpenReply {
    pub error: Option<NativeError>,
    pub facts: Option<NativeFacts>,
}

#[napi(object)]
#[derive(Default)]
pub struct NativeSadReply {
    pub error: Option<NativeError>,
    pub sas: Vec<NativeSaState>,
}

#[napi(object)]
#[derive(Default)]
pub struct NativeCountersReply {
    pub error: Option<NativeError>,
    pub counters: Vec<NativeSaDrop>,
    pub drops: Vec<NativeSaDrop>,
}

#[napi(object)]
#[derive(Default)]
pub struct NativeGuardReply {
    pub error: Option<NativeError>,
    /// One sentence for each thing that was done.
    pub done: Vec<String>,
}

#[napi(object)]
pub struct NativePacket {
    pub source: String,
    pub destination: String,
    pub protocol: u32,
    pub has_ports: bool,
    pub source_port: u32,
    pub destination_port: u32,
    pub icmp_type: u32,
    pub icmp_code: u32,
}

/// One event; which fields are there depends on `kind`.
#[napi(object)]
#[derive(Default)]
pub struct NativeEvent {
    pub kind: String,
    pub outbound: Option<bool>,
    pub spi: Option<u32>,
    pub entry: Option<String>,
    pub packet: Option<NativePacket>,
    pub used: Option<BigInt>,
    pub wanted: Option<BigInt>,
    pub reason: Option<String>,
    pub sequence_number: Option<BigInt>,
    pub source: Option<String>,
    pub destination: Option<String>,
    pub source_port: Option<u32>,
    pub destination_port: Option<u32>,
    pub count: Option<BigInt>,
    pub payload: Option<Uint8Array>,
}
