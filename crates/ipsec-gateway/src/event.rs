//! Events upward: bounded, never waited for, what does not fit is counted.

use crate::limits::{
    AUDIT_INTERVAL_MS, AUDIT_PER_INTERVAL, EVENT_BATCH_COUNT, EVENT_BATCH_LEN, EVENT_QUEUE_COUNT,
    IKE_QUEUE_COUNT, IKE_QUEUE_LEN,
};
use ipsec_datapath::verdict::DROP_REASON_COUNT;
use ipsec_datapath::{Counter, Counters, DropReason};
use ipsec_wire::FlowKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// An IKE datagram, without the Non-ESP Marker.
#[derive(Clone, Debug)]
pub struct IkeDatagram {
    /// To us; the address where it is known.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// The message.
    pub payload: Vec<u8>,
}

/// What the control plane is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// An IKE message came.
    Ike(IkeDatagram),
    /// A packet needs an SA of this SPD entry.
    Acquire {
        /// Name of the entry.
        entry: Arc<str>,
        /// The packet.
        key: FlowKey,
    },
    /// A durable reservation runs low.
    ReserveLow {
        /// Whether of an outbound SA.
        outbound: bool,
        /// SPI.
        spi: u32,
        /// Number used or accepted last.
        used: u64,
        /// What to reserve up to.
        wanted: u64,
    },
    /// An outbound SA has no numbers left.
    SequenceExhausted {
        /// SPI.
        spi: u32,
    },
    /// An inbound SA's first good packet.
    FirstUse {
        /// SPI.
        spi: u32,
    },
    /// An authentic, new packet of an inbound SA came from another endpoint than its peer's.
    Mapping {
        /// SPI.
        spi: u32,
        /// Where it came from.
        remote: SocketAddr,
    },
    /// A part of the guard was missing and was put back.
    Guard(String),
    /// An auditable refusal (RFC 4303 section 4), rate-limited.
    Audit {
        /// Why.
        reason: DropReason,
        /// SPI, 0 where there is none.
        spi: u32,
        /// Sequence number as on the wire.
        sequence_number: u64,
        /// Outer source, or inner source outbound.
        source: String,
        /// Outer destination, or inner destination outbound.
        destination: String,
        /// How many refusals the record speaks of.
        count: u64,
    },
    /// The queue was full and this many events were dropped since the last such event.
    Lost(u64),
    /// A worker ended.
    Fault {
        /// Which.
        worker: &'static str,
        /// Why.
        reason: String,
    },
}

/// What both ends of the queue know. Relaxed throughout: it orders nothing.
#[derive(Default)]
struct Shared {
    /// Events in the queue, IKE aside.
    others: AtomicUsize,
    /// IKE datagrams in it, and their bytes.
    ike: AtomicUsize,
    ike_len: AtomicUsize,
    /// Events dropped and not told yet.
    lost: AtomicU64,
}

/// Takes `count` of what may be `max`, all or nothing.
fn take(level: &AtomicUsize, count: usize, max: usize) -> bool {
    let fits = level.fetch_add(count, Ordering::Relaxed) + count <= max;
    if !fits {
        level.fetch_sub(count, Ordering::Relaxed);
    }
    fits
}

impl Shared {
    fn enter(&self, event: &Event) -> bool {
        let Event::Ike(datagram) = event else {
            return take(&self.others, 1, EVENT_QUEUE_COUNT);
        };
        if !take(&self.ike, 1, IKE_QUEUE_COUNT) {
            return false;
        }
        let fits = take(&self.ike_len, datagram.payload.len(), IKE_QUEUE_LEN);
        if !fits {
            self.ike.fetch_sub(1, Ordering::Relaxed);
        }
        fits
    }

    fn leave(&self, event: &Event) {
        if let Event::Ike(datagram) = event {
            self.ike.fetch_sub(1, Ordering::Relaxed);
            self.ike_len
                .fetch_sub(datagram.payload.len(), Ordering::Relaxed);
        } else {
            self.others.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The workers' end. IKE and all else have a share of the queue each, so that neither keeps the other
/// out; the order is that of their arrival.
#[derive(Clone)]
pub(crate) struct EventSender {
    queue: SyncSender<Event>,
    shared: Arc<Shared>,
}

/// The control plane's end.
pub struct EventReceiver {
    queue: Receiver<Event>,
    shared: Arc<Shared>,
}

pub(crate) fn channel() -> (EventSender, EventReceiver) {
    let (sender, receiver) = sync_channel(EVENT_QUEUE_COUNT + IKE_QUEUE_COUNT);
    let shared = Arc::new(Shared::default());
    let events = EventSender {
        queue: sender,
        shared: Arc::clone(&shared),
    };
    (
        events,
        EventReceiver {
            queue: receiver,
            shared,
        },
    )
}

impl EventSender {
    /// Never blocks; false when the event's share of the queue is taken.
    pub(crate) fn send(&self, event: Event, counters: &Counters) -> bool {
        let sent = self.send_uncounted(event);
        if !sent {
            counters.count(Counter::EventsLost, 1);
        }
        sent
    }

    /// From a thread without counters.
    pub(crate) fn send_uncounted(&self, event: Event) -> bool {
        let sent = self.shared.enter(&event) && self.queue.try_send(event).is_ok();
        if !sent {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}

impl EventReceiver {
    /// Waits for events and takes a batch of them; `None` when all senders are gone.
    pub fn receive(&self) -> Option<Vec<Event>> {
        let mut events = Vec::with_capacity(EVENT_BATCH_COUNT);
        let mut next = Some(self.queue.recv().ok()?);
        let mut len = 0;
        while let Some(event) = next {
            self.shared.leave(&event);
            if let Event::Ike(datagram) = &event {
                len += datagram.payload.len();
            }
            events.push(event);
            let full = events.len() >= EVENT_BATCH_COUNT || len >= EVENT_BATCH_LEN;
            next = if full {
                None
            } else {
                self.queue.try_recv().ok()
            };
        }
        match self.shared.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => events.push(Event::Lost(lost)),
        }
        Some(events)
    }
}

/// The first records of a reason in an interval go out, the rest is counted and told in the next.
pub(crate) struct AuditLimiter {
    windows: [Window; DROP_REASON_COUNT],
}

#[derive(Clone, Copy, Default)]
struct Window {
    started_ms: u64,
    sent: u32,
    held_back: u64,
}

impl Default for AuditLimiter {
    fn default() -> Self {
        Self {
            windows: [Window::default(); DROP_REASON_COUNT],
        }
    }
}

impl AuditLimiter {
    /// How many refusals a record made now speaks of; `None`: none is to be made.
    pub(crate) fn admit(&mut self, reason: DropReason, now_ms: u64) -> Option<u64> {
        let window = &mut self.windows[reason as usize];
        if now_ms.saturating_sub(window.started_ms) >= AUDIT_INTERVAL_MS {
            *window = Window {
                started_ms: now_ms,
                sent: 0,
                held_back: window.held_back,
            };
        }
        if window.sent >= AUDIT_PER_INTERVAL {
            window.held_back += 1;
            return None;
        }
        window.sent += 1;
        Some(std::mem::take(&mut window.held_back) + 1)
    }
}
