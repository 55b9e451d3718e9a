//! A real HAProxy in front of two servers on two subnets, each in a network namespace of its own: its health checks ask the
//! daemon's HTTP server there, and traffic follows what that says. Needs root, `ip`, `unshare` and HAProxy (`tests/setup`).

#![expect(clippy::unwrap_used, reason = "a test: clippy knows only functions marked as tests")]

use cluster::daemon::http::figures::Figures;
use cluster::daemon::http::{Doors, Http, Source, serve};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const HEALTH: u16 = 7480;
const SERVICE: u16 = 8080;

/// A network namespace; it has no name and ends with its process, which ends with this one: its input closes.
struct Space {
    holder: Child,
    _input: ChildStdin,
}

impl Space {
    fn new() -> Space {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec cat > /dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("run unshare: is this root?");
        // Said from inside: the namespace is there.
        holder.stdout.take().unwrap().read_exact(&mut [0]).expect("unshare makes a namespace: is this root?");
        let input = holder.stdin.take().unwrap();
        let space = Space { holder, _input: input };
        run(space.command("ip").args(["link", "set", "lo", "up"]));
        space
    }

    /// A command inside.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net=/proc/{}/ns/net", self.holder.id()), program]);
        command
    }

    /// Work inside; sockets that it opens stay there.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let place = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        let enter = move || {
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    /// A cable to another one: subnet `10.94.NET.0/24`, this side is `.1`, the other `.2`.
    fn cable(&self, other: &Space, net: u8) {
        let [here, there] = [self, other].map(|space| space.holder.id().to_string());
        let (near, far) = (format!("n{net}"), format!("f{net}"));
        run(Command::new("ip").args(["link", "add", &near, "netns", &here, "type", "veth", "peer", "name", &far, "netns", &there]));
        for (space, interface, host) in [(self, &near, 1), (other, &far, 2)] {
            run(space.command("ip").args(["address", "add", &format!("10.94.{net}.{host}/24"), "dev", interface]));
            run(space.command("ip").args(["link", "set", interface, "up"]));
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run(command: &mut Command) {
    let done = command.output().expect("run a command");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// What a node says of its module `web`.
#[derive(Default)]
struct Said(AtomicBool);

impl Source for Said {
    fn serves(&self, module: &str) -> bool {
        module == "web" && self.0.load(SeqCst)
    }

    fn status(&self) -> Result<Value, String> {
        Ok(json!({ "schema": 1 }))
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }
}

/// A node: the daemon's HTTP server, and an application that answers with the node's name. It answers whatever the health
/// is, so that only the balancer keeps clients away.
struct Server {
    said: Arc<Said>,
    _http: Http,
    _space: Space,
}

impl Server {
    fn new(space: Space, name: &'static str, ip: &str) -> Server {
        let bind = |port: u16| TcpListener::bind((ip, port)).unwrap();
        let (health, service) = space.inside(|| (bind(HEALTH), bind(SERVICE)));
        let said = Arc::new(Said::default());
        let http = serve(vec![health], None, said.clone(), &Doors::default()).unwrap();
        std::thread::spawn(move || {
            for client in service.incoming().flatten() {
                // A client that has gone is none of this test's business.
                let _ = answer(client, name);
            }
        });
        Server { said, _http: http, _space: space }
    }

    fn serves(&self, serves: bool) {
        self.said.0.store(serves, SeqCst);
    }
}

fn answer(mut client: TcpStream, name: &str) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    write!(client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}", name.len())
}

fn configuration(method: &str, pid: &str) -> String {
    format!(
        "global\n  pidfile {pid}\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         frontend in\n  bind 10.94.0.1:{SERVICE}\n  default_backend web\n\
         backend web\n  balance roundrobin\n  option httpchk\n  http-check send meth {method} uri /health/web\n  \
         http-check expect status 200\n  default-server check port {HEALTH} inter 100ms fall 1 rise 1\n  \
         server a 10.94.1.2:{SERVICE}\n  server b 10.94.2.2:{SERVICE}\n"
    )
}

/// The balancer, until it is dropped.
struct Balancer(Child);

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client is answered: a node's name; none: nobody serves, or the balancer is not there yet.
fn ask(client: &Space) -> Option<String> {
    client.inside(|| {
        let mut server = TcpStream::connect(SocketAddr::from(([10, 94, 0, 1], SERVICE))).ok()?;
        server.set_read_timeout(Some(PATIENCE)).ok()?;
        server.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        server.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    })
}

/// Asks until the last ten answers were given by exactly these nodes: what the checks last saw has taken hold.
fn follows(client: &Space, wanted: &[&str]) {
    let began = Instant::now();
    let wanted: BTreeSet<Option<String>> =
        if wanted.is_empty() { [None].into() } else { wanted.iter().map(|name| Some((*name).to_owned())).collect() };
    loop {
        let seen: BTreeSet<Option<String>> = (0..10).map(|_| ask(client)).collect();
        if seen == wanted {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{seen:?} instead of {wanted:?}");
    }
}

fn traffic_follows(method: &str) {
    let program = "/usr/sbin/haproxy";
    assert!(fs::exists(program).unwrap(), "{program} is missing: run tests/setup");
    let [client, middle, first, second] = [(); 4].map(|()| Space::new());
    middle.cable(&client, 0);
    middle.cable(&first, 1);
    middle.cable(&second, 2);
    let (a, b) = (Server::new(first, "a", "10.94.1.2"), Server::new(second, "b", "10.94.2.2"));
    let dir = tempfile::tempdir().unwrap();
    let (file, pid) = (dir.path().join("haproxy.cfg"), dir.path().join("pid"));
    fs::write(&file, configuration(method, pid.to_str().unwrap())).unwrap();
    // In the foreground, and one process: it ends with this one's kill.
    let balancer = middle.command(program).args(["-db", "-f"]).arg(&file).stderr(File::create(dir.path().join("log")).unwrap()).spawn();
    let _balancer = Balancer(balancer.unwrap());
    a.serves(true);
    follows(&client, &["a"]);
    // A mirror changes sides.
    a.serves(false);
    follows(&client, &[]);
    b.serves(true);
    follows(&client, &["b"]);
    // A farm: everybody gets a part, but who is drained.
    a.serves(true);
    follows(&client, &["a", "b"]);
    b.serves(false);
    follows(&client, &["a"]);
}

#[test]
fn traffic_follows_the_health_answer_by_get() {
    traffic_follows("GET");
}

#[test]
fn traffic_follows_the_health_answer_by_head() {
    traffic_follows("HEAD");
}
