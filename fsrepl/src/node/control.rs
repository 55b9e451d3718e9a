//! The control socket of a running engine: one JSON line asks, one JSON line answers.
//!
//! The form is in `docs/formats.md`. Whether an engine lives is decided by a lock on a file beside
//! the socket, which the kernel drops when the engine dies: a socket without it is stale.

use super::socket_name;
use crate::limits::{CONTROL_CLIENTS, CONTROL_IDLE, CONTROL_LINE};
use crate::report::{Failure, FailureKind};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SCHEMA: u64 = 1;

/// Answers a verb with its arguments. Called from any client's thread.
pub type Handler = dyn Fn(&str, &Value) -> Result<Value, Failure> + Send + Sync;

/// The files of one name in the run directory.
struct Files {
    socket: PathBuf,
    lock: PathBuf,
    /// Holds the whole name.
    name: PathBuf,
}

impl Files {
    fn of(run: &Path, name: &str) -> Files {
        let stem = socket_name::stem(name);
        let file = |ending: &str| run.join(format!("{stem}.{ending}"));
        Files { socket: file("sock"), lock: file("lock"), name: file("name") }
    }
}

/// The listening side. Dropping it removes the socket and lets clients go.
pub struct Control {
    shared: Arc<Shared>,
    listener: UnixListener,
    accepting: Option<JoinHandle<()>>,
    files: Files,
    _lock: File,
}

struct Shared {
    handler: Box<Handler>,
    ending: AtomicBool,
    clients: Mutex<HashMap<u64, UnixStream>>,
}

impl Control {
    /// Listens for the replica `name`. Refused when an engine of that name lives.
    pub fn start(
        run: &Path,
        name: &str,
        handler: impl Fn(&str, &Value) -> Result<Value, Failure> + Send + Sync + 'static,
    ) -> Result<Control, Failure> {
        let failed = |error: io::Error| {
            let what = format!("cannot open the control socket of `{name}` in {}", run.display());
            Failure::new(FailureKind::Failed, what, error.to_string(), "make it writable, or name another with --run")
        };
        fs::create_dir_all(run).map_err(failed)?;
        let files = Files::of(run, name);
        let lock = take_lock(&files.lock).map_err(failed)?.ok_or_else(|| {
            let why = "an engine of that name runs on this node";
            Failure::new(FailureKind::Refused, format!("cannot start `{name}`"), why, "stop it, or give this one another --name")
        })?;
        let listener = listen(run, &files, name).map_err(failed)?;
        let shared = Arc::new(Shared { handler: Box::new(handler), ending: AtomicBool::new(false), clients: Mutex::new(HashMap::new()) });
        let accepting = spawn_acceptor(&listener, Arc::clone(&shared)).map_err(failed)?;
        Ok(Control { shared, listener, accepting: Some(accepting), files, _lock: lock })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        // Wakes the accepting thread; the other outcomes mean that it ended by itself.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        // Requests that are being answered still get their answer; nothing new is read.
        for client in self.shared.clients.lock().values() {
            let _ = client.shutdown(Shutdown::Read);
        }
        let _ = fs::remove_file(&self.files.socket);
        let _ = fs::remove_file(&self.files.name);
        // The lock file stays: removing it would let two engines lock two files of one name.
    }
}

/// The lock of a living engine; `None` when another has it.
fn take_lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A path to `socket` short enough for the kernel, through the descriptor of its directory.
pub(super) fn short(directory: &File, socket: &Path) -> PathBuf {
    let name = socket.file_name().unwrap_or_default();
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

fn listen(run: &Path, files: &Files, name: &str) -> io::Result<UnixListener> {
    match fs::remove_file(&files.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(&files.name, name)?;
    let directory = File::open(run)?;
    let listener = UnixListener::bind(short(&directory, &files.socket))?;
    fs::set_permissions(&files.socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn spawn_acceptor(listener: &UnixListener, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let listener = listener.try_clone()?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for id in 0.. {
            match listener.accept() {
                _ if shared.ending.load(Ordering::Acquire) => return,
                Ok((client, _)) => admit(&shared, id, client),
                // Out of descriptors or memory: the next client may fare better, later.
                Err(error) => {
                    tracing::warn!(%error, "a control client could not be accepted");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    })
}

fn admit(shared: &Arc<Shared>, id: u64, client: UnixStream) {
    let timeouts = client.set_read_timeout(Some(CONTROL_IDLE)).and_then(|()| client.set_write_timeout(Some(CONTROL_IDLE)));
    let (Ok(()), Ok(handle)) = (timeouts, client.try_clone()) else { return };
    {
        let mut clients = shared.clients.lock();
        if clients.len() >= CONTROL_CLIENTS {
            let why = format!("{CONTROL_CLIENTS} clients are connected");
            let busy = Failure::new(FailureKind::Refused, "cannot answer", why, "try again");
            let _ = send(&client, &response(Err(busy)));
            return;
        }
        clients.insert(id, handle);
    }
    let serving = Arc::clone(shared);
    let spawned = std::thread::Builder::new().name("control-client".to_owned()).spawn(move || {
        let _leave = Leave { shared: &serving, id };
        // A client that went away or broke the form is just let go.
        let _ = serve(&serving, &client);
    });
    if spawned.is_err() {
        shared.clients.lock().remove(&id);
    }
}

/// Gives the client's place back, also when a handler panics.
struct Leave<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.shared.clients.lock().remove(&self.id);
    }
}

fn serve(shared: &Shared, client: &UnixStream) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    while let Some(line) = read_line(&mut reader)? {
        let answer = response(answer(shared, &line));
        send(client, &answer)?;
    }
    Ok(())
}

fn answer(shared: &Shared, line: &[u8]) -> Result<Value, Failure> {
    let bad =
        |why: String| Failure::new(FailureKind::Usage, "cannot answer a control request", why, "use the command line of the same version");
    let request: Value = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
    if request["schema"] != SCHEMA {
        return Err(bad(format!("its schema is {}, not {SCHEMA}", request["schema"])));
    }
    let verb = request["verb"].as_str().ok_or_else(|| bad("it names no verb".to_owned()))?;
    (shared.handler)(verb, &request["args"])
}

fn response(outcome: Result<Value, Failure>) -> Value {
    match outcome {
        Ok(result) => json!({ "schema": SCHEMA, "ok": true, "result": result }),
        Err(failure) => json!({ "schema": SCHEMA, "ok": false, "error": {
            "exit": failure.kind.exit_code(), "what": failure.what, "why": failure.why, "cure": failure.cure,
        }}),
    }
}

fn send(mut client: &UnixStream, value: &Value) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    client.write_all(&line)
}

/// One line of at most [`CONTROL_LINE`] bytes; `None` at the end.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.by_ref().take(CONTROL_LINE as u64).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line too long or cut off")),
    }
}

/// Asks the engine `name` and waits at most `timeout` for the answer.
pub fn call(run: &Path, name: &str, verb: &str, args: &Value, timeout: Duration) -> Result<Value, Failure> {
    let asked = ask(run, name, verb, args, Instant::now() + timeout).map_err(|error| call_failure(run, name, timeout, &error))?;
    if asked["ok"] == true {
        return Ok(asked["result"].clone());
    }
    let error = &asked["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Err(Failure::new(kind(&error["exit"]), text("what"), text("why"), text("cure")))
}

fn ask(run: &Path, name: &str, verb: &str, args: &Value, until: Instant) -> io::Result<Value> {
    let client = connect(run, &Files::of(run, name))?;
    client.set_write_timeout(Some(remaining(until)?))?;
    match send(&client, &json!({ "schema": SCHEMA, "verb": verb, "args": args })) {
        // A busy engine answers that and closes before it was asked: the answer is still there.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let mut reader = BufReader::new(Deadline { client: &client, until });
    let line = read_line(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(&line)?)
}

/// Reads until a moment, however slowly the bytes come.
struct Deadline<'a> {
    client: &'a UnixStream,
    until: Instant,
}

impl Read for Deadline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.client.set_read_timeout(Some(remaining(self.until)?))?;
        self.client.read(buffer)
    }
}

fn remaining(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Connects without waiting: with a full queue the kernel says so at once.
fn connect(run: &Path, files: &Files) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let directory = File::open(run)?;
    let address = SocketAddrUnix::new(short(&directory, &files.socket))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(socket.as_fd(), &address)?;
    let client = UnixStream::from(socket);
    client.set_nonblocking(false)?;
    Ok(client)
}

fn kind(exit: &Value) -> FailureKind {
    use FailureKind::{Differs, Failed, Refused, TimedOut, Unreachable, Usage};
    let kinds = [Failed, Usage, Refused, TimedOut, Differs, Unreachable];
    kinds.into_iter().find(|kind| *exit == kind.exit_code()).unwrap_or(Failed)
}

fn call_failure(run: &Path, name: &str, timeout: Duration, error: &io::Error) -> Failure {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound, TimedOut, UnexpectedEof, WouldBlock};
    let what = format!("cannot reach the engine `{name}`");
    let start = format!("start `understudy mount` or `understudy receive` with that name, or name its --run (now {})", run.display());
    match error.kind() {
        NotFound | ConnectionRefused => Failure::new(FailureKind::Unreachable, what, "none of that name runs here", start),
        UnexpectedEof | ConnectionReset | io::ErrorKind::BrokenPipe => {
            Failure::new(FailureKind::Unreachable, what, "it ended while it was asked", start)
        }
        TimedOut | WouldBlock => {
            let why = format!("no answer within {} s", timeout.as_secs_f64());
            Failure::new(FailureKind::TimedOut, what, why, "try again, or look whether the process is stopped")
        }
        _ => Failure::new(FailureKind::Unreachable, what, error.to_string(), start),
    }
}

/// Names of the engines that live, sorted.
pub fn list(run: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run) else { return Vec::new() };
    let sockets = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "sock"));
    let mut names: Vec<String> = sockets.filter_map(|socket| living(run, &socket)).collect();
    names.sort();
    names
}

fn living(run: &Path, socket: &Path) -> Option<String> {
    let stem = socket.file_stem()?.to_str()?;
    let name = socket_name::name(stem).or_else(|| fs::read_to_string(run.join(format!("{stem}.name"))).ok())?;
    match connect(run, &Files::of(run, &name)) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => None,
        _ => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(20);

    fn echo(verb: &str, args: &Value) -> Result<Value, Failure> {
        match verb {
            "refuse" => Err(Failure::new(FailureKind::Refused, "a", "b", "c")),
            _ => Ok(json!([verb, args])),
        }
    }

    #[test]
    fn asks_and_answers_and_carries_failures() {
        let temp = tempfile::tempdir().unwrap();
        let control = Control::start(temp.path(), "/a b", echo).unwrap();
        assert_eq!(call(temp.path(), "/a b", "status", &json!({"x": 1}), LONG).unwrap(), json!(["status", {"x": 1}]));
        let failure = call(temp.path(), "/a b", "refuse", &Value::Null, LONG).unwrap_err();
        assert_eq!((failure.kind, failure.to_string().as_str()), (FailureKind::Refused, "a: b; c"));
        assert_eq!(list(temp.path()), ["/a b"]);
        drop(control);
        assert!(list(temp.path()).is_empty());
        assert_eq!(call(temp.path(), "/a b", "s", &Value::Null, LONG).unwrap_err().kind, FailureKind::Unreachable);
    }

    #[test]
    fn a_name_is_taken_once_and_free_afterwards() {
        let temp = tempfile::tempdir().unwrap();
        let first = Control::start(temp.path(), "n", echo).unwrap();
        let refused = Control::start(temp.path(), "n", echo).err().unwrap();
        assert_eq!(refused.kind, FailureKind::Refused);
        let _other = Control::start(temp.path(), "m", echo).unwrap();
        assert_eq!(list(temp.path()), ["m", "n"]);
        drop(first);
        Control::start(temp.path(), "n", echo).unwrap();
    }

    #[test]
    fn a_socket_left_behind_is_unreachable_and_replaced() {
        let temp = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(temp.path().join("n.sock")).unwrap());
        assert!(list(temp.path()).is_empty());
        let failure = call(temp.path(), "n", "s", &Value::Null, LONG).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreachable);
        let _control = Control::start(temp.path(), "n", echo).unwrap();
        call(temp.path(), "n", "s", &Value::Null, LONG).unwrap();
    }

    #[test]
    fn long_directories_and_names_work() {
        let temp = tempfile::tempdir().unwrap();
        let run = temp.path().join("r".repeat(150));
        let name = format!("/{}", "n".repeat(300));
        let _control = Control::start(&run, &name, echo).unwrap();
        call(&run, &name, "s", &Value::Null, LONG).unwrap();
        assert_eq!(list(&run), [name]);
    }

    #[test]
    fn a_silent_engine_is_a_time_out() {
        let temp = tempfile::tempdir().unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let _control = Control::start(temp.path(), "n", move |_, _| {
            let _ = wait.lock().recv();
            Ok(Value::Null)
        })
        .unwrap();
        let failure = call(temp.path(), "n", "s", &Value::Null, Duration::from_millis(50)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::TimedOut);
        drop(go);
    }

    #[test]
    fn too_many_clients_and_too_long_lines_are_turned_away() {
        let temp = tempfile::tempdir().unwrap();
        let _control = Control::start(temp.path(), "n", echo).unwrap();
        let files = Files::of(temp.path(), "n");
        let ask = |client: &UnixStream| {
            send(client, &json!({ "schema": 1, "verb": "s" })).unwrap();
            read_line(&mut BufReader::new(client)).unwrap().unwrap()
        };
        let mut clients: Vec<UnixStream> = (0..CONTROL_CLIENTS).map(|_| connect(temp.path(), &files).unwrap()).collect();
        clients.iter().for_each(|client| drop(ask(client)));
        assert_eq!(call(temp.path(), "n", "s", &Value::Null, LONG).unwrap_err().kind, FailureKind::Refused);

        let mut greedy = clients.pop().unwrap();
        greedy.set_read_timeout(Some(LONG)).unwrap();
        let _ = greedy.write_all(&vec![b'x'; CONTROL_LINE + 1]);
        let mut rest = Vec::new();
        // Closed with unread bytes is a reset, without is an end: gone in both cases.
        assert!(matches!(greedy.read_to_end(&mut rest), Ok(0)) || rest.is_empty());
    }

    #[test]
    fn nonsense_is_answered_with_a_reason() {
        let temp = tempfile::tempdir().unwrap();
        let _control = Control::start(temp.path(), "n", echo).unwrap();
        let mut client = connect(temp.path(), &Files::of(temp.path(), "n")).unwrap();
        for line in ["nonsense\n", "{}\n", "{\"schema\":2,\"verb\":\"s\"}\n", "{\"schema\":1}\n"] {
            client.write_all(line.as_bytes()).unwrap();
            let answer = read_line(&mut BufReader::new(&client)).unwrap().unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["error"]["exit"], 2, "{answer}");
        }
    }
}
