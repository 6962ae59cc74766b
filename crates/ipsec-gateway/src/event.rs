//! Events upward: bounded, never waited for, what does not fit is counted.

use crate::limits::{AUDIT_INTERVAL_MS, AUDIT_PER_INTERVAL, EVENT_BATCH_COUNT, EVENT_QUEUE_COUNT};
use ipsec_datapath::verdict::DROP_REASON_COUNT;
use ipsec_datapath::{Counter, Counters, DropReason};
use ipsec_wire::FlowKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// The workers' end.
#[derive(Clone)]
pub(crate) struct EventSender {
    queue: SyncSender<Event>,
    /// Events dropped and not told yet. Relaxed: it orders nothing.
    lost: Arc<AtomicU64>,
}

/// The control plane's end.
pub struct EventReceiver {
    queue: Receiver<Event>,
    lost: Arc<AtomicU64>,
}

pub(crate) fn channel() -> (EventSender, EventReceiver) {
    let (sender, receiver) = sync_channel(EVENT_QUEUE_COUNT);
    let lost = Arc::new(AtomicU64::new(0));
    let events = EventSender {
        queue: sender,
        lost: Arc::clone(&lost),
    };
    (
        events,
        EventReceiver {
            queue: receiver,
            lost,
        },
    )
}

impl EventSender {
    /// Never blocks; false when the queue is full.
    pub(crate) fn send(&self, event: Event, counters: &Counters) -> bool {
        let sent = self.send_uncounted(event);
        if !sent {
            counters.count(Counter::EventsLost, 1);
        }
        sent
    }

    /// From a thread without counters.
    pub(crate) fn send_uncounted(&self, event: Event) -> bool {
        let sent = self.queue.try_send(event).is_ok();
        if !sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}

impl EventReceiver {
    /// Waits for events and takes a batch of them; `None` when all senders are gone.
    pub fn receive(&self) -> Option<Vec<Event>> {
        let mut events = vec![self.queue.recv().ok()?];
        while events.len() < EVENT_BATCH_COUNT
            && let Ok(event) = self.queue.try_recv()
        {
            events.push(event);
        }
        match self.lost.swap(0, Ordering::Relaxed) {
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
