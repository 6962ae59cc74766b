//! Checks and conversions, both ways.

use crate::errors::NativeError;
use crate::types::{
    NativeAddressRange, NativeDatagram, NativeEndpoint, NativeNumberRange, NativePacket, NativeSa,
    NativeSaDrop, NativeSaKey, NativeSaState, NativeSelector, NativeSpdEntry,
};
use ipsec_datapath::sad::sequence_number::UNBOUNDED;
use ipsec_datapath::sad::{InboundSa, InboundSaParameters, OutboundSa, OutboundSaParameters};
use ipsec_datapath::selector::{AddressRange, NumberRange, Selector};
use ipsec_datapath::spd::{Action, SpdEntry};
use ipsec_datapath::suite::{KeyMaterial, SuiteName};
use ipsec_datapath::transport::Mode;
use ipsec_datapath::tunnel_header::{DontFragment, Encapsulation, TunnelHeader};
use ipsec_gateway::{IkeToSend, NewSa, SaEndpoint, SaKey, SaRow, iv_key};
use ipsec_wire::{FlowKey, ProtocolNumber};
use napi::bindgen_prelude::BigInt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

type Converted<T> = Result<T, NativeError>;

fn argument(found: &str, accepted: &str) -> NativeError {
    NativeError::new(
        "IPSEC_ERR_USAGE",
        format!("found {found:?}; accepted: {accepted}"),
    )
}

pub fn address(text: &str) -> Converted<IpAddr> {
    text.parse()
        .map_err(|_| argument(text, "an IPv4 or IPv6 address"))
}

pub fn port(number: u32) -> Converted<u16> {
    u16::try_from(number).map_err(|_| argument(&number.to_string(), "0 to 65535"))
}

pub fn unsigned(number: &BigInt) -> Converted<u64> {
    match number.get_u64() {
        (false, value, true) => Ok(value),
        _ => Err(NativeError::new(
            "IPSEC_ERR_USAGE",
            "a bigint from 0 to 2^64-1 is wanted",
        )),
    }
}

fn address_ranges(ranges: &[NativeAddressRange]) -> Converted<Vec<AddressRange>> {
    ranges
        .iter()
        .map(|range| {
            AddressRange::new(address(&range.from)?, address(&range.to)?)
                .map_err(|error| NativeError::new("IPSEC_ERR_USAGE", error))
        })
        .collect()
}

fn number_ranges(ranges: &[NativeNumberRange]) -> Converted<Vec<NumberRange>> {
    ranges
        .iter()
        .map(|range| {
            Ok(NumberRange {
                from: port(range.from)?,
                to: port(range.to)?,
            })
        })
        .collect()
}

pub fn selector(value: &NativeSelector) -> Converted<Selector> {
    let protocol = value
        .protocol
        .map(|number| {
            u8::try_from(number)
                .map(ProtocolNumber)
                .map_err(|_| argument(&number.to_string(), "a protocol number from 0 to 255"))
        })
        .transpose()?;
    let selector = Selector {
        local: address_ranges(&value.local)?,
        remote: address_ranges(&value.remote)?,
        protocol,
        local_ports: number_ranges(&value.local_ports)?,
        remote_ports: number_ranges(&value.remote_ports)?,
        icmp_types: number_ranges(&value.icmp_types)?,
        icmp_codes: number_ranges(&value.icmp_codes)?,
    };
    selector
        .validate()
        .map_err(|error| NativeError::new("IPSEC_ERR_USAGE", error))?;
    Ok(selector)
}

pub fn spd_entry(value: &NativeSpdEntry) -> Converted<(SpdEntry, bool)> {
    let action = match value.action.as_str() {
        "PROTECT" => Action::Protect,
        "BYPASS" => Action::Bypass,
        "DISCARD" => Action::Discard,
        other => return Err(argument(other, "PROTECT, BYPASS or DISCARD")),
    };
    let entry = SpdEntry {
        name: value.name.clone(),
        outbound: value.outbound,
        inbound: value.inbound,
        selector: selector(&value.selector)?,
        action,
    };
    Ok((entry, value.builtin))
}

fn suite(name: &str) -> Converted<SuiteName> {
    SuiteName::from_name(name).ok_or_else(|| {
        argument(
            name,
            "aes128gcm16, aes256gcm16, chacha20poly1305, or AES-CBC with HMAC as aes256-sha256",
        )
    })
}

pub fn endpoint(value: &NativeEndpoint) -> Converted<SaEndpoint> {
    let encapsulation = match value.encapsulation.as_str() {
        "esp" => Encapsulation::Esp,
        "udp" => Encapsulation::Udp {
            local_port: port(value.local_port)?,
            remote_port: port(value.remote_port)?,
        },
        other => return Err(argument(other, "udp or esp")),
    };
    let (local, remote) = (address(&value.local)?, address(&value.remote)?);
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(argument(
            &format!("{local} and {remote}"),
            "two outer addresses of one family",
        ));
    }
    Ok(SaEndpoint {
        local,
        remote,
        encapsulation,
    })
}

fn tunnel(value: &NativeSa) -> Converted<TunnelHeader> {
    let dont_fragment = match value.dont_fragment.as_str() {
        "copy" => DontFragment::Copy,
        "set" => DontFragment::Set,
        "clear" => DontFragment::Clear,
        other => return Err(argument(other, "copy, set or clear")),
    };
    let SaEndpoint {
        local,
        remote,
        encapsulation,
    } = endpoint(&value.endpoint)?;
    Ok(TunnelHeader {
        local,
        remote,
        encapsulation,
        dont_fragment,
    })
}

pub fn sa_key(value: NativeSaKey) -> SaKey {
    SaKey {
        outbound: value.outbound,
        spi: value.spi,
    }
}

pub fn datagram(value: &NativeDatagram) -> Converted<IkeToSend> {
    let socket = |text: &str, number| -> Converted<SocketAddr> {
        Ok(SocketAddr::new(address(text)?, port(number)?))
    };
    let local = socket(&value.local, value.local_port)?;
    let remote = socket(&value.remote, value.remote_port)?;
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(argument(
            &format!("{local} and {remote}"),
            "two addresses of one family",
        ));
    }
    Ok(IkeToSend {
        local,
        remote,
        payload: value.payload.as_ref().map(|payload| payload.to_vec()),
    })
}

fn mode(value: &NativeSa) -> Converted<Mode> {
    match value.mode.as_deref() {
        None | Some("tunnel") => Ok(Mode::Tunnel),
        Some("transport") => Ok(Mode::Transport),
        Some(other) => Err(argument(other, "tunnel or transport")),
    }
}

fn reserved(value: &NativeSa) -> Converted<u64> {
    value
        .reserved_up_to
        .as_ref()
        .map_or(Ok(UNBOUNDED), unsigned)
}

pub fn new_sa(value: &NativeSa) -> Converted<NewSa> {
    Ok(if value.outbound {
        NewSa::Outbound(Box::new(outbound_sa(value)?))
    } else {
        NewSa::Inbound(Box::new(inbound_sa(value)?))
    })
}

pub fn outbound_sa(value: &NativeSa) -> Converted<OutboundSa> {
    OutboundSa::new(OutboundSaParameters {
        spi: value.spi,
        entry: value.entry.clone(),
        selector: selector(&value.selector)?,
        suite: suite(&value.suite)?,
        key: KeyMaterial::new(&value.key),
        iv_key: iv_key()?,
        extended: value.esn,
        first_sequence_number: unsigned(&value.sequence_number)?,
        reserved_up_to: reserved(value)?,
        tfc_pad_to_len: value.tfc_pad_to_bytes as usize,
        tunnel: tunnel(value)?,
        mode: mode(value)?,
    })
    .map_err(|error| NativeError::new("IPSEC_ERR_SA_INVALID", error))
}

pub fn inbound_sa(value: &NativeSa) -> Converted<InboundSa> {
    let mut sa = InboundSa::new(InboundSaParameters {
        spi: value.spi,
        entry: value.entry.clone(),
        selector: selector(&value.selector)?,
        suite: suite(&value.suite)?,
        key: KeyMaterial::new(&value.key),
        extended: value.esn,
        replay_window_packets: value.replay_window,
        right_edge: unsigned(&value.sequence_number)?,
        reserved_up_to: reserved(value)?,
        mode: mode(value)?,
    })
    .map_err(|error| NativeError::new("IPSEC_ERR_SA_INVALID", error))?;
    sa.set_remote(endpoint(&value.endpoint)?.udp_remote());
    Ok(sa)
}

pub fn named_counts<N: ToString>(counts: impl IntoIterator<Item = (N, u64)>) -> Vec<NativeSaDrop> {
    counts
        .into_iter()
        .map(|(name, count)| NativeSaDrop {
            reason: name.to_string(),
            count: count.into(),
        })
        .collect()
}

pub fn sa_state(row: SaRow) -> NativeSaState {
    NativeSaState {
        outbound: row.outbound,
        spi: row.spi,
        entry: row.entry,
        sequence_number: row.sequence_number.into(),
        reserved_up_to: row.reserved_up_to.map(BigInt::from),
        packets: row.packets.into(),
        bytes: row.bytes.into(),
        age_ms: row.age_ms as f64,
        idle_ms: row.idle_ms.map(|idle_ms| idle_ms as f64),
        drops: named_counts(
            row.drops
                .into_iter()
                .map(|(reason, count)| (reason.name(), count)),
        ),
    }
}

pub fn packet(key: &FlowKey) -> NativePacket {
    let address = |bits: u128| {
        if key.is_v6 {
            Ipv6Addr::from_bits(bits).to_string()
        } else {
            Ipv4Addr::from_bits(bits as u32).to_string()
        }
    };
    let icmp = matches!(key.protocol, ProtocolNumber::ICMP | ProtocolNumber::ICMPV6);
    let ports = key.has_next_layer && !icmp;
    let known = |wanted: bool, value: u16| if wanted { u32::from(value) } else { 0 };
    NativePacket {
        source: address(key.source),
        destination: address(key.destination),
        protocol: u32::from(key.protocol.0),
        has_ports: ports,
        source_port: known(ports, key.source_port),
        destination_port: known(ports, key.destination_port),
        icmp_type: known(icmp, key.source_port >> 8),
        icmp_code: known(icmp, key.source_port & 0xff),
    }
}
