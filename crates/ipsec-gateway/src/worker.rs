//! What both workers share: the loop of commands, batches and sleep, and the root that catches.

use crate::event::{Event, EventSender};
use crate::limits::{TURNS_PER_ROUND, YIELDS_BEFORE_SLEEP};
use ipsec_io::wait::{self, WAIT_COUNT_MAX, Waker};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whether the loop goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Stop,
}

/// One worker's own part of the loop.
pub(crate) trait Worker: Send + 'static {
    /// What the control plane can ask.
    type Command: Send + 'static;

    /// Takes one command, between two batches.
    fn handle(&mut self, command: Self::Command, now_ms: u64) -> Flow;

    /// One batch; whether there was any. An error ends the worker.
    fn turn(&mut self, now_ms: u64) -> std::io::Result<bool>;

    /// When it wants a turn although nothing came.
    fn wakes_at_ms(&self) -> Option<u64> {
        None
    }

    /// What to sleep on.
    fn wait_for<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>);
}

/// The control plane's end of a worker.
pub(crate) struct WorkerHandle<C> {
    commands: Sender<C>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl<C: Send + 'static> WorkerHandle<C> {
    /// Starts a worker's thread.
    pub(crate) fn start<W: Worker<Command = C>>(
        name: &'static str,
        mut worker: W,
        started: Instant,
        events: EventSender,
    ) -> std::io::Result<Self> {
        let (commands, receiver) = channel();
        let waker = Arc::new(Waker::new()?);
        let for_worker = Arc::clone(&waker);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                // A panic ends this worker and nothing else: its queue is not served any more, so it
                // fails closed, and the control plane is told.
                let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    run(&mut worker, &receiver, &for_worker, started)
                }));
                let reason = match ended {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => panic_text(&*panic),
                };
                // Where even this does not fit, the count of lost events says that something happened.
                let _ = events.send_uncounted(Event::Fault {
                    worker: name,
                    reason,
                });
            })?;
        Ok(Self {
            commands,
            waker,
            thread: Some(thread),
        })
    }

    /// Hands a command over; false when the worker has ended.
    pub(crate) fn send(&self, command: C) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.waker.wake();
        sent
    }

    /// Waits for the thread after its stop command, at most `limit`.
    pub(crate) fn join(&mut self, limit: Duration) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        let end = Instant::now() + limit;
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // A panic inside was caught and told.
            let _ = thread.join();
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panic".to_owned())
}

fn run<W: Worker>(
    worker: &mut W,
    commands: &Receiver<W::Command>,
    waker: &Waker,
    started: Instant,
) -> std::io::Result<()> {
    let mut idle = 0;
    loop {
        let now_ms = started.elapsed().as_millis() as u64;
        while let Ok(command) = commands.try_recv() {
            if worker.handle(command, now_ms) == Flow::Stop {
                return Ok(());
            }
        }
        for _ in 0..TURNS_PER_ROUND {
            if worker.turn(now_ms)? {
                idle = 0;
            } else {
                idle += 1;
                break;
            }
        }
        match idle {
            0 => {}
            1..=YIELDS_BEFORE_SLEEP => wait::yield_now(),
            _ => {
                sleep(worker, waker, now_ms)?;
                waker.clear();
                // Woken for a reason: look at once, and do not yield again before there was work.
                idle = 1;
            }
        }
    }
}

fn sleep<W: Worker>(worker: &W, waker: &Waker, now_ms: u64) -> std::io::Result<()> {
    let mut fds = Vec::with_capacity(WAIT_COUNT_MAX);
    fds.push(waker.as_fd());
    worker.wait_for(&mut fds);
    let timeout = worker
        .wakes_at_ms()
        .map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms).max(1)));
    wait::readable(&fds, timeout)
}
