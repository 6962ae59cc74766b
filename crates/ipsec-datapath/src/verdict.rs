//! Why a packet goes no further: values, never errors. A refused packet costs a counter.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, audit: $audit:literal;)*) => {
        /// Why a packet was refused. Each has a counter, a row in docs/drops.md and a test.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The counter's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it is an auditable event of RFC 4301 section 5 or RFC 4303 section 4.
            pub const fn audit(self) -> bool {
                match self { $(Self::$variant => $audit,)* }
            }
        }
    };
}

drop_reasons! {
    /// Outbound: an SPD entry says DISCARD (RFC 4301 section 4.4.1).
    PolicyDiscard = "policy_discard", audit: false;
    /// Outbound: no SPD entry matches, so DISCARD (RFC 4301 section 4.4.1).
    PolicyNoMatch = "policy_no_match", audit: true;
    /// Outbound: policy says BYPASS, yet the packet was routed to the TUN; the kernel carries
    /// bypassed traffic.
    PolicyBypassMisrouted = "policy_bypass_misrouted", audit: false;
    /// Outbound: policy says PROTECT and no SA exists (RFC 4301 section 5.1 step 3a).
    NoSaOutbound = "no_sa_outbound", audit: false;
    /// Outbound: no SA yet, and as many packets wait for one as may.
    HoldFull = "hold_full", audit: false;
    /// Outbound: waited for an SA, which did not come in time.
    HoldExpired = "hold_expired", audit: false;
    /// Outbound: not an IP packet that policy can be applied to.
    MalformedOutbound = "malformed_outbound", audit: false;
    /// Outbound: the sequence number would cycle (RFC 4303 section 3.3.3).
    SequenceOverflow = "sequence_overflow", audit: true;
    /// Outbound: the durable reservation is used up and the next is not confirmed yet.
    SequenceNotReserved = "sequence_not_reserved", audit: false;
    /// Outbound: the buffer has no room for header or trailer, or the packet would pass 65,535 bytes.
    TooBig = "too_big", audit: false;
    /// Outbound: what transport mode cannot carry here: a fragment, IPv4 options, extension headers
    /// that stay in front of ESP, or addresses that are not the SA's (RFC 4303 section 3.1.1).
    NotTransportable = "not_transportable", audit: false;
    /// Outbound: the kernel refused the datagram.
    SendFailed = "send_failed", audit: false;
    /// Outbound: the kernel refused an IKE datagram or a NAT keepalive.
    IkeSendFailed = "ike_send_failed", audit: false;
    /// Inbound: shorter than SPI, sequence number, IV, trailer and ICV.
    Short = "short", audit: false;
    /// Inbound: longer than the buffer, so that its end is missing.
    Truncated = "truncated", audit: false;
    /// Inbound: no SA has this SPI (RFC 4303 section 3.4.2).
    NoSa = "no_sa", audit: true;
    /// Inbound: an IP fragment offered to ESP (RFC 4303 section 3.4.1).
    OuterFragment = "outer_fragment", audit: true;
    /// Inbound: sequence number seen before (RFC 4303 section 3.4.3).
    ReplayDuplicate = "replay_duplicate", audit: true;
    /// Inbound: sequence number left of the window, or zero (RFC 4303 section 3.4.3).
    ReplayTooOld = "replay_too_old", audit: true;
    /// Inbound: authentic, but beyond what was durably reserved; the reservation is being raised.
    ReplayNotReserved = "replay_not_reserved", audit: false;
    /// Inbound: the ICV is wrong (RFC 4303 section 3.4.4).
    Integrity = "integrity", audit: true;
    /// Inbound: Pad Length exceeds the payload or padding bytes are not 1, 2, 3 … (RFC 4303
    /// section 2.4).
    Padding = "padding", audit: true;
    /// Inbound: a dummy packet, Next Header 59 (RFC 4303 section 2.6): normal, discarded.
    Dummy = "dummy", audit: false;
    /// Inbound: Next Header is not IP, which tunnel mode requires, or a header that transport mode has
    /// in front of ESP.
    Mode = "mode", audit: true;
    /// Inbound: the decrypted packet is not a well-formed IP packet.
    MalformedInner = "malformed_inner", audit: true;
    /// Inbound: the decrypted packet is outside the SA's selectors (RFC 4301 section 5.2 step 4).
    SelectorMismatch = "selector_mismatch", audit: true;
    /// Inbound: congestion was marked on a packet of a transport that cannot hear it (RFC 6040
    /// section 4.2).
    EcnNotCapable = "ecn_not_capable", audit: false;
    /// Inbound: the kernel refused the packet on the TUN.
    DeliverFailed = "deliver_failed", audit: false;
    /// Inbound: an IKE datagram that nobody took, for the queue was full.
    IkeQueueFull = "ike_queue_full", audit: false;
}

/// How many reasons there are.
pub const DROP_REASON_COUNT: usize = DropReason::ALL.len();
