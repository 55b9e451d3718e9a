use super::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;

fn event(text: &str) -> Event {
    let (state, consequence) = ("PRIM".into(), "replies are held".into());
    Event { kind: Kind::State, state, reason: text.into(), reason_code: "holding".into(), consequence }
}

fn reasons(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.reason.as_str()).collect()
}

fn open(path: &Path) -> EventLog {
    EventLog::open(path, "node1", "db", 0, 2).unwrap()
}

#[test]
fn lines_say_when_where_why_and_what_follows() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("db.log");
    open(&path).append(event("node2 is lost")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&line["schema"], &line["seq"], &line["node"], &line["module"]), (&1.into(), &1.into(), &"node1".into(), &"db".into()));
    assert_eq!((&line["kind"], &line["state"], &line["reason_code"]), (&"state".into(), &"PRIM".into(), &"holding".into()));
    assert_eq!((&line["reason"], &line["consequence"]), (&"node2 is lost".into(), &"replies are held".into()));
    let time = line["time"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok() && time.contains('.'), "{time}");
}

#[test]
fn numbers_go_on_and_a_torn_line_harms_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("db.log");
    open(&path).append(event("one")).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"schema\":1,\"seq\":2,\"ti").unwrap();
    let log = open(&path);
    assert_eq!(reasons(&log.tail(10).unwrap()), ["one"]);
    assert_eq!(log.append(event("two")).unwrap(), 2);
    assert_eq!(reasons(&read(&path, 10).unwrap()), ["one", "two"]);
    assert_eq!(reasons(&open(&path).tail(1).unwrap()), ["two"]);
}

#[test]
fn what_was_cut_at_every_byte_is_opened() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("db.log");
    let log = open(&path);
    log.append(event("one")).unwrap();
    log.append(event("two")).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let log = open(&path);
        let before = log.tail(10).unwrap().len();
        log.append(event("next")).unwrap();
        let now = read(&path, 10).unwrap();
        assert_eq!((now.len(), now.last().unwrap().seq), (before + 1, before as u64 + 1), "cut at {length}");
    }
}

#[test]
fn files_are_put_aside_and_only_so_many_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("db.log");
    let log = open(&path);
    let text = "x".repeat(1000);
    for _ in 0..300 {
        log.append(event(&text)).unwrap();
    }
    let mut names: Vec<String> = fs::read_dir(temp.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["db.log", "db.log.1", "db.log.2"]);
    for name in names {
        assert!(fs::metadata(temp.path().join(name)).unwrap().len() <= limits::LOG_MIN);
    }
    let kept = read(&path, 1000).unwrap();
    assert!(kept.len() < 300 && kept.windows(2).all(|two| two[0].seq + 1 == two[1].seq));
    assert_eq!(kept.last().unwrap().seq, 300);
    assert_eq!(open(&path).position(), 300);
    // Who is far behind learns where what is kept begins.
    let far = files::after(&path, 5, 10).unwrap();
    assert_eq!((far.len(), far[0].seq), (10, kept[0].seq));
    let near = files::after(&path, 290, 100).unwrap();
    assert_eq!(near.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (291..=300).collect::<Vec<_>>());
}

#[test]
fn who_follows_misses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    // Small files, so that they are put aside meanwhile, and enough of them to lose none.
    let log = Arc::new(EventLog::open(&temp.path().join("db.log"), "node1", "db", 0, 100).unwrap());
    let writer = log.clone();
    let wrote = std::thread::spawn(move || {
        for number in 0..3000 {
            writer.append(event(&number.to_string())).unwrap();
        }
    });
    let (mut position, mut seen) = (0, Vec::new());
    while position < 3000 {
        for entry in log.follow(position, 7, Duration::from_secs(60)) {
            position = entry.seq;
            seen.push(entry.seq);
        }
    }
    wrote.join().unwrap();
    assert!(seen.iter().copied().eq(1..=3000));
    assert!(log.follow(position, 7, Duration::from_millis(1)).is_empty());
}

#[test]
fn long_texts_are_cut() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("db.log");
    let log = open(&path);
    log.append(event(&"\u{1}ä".repeat(limits::EVENT))).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < limits::EVENT as u64 * 4);
    assert_eq!(read(&path, 1).unwrap().len(), 1);
}

#[test]
fn kinds_of_a_later_version_are_read() {
    let line = r#"{"schema":1,"seq":1,"time":"t","node":"n","module":"m","kind":"new","reason":"r","reason_code":"c","more":1}"#;
    assert_eq!(serde_json::from_str::<Entry>(line).unwrap().kind, Kind::Other);
}
