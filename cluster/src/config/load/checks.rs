//! `[[check]]`: what is looked at, how often, and what follows.

use super::application::{script, unit};
use super::module::Context;
use super::parts;
use crate::config::read::Section;
use crate::config::{Check, CheckKind, ModuleKind, OnFailure, Timing, limits, words};
use std::net::SocketAddr;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(3);

/// Keys of all kinds, with the kinds that have them.
const KEYS: [(&str, &[Kind]); 10] = [
    ("address", &[Kind::Tcp, Kind::Ping]),
    ("interface", &[Kind::Interface]),
    ("process", &[Kind::Process]),
    ("count", &[Kind::Process]),
    ("url", &[Kind::Http]),
    ("status", &[Kind::Http]),
    ("contains", &[Kind::Http]),
    ("unit", &[Kind::Unit]),
    ("script", &[Kind::Script]),
    ("module", &[Kind::Module]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Ping,
    Interface,
    Process,
    Http,
    Unit,
    Script,
    Module,
}

const KINDS: [(&str, Kind); 8] = [
    ("tcp", Kind::Tcp),
    ("ping", Kind::Ping),
    ("interface", Kind::Interface),
    ("process", Kind::Process),
    ("http", Kind::Http),
    ("unit", Kind::Unit),
    ("script", Kind::Script),
    ("module", Kind::Module),
];

/// The checks that are sound; `runs`: the module has an application.
pub(super) fn read(root: &Section<'_>, context: &Context<'_>, name: &str, runs: bool) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for section in root.sections("check") {
        let names: Vec<String> = checks.iter().map(|check| check.name.clone()).collect();
        if let Some(check) = check(&section, context, name, runs, &names) {
            checks.push(check);
        }
    }
    checks
}

fn check(section: &Section<'_>, context: &Context<'_>, module: &str, runs: bool, earlier: &[String]) -> Option<Check> {
    let word = section.need("kind", "tcp, ping, interface, process, http, unit, script or module").and_then(|value| {
        let kind = value.word(&KINDS)?;
        KINDS.iter().find(|(_, other)| *other == kind).copied()
    });
    let name = match section.get("name") {
        Some(value) => value
            .checked(words::LABEL, words::is_label)
            .filter(|name| parts::first(name, earlier, || value.unlike("a name that no other check of this module has"))),
        None => word.map(|(word, _)| word.to_owned()).filter(|name| {
            parts::first(name, earlier, || section.missing("name", "a name, since another check is already called by its kind"))
        }),
    };
    let timing = timing(section);
    let on_failure = on_failure(section, context, runs);
    let kind = match word {
        Some((word, kind)) => {
            for (key, _) in KEYS.iter().filter(|(_, kinds)| !kinds.contains(&kind)) {
                section.refuse(&[key], &format!("none: a check of kind {word} has no such key"));
            }
            target(section, context, module, kind)
        }
        None => {
            KEYS.iter().for_each(|(key, _)| drop(section.get(key)));
            None
        }
    };
    section.finish();
    Some(Check { name: name?, kind: kind?, timing: timing?, on_failure: on_failure? })
}

fn target(section: &Section<'_>, context: &Context<'_>, module: &str, kind: Kind) -> Option<CheckKind> {
    let label = |key, expected: &str| section.need(key, expected).and_then(|value| value.checked(expected, words::is_label));
    match kind {
        Kind::Tcp => {
            let expected = "an IP address and a port, such as \"10.0.0.100:5432\"";
            let address = section.need("address", expected)?;
            let address = address.parsed(expected, |text| text.parse::<SocketAddr>().ok().filter(|address| address.port() > 0))?;
            Some(CheckKind::Tcp { address })
        }
        Kind::Ping => Some(CheckKind::Ping { address: parts::host(&section.need("address", "the IP address that is pinged")?)? }),
        Kind::Interface => {
            let value = section.need("interface", words::INTERFACE)?;
            Some(CheckKind::Interface { interface: value.checked(words::INTERFACE, words::is_interface)? })
        }
        Kind::Process => {
            let count = section.get("count").map_or(Some(1), |value| value.number(1, 100_000));
            let process = label("process", "the name of a process, such as \"nginx\"");
            Some(CheckKind::Process { process: process?, count: count? })
        }
        Kind::Http => {
            let status = section.get("status").map(|value| value.number(100, 599));
            let contains = section.get("contains").map(|value| value.text("text in quotes").map(str::to_owned));
            let url = section.need("url", "a URL that begins with http://").and_then(|value| parts::url(&value));
            Some(CheckKind::Http { url: url?, status: status.unwrap_or_default(), contains: contains.unwrap_or_default() })
        }
        Kind::Unit => Some(CheckKind::Unit { unit: unit(&section.need("unit", "the name of a unit of systemd")?)? }),
        Kind::Script => {
            let value = section.need("script", "the name of an executable in the module's folder")?;
            Some(CheckKind::Script { script: script(&value, context.folder)? })
        }
        Kind::Module => {
            let value = section.need("module", "the name of another module")?;
            Some(CheckKind::Module { module: super::module::module(&value, module, context.folder)? })
        }
    }
}

fn timing(section: &Section<'_>) -> Option<Timing> {
    let time = |key, default, zero| section.get(key).map_or(Some(default), |value| value.duration(zero));
    let times = |key, default| section.get(key).map_or(Some(default), |value| value.number(1, limits::ROW));
    let (interval, timeout) = (time("interval", INTERVAL, false), time("timeout", TIMEOUT.min(interval_of(section)), false));
    let (rise, fall) = (times("rise", 1), times("fall", 2));
    let grace = time("grace", Duration::ZERO, true);
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout > interval
        && let Some(value) = section.get("timeout")
    {
        value.unlike("at most the interval: a check ends before it is started again");
    }
    Some(Timing { interval: interval?, timeout: timeout?, rise: rise?, fall: fall?, grace: grace? })
}

/// A shorter interval shortens the timeout that nobody set.
fn interval_of(section: &Section<'_>) -> Duration {
    let set = section.get("interval").and_then(|value| value.quiet(words::duration));
    set.filter(|time| !time.is_zero()).unwrap_or(INTERVAL)
}

fn on_failure(section: &Section<'_>, context: &Context<'_>, runs: bool) -> Option<OnFailure> {
    let known = [
        ("restart", OnFailure::Restart),
        ("failover", OnFailure::Failover),
        ("stop", OnFailure::Stop),
        ("wait", OnFailure::Wait),
        ("log", OnFailure::Log),
    ];
    let Some(value) = section.get("on_failure") else {
        if !runs {
            section.missing("on_failure", "failover, stop, wait or log: without [application] nothing can be restarted");
            return None;
        }
        return Some(OnFailure::Restart);
    };
    let action = value.word(&known)?;
    match (action, context.kind) {
        (OnFailure::Restart, _) if !runs => value.unlike("failover, stop, wait or log: without [application] nothing can be restarted"),
        (OnFailure::Failover, ModuleKind::Service) => value.unlike("restart, stop, wait or log: a service has no other node"),
        (OnFailure::Failover, ModuleKind::Farm) => {
            value.unlike("restart, stop, wait or log: in a farm the other servers take over by themselves");
        }
        _ => return Some(action),
    }
    None
}
