//! Bounds of the threads, each with its reason.

/// Batches between two looks at the commands, so that a busy worker still answers.
pub(crate) const TURNS_PER_ROUND: usize = 64;
/// Looks at an empty queue, with the processor given away in between, before a worker sleeps. Waking
/// up is a third of the cost of a busy tunnel on few processors.
pub(crate) const YIELDS_BEFORE_SLEEP: usize = 3;
/// Room for one super-packet in cells: 64 KiB of payload and what segmenting and sealing add.
pub(crate) const OUTBOUND_ARENA_LEN: usize = 512 * 1024;
/// One merged receive.
pub(crate) const INBOUND_BUFFER_LEN: usize = 64 * 1024 + 512;
/// In front of each packet of a transport mode SA: its IP header is written there.
pub(crate) const TRANSPORT_LEAD_LEN: usize = 64;
/// Room for one receive of a transport mode SA, each packet in a cell of its own.
pub(crate) const TRANSPORT_BUFFER_LEN: usize =
    INBOUND_BUFFER_LEN + TRANSPORT_LEAD_LEN * ipsec_datapath::limits::RUN_PACKETS_MAX;
/// Receives whose packets are coalesced together, if they are already there: two super-packets in
/// two parts each. More would leave the processor's cache before they are written.
pub(crate) const RECEIVES_PER_FLUSH: usize = 4;
/// Smallest segment that a read is laid out for; smaller ones are moved.
pub(crate) const LAYOUT_SEGMENT_LEN_MIN: usize = 256;
/// Events waiting for the control plane, IKE aside; more are counted as lost.
pub(crate) const EVENT_QUEUE_COUNT: usize = 1_024;
/// IKE datagrams waiting for it: a share of their own, which nothing else takes up, and which they
/// cannot pass either.
pub(crate) const IKE_QUEUE_COUNT: usize = 512;
/// Bytes of these: IKE messages are a few kilobytes, a stranger's may be 64 KiB.
pub(crate) const IKE_QUEUE_LEN: usize = 4 << 20;
/// Events handed over at once.
pub(crate) const EVENT_BATCH_COUNT: usize = 64;
/// Bytes of IKE handed over at once, but for the last datagram.
pub(crate) const EVENT_BATCH_LEN: usize = 256 << 10;
/// Addresses to listen on.
pub(crate) const LISTEN_ADDRESSES_MAX: usize = 16;
/// Packets of one SPD entry that wait for its SA.
pub(crate) const HOLD_PER_ENTRY_COUNT: usize = 64;
/// Packets of all entries that do.
pub(crate) const HOLD_COUNT: usize = 1024;
/// Bytes of these: one may be a super-packet of 64 KiB.
pub(crate) const HOLD_LEN: usize = 4 << 20;
/// How long they wait.
pub(crate) const HOLD_MS: u64 = 10_000;
/// Audit records of one reason in one interval; the rest is told as a count.
pub(crate) const AUDIT_PER_INTERVAL: u32 = 10;
/// Length of that interval.
pub(crate) const AUDIT_INTERVAL_MS: u64 = 10_000;
/// One acquire for an SPD entry and a pair of addresses in this time.
pub(crate) const ACQUIRE_INTERVAL_MS: u64 = 1_000;
/// And so many for an entry, whatever the addresses.
pub(crate) const ACQUIRE_PER_ENTRY_COUNT: u32 = 8;
/// Entries and pairs that are remembered; past it all are forgotten at once.
pub(crate) const ACQUIRE_REMEMBERED_MAX: usize = 4_096;
/// Packets that the TUN holds for a busy worker; the default of 500 drops in bursts.
pub(crate) const TUN_QUEUE_PACKETS: u32 = 4_000;
/// How long a stop waits for a worker.
pub(crate) const JOIN_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// A question to the control plane that was not answered for so long is asked again.
pub(crate) const ASK_AGAIN_MS: u64 = 100;
