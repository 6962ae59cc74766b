//! Events upward: one thread-safe function, called with batches.

use crate::convert::packet;
use crate::types::NativeEvent;
use ipsec_gateway::{Event, EventReceiver};
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Result, Status};

/// Batches that wait for the event loop; a full queue makes the event thread wait, and the workers
/// count what their own queue then does not take. A batch may hold a quarter of a mebibyte of IKE.
const BATCHES_MAX: usize = 16;

/// Starts the thread that hands events over until the gateway is closed. It keeps no process alive.
pub fn forward(
    receiver: EventReceiver,
    callback: Function<'_, Vec<NativeEvent>, ()>,
) -> Result<()> {
    let callback = callback
        .build_threadsafe_function::<Vec<NativeEvent>>()
        .weak::<true>()
        .max_queue_size::<BATCHES_MAX>()
        .build()?;
    std::thread::Builder::new()
        .name("ipsec-events".into())
        .spawn(move || {
            while let Some(events) = receiver.receive() {
                let events = events.into_iter().map(native).collect();
                if callback.call(events, ThreadsafeFunctionCallMode::Blocking) == Status::Closing {
                    return;
                }
            }
        })
        .map_err(|error| napi::Error::from_reason(error.to_string()))?;
    Ok(())
}

fn native(event: Event) -> NativeEvent {
    let kind = |kind: &str| NativeEvent {
        kind: kind.to_owned(),
        ..NativeEvent::default()
    };
    match event {
        Event::Ike(datagram) => NativeEvent {
            source: Some(datagram.remote.ip().to_string()),
            source_port: Some(u32::from(datagram.remote.port())),
            destination: Some(datagram.local.ip().to_string()),
            destination_port: Some(u32::from(datagram.local.port())),
            payload: Some(datagram.payload.into()),
            ..kind("ike")
        },
        Event::Acquire { entry, key } => NativeEvent {
            entry: Some(entry.to_string()),
            packet: Some(packet(&key)),
            ..kind("acquire")
        },
        Event::ReserveLow {
            outbound,
            spi,
            used,
            wanted,
        } => NativeEvent {
            outbound: Some(outbound),
            spi: Some(spi),
            used: Some(used.into()),
            wanted: Some(wanted.into()),
            ..kind("reserveLow")
        },
        Event::SequenceExhausted { spi } => NativeEvent {
            outbound: Some(true),
            spi: Some(spi),
            ..kind("expire")
        },
        Event::FirstUse { spi } => NativeEvent {
            outbound: Some(false),
            spi: Some(spi),
            ..kind("firstUse")
        },
        Event::Mapping { spi, remote } => NativeEvent {
            outbound: Some(false),
            spi: Some(spi),
            source: Some(remote.ip().to_string()),
            source_port: Some(u32::from(remote.port())),
            ..kind("mapping")
        },
        Event::Guard(what) => NativeEvent {
            reason: Some(what),
            ..kind("guard")
        },
        Event::Audit {
            reason,
            spi,
            sequence_number,
            source,
            destination,
            count,
        } => NativeEvent {
            reason: Some(reason.name().to_owned()),
            spi: Some(spi),
            sequence_number: Some(sequence_number.into()),
            source: Some(source),
            destination: Some(destination),
            count: Some(count.into()),
            ..kind("audit")
        },
        Event::Lost(count) => NativeEvent {
            count: Some(count.into()),
            ..kind("lost")
        },
        Event::Fault { worker, reason } => NativeEvent {
            entry: Some(worker.to_owned()),
            reason: Some(reason),
            ..kind("fault")
        },
    }
}
