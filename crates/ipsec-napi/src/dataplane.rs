//! The verbs of the seam.

use crate::convert::{
    address, inbound_sa, named_counts, outbound_sa, port, sa_state, spd_entry, unsigned,
};
use crate::errors::NativeError;
use crate::events::forward;
use crate::job::{Job, job};
use crate::types::{
    NativeBoundReply, NativeCountersReply, NativeEvent, NativeFacts, NativeOpenReply,
    NativeOptions, NativeReply, NativeSa, NativeSadReply, NativeSpdEntry,
};
use ipsec_gateway::{BoundaryOptions, EventReceiver, Gateway, GatewayOptions};
use napi::bindgen_prelude::{AsyncTask, BigInt, Function, Uint8Array};
use napi_derive::napi;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

type Shared<T> = Arc<Mutex<T>>;

/// A datapath: opened once, closed once.
#[napi]
pub struct NativeGateway {
    gateway: Shared<Option<Gateway>>,
    events: Shared<Option<EventReceiver>>,
}

fn reply(result: Result<(), NativeError>) -> NativeReply {
    NativeReply {
        error: result.err(),
    }
}

#[napi]
impl NativeGateway {
    #[napi(constructor)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            gateway: Arc::default(),
            events: Arc::default(),
        }
    }

    fn with(
        &self,
        work: impl FnOnce(&mut Gateway) -> Result<(), NativeError> + Send + 'static,
    ) -> AsyncTask<Job<NativeReply>> {
        let gateway = Arc::clone(&self.gateway);
        job(move || {
            let mut gateway = gateway.lock().unwrap_or_else(PoisonError::into_inner);
            reply(
                gateway
                    .as_mut()
                    .ok_or_else(NativeError::closed)
                    .and_then(work),
            )
        })
    }

    /// Opens devices and sockets and starts the workers.
    #[napi(ts_return_type = "Promise<NativeOpenReply>")]
    pub fn open(&self, options: NativeOptions) -> AsyncTask<Job<NativeOpenReply>> {
        let (gateway, events) = (Arc::clone(&self.gateway), Arc::clone(&self.events));
        job(move || {
            let opened = gateway_options(options)
                .and_then(|options| Gateway::open(options).map_err(NativeError::from));
            match opened {
                Ok((opened, facts, receiver)) => {
                    *gateway.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
                    *events.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
                    let facts = NativeFacts {
                        tun_segmentation: facts.tun_segmentation,
                        udp_gso: facts.udp_gso,
                        udp_gro: facts.udp_gro,
                        notes: facts.notes,
                        guard_found: facts.guard_found,
                    };
                    NativeOpenReply {
                        error: None,
                        facts: Some(facts),
                    }
                }
                Err(error) => NativeOpenReply {
                    error: Some(error),
                    facts: None,
                },
            }
        })
    }

    /// Hands over events from here on; once, after `open`.
    #[napi]
    pub fn listen(&self, callback: Function<'_, Vec<NativeEvent>, ()>) -> napi::Result<()> {
        let receiver = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        receiver.map_or(Ok(()), |receiver| forward(receiver, callback))
    }

    /// Replaces the policy.
    #[napi(ts_return_type = "Promise<NativeReply>")]
    pub fn replace_spd(
        &self,
        version: u32,
        entries: Vec<NativeSpdEntry>,
    ) -> AsyncTask<Job<NativeReply>> {
        self.with(move |gateway| {
            let entries = entries
                .iter()
                .map(spd_entry)
                .collect::<Result<Vec<_>, _>>()?;
            gateway.replace_spd(u64::from(version), entries)?;
            Ok(())
        })
    }

    /// Adds one direction of an SA.
    #[napi(ts_return_type = "Promise<NativeReply>")]
    pub fn add_sa(&self, sa: NativeSa) -> AsyncTask<Job<NativeReply>> {
        // Converted here, so that the key's bytes are copied before the caller wipes them.
        enum Made {
            Outbound(Box<ipsec_datapath::sad::OutboundSa>),
            Inbound(Box<ipsec_datapath::sad::InboundSa>),
        }
        let made = if sa.outbound {
            outbound_sa(&sa).map(|sa| Made::Outbound(Box::new(sa)))
        } else {
            inbound_sa(&sa).map(|sa| Made::Inbound(Box::new(sa)))
        };
        self.with(move |gateway| match made? {
            Made::Outbound(sa) => Ok(gateway.add_outbound(*sa)?),
            Made::Inbound(sa) => Ok(gateway.add_inbound(*sa)?),
        })
    }

    /// Sets the durable bound of an SA; the reply has the bound in force.
    #[napi(ts_return_type = "Promise<NativeBoundReply>")]
    pub fn reserve(
        &self,
        outbound: bool,
        spi: u32,
        up_to: BigInt,
    ) -> AsyncTask<Job<NativeBoundReply>> {
        let gateway = Arc::clone(&self.gateway);
        job(move || {
            let mut gateway = gateway.lock().unwrap_or_else(PoisonError::into_inner);
            let bound = gateway
                .as_mut()
                .ok_or_else(NativeError::closed)
                .and_then(|gateway| Ok(gateway.reserve(outbound, spi, unsigned(&up_to)?)?));
            match bound {
                Ok(bound) => NativeBoundReply {
                    error: None,
                    bound: Some(bound.into()),
                },
                Err(error) => NativeBoundReply {
                    error: Some(error),
                    bound: None,
                },
            }
        })
    }

    /// A new peer endpoint.
    #[napi(ts_return_type = "Promise<NativeReply>")]
    pub fn update_sa(
        &self,
        outbound: bool,
        spi: u32,
        remote: String,
        remote_port: u32,
    ) -> AsyncTask<Job<NativeReply>> {
        self.with(move |gateway| {
            let remote = SocketAddr::new(address(&remote)?, port(remote_port)?);
            Ok(gateway.update_endpoint(outbound, spi, remote)?)
        })
    }

    /// Removes an SA; the reply has its last state.
    #[napi(ts_return_type = "Promise<NativeSadReply>")]
    pub fn delete_sa(&self, outbound: bool, spi: u32) -> AsyncTask<Job<NativeSadReply>> {
        self.rows(move |gateway| Ok(vec![gateway.delete(outbound, spi)?]))
    }

    /// State of all SAs.
    #[napi(ts_return_type = "Promise<NativeSadReply>")]
    pub fn query_sad(&self) -> AsyncTask<Job<NativeSadReply>> {
        self.rows(|gateway| Ok(gateway.query_sad()))
    }

    fn rows(
        &self,
        work: impl FnOnce(&mut Gateway) -> Result<Vec<ipsec_gateway::SaRow>, NativeError>
        + Send
        + 'static,
    ) -> AsyncTask<Job<NativeSadReply>> {
        let gateway = Arc::clone(&self.gateway);
        job(move || {
            let mut gateway = gateway.lock().unwrap_or_else(PoisonError::into_inner);
            match gateway
                .as_mut()
                .ok_or_else(NativeError::closed)
                .and_then(work)
            {
                Ok(rows) => NativeSadReply {
                    error: None,
                    sas: rows.into_iter().map(sa_state).collect(),
                },
                Err(error) => NativeSadReply {
                    error: Some(error),
                    sas: Vec::new(),
                },
            }
        })
    }

    /// Sends one IKE message.
    #[napi(ts_return_type = "Promise<NativeReply>")]
    pub fn send_ike(
        &self,
        local: String,
        remote: String,
        remote_port: u32,
        payload: Uint8Array,
    ) -> AsyncTask<Job<NativeReply>> {
        let payload = payload.to_vec();
        self.with(move |gateway| {
            let remote = SocketAddr::new(address(&remote)?, port(remote_port)?);
            Ok(gateway.send_ike(address(&local)?, remote, &payload)?)
        })
    }

    /// One snapshot of all counters.
    #[napi(ts_return_type = "Promise<NativeCountersReply>")]
    pub fn counters(&self) -> AsyncTask<Job<NativeCountersReply>> {
        let gateway = Arc::clone(&self.gateway);
        job(move || {
            let gateway = gateway.lock().unwrap_or_else(PoisonError::into_inner);
            match gateway.as_ref() {
                Some(gateway) => {
                    let snapshot = gateway.counters();
                    NativeCountersReply {
                        error: None,
                        counters: named_counts(snapshot.counters),
                        drops: named_counts(snapshot.drops),
                    }
                }
                None => NativeCountersReply {
                    error: Some(NativeError::closed()),
                    ..NativeCountersReply::default()
                },
            }
        })
    }

    /// Stops everything; the reply has the last state of each SA. Idempotent.
    #[napi(ts_return_type = "Promise<NativeSadReply>")]
    pub fn close(&self) -> AsyncTask<Job<NativeSadReply>> {
        let gateway = Arc::clone(&self.gateway);
        job(move || {
            let taken = gateway
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            match taken.map(|mut gateway| gateway.close()) {
                None => NativeSadReply::default(),
                Some(Ok(rows)) => NativeSadReply {
                    error: None,
                    sas: rows.into_iter().map(sa_state).collect(),
                },
                Some(Err(error)) => NativeSadReply {
                    error: Some(error.into()),
                    sas: Vec::new(),
                },
            }
        })
    }
}

pub fn gateway_options(options: NativeOptions) -> Result<GatewayOptions, NativeError> {
    let listen = options
        .listen
        .iter()
        .map(|text| address(text))
        .collect::<Result<_, _>>()?;
    let port_number = port(options.port)?;
    Ok(GatewayOptions {
        boundary: BoundaryOptions {
            owner: options.gateway,
            interface: options.interface,
            mtu: options.mtu,
            protected_interfaces: options.protected_interfaces,
            unprotected_interfaces: options.unprotected_interfaces,
            ports: vec![port(options.ike_port)?, port_number],
        },
        guard: options.guard,
        listen,
        port: port_number,
        udp: options.udp,
        esp: options.esp,
        tun_segmentation: options.tun_segmentation,
        udp_gso: options.udp_gso,
        udp_gro: options.udp_gro,
        keep_guard: options.keep_guard,
    })
}
