//! The verbs of the seam.

use crate::convert::{
    address, datagram, endpoint, named_counts, new_sa, port, sa_key, sa_state, spd_entry, unsigned,
};
use crate::errors::NativeError;
use crate::events::forward;
use crate::job::{Job, job};
use crate::types::{
    NativeBoundReply, NativeCountersReply, NativeDatagram, NativeEndpoint, NativeEvent,
    NativeFacts, NativeOpenReply, NativeOptions, NativeReply, NativeSa, NativeSaKey,
    NativeSadReply, NativeSpdEntry,
};
use ipsec_gateway::{BoundaryOptions, EventReceiver, Gateway, GatewayError, GatewayOptions};
use napi::bindgen_prelude::{AsyncTask, BigInt, Function};
use napi_derive::napi;
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

    /// Adds SAs, all or none.
    #[napi(ts_return_type = "Promise<NativeReply>")]
    pub fn add_sas(&self, sas: Vec<NativeSa>) -> AsyncTask<Job<NativeReply>> {
        // Converted here, so that the keys' bytes are copied before the caller wipes them.
        let made: Result<Vec<_>, _> = sas.iter().map(new_sa).collect();
        self.with(move |gateway| Ok(gateway.add(made?)?))
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

    /// New ends of an SA's packets.
    #[napi(ts_return_type = "Promise<NativeReply>")]
    pub fn update_sa(
        &self,
        id: NativeSaKey,
        change: NativeEndpoint,
    ) -> AsyncTask<Job<NativeReply>> {
        self.with(move |gateway| Ok(gateway.update_endpoint(sa_key(id), endpoint(&change)?)?))
    }

    /// Removes an SA; the reply has its last state.
    #[napi(ts_return_type = "Promise<NativeSadReply>")]
    pub fn delete_sa(&self, id: NativeSaKey) -> AsyncTask<Job<NativeSadReply>> {
        let key = sa_key(id);
        self.rows(move |gateway| {
            let rows = gateway.delete(&[key])?;
            match rows.is_empty() {
                true => Err(GatewayError::NoSuchSa(key.spi).into()),
                false => Ok(rows),
            }
        })
    }

    /// Removes SAs; the reply has the last states of those that were there.
    #[napi(ts_return_type = "Promise<NativeSadReply>")]
    pub fn delete_sas(&self, ids: Vec<NativeSaKey>) -> AsyncTask<Job<NativeSadReply>> {
        let keys: Vec<_> = ids.into_iter().map(sa_key).collect();
        self.rows(move |gateway| Ok(gateway.delete(&keys)?))
    }

    /// State of some SAs; those that are not there are left out.
    #[napi(ts_return_type = "Promise<NativeSadReply>")]
    pub fn query_sas(&self, ids: Vec<NativeSaKey>) -> AsyncTask<Job<NativeSadReply>> {
        let keys: Vec<_> = ids.into_iter().map(sa_key).collect();
        self.rows(move |gateway| Ok(gateway.query(&keys)))
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

    /// Sends IKE messages and keepalives.
    #[napi(ts_return_type = "Promise<NativeReply>")]
    pub fn send_ike(&self, datagrams: Vec<NativeDatagram>) -> AsyncTask<Job<NativeReply>> {
        let datagrams: Result<Vec<_>, _> = datagrams.iter().map(datagram).collect();
        self.with(move |gateway| Ok(gateway.send_ike(datagrams?)?))
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
    let ike_port = port(options.ike_port)?;
    Ok(GatewayOptions {
        boundary: BoundaryOptions {
            owner: options.gateway,
            interface: options.interface,
            mtu: options.mtu,
            protected_interfaces: options.protected_interfaces,
            unprotected_interfaces: options.unprotected_interfaces,
            ports: vec![ike_port, port_number],
        },
        guard: options.guard,
        listen,
        port: port_number,
        ike_port: options.ike.then_some(ike_port),
        udp: options.udp,
        esp: options.esp,
        tun_segmentation: options.tun_segmentation,
        udp_gso: options.udp_gso,
        udp_gro: options.udp_gro,
        keep_guard: options.keep_guard,
    })
}
