//! What several engines say of themselves, as one: all a daemon's module acts on is the worst of it. Pure.

use super::process::Ended;
use super::view::View;
use fsrepl::report::{Data, State};
use serde_json::{Value, json};

/// Why a secondary's engine has no session any more: the primary left in order.
const LEFT: &str = "primary_left";

/// One view of all, in the order of the directories; `names` are theirs. None: there is no engine.
pub fn together(views: &[View], names: &[String]) -> Option<View> {
    let [first, others @ ..] = views else { return None };
    if others.is_empty() {
        return Some(View { identities: vec![first.identity.clone()], ..first.clone() });
    }
    let place = spokesman(views);
    let speaks = &views[place];
    let holding = views.iter().filter_map(|view| view.holding.clone()).max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Some(View {
        version: first.version,
        pid: first.pid,
        role: first.role.clone(),
        state: speaks.state,
        data: views.iter().map(|view| view.data).max_by_key(|data| rank(*data)).unwrap_or(first.data),
        reason: reason(views, names, place),
        reason_code: speaks.reason_code.clone(),
        serving: views.iter().all(|view| view.serving),
        session: views.iter().all(|view| view.session),
        in_sync: views.iter().all(|view| view.in_sync),
        over: views.iter().any(|view| view.over),
        holding,
        resync: resync(views),
        identity: first.identity.clone(),
        identities: views.iter().map(|view| view.identity.clone()).collect(),
        directories: views.iter().zip(names).map(|(view, name)| directory(view, name)).collect(),
    })
}

/// The one whose state is the module's: one that may not go on before one that waits, before one that is alone. That the
/// primary left in order counts when it has left everywhere.
fn spokesman(views: &[View]) -> usize {
    let all_left = views.iter().all(|view| view.reason_code == LEFT);
    let weight = |view: &View| {
        let state = match view.state {
            State::Prim | State::Second => 1,
            State::Alone => 2,
            State::Wait if view.reason_code == LEFT && !all_left => 0,
            State::Wait => 3,
        };
        (view.refused() || view.follow_refused(), state, view.holding.is_some())
    };
    // Of equals the first.
    (0..views.len()).rev().max_by_key(|&place| weight(&views[place])).unwrap_or(0)
}

/// With the directory that it is about, where the others are not the same.
fn reason(views: &[View], names: &[String], place: usize) -> String {
    let speaks = &views[place];
    if views.iter().all(|view| view.reason_code == speaks.reason_code && view.state == speaks.state) {
        return speaks.reason.clone();
    }
    format!("{} (directory {})", speaks.reason, names.get(place).map_or("?", String::as_str))
}

fn rank(data: Data) -> u8 {
    match data {
        Data::Uptodate => 0,
        Data::Outdated => 1,
        Data::Inconsistent => 2,
    }
}

/// The sum of the progress of those that are in a resync.
fn resync(views: &[View]) -> Value {
    sum_of_resyncs(views.iter().map(|view| &view.resync))
}

/// The same of what `status` and `watch` tell; null: none runs.
pub fn sum_of_resyncs<'a>(all: impl Iterator<Item = &'a Value>) -> Value {
    let running: Vec<&Value> = all.filter(|resync| !resync.is_null()).collect();
    let [first, others @ ..] = &running[..] else { return Value::Null };
    if others.is_empty() {
        return (*first).clone();
    }
    let sum = |key: &str| running.iter().filter_map(|one| one[key].as_f64()).sum::<f64>();
    let whole = |key: &str| sum(key) as u64;
    // All go on at the same time: the last ends it.
    let known: Option<Vec<f64>> = running.iter().map(|one| one["eta_seconds"].as_f64()).collect();
    let eta = known.and_then(|all| all.into_iter().max_by(f64::total_cmp));
    let names = running.iter().any(|one| one["phase"] == "names");
    json!({
        "phase": if names { "names" } else { "content" },
        "bytes_total": whole("bytes_total"),
        "bytes_done": whole("bytes_done"),
        "bytes_sent": whole("bytes_sent"),
        "files_total": whole("files_total"),
        "files_done": whole("files_done"),
        "rate_bytes_per_second": whole("rate_bytes_per_second"),
        "eta_seconds": eta,
    })
}

fn directory(view: &View, name: &str) -> Value {
    json!({
        "name": name, "state": view.state, "data": view.data, "reason": view.reason, "reason_code": view.reason_code,
        "in_sync": view.in_sync, "generation": view.identity.as_ref().map(|identity| identity.current), "resync": view.resync,
    })
}

/// How the module's engines ended: the first failure counts.
pub fn ended(all: &[Ended]) -> Ended {
    all.iter().find(|ended| **ended != Ended::Clean).cloned().unwrap_or(Ended::Clean)
}

#[cfg(test)]
mod tests {
    use super::super::view::Holding;
    use super::*;

    fn names() -> Vec<String> {
        vec!["data".into(), "wal".into()]
    }

    fn view(role: &str, state: State, code: &str) -> View {
        let mirrored = matches!(state, State::Prim | State::Second);
        View {
            version: 7,
            pid: 1,
            role: role.into(),
            state,
            data: Data::Uptodate,
            reason: code.replace('_', " "),
            reason_code: code.into(),
            serving: role == "primary",
            session: mirrored,
            in_sync: mirrored,
            over: false,
            holding: None,
            resync: Value::Null,
            identity: None,
            identities: Vec::new(),
            directories: Vec::new(),
        }
    }

    fn prim() -> View {
        view("primary", State::Prim, "in_sync")
    }

    fn alone() -> View {
        view("primary", State::Alone, "peer_silent")
    }

    fn second() -> View {
        view("secondary", State::Second, "in_sync")
    }

    fn both(one: View, other: View) -> View {
        together(&[one, other], &names()).unwrap()
    }

    /// The same in both orders, but for whose words they are.
    fn either(one: View, other: View, fits: impl Fn(&View) -> bool) {
        assert!(fits(&both(one.clone(), other.clone())), "{:?}", both(one.clone(), other.clone()));
        assert!(fits(&both(other.clone(), one.clone())), "{:?}", both(other, one));
    }

    #[test]
    fn without_an_engine_there_is_no_view() {
        assert_eq!(together(&[], &[]), None);
    }

    #[test]
    fn one_engine_speaks_for_itself() {
        let one = prim();
        let seen = together(std::slice::from_ref(&one), &names()[..1]).unwrap();
        assert_eq!(seen, View { identities: vec![None], ..one });
    }

    #[test]
    fn all_in_sync_is_in_sync() {
        let seen = both(prim(), prim());
        assert!(seen.in_sync && seen.session && seen.serving && seen.state == State::Prim && seen.reason == "in sync");
        assert!(both(second(), second()).in_sync);
    }

    #[test]
    fn one_alone_is_alone() {
        either(prim(), alone(), |seen| seen.state == State::Alone && !seen.in_sync && !seen.session);
        assert_eq!(both(prim(), alone()).reason, "peer silent (directory wal)");
    }

    #[test]
    fn one_that_holds_holds_all() {
        let holding = View { holding: Some(Holding { seconds: 1.0, reason: "silent".into() }), in_sync: false, ..prim() };
        either(prim(), holding.clone(), |seen| seen.holding.is_some() && seen.state == State::Prim && !seen.in_sync);
        // The first has gone on, the other has not yet: nobody is told that it goes on.
        either(alone(), holding, |seen| seen.holding.is_some());
    }

    #[test]
    fn one_without_a_session_is_without() {
        let cut = view("secondary", State::Wait, "peer_silent");
        either(second(), cut, |seen| seen.state == State::Wait && !seen.session && !seen.in_sync && seen.reason_code == "peer_silent");
    }

    #[test]
    fn the_primary_left_when_it_left_everywhere() {
        let left = view("secondary", State::Wait, LEFT);
        either(left.clone(), second(), |seen| seen.reason_code != LEFT && !seen.session);
        either(left.clone(), view("secondary", State::Wait, "peer_silent"), |seen| seen.reason_code == "peer_silent");
        assert_eq!(both(left.clone(), left).reason_code, LEFT);
    }

    #[test]
    fn one_that_does_not_serve_yet_does_not_serve() {
        either(prim(), View { serving: false, ..alone() }, |seen| !seen.serving);
    }

    #[test]
    fn one_that_may_not_go_on_may_not() {
        let mut refused = view("primary", State::Wait, "failed");
        refused.reason = "ending: cannot go on alone".into();
        either(alone(), refused.clone(), View::refused);
        either(View { holding: Some(Holding { seconds: 9.0, reason: String::new() }), ..prim() }, refused, View::refused);
    }

    #[test]
    fn one_that_turned_its_primary_away_did() {
        let mut refused = view("secondary", State::Wait, "newer");
        refused.reason = "refused the primary: this node has newer data".into();
        either(second(), refused.clone(), View::follow_refused);
        either(view("secondary", State::Wait, "peer_silent"), refused, View::follow_refused);
    }

    #[test]
    fn one_that_is_over_is_over() {
        either(prim(), View { over: true, ..prim() }, |seen| seen.over);
    }

    #[test]
    fn the_worst_data_counts() {
        either(second(), View { data: Data::Inconsistent, ..second() }, |seen| seen.data == Data::Inconsistent);
        either(View { data: Data::Outdated, ..second() }, View { data: Data::Inconsistent, ..second() }, |seen| {
            seen.data == Data::Inconsistent
        });
    }

    #[test]
    fn resyncs_add_up() {
        let resync = |bytes: u64, eta: Value| json!({ "phase": "content", "bytes_total": bytes, "bytes_done": 1, "eta_seconds": eta });
        let with = |resync: Value| View { resync, ..alone() };
        assert_eq!(both(with(resync(5, json!(2))), alone()).resync, resync(5, json!(2)));
        let sum = both(with(resync(5, json!(2))), with(resync(7, json!(9.5)))).resync;
        assert_eq!((&sum["bytes_total"], &sum["bytes_done"], &sum["eta_seconds"]), (&json!(12), &json!(2), &json!(9.5)));
        assert_eq!(both(with(resync(5, json!(2))), with(resync(7, Value::Null))).resync["eta_seconds"], Value::Null);
        assert_eq!(both(alone(), prim()).resync, Value::Null);
    }

    #[test]
    fn the_first_failure_is_the_modules() {
        let failed = |why: &str| Ended::Failed(why.into());
        assert_eq!(ended(&[Ended::Clean, Ended::Clean]), Ended::Clean);
        assert_eq!(ended(&[Ended::Clean, failed("x"), failed("y")]), failed("x"));
    }
}
