//! Sees that a part of the guard is gone or changed, and puts it back.
//!
//! The thread listens to what the kernel multicasts about nftables, routes, rules and links, and
//! looks for itself every [`LOOK_INTERVAL`], because a multicast can be lost. A removed table is
//! put back within a millisecond or two; the private table holds meanwhile what was marked.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nlink::netlink::nftables::{NftablesEvent, NftablesGroup};
use nlink::{Connection, NetworkEvent, Nftables, Route as RouteProtocolSocket, RtnetlinkGroup};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::StreamExt;

use crate::error::Error;
use crate::guard::{Installed, Missing, install_in, parts};
use crate::netlink::{nft_connection, route_connection, run};
use crate::nft::{self, TableState};
use crate::policy::BoundarySpec;
use crate::ruleset::{Ruleset, compile_ruleset, compile_wider_ruleset};

/// How often the watcher looks without being told.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Every how many looks the routes are listed: a listing is as long as the routing tables.
const LOOKS_PER_ROUTE_LISTING: u32 = 20;
/// Commands that wait for the thread.
const COMMANDS_MAX: usize = 8;

/// Whether the watcher makes the nftables table its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The table belongs to the watcher's socket where the kernel can do that (Linux 6.9): nobody
    /// else can change it and `nft flush ruleset` passes it by; when the process dies, it stays.
    /// [`crate::Guard::install`], `replace`, `restore` and `remove` are refused with
    /// [`Error::Held`] until the watcher stops: use [`Watcher::widen`] and [`Watcher::replace`].
    IfPossible,
    /// Anybody may change the table; the watcher puts it back.
    Never,
}

enum Command {
    Install {
        spec: Box<BoundarySpec>,
        ruleset: Ruleset,
        reply: SyncSender<Result<Installed, Error>>,
    },
    Stop,
}

/// Watches the guard of one owner from a thread of its own, in the network namespace of the thread
/// that started it. Dropping it stops the thread and leaves the guard.
pub struct Watcher {
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
    holds: bool,
}

impl Watcher {
    /// Installs the guard of `spec` as [`crate::Guard::install`] does, and watches it from then on.
    /// `report` is called on the watcher's thread with a sentence for each thing that it found
    /// gone or changed, and what it did.
    pub fn start(
        spec: &BoundarySpec,
        hold: Hold,
        report: impl FnMut(String) + Send + 'static,
    ) -> Result<(Watcher, Installed), Error> {
        spec.check()?;
        let (commands, received) = channel(COMMANDS_MAX);
        let (started, outcome) = sync_channel(1);
        let spec = spec.clone();
        let thread = std::thread::Builder::new()
            .name("ipsec-guard".into())
            .spawn(move || {
                let report = Box::new(report);
                let watched = run(async move {
                    let watch = Watch::start(spec, hold, report).await;
                    let (mut watch, installed) = match watch {
                        Ok(watch) => watch,
                        Err(error) => {
                            let _ = started.send(Err(error));
                            return Ok(());
                        }
                    };
                    let _ = started.send(Ok((installed, watch.holds)));
                    watch.watch(received).await;
                    Ok(())
                });
                // The runtime could not be built: the sender is gone, and start says so.
                drop(watched);
            })
            .map_err(|source| Error::Start { source })?;
        let gone = || Error::Start {
            source: std::io::Error::other("the watcher has ended"),
        };
        let (installed, holds) = outcome.recv().map_err(|_| gone())??;
        Ok((
            Watcher {
                commands,
                thread: Some(thread),
                holds,
            },
            installed,
        ))
    }

    /// Whether the table belongs to this watcher alone.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// [`crate::Guard::widen`] under the watcher's eyes.
    pub fn widen(&self, old: &BoundarySpec, new: &BoundarySpec) -> Result<Installed, Error> {
        old.check()?;
        new.check()?;
        self.install(new, compile_wider_ruleset(old, new))
    }

    /// [`crate::Guard::replace`] under the watcher's eyes.
    pub fn replace(&self, spec: &BoundarySpec) -> Result<Installed, Error> {
        spec.check()?;
        self.install(spec, compile_ruleset(spec))
    }

    fn install(&self, spec: &BoundarySpec, ruleset: Ruleset) -> Result<Installed, Error> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(Error::InsideRuntime);
        }
        let gone = || Error::Start {
            source: std::io::Error::other("the watcher has ended"),
        };
        let (reply, outcome) = sync_channel(1);
        let command = Command::Install {
            spec: Box::new(spec.clone()),
            ruleset,
            reply,
        };
        self.commands.blocking_send(command).map_err(|_| gone())?;
        outcome.recv().map_err(|_| gone())?
    }

    /// Stops the thread and waits for its end. The guard stays.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // A full queue is emptied by the thread; one that has ended needs no command.
        while let Err(tokio::sync::mpsc::error::TrySendError::Full(_)) =
            self.commands.try_send(Command::Stop)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread knows.
struct Watch {
    nft: Connection<Nftables>,
    routing: Connection<RouteProtocolSocket>,
    spec: BoundarySpec,
    ruleset: Ruleset,
    /// The table as it was after the last commit of ours.
    expected: Option<TableState>,
    /// The generation of the ruleset at the last look.
    generation: u32,
    holds: bool,
    tun_was_missing: bool,
    /// The last failure reported, so that one that lasts is reported once.
    last_failure: Option<String>,
    report: Box<dyn FnMut(String) + Send>,
}

impl Watch {
    async fn start(
        spec: BoundarySpec,
        hold: Hold,
        report: Box<dyn FnMut(String) + Send>,
    ) -> Result<(Watch, Installed), Error> {
        let mut watch = Watch {
            nft: nft_connection()?,
            routing: route_connection()?,
            ruleset: compile_ruleset(&spec),
            spec,
            expected: None,
            generation: 0,
            holds: false,
            tun_was_missing: false,
            last_failure: None,
            report,
        };
        let installed = install_in(
            &watch.nft,
            &watch.routing,
            &watch.spec,
            &watch.ruleset,
            false,
        )
        .await?;
        watch.tun_was_missing = !installed.tun_routed;
        watch.holds = hold == Hold::IfPossible && nft::hold(&watch.nft, &watch.ruleset).await;
        watch.remember().await?;
        Ok((watch, installed))
    }

    /// Takes what the table holds for what it should hold: right after a commit only.
    async fn remember(&mut self) -> Result<(), Error> {
        self.generation = nft::generation(&self.nft).await?;
        self.expected = nft::read_table(&self.nft, &self.ruleset.table).await?;
        Ok(())
    }

    async fn watch(&mut self, mut commands: Receiver<Command>) {
        loop {
            let events = self.subscribe().await;
            let result = match events {
                Ok((nft_events, route_events)) => {
                    self.watch_events(&mut commands, nft_events, route_events)
                        .await
                }
                Err(error) => {
                    self.fail(&error);
                    tokio::time::sleep(LOOK_INTERVAL).await;
                    self.look(true).await;
                    match commands.try_recv() {
                        Ok(command) => self.obey(command).await,
                        Err(tokio::sync::mpsc::error::TryRecvError::Empty) => Next::Continue,
                        Err(_) => Next::Stop,
                    }
                }
            };
            if result == Next::Stop {
                return;
            }
        }
    }

    async fn subscribe(
        &self,
    ) -> Result<
        (
            nlink::OwnedEventStream<Nftables>,
            nlink::OwnedEventStream<RouteProtocolSocket>,
        ),
        Error,
    > {
        let nft = nft_connection()?;
        nft.subscribe(&[NftablesGroup::All])
            .map_err(Error::netlink("watch nftables"))?;
        let routing = route_connection()?;
        routing
            .subscribe(&[
                RtnetlinkGroup::Link,
                RtnetlinkGroup::Ipv4Route,
                RtnetlinkGroup::Ipv6Route,
                RtnetlinkGroup::Ipv4Rule,
                RtnetlinkGroup::Ipv6Rule,
            ])
            .map_err(Error::netlink("watch routes"))?;
        Ok((nft.into_events().await, routing.into_events().await))
    }

    /// Watches until told to stop, or until a multicast is lost and must be subscribed anew.
    async fn watch_events(
        &mut self,
        commands: &mut Receiver<Command>,
        mut nft_events: nlink::OwnedEventStream<Nftables>,
        mut route_events: nlink::OwnedEventStream<RouteProtocolSocket>,
    ) -> Next {
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0u32;
        let mut touched = false;
        loop {
            tokio::select! {
                // In this order: what the kernel says names who did it, a look of our own does not.
                biased;
                command = commands.recv() => {
                    let next = match command {
                        Some(command) => self.obey(command).await,
                        None => Next::Stop,
                    };
                    if next == Next::Stop {
                        return Next::Stop;
                    }
                }
                event = nft_events.next() => match event {
                    Some(Ok(NftablesEvent::NewGen(generation))) => {
                        if touched && generation.id != self.generation {
                            let who = generation.proc_name.unwrap_or_default();
                            self.look_at_nft(&who).await;
                        }
                        touched = false;
                    }
                    Some(Ok(event)) => touched |= touches(&event, &self.ruleset.table),
                    Some(Err(_)) | None => {
                        self.look(true).await;
                        return Next::Continue;
                    }
                },
                event = route_events.next() => match event {
                    Some(Ok(event)) => {
                        if self.concerns(&event) {
                            self.look_at_routing().await;
                        }
                    }
                    Some(Err(_)) | None => {
                        self.look(true).await;
                        return Next::Continue;
                    }
                },
                _ = tick.tick() => {
                    looks = looks.wrapping_add(1);
                    self.look(looks.is_multiple_of(LOOKS_PER_ROUTE_LISTING)).await;
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Next {
        match command {
            Command::Stop => Next::Stop,
            Command::Install {
                spec,
                ruleset,
                reply,
            } => {
                let installed =
                    install_in(&self.nft, &self.routing, &spec, &ruleset, self.holds).await;
                if let Ok(installed) = &installed {
                    self.tun_was_missing = !installed.tun_routed;
                    self.spec = *spec;
                    self.ruleset = ruleset;
                    if let Err(error) = self.remember().await {
                        self.fail(&error);
                    }
                }
                let _ = reply.send(installed);
                Next::Continue
            }
        }
    }

    fn concerns(&self, event: &NetworkEvent) -> bool {
        match event {
            NetworkEvent::DelRoute(route) => route.table_id() == self.spec.table,
            NetworkEvent::DelRule(rule) => rule.table_id() == self.spec.table,
            NetworkEvent::NewLink(link) | NetworkEvent::DelLink(link) => {
                link.name() == Some(self.spec.tun.as_str())
            }
            _ => false,
        }
    }

    async fn look(&mut self, routes_too: bool) {
        match nft::generation(&self.nft).await {
            Ok(generation) if generation == self.generation => {}
            Ok(_) => self.look_at_nft("").await,
            Err(error) => self.fail(&error),
        }
        if routes_too {
            self.look_at_routing().await;
        }
    }

    async fn look_at_nft(&mut self, who: &str) {
        let found_at = Instant::now();
        if let Err(error) = self.restore_nft(who, found_at).await {
            self.fail(&error);
        }
    }

    async fn restore_nft(&mut self, who: &str, found_at: Instant) -> Result<(), Error> {
        let generation = nft::generation(&self.nft).await?;
        let found = nft::read_table(&self.nft, &self.ruleset.table).await?;
        if found.is_some() && found == self.expected {
            self.generation = generation;
            return Ok(());
        }
        let fate = if found.is_some() {
            "changed"
        } else {
            "removed"
        };
        nft::commit(&self.nft, &self.ruleset, self.holds).await?;
        let elapsed = found_at.elapsed();
        self.remember().await?;
        let by = if who.is_empty() {
            String::new()
        } else {
            format!(" by {who}")
        };
        self.say(format!(
            "the nftables table {} was {fate}{by}; put back in {} microseconds",
            self.ruleset.table,
            elapsed.as_micros()
        ));
        Ok(())
    }

    async fn look_at_routing(&mut self) {
        if let Err(error) = self.restore_routing().await {
            self.fail(&error);
        }
    }

    async fn restore_routing(&mut self) -> Result<(), Error> {
        let missing = parts::verify_routing(&self.routing, &self.spec).await?;
        let tun_is_missing = missing.contains(&Missing::Tun);
        if tun_is_missing != self.tun_was_missing {
            self.tun_was_missing = tun_is_missing;
            self.say(if tun_is_missing {
                format!(
                    "{} is down or gone: what policy protects is discarded",
                    self.spec.tun
                )
            } else {
                format!("{} is up again", self.spec.tun)
            });
        }
        let gone: Vec<&Missing> = missing
            .iter()
            .filter(|part| **part != Missing::Tun)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        parts::install_routing(&self.routing, &self.spec).await?;
        let names = gone
            .iter()
            .map(|part| part.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        self.say(format!("{names}: gone, put back"));
        Ok(())
    }

    fn say(&mut self, sentence: String) {
        self.last_failure = None;
        (self.report)(sentence);
    }

    fn fail(&mut self, error: &Error) {
        let sentence = format!("the guard cannot be looked at or put back: {error}");
        if self.last_failure.as_ref() != Some(&sentence) {
            (self.report)(sentence.clone());
            self.last_failure = Some(sentence);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

/// Whether an event says that something of `table` has changed.
fn touches(event: &NftablesEvent, table: &str) -> bool {
    match event {
        NftablesEvent::NewTable(found) | NftablesEvent::DelTable(found) => found.name == table,
        NftablesEvent::NewChain(chain) | NftablesEvent::DelChain(chain) => chain.table == table,
        NftablesEvent::NewRule(rule) | NftablesEvent::DelRule(rule) => rule.table == table,
        NftablesEvent::NewSet(set) | NftablesEvent::DelSet(set) => set.table == table,
        NftablesEvent::NewSetElements(_) | NftablesEvent::DelSetElements(_) => true,
        NftablesEvent::NewObject(object) | NftablesEvent::DelObject(object) => {
            object.table == table
        }
        _ => false,
    }
}
