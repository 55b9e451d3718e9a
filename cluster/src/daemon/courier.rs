//! What goes out to the other nodes: one thread each, so that a silent node delays nobody but itself.

use super::board::Board;
use super::snapshot::Shown;
use crate::NodeId;
use crate::net::{Client, Message};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Words that wait for a node; they are said again by whoever needs an answer.
const WAITING: usize = 1024;
/// Jobs that wait for a worker.
const JOBS: usize = 1024;
/// Workers for what asks others and takes long.
const WORKERS: usize = 4;
/// For one message.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// What a node knows of another is told again after this, whatever was acknowledged.
const AGAIN: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

enum Parcel {
    Word(Box<Message>),
    Facts,
}

struct Route {
    parcels: Sender<Parcel>,
    told: Arc<AtomicU64>,
}

/// All of them.
pub struct Couriers {
    routes: BTreeMap<NodeId, Route>,
    jobs: Sender<Job>,
}

/// What is told of this node beside its modules.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Of the program.
    pub version: String,
    /// Of `cluster.toml`.
    pub config_digest: String,
}

impl Couriers {
    /// Starts the threads. `digests`: of the modules' folders, now.
    pub fn start(
        clients: &BTreeMap<NodeId, Arc<Client>>,
        board: &Arc<Board>,
        heading: &Heading,
        digests: &Arc<dyn Fn() -> BTreeMap<String, String> + Send + Sync>,
    ) -> std::io::Result<Couriers> {
        let mut routes = BTreeMap::new();
        for (&node, client) in clients {
            let (parcels, taken) = bounded(WAITING);
            let told = Arc::new(AtomicU64::new(0));
            let carrier = Carrier {
                client: client.clone(),
                board: board.clone(),
                heading: heading.clone(),
                digests: digests.clone(),
                told: told.clone(),
            };
            std::thread::Builder::new().name(format!("to-node{}", node.0)).spawn(move || carrier.run(&taken))?;
            routes.insert(node, Route { parcels, told });
        }
        let (jobs, taken) = bounded::<Job>(JOBS);
        for number in 0..WORKERS {
            let taken = taken.clone();
            std::thread::Builder::new().name(format!("work-{number}")).spawn(move || taken.iter().for_each(|job| job()))?;
        }
        Ok(Couriers { routes, jobs })
    }

    /// Says something to a node, once, in order with what was said before; lost when the node does not answer.
    pub fn send(&self, node: NodeId, message: Message) {
        if let Some(route) = self.routes.get(&node) {
            let _ = route.parcels.try_send(Parcel::Word(Box::new(message)));
        }
    }

    /// What this node shows has changed: everybody is told the latest.
    pub fn facts_changed(&self) {
        for route in self.routes.values() {
            let _ = route.parcels.try_send(Parcel::Facts);
        }
    }

    /// A node's daemon started anew, and knows nothing.
    pub fn forgotten(&self, node: NodeId) {
        if let Some(route) = self.routes.get(&node) {
            route.told.store(0, SeqCst);
            let _ = route.parcels.try_send(Parcel::Facts);
        }
    }

    /// Does something that may take long, elsewhere.
    pub fn work(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.try_send(Box::new(job));
    }
}

struct Carrier {
    client: Arc<Client>,
    board: Arc<Board>,
    heading: Heading,
    digests: Arc<dyn Fn() -> BTreeMap<String, String> + Send + Sync>,
    told: Arc<AtomicU64>,
}

impl Carrier {
    fn run(&self, parcels: &Receiver<Parcel>) {
        loop {
            match parcels.recv_timeout(if self.behind() { PAUSE } else { AGAIN }) {
                Ok(Parcel::Word(message)) => drop(self.client.call(&message.encode(), PATIENCE)),
                Ok(Parcel::Facts) => {}
                Err(RecvTimeoutError::Timeout) if !self.behind() => self.told.store(0, SeqCst),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.behind() {
                self.tell();
            }
        }
    }

    fn behind(&self) -> bool {
        self.told.load(SeqCst) < self.board.all().0.max(1)
    }

    fn tell(&self) {
        let (version, modules) = self.board.all();
        let text = |shown: &Shown| serde_json::to_string(shown).expect("plain data becomes JSON");
        let message = Message::Facts {
            version,
            program: self.heading.version.clone(),
            config_digest: self.heading.config_digest.clone(),
            modules: modules.iter().map(|(name, shown)| (name.clone(), text(shown))).collect(),
            digests: (self.digests)(),
        };
        if self.client.call(&message.encode(), PATIENCE).is_ok() {
            self.told.store(version.max(1), SeqCst);
        }
    }
}
