//! The filter in a thread of its own: `nft` may be slow on a busy host, and a server that says nothing meanwhile is
//! taken for lost.

use super::filter::{Filter, FilterError};
use super::limits;
use super::members::Member;
use super::plan::Plan;
use super::rules::{self, Local};
use super::settings::Settings;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

enum Job {
    Load(Plan),
    Renew,
}

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    /// Rules were loaded, or not.
    Loaded(Plan, Result<(), FilterError>),
    /// ARP may be answered for some more time, or not.
    Renewed(Result<(), FilterError>),
}

/// At most one job of each kind is under way.
#[derive(Debug)]
pub struct Loader {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    thread: JoinHandle<Filter>,
    loading: bool,
    renewing: bool,
}

impl Loader {
    /// Takes over `filter`. The thread lives in the network namespace of the one that calls this.
    pub fn start(filter: Filter, settings: Settings, locals: Vec<Local>) -> std::io::Result<Loader> {
        let (jobs, inbox) = channel();
        let (outbox, done) = channel();
        let name = "farm-filter".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || work(filter, &settings, &locals, &inbox, &outbox))?;
        Ok(Loader { jobs, done, thread, loading: false, renewing: false })
    }

    /// Begins to load the rules of `plan`; not while others are being loaded.
    pub fn load(&mut self, plan: Plan) {
        if !self.loading {
            self.loading = self.jobs.send(Job::Load(plan)).is_ok();
        }
    }

    /// Lets ARP be answered for some more time.
    pub fn renew(&mut self) {
        if !self.renewing {
            self.renewing = self.jobs.send(Job::Renew).is_ok();
        }
    }

    /// The next result. While rules are being loaded it is waited for, but not for long.
    pub fn next(&mut self) -> Option<Done> {
        let done = if self.loading { self.done.recv_timeout(limits::LOAD_WAIT).ok() } else { self.done.try_recv().ok() };
        match &done {
            Some(Done::Loaded(..)) => self.loading = false,
            Some(Done::Renewed(_)) => self.renewing = false,
            None => {}
        }
        done
    }

    /// Waits for what is under way, and gives the filter back; none when its thread panicked.
    pub fn stop(self) -> Option<Filter> {
        drop(self.jobs);
        self.thread.join().ok()
    }
}

fn work(mut filter: Filter, settings: &Settings, locals: &[Local], inbox: &Receiver<Job>, outbox: &Sender<Done>) -> Filter {
    // By server: when the run began whose connections are noted.
    let mut noted: BTreeMap<Member, u64> = BTreeMap::new();
    for job in inbox {
        let done = match job {
            Job::Load(plan) => {
                let other_run = |(member, joined): (&Member, &u64)| (noted.get(member) != Some(joined)).then_some(*member);
                let fresh = plan.joined.iter().filter_map(other_run).collect();
                let loaded = filter.load(rules::rules(settings, locals, &plan, fresh, filter.chains()));
                if loaded.is_ok() {
                    noted.extend(&plan.joined);
                }
                Done::Loaded(plan, loaded)
            }
            Job::Renew => Done::Renewed(filter.renew(&rules::lease(settings))),
        };
        if outbox.send(done).is_err() {
            break;
        }
    }
    filter
}
