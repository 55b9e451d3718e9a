//! Any application: as a command, and as a unit of systemd (a stand-in of systemctl keeps the units).

use crate::LIMIT;
use crate::rig::{Rig, word};
use std::fs;
use tests::engine::wait_for;
use tests::lab::scenario;

/// `systemctl` as far as the scripts use it. A unit is a program in `units/`; its PID is in `pids/`.
pub const SYSTEMCTL: &str = r#"
verb=$1
shift
for unit; do :; done
pid=$(cat "$STAND_IN/pids/$unit" 2> /dev/null)
lives() { [ -n "$pid" ] && kill -0 "$pid" 2> /dev/null && ! grep -q '^State:.Z' "/proc/$pid/status"; }
case $verb in
    cat) [ -e "$STAND_IN/units/$unit" ] ;;
    is-enabled) if [ -e "$STAND_IN/enabled/$unit" ]; then echo enabled; else echo disabled; exit 1; fi ;;
    disable) rm "$STAND_IN/enabled/$unit" ;;
    is-active) if lives; then echo active; else echo inactive; exit 3; fi ;;
    start)
        mkdir -p "$STAND_IN/pids"
        setsid "$STAND_IN/units/$unit" < /dev/null > /dev/null 2>&1 &
        echo $! > "$STAND_IN/pids/$unit"
        ;;
    stop) lives && kill "$pid"; while lives; do sleep 0.05; done ;;
    kill) lives && kill -KILL "$pid" ;;
    show) if lives; then echo "$pid"; else echo 0; fi ;;
    reset-failed) ;;
    *) exit 64 ;;
esac
"#;

/// Lets systemd run on the host, as far as the scripts see.
pub fn boot_systemd(rig: &Rig<'_>, units: &[(&str, &str)]) {
    rig.host.run(["mkdir", "-p", "/run/systemd/system"]);
    rig.stand_in("systemctl", SYSTEMCTL);
    fs::create_dir_all(rig.state().join("enabled")).unwrap();
    for (name, script) in units {
        rig.program(&rig.state().join("units").join(name), script);
        fs::write(rig.state().join("enabled").join(name), "").unwrap();
    }
}

fn story(name: &str, template: &'static str, body: impl FnOnce(Rig<'_>) + Send + 'static) {
    scenario(name, LIMIT, move |lab| {
        let host = lab.host("a");
        host.run(["chmod", "755", word(&host.dir)]);
        body(Rig::new(&host, template));
    });
}

#[test]
fn a_command_lives_and_dies() {
    for template in ["mirror", "farm", "service"] {
        story(&format!("module-{template}"), template, |mut rig| {
            let stale = rig.host.dir.join("stale.pid");
            fs::write(&stale, "1").unwrap();
            rig.set("APP_COMMAND", "sh -c 'sleep 600 & exec sleep 601'");
            rig.set("APP_USER", "nobody");
            rig.set("APP_CLEAR", word(&stale));
            rig.call("check-running").must_fail().saying("does not run");
            rig.call("start").must();
            assert!(!stale.exists());
            rig.call("check-running").must();
            rig.call("start").must().saying("running already");
            rig.call("stop").must();
            rig.must_not_run("sleep");
            rig.call("stop").must().saying("does not run");
            // One that does not listen, and has children faster than one look can count them: once a child that was born
            // behind the look outlived the forced stop.
            rig.set("APP_COMMAND", "sh -c 'trap \"\" TERM; while :; do sleep 60 & sleep 0.01; done'");
            rig.call("start").must();
            rig.force().must();
            rig.must_not_run("sleep");
        });
    }
}

#[test]
fn a_command_that_ends_at_once_is_no_start() {
    story("module-mirror-ends", "mirror", |mut rig| {
        rig.set("APP_COMMAND", "sh -c 'echo out of luck; sleep 0.3; exit 3'");
        // It may be seen alive before it ends; the check says the truth then.
        if !rig.call("start").good {
            return;
        }
        let gone = wait_for(crate::PATIENCE, || (!rig.call("check-running").good).then_some(()));
        assert!(gone.is_some(), "the check does not see that it ended");
    });
}

#[test]
fn nothing_to_start_is_an_error() {
    story("module-mirror-nothing", "mirror", |mut rig| {
        rig.call("start").must_fail().saying("APP_UNIT").saying("APP_COMMAND");
        rig.set("APP_COMMAND", "sleep 600");
        rig.set("APP_USER", "nobody-of-this-name");
        rig.call("start").must_fail().saying("there is no user 'nobody-of-this-name'");
    });
}

#[test]
fn a_unit_is_disabled_started_stopped_and_killed() {
    story("module-mirror-unit", "mirror", |mut rig| {
        rig.set("APP_UNIT", "thing.service");
        rig.call("start").must_fail().saying("systemd does not run here");
        boot_systemd(&rig, &[("thing.service", "exec sleep 600\n")]);
        rig.set("APP_UNIT", "other.service");
        rig.call("start").must_fail().saying("systemd knows no unit 'other.service'");
        rig.set("APP_UNIT", "thing.service");
        rig.call("start").must().saying("disabled thing.service").saying("to undo: systemctl enable thing.service");
        rig.must_run("sleep");
        rig.call("check-running").must();
        rig.call("start").must().saying("running already").silent_about("disabled");
        rig.call("stop").must();
        rig.must_not_run("sleep");
        rig.call("start").must();
        rig.calls();
        rig.force().must();
        rig.must_not_run("sleep");
        let calls = rig.calls();
        assert!(calls.contains("systemctl kill --signal=KILL thing.service"), "{calls}");
        assert!(calls.contains("systemctl stop --no-block thing.service"), "systemd would start it again: {calls}");
    });
}

#[test]
fn every_script_is_understood_by_sh() {
    let modules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules");
    let mut read = 0;
    for folder in fs::read_dir(modules).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()) {
            if matches!(file.extension().and_then(|e| e.to_str()), Some("toml" | "md")) {
                continue;
            }
            let output = std::process::Command::new("sh").arg("-n").arg(&file).output().unwrap();
            assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
            read += 1;
        }
    }
    assert!(read > 45, "only {read} scripts");
}
