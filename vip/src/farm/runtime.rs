//! A farm as a daemon drives it: everything put together, blocking.

use super::beat::{Beat, BeatError, Mac};
use super::filter::{Filter, FilterError};
use super::host::{self, HostError};
use super::jhash;
use super::limits;
use super::loader::{Done, Loader};
use super::members::Member;
use super::membership::{Action, Membership, View};
use super::plan::Plan;
use super::rules::{self, Local};
use super::schedule::Schedule;
use super::settings::{Affinity, Settings, SettingsError};
use serde::Serialize;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::time::Duration;
use tracing::{info, warn};

/// One farm on this node, from its start to [`Farm::stop`].
///
/// Times are of any clock that never goes back, the same for all calls. [`Farm::tick`] waits some ten milliseconds for
/// rules that are being loaded; only [`Farm::new`] and [`Farm::stop`] wait for `nft` to end, each run of it for at
/// most [`limits::NFT`].
#[derive(Debug)]
pub struct Farm {
    settings: Settings,
    me: Member,
    locals: Vec<Local>,
    membership: Membership,
    /// None without addresses: there is nothing to filter.
    loader: Option<Loader>,
    schedule: Schedule,
    /// Is the application ready, and have its scripts left the farm open?
    up: bool,
    open: bool,
    retry_at: Duration,
    /// When the kernel is told again that ARP may be answered.
    renew_at: Duration,
    trouble: Option<String>,
    stopped: bool,
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum FarmError {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A name that is not in it.
    #[error("the farm {module} has no server {name}: its servers are {servers}")]
    NoServer {
        /// The module.
        module: String,
        /// The name.
        name: String,
        /// Those that it has.
        servers: String,
    },
    /// The filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Interfaces and addresses.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The thread that loads rules.
    #[error("no thread for the farm's filter: {0}")]
    Thread(std::io::Error),
    /// A beat.
    #[error(transparent)]
    Beat(#[from] BeatError),
}

/// Who serves a client under one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Whose {
    /// The rule.
    pub rule: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The service's port.
    pub port: u16,
    /// Who gets the client's new connections; none: nobody serves, or the client's port is needed and was not given.
    pub server: Option<String>,
}

/// One server in [`FarmStatus`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// How this node sees it.
    pub view: View,
    /// Does it get new connections?
    pub serving: bool,
    /// Did an operator drain it?
    pub drained: bool,
    /// Its configured weight.
    pub weight: u32,
    /// Its part of all new connections, 0 to 1.
    pub share: f64,
    /// Does it answer ARP?
    pub answers_arp: bool,
    /// Why its beats are refused.
    pub reason: Option<String>,
}

/// The farm as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FarmStatus {
    /// The module.
    pub module: String,
    /// Number of the distribution; grows with every change.
    pub epoch: u64,
    /// Is this node in the farm, and does it get new connections?
    pub serving: bool,
    /// All servers.
    pub servers: Vec<ServerStatus>,
    /// What went wrong here and is being tried again.
    pub trouble: Option<String>,
}

impl Farm {
    /// Starts the farm on this node: what a dead daemon left is removed, then everything distributed is dropped,
    /// then the addresses are put on their interfaces. New connections come when the node is in the farm and
    /// [`Farm::set_up`] was told.
    pub fn new(settings: Settings, node: &str, now: Duration) -> Result<Farm, FarmError> {
        let settings = settings.checked()?;
        let me = number(&settings, node)?;
        let ours: Vec<IpAddr> = settings.addresses.iter().map(|address| address.ip).collect();
        let locals = settings.addresses.iter().map(|address| host::find(address, &ours)).collect::<Result<Vec<_>, _>>()?;
        let macs: Vec<Mac> = locals.iter().map(|local| local.mac).collect();
        let mut farm = Farm {
            loader: None,
            membership: Membership::new(settings.clone(), me, random(), macs, now),
            settings,
            me,
            locals,
            schedule: Schedule::default(),
            up: false,
            open: true,
            retry_at: now,
            renew_at: now,
            trouble: None,
            stopped: false,
        };
        if let Err(why) = farm.begin() {
            if let Err(why) = farm.clear() {
                warn!(module = farm.settings.module, "after a failed start: {why}");
            }
            farm.stopped = true;
            return Err(why);
        }
        Ok(farm)
    }

    /// With no address there is nothing to filter: a load balancer asks the health answer.
    fn begin(&mut self) -> Result<(), FarmError> {
        if self.locals.is_empty() {
            return Ok(());
        }
        self.clear()?;
        let mut filter = Filter::new(&self.settings.nft, &self.settings.module);
        filter.load(rules::closed(&self.settings, &self.locals))?;
        for local in &self.locals {
            host::add(local)?;
        }
        self.loader = Some(Loader::start(filter, self.settings.clone(), self.locals.clone()).map_err(FarmError::Thread)?);
        Ok(())
    }

    /// The addresses go first: without one the kernel drops what is sent to it, and resets nothing.
    fn clear(&mut self) -> Result<(), FarmError> {
        if self.locals.is_empty() {
            return Ok(());
        }
        let filter = self.loader.take().and_then(Loader::stop);
        let mut filter = filter.unwrap_or_else(|| Filter::new(&self.settings.nft, &self.settings.module));
        let taken: Vec<_> = self.locals.iter().map(host::remove).collect();
        filter.remove()?;
        Ok(taken.into_iter().collect::<Result<(), _>>()?)
    }

    /// A beat of the server `from` has come in. Call [`Farm::tick`] after it.
    pub fn on_beat(&mut self, from: &str, bytes: &[u8], now: Duration) -> Result<(), FarmError> {
        let from = number(&self.settings, from)?;
        let beat = Beat::decode(bytes)?;
        if beat.from != from {
            return Err(BeatError::Refused(from, "it names another sender").into());
        }
        Ok(self.membership.hear(beat, now)?)
    }

    /// Does what is due: loads rules, announces addresses. Gives the bytes to send to all other servers. Call it
    /// after every beat and at least once in [`limits::PULSE`].
    pub fn tick(&mut self, now: Duration) -> Vec<Vec<u8>> {
        let mut beats = Vec::new();
        // Loading a plan makes news for the others, and with it the next things to do.
        for _ in 0..2 {
            for action in self.membership.tick(now) {
                match action {
                    Action::Load(plan) => self.load(plan, now),
                    Action::Send(beat) => beats.push(beat.encode()),
                }
            }
            self.loaded(now);
        }
        self.renew(now);
        if self.schedule.due(now) {
            self.announce();
        }
        beats
    }

    fn load(&mut self, plan: Plan, now: Duration) {
        match &mut self.loader {
            Some(loader) if now >= self.retry_at => loader.load(plan),
            Some(_) => {}
            None => self.in_force(plan, now),
        }
    }

    /// Takes in what the filter has done.
    fn loaded(&mut self, now: Duration) {
        while let Some(done) = self.loader.as_mut().and_then(Loader::next) {
            match done {
                Done::Loaded(plan, Ok(())) => self.in_force(plan, now),
                Done::Loaded(_, Err(why)) => {
                    warn!(module = self.settings.module, "the rules could not be changed, which is tried again: {why}");
                    self.trouble = Some(why.to_string());
                    self.retry_at = now + limits::RETRY;
                }
                Done::Renewed(Ok(())) => {}
                Done::Renewed(Err(why)) => {
                    warn!(module = self.settings.module, "ARP is not answered any more: {why}");
                    self.trouble = Some(why.to_string());
                }
            }
        }
    }

    fn in_force(&mut self, plan: Plan, now: Duration) {
        self.trouble = None;
        self.renew_at = now + self.settings.lost_after / 4;
        self.follow(&plan, now);
        self.membership.loaded(plan, now);
    }

    fn renew(&mut self, now: Duration) {
        let answers = self.membership.in_force().is_some_and(|plan| plan.arp);
        if let Some(loader) = self.loader.as_mut().filter(|_| answers && now >= self.renew_at) {
            self.renew_at = now + self.settings.lost_after / 4;
            loader.renew();
        }
    }

    /// Whoever answers ARP announces the addresses when it begins to, and when others have come or gone: one of
    /// them may have announced them meanwhile.
    fn follow(&mut self, plan: &Plan, now: Duration) {
        let old = self.membership.in_force();
        let others = |plan: &Plan| plan.others.keys().copied().collect::<Vec<_>>();
        let changed = old.is_none_or(|old| old.arp != plan.arp || others(old) != others(plan));
        let epoch = plan.stamp.epoch;
        if changed && plan.arp {
            info!(module = self.settings.module, epoch, "this node answers ARP for the farm's addresses");
            self.schedule.start(now);
        } else if !plan.arp {
            self.schedule.stop();
        }
        if old.is_none_or(|old| old.stamp != plan.stamp) {
            info!(module = self.settings.module, epoch, "the farm's distribution has changed");
        }
    }

    fn announce(&mut self) {
        for local in &self.locals {
            if let Err(why) = host::announce(local) {
                warn!(module = self.settings.module, "{why}");
                self.trouble = Some(why.to_string());
            }
        }
    }

    /// The application here is ready, or is not: without it this node gets no new connections, and those it has
    /// are left to the application.
    pub fn set_up(&mut self, up: bool, now: Duration) {
        self.up = up;
        self.membership.set_up(self.up && self.open, now);
    }

    /// The application's scripts open and close the farm on this node; it begins open.
    pub fn set_open(&mut self, open: bool, now: Duration) {
        self.open = open;
        self.membership.set_up(self.up && self.open, now);
    }

    /// No new connections for the server `node`, or again. All servers learn it; established ones stay. It is
    /// forgotten when all servers of the farm are down at once.
    pub fn drain(&mut self, node: &str, drained: bool, now: Duration) -> Result<(), FarmError> {
        let member = number(&self.settings, node)?;
        self.membership.drain(member, drained, now);
        Ok(())
    }

    /// Who gets new connections of a client. `port` is the client's; without it rules of affinity `client-port`
    /// have no answer.
    pub fn whose(&self, client: IpAddr, port: Option<u16>) -> Vec<Whose> {
        let seed = self.settings.seed();
        let server = |affinity: Affinity| {
            let bucket = match (affinity, port) {
                (Affinity::ClientIp, _) => jhash::bucket(client, None, seed),
                (Affinity::ClientPort, Some(port)) => jhash::bucket(client, Some(port), seed),
                (Affinity::ClientPort, None) => return None,
            };
            let owner = self.membership.in_force()?.owner(bucket)?;
            Some(self.settings.name(owner).to_owned())
        };
        let rules = self.settings.rules.iter();
        rules
            .map(|rule| Whose { rule: rule.name.clone(), protocol: rule.protocol.name(), port: rule.port, server: server(rule.affinity) })
            .collect()
    }

    /// The farm as this node sees it.
    pub fn status(&self, now: Duration) -> FarmStatus {
        let servers = self.settings.everybody().iter().map(|member| self.server_status(member, now)).collect();
        FarmStatus {
            module: self.settings.module.clone(),
            epoch: self.membership.map().map_or(0, |map| map.stamp.epoch),
            serving: self.serves(),
            servers,
            trouble: self.trouble.clone(),
        }
    }

    /// Does this node get new connections?
    pub fn serves(&self) -> bool {
        self.membership.map().is_some_and(|map| map.serving.has(self.me)) && self.membership.in_force().is_some()
    }

    /// Does this node take new connections in all of its share? Not while another one might still take some.
    pub fn takes_its_share(&self) -> bool {
        let Some(plan) = self.membership.in_force() else { return false };
        let own = plan.runs.iter().filter(|run| run.owner == Some(self.me)).map(|run| run.to - run.from + 1).sum::<u32>();
        let taken = plan.accepting.iter().map(|(from, to)| to - from + 1).sum::<u32>();
        self.membership.map().is_some_and(|map| map.stamp == plan.stamp) && own == taken
    }

    fn server_status(&self, member: Member, now: Duration) -> ServerStatus {
        let map = self.membership.map();
        let (view, reason) = self.membership.view(member, now);
        let buckets = self
            .membership
            .in_force()
            .map_or(0, |plan| plan.runs.iter().filter(|run| run.owner == Some(member)).map(|run| run.to - run.from + 1).sum());
        ServerStatus {
            name: self.settings.name(member).to_owned(),
            view,
            serving: map.is_some_and(|map| map.serving.has(member)),
            drained: self.membership.is_drained(member),
            weight: self.settings.servers.get(usize::from(member)).map_or(0, |server| server.weight),
            share: f64::from(buckets) / f64::from(limits::BUCKETS),
            answers_arp: map.is_some_and(|map| map.arp == Some(member)),
            reason: reason.map(str::to_owned),
        }
    }

    /// Says that this node is about to stop: bytes to send to all others, once or some times, before
    /// [`Farm::stop`]. They go on without it at once; stop the application first.
    pub fn leave(&mut self, now: Duration) -> Vec<u8> {
        self.membership.leave(now).encode()
    }

    /// Ends the farm on this node: its addresses and rules are gone when this returns without an error.
    pub fn stop(mut self) -> Result<(), FarmError> {
        self.stopped = true;
        self.clear()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        if !self.stopped
            && let Err(why) = self.clear()
        {
            warn!(module = self.settings.module, "{why}");
        }
    }
}

fn number(settings: &Settings, name: &str) -> Result<Member, FarmError> {
    settings.member(name).ok_or_else(|| FarmError::NoServer {
        module: settings.module.clone(),
        name: name.to_owned(),
        servers: settings.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Tells this run from earlier ones. The standard library's hash keys are random for each process.
fn random() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    hasher.write_u128(since.map_or(0, |since| since.as_nanos()));
    hasher.finish()
}
