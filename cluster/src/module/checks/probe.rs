//! One look at something. Each ends within its timeout, by itself.

use super::Setup;
use super::ping::ping;
use crate::config::CheckKind;
use crate::module::limits;
use crate::module::process::{Plan, Ran, all, shortened};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// What was found, in words, either way.
pub type Outcome = Result<String, String>;

/// Looks once.
pub fn probe(kind: &CheckKind, timeout: Duration, setup: &Setup) -> Outcome {
    match kind {
        CheckKind::Tcp { address } => tcp(*address, timeout),
        CheckKind::Ping { address } => ping(*address, timeout).map(|took| format!("{address} answered in {} ms", took.as_millis())),
        CheckKind::Interface { interface } => link(Path::new("/sys/class/net"), interface),
        CheckKind::Process { process, count } => running(process, *count),
        CheckKind::Http { url, status, contains } => http(url, *status, contains.as_deref(), timeout),
        CheckKind::Unit { unit } => active(unit, timeout, setup),
        CheckKind::Script { script } => script_says(script, timeout, setup),
        CheckKind::Module { module } => (setup.module)(module).map(|()| format!("{module} serves")),
    }
}

fn tcp(address: SocketAddr, timeout: Duration) -> Outcome {
    match TcpStream::connect_timeout(&address, timeout) {
        Ok(_) => Ok(format!("{address} accepts connections")),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(format!("{address} does not accept a connection within {}", humantime::format_duration(timeout)))
        }
        Err(error) => Err(format!("{address} accepts no connection: {error}")),
    }
}

/// Up by the administrator's word, and with a carrier where there is such a thing.
fn link(classes: &Path, name: &str) -> Outcome {
    let folder = classes.join(name);
    let read = |file: &str| fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned()).ok();
    let Some(state) = read("operstate") else { return Err(format!("interface {name} is not there")) };
    // Interfaces without such a notion (loopback, tunnels) say `unknown`.
    match (state.as_str(), read("carrier").as_deref()) {
        ("up" | "unknown", Some("1")) => Ok(format!("{name} is up")),
        ("down", None) | ("unknown", None) => Err(format!("interface {name} is switched off (ip link set {name} up)")),
        (_, Some("0")) => Err(format!("interface {name} has no carrier: is the cable there?")),
        (state, _) => Err(format!("interface {name} is {state}")),
    }
}

fn running(name: &str, count: usize) -> Outcome {
    let named = |pid: u32| {
        let folder = Path::new("/proc").join(pid.to_string());
        let program = fs::read_link(folder.join("exe")).unwrap_or_default();
        let base = program.file_name().unwrap_or_default().as_bytes();
        // A program that was replaced by a newer one is still that one.
        base.strip_suffix(b" (deleted)").unwrap_or(base) == name.as_bytes()
    };
    let found = all().filter(|stat| !stat.over() && (stat.name == name || named(stat.pid))).count();
    match found {
        _ if found >= count => Ok(format!("{found} {name}")),
        0 => Err(format!("no process {name} runs")),
        _ => Err(format!("{found} processes {name} run, {count} are wanted")),
    }
}

fn http(url: &str, status: Option<u16>, contains: Option<&str>, timeout: Duration) -> Outcome {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(if status.is_some_and(|status| (300..400).contains(&status)) { 0 } else { limits::REDIRECTS })
        .max_redirects_will_error(false)
        // What is checked is the service, not the way through somebody else's proxy.
        .proxy(None)
        .user_agent("understudy-check")
        .build();
    let mut answer = ureq::Agent::new_with_config(config).get(url).call().map_err(|error| format!("{url} does not answer: {error}"))?;
    let got = answer.status().as_u16();
    match status {
        Some(wanted) if got != wanted => return Err(format!("{url} answers {got}, wanted is {wanted}")),
        None if !(200..400).contains(&got) => return Err(format!("{url} answers {got}")),
        _ => {}
    }
    let Some(wanted) = contains else { return Ok(format!("{url} answers {got}")) };
    let mut page = Vec::new();
    let mut body = std::io::Read::take(answer.body_mut().as_reader(), limits::PAGE);
    std::io::Read::read_to_end(&mut body, &mut page).map_err(|error| format!("{url} answers {got}, then breaks off: {error}"))?;
    let found = page.windows(wanted.len().max(1)).any(|part| part == wanted.as_bytes()) || wanted.is_empty();
    if found { Ok(format!("{url} answers {got}, with {wanted:?}")) } else { Err(format!("{url} answers {got}, without {wanted:?}")) }
}

fn active(unit: &str, timeout: Duration, setup: &Setup) -> Outcome {
    let Some(systemd) = &setup.systemd else {
        return Err(format!("unit {unit} cannot be asked for: systemd does not run here; use another kind of check"));
    };
    let state = systemd.ask(unit, timeout)?;
    let words = format!("{unit} {}", state.words());
    if state.up() { Ok(words) } else { Err(words) }
}

fn script_says(script: &Path, timeout: Duration, setup: &Setup) -> Outcome {
    let command = vec![setup.folder.join(script).into_os_string()];
    let environment = setup.environment.values(&(setup.context)(), false);
    let Ran { ended, output } = Plan { command, environment, folder: setup.folder.clone() }.run(None, timeout)?;
    let name = script.display();
    let said = shortened(&output, limits::SHOWN);
    let tail = if said.is_empty() { String::new() } else { format!(": {said}") };
    match ended {
        Some(end) if end.well() => Ok(if said.is_empty() { format!("{name} exited with status 0") } else { said }),
        Some(end) => Err(format!("{name} {end}{tail}")),
        None => Err(format!("{name} hung for {} and was killed{tail}", humantime::format_duration(timeout))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(tcp(address, LONG).is_ok());
        drop(listener);
        assert!(tcp(address, LONG).unwrap_err().contains("accepts no connection"));
    }

    #[test]
    fn interfaces() {
        let temp = tempfile::tempdir().unwrap();
        let set = |state: &str, carrier: Option<&str>| {
            let folder = temp.path().join("eth0");
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("operstate"), format!("{state}\n")).unwrap();
            if let Some(carrier) = carrier {
                fs::write(folder.join("carrier"), format!("{carrier}\n")).unwrap();
            }
            link(temp.path(), "eth0")
        };
        assert!(link(temp.path(), "eth0").unwrap_err().contains("not there"));
        assert!(set("up", Some("1")).is_ok() && set("unknown", Some("1")).is_ok());
        assert!(set("down", Some("0")).unwrap_err().contains("no carrier"));
        assert!(set("down", None).unwrap_err().contains("switched off"));
        assert!(set("dormant", Some("1")).unwrap_err().contains("dormant"));
        assert!(link(Path::new("/sys/class/net"), "no-such-interface").is_err());
    }

    #[test]
    fn processes_by_name_and_by_program() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        // This thread has its own name; the process' is that of its first one.
        let main = fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
        assert!(running(main.trim(), 1).is_ok(), "{own}");
        let program = std::env::current_exe().unwrap();
        assert!(running(program.file_name().unwrap().to_str().unwrap(), 1).is_ok());
        assert!(running(main.trim(), 100_000).unwrap_err().contains("100000 are wanted"));
        assert!(running("no-such-process", 1).unwrap_err().contains("no process"));
    }

    /// Answers one request with `text`.
    fn serve(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/page", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let _ = client.read(&mut [0; 4096]);
            client.write_all(text.as_bytes()).unwrap();
        });
        url
    }

    const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nall well";
    const BROKEN: &str = "HTTP/1.1 503 Away\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const MOVED: &str = "HTTP/1.1 302 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    #[test]
    fn pages() {
        assert!(http(&serve(PAGE), None, None, LONG).is_ok());
        assert!(http(&serve(PAGE), Some(200), Some("well"), LONG).is_ok());
        assert!(http(&serve(PAGE), None, Some("ill"), LONG).unwrap_err().contains("without \"ill\""));
        assert!(http(&serve(BROKEN), None, None, LONG).unwrap_err().contains("answers 503"));
        assert!(http(&serve(BROKEN), Some(503), None, LONG).is_ok());
        assert!(http(&serve(MOVED), Some(302), None, LONG).is_ok());
    }

    #[test]
    fn a_server_that_says_nothing_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert!(http(&url, None, None, Duration::from_millis(300)).unwrap_err().contains("does not answer"));
    }
}
