//! Every bound of this crate. Specification constants come from an RFC; implementation constants
//! are ours and say why.

/// RFC 4303 section 3.4.3 asks for at least 32 and recommends 64.
pub const REPLAY_WINDOW_PACKETS_MIN: u32 = 64;
/// 8 KiB of bitmap a SA.
pub const REPLAY_WINDOW_PACKETS_MAX: u32 = 65_536;
/// RFC 4303 section 2.4: the trailer ends on a 4-byte boundary; AEADs need no more (RFC 4106
/// section 3.2, RFC 7634 section 2).
pub const AEAD_ALIGNMENT: usize = 4;
/// RFC 4106 section 3.1 and RFC 7634 section 2: an explicit IV of 8 bytes.
pub const AEAD_IV_LEN: usize = 8;
/// RFC 4106 section 6 and RFC 7634 section 2: the full 16-byte ICV.
pub const AEAD_ICV_LEN: usize = 16;
/// RFC 3602 section 2.4 and 3: AES-CBC's blocks, to which it pads, and its IV.
pub const AES_BLOCK_LEN: usize = 16;
/// RFC 4106 section 4 and RFC 7634 section 2: 4 bytes of salt.
pub const SALT_LEN: usize = 4;
/// Bytes in front of the first cell of an arena, a line of the processor's cache: no suite's front is
/// longer, so a packet read for one SA is sealed by another where it lies.
pub const LEAD_LEN: usize = 64;
/// IPv6 and UDP headers in front of ESP.
pub const OUTER_LEN_MAX: usize = 40 + 8;
/// Largest packet: Total Length is 16 bits.
pub const PACKET_LEN_MAX: usize = 65_535;

/// Slots of one run. A 64 KiB super-packet of the smallest segment a kernel sends (TCP_MIN_SND_MSS,
/// 48 bytes less 40 of options is never seen; 536 gives 122) fits; more is refused.
pub const RUN_PACKETS_MAX: usize = 1_024;
/// Entries of the per-worker flow cache; two ways a bucket. 8,192 flows of 96 bytes are 0.75 MiB.
pub const FLOW_CACHE_ENTRIES: usize = 8_192;
/// TCP flows that one receive can have open for coalescing; kernel GRO keeps 8 a bucket.
pub const COALESCE_GROUPS_MAX: usize = 8;
/// Pieces of one coalesced super-packet; the kernel's own limit for segments of one frame is higher.
pub const COALESCE_PIECES_MAX: usize = 128;
/// SPD entries: what a gateway can hold; the linear reference search is not used beyond tests.
pub const SPD_ENTRIES_MAX: usize = 1_000_000;
/// Address ranges, port ranges and so on in one selector list.
pub const SELECTOR_RANGES_MAX: usize = 65_536;
/// SAs of one direction.
pub const SAD_ENTRIES_MAX: usize = 1_000_000;
