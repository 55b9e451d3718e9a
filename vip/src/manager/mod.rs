//! The virtual addresses of this node's modules: taken, announced, watched, given up.
//!
//! The calls block and are made from plain threads; one thread of its own does the work, another one tells events, so
//! that whoever is told may call again. An address is recorded before it is added: [`Manager::clean_stale`] removes
//! what a dead daemon left behind.

mod judge;
mod record;
mod reset;
mod wanted;
mod worker;

pub use wanted::{Held, OnLoss, Reason, Wanted};

use crate::address::{Address, AddressError};
use crate::interface::FindError;
use crate::netlink::Netlink;
use pnet_base::MacAddr;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc as commands;
use worker::{Command, Worker};

/// How long a takeover waits for an answer to its question who has the addresses.
pub const ASK_BOUND: Duration = Duration::from_millis(10);
/// Events that wait for a slow listener; more are dropped, with a word in the log.
const EVENTS: usize = 1024;

/// What happened to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is on its interface and announced.
    Acquired(Held),
    /// It was removed.
    Released {
        /// What was held.
        held: Held,
        /// TCP connections that were reset, or why that could not be done. None: it was not wanted.
        reset: Option<Result<usize, String>>,
    },
    /// Somebody else claims it. Told again once a minute while he does.
    RivalSeen {
        /// Whose address it is here.
        module: String,
        /// The address.
        ip: IpAddr,
        /// The interface on which he was heard.
        interface: String,
        /// Who.
        mac: MacAddr,
        /// False: before it was taken here.
        held: bool,
    },
    /// It is not where it should be. With [`OnLoss::Restore`] it will be put back.
    Lost(Held),
    /// It was put back and announced.
    Restored(Held),
    /// It could not be put back; this is tried again.
    RestoreFailed {
        /// What was to be put back.
        held: Held,
        /// What the kernel said.
        why: String,
    },
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// No address to begin with.
    #[error("{address} cannot be a virtual address: {why}")]
    Bad {
        /// As it was given.
        address: String,
        /// And what to write.
        why: String,
    },
    /// No interface for it.
    #[error("no interface for {ip}: {why}")]
    NoInterface {
        /// The address.
        ip: IpAddr,
        /// Why not.
        #[source]
        why: FindError,
    },
    /// Another module has it.
    #[error("{ip} belongs to module {module} on this node: release it there, or choose another address")]
    Taken {
        /// The address.
        ip: IpAddr,
        /// Whose it is.
        module: String,
    },
    /// No packet socket.
    #[error("cannot announce on {interface}: {why} (CAP_NET_RAW is needed)")]
    Announce {
        /// Where.
        interface: String,
        /// What the kernel said.
        why: std::io::Error,
    },
    /// The kernel did not do it.
    #[error("{ip} on {interface}: {why}")]
    Address {
        /// The address.
        ip: IpAddr,
        /// Where.
        interface: String,
        /// What it said.
        #[source]
        why: AddressError,
    },
    /// Interfaces could not be listed.
    #[error("cannot look at this node's interfaces: {0}")]
    Look(#[source] AddressError),
    /// The record of addresses.
    #[error(
        "the record of virtual addresses {path}: {why}; remove addresses that a dead daemon left by hand (ip address del), then this file"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// What failed.
        why: String,
    },
    /// A thread or its runtime could not be started, or has ended.
    #[error("the thread for virtual addresses: {0}")]
    Thread(String),
}

/// See the module. Dropping it leaves the addresses where they are, unannounced and unwatched: call
/// [`Manager::release`] first, or [`Manager::clean_stale`] in the next daemon.
pub struct Manager {
    commands: commands::UnboundedSender<Command>,
    worker: Option<JoinHandle<()>>,
}

impl Manager {
    /// `record`: the file in which held addresses are noted, one for each daemon; its directory must exist. `report` is
    /// told what happens, in a thread of its own. Works in the network namespace of the calling thread.
    pub fn new(record: &Path, report: impl Fn(Event) + Send + 'static) -> Result<Manager, VipError> {
        let failed = |why: std::io::Error| VipError::Thread(why.to_string());
        let (events, to_tell) = mpsc::sync_channel(EVENTS);
        let (commands, to_do) = commands::unbounded_channel();
        let (started, start) = mpsc::channel();
        let record = record.to_owned();
        // It ends with the last sender, which the worker and its announcers hold.
        std::thread::Builder::new().name("vip-report".into()).spawn(move || to_tell.into_iter().for_each(report)).map_err(failed)?;
        let work = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(why) => return drop(started.send(Err(failed(why)))),
            };
            runtime.block_on(async {
                match Worker::new(record, events) {
                    Ok(worker) => {
                        drop(started.send(Ok(())));
                        worker.run(to_do).await;
                    }
                    Err(why) => drop(started.send(Err(why))),
                }
            });
        };
        let worker = std::thread::Builder::new().name("vip".into()).spawn(work).map_err(failed)?;
        start.recv().map_err(|_| ended())??;
        Ok(Manager { commands, worker: Some(worker) })
    }

    /// Takes the addresses for `module`, all or none: asks who has them (at most [`ASK_BOUND`], and only to report it), adds
    /// and announces each. When this returns they can be used. What the module holds already is announced anew.
    pub fn acquire(&self, module: &str, wanted: &[Wanted]) -> Result<Vec<Held>, VipError> {
        wanted::check_all(module, wanted)?;
        self.ask(|answer| Command::Acquire { module: module.to_owned(), wanted: wanted.to_vec(), answer })?
    }

    /// Gives up all addresses of `module`. When one cannot be removed the others are all the same; it stays held, and
    /// the call can be repeated.
    pub fn release(&self, module: &str) -> Result<(), VipError> {
        self.ask(|answer| Command::Release { module: module.to_owned(), answer })?
    }

    /// All addresses that are held, also those that are lost at the moment.
    pub fn held(&self) -> Result<Vec<Held>, VipError> {
        self.ask(|answer| Command::Held { answer })
    }

    /// Removes what a daemon that died has left on interfaces, by its record; gives what it removed. To be called
    /// before the first [`Manager::new`] of a daemon: the dead one's kernel has gone on answering for its addresses.
    pub fn clean_stale(record: &Path) -> Result<Vec<Address>, VipError> {
        Manager::clean_stale_but(record, &BTreeSet::new())
    }

    /// The same, but what belongs to these modules stays: they go on, and their addresses will be acquired again.
    pub fn clean_stale_but(record: &Path, modules: &BTreeSet<String>) -> Result<Vec<Address>, VipError> {
        // In a thread of its own: the caller may be inside a runtime.
        std::thread::scope(|scope| {
            let work = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|why| VipError::Thread(why.to_string()))?.block_on(clean(record, modules))
            };
            scope.spawn(work).join().unwrap_or_else(|_| Err(ended()))
        })
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T, VipError> {
        let (answer, answered) = mpsc::channel();
        self.commands.send(command(answer)).map_err(|_| ended())?;
        answered.recv().map_err(|_| ended())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let (closed, _) = commands::unbounded_channel();
        self.commands = closed;
        if let Some(worker) = self.worker.take() {
            // A panic there has been seen on stderr.
            let _ = worker.join();
        }
    }
}

fn ended() -> VipError {
    VipError::Thread("it has ended; start the daemon again".into())
}

async fn clean(path: &Path, going_on: &BTreeSet<String>) -> Result<Vec<Address>, VipError> {
    let recorded = record::read(path)?;
    let (mut removed, mut kept, mut failure) = (Vec::new(), Vec::new(), None);
    if !recorded.is_empty() {
        let netlink = Netlink::open().map_err(VipError::Look)?;
        let snapshot = netlink.snapshot().await.map_err(VipError::Look)?;
        for one in recorded {
            if going_on.contains(&one.module) {
                kept.push(one);
                continue;
            }
            let Some(interface) = snapshot.named(&one.interface).filter(|interface| snapshot.has(one.ip, interface.index)) else {
                continue;
            };
            match one.address().remove_from(&netlink, interface.index).await {
                Ok(()) => removed.push(one.address()),
                Err(why) => {
                    failure = Some(VipError::Address { ip: one.ip, interface: one.interface.clone(), why });
                    kept.push(one);
                }
            }
        }
    }
    record::write(path, kept)?;
    failure.map_or(Ok(removed), Err)
}
