//! The engine's process: from its specification to `fsrepl::node`.

use super::decide::ClusterDecides;
use super::dial::Networks;
use super::pace::Pace;
use super::spec::{EngineSpec, QuorumSpec, RoleSpec, SCHEMA};
use crate::arbiter::{ClusterArbiter, Quorum, Settings};
use crate::net::Identity;
use fsrepl::node::options::{Ack, Begin, Clustered, Listen, MountOptions, Outcome, Places, ReceiveOptions};
use fsrepl::node::{mount, receive};
use fsrepl::report::{Failure, FailureKind, Reporter};
use fsrepl::wire::keys::{Auth, KeyRing};
use std::path::Path;
use std::sync::Arc;

/// Runs the engine that `spec` describes until it is told to end.
pub fn run(spec: &Path, places: Places, report: Reporter) -> Outcome {
    let spec = read(spec)?;
    let keys = ring(&spec.key_file)?;
    let auth = Auth::Keys(keys.clone());
    match &spec.role {
        RoleSpec::Primary(begin) => {
            let begin = Begin { generation: begin.generation, superseded: begin.superseded.clone(), accepted: begin.accepted };
            mount::run(primary(&spec, keys, places, begin)?, report)
        }
        RoleSpec::Secondary { discard } => receive::run(secondary(&spec, auth, places, *discard), report),
    }
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Usage,
        format!("cannot use the specification {}", path.display()),
        why.to_string(),
        "engines of a cluster are started by `understudy daemon`",
    )
}

fn read(path: &Path) -> Result<EngineSpec, Failure> {
    let text = std::fs::read(path).map_err(|why| unusable(path, why))?;
    let spec: EngineSpec = serde_json::from_slice(&text).map_err(|why| unusable(path, why))?;
    if spec.schema != SCHEMA {
        return Err(unusable(path, format!("it has schema {}, not {SCHEMA}", spec.schema)));
    }
    Ok(spec)
}

/// The keys of a file.
pub fn ring(file: &Path) -> Result<KeyRing, Failure> {
    KeyRing::load(file).map_err(|why| {
        let cure = "make one with `understudy keygen FILE`, and give all nodes the same file";
        Failure::new(FailureKind::Usage, "cannot use the key file", why.to_string(), cure)
    })
}

fn arbiter(spec: &EngineSpec, keys: KeyRing) -> Result<ClusterArbiter, Failure> {
    let quorum = match &spec.quorum {
        QuorumSpec::None => Quorum::None,
        QuorumSpec::Witness { address, key_file } => Quorum::Witness { address: *address, keys: ring(key_file)?.into() },
        QuorumSpec::Tiebreaker { address } => Quorum::Tiebreaker { address: *address },
    };
    Ok(ClusterArbiter::new(Settings {
        me: Identity::node(&spec.cluster, spec.me, &spec.me_name),
        peer: spec.peer,
        module: spec.module.clone(),
        peer_addresses: spec.peer_addresses.clone(),
        keys: keys.into(),
        quorum,
        profile: spec.profile,
    }))
}

fn primary(spec: &EngineSpec, keys: KeyRing, places: Places, begin: Begin) -> Result<MountOptions, Failure> {
    let arbiter = ClusterDecides {
        arbiter: arbiter(spec, keys.clone())?,
        me: spec.me,
        durable: spec.durable,
        pace: Pace::of(&places.run, &spec.engines, spec.place),
        hold: spec.profile.hold,
    };
    let dial = Networks { engine: spec.name().to_owned(), peer: spec.peer_name.clone(), addresses: spec.replication_addresses.clone() };
    Ok(MountOptions {
        dir: spec.directory.clone(),
        to: None,
        auth: Auth::Keys(keys),
        name: spec.name().to_owned(),
        ack: if spec.durable { Ack::Disk } else { Ack::Memory },
        alone: true,
        exclude: spec.exclude.clone(),
        low_latency: spec.low_latency,
        peer_timeout: spec.profile.degrade,
        passthrough: false,
        resync_max_rate: spec.resync_max_rate.unwrap_or(0),
        places,
        clustered: Some(Clustered { arbiter: Arc::new(arbiter), dial: Arc::new(dial), begin }),
    })
}

fn secondary(spec: &EngineSpec, auth: Auth, places: Places, discard: bool) -> ReceiveOptions {
    ReceiveOptions {
        dir: spec.directory.clone(),
        listen: Listen::Handed,
        auth,
        name: spec.name().to_owned(),
        discard_local: discard,
        peer_timeout: spec.profile.degrade,
        keep_budget: spec.keep_budget,
        places,
    }
}
