//! What everybody is told.

use super::{Doors, ask, connect, public, public_on};
use socket2::SockRef;
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

const PATHS: [&str; 2] = ["/health/pg", "/var/modules/pg/ready.txt"];

#[test]
fn health_is_exactly_ok_or_not_found() {
    let (_http, source, address) = public(&Doors::default());
    for serves in [false, true, false] {
        source.serving("pg", serves);
        let (line, body) = if serves { ("HTTP/1.1 200 OK", "OK") } else { ("HTTP/1.1 404 Not Found", "NOT FOUND") };
        for path in PATHS {
            let (found, headers, text) = ask(address, "GET", path);
            assert_eq!((found.as_str(), text.as_str()), (line, body), "{path}");
            assert!(headers.contains(&format!("content-length: {}", body.len())) && headers.contains("cache-control: no-store"));
            let (found, headers, text) = ask(address, "HEAD", path);
            assert_eq!((found.as_str(), text.as_str()), (line, ""), "{path}");
            assert!(headers.contains(&format!("content-length: {}", body.len())), "{headers}");
        }
    }
    source.serving("pg", true);
    for path in ["/health/other", "/health", "/health/", "/health/pg/x", "/var/modules/other/ready.txt", "/", "/health/%ff"] {
        let (line, ..) = ask(address, "GET", path);
        assert!(line.contains(" 404 ") || line.contains(" 400 "), "{path}: {line}");
    }
    assert!(ask(address, "POST", "/health/pg").0.contains(" 405 "));
}

#[test]
fn an_answer_is_one_segment() {
    let (_http, source, address) = public(&Doors::default());
    source.serving("pg", true);
    for path in ["/health/pg", "/health/other"] {
        let mut client = connect(address);
        write!(client, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"OK") || bytes.ends_with(b"NOT FOUND"));
        // The kernel has counted what came.
        let (own, port) = (client.local_addr().unwrap().port(), address.port());
        let filter = format!("sport = :{own} and dport = :{port}");
        let shown = Command::new("ss").args(["-tinaH", &filter]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.split_whitespace().any(|word| word == "data_segs_in:1"), "{shown}");
    }
}

#[test]
fn clients_that_reset_disturb_nobody() {
    let (_http, source, address) = public(&Doors::default());
    source.serving("pg", true);
    for read in [0, 12] {
        for _ in 0..50 {
            let mut client = connect(address);
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            client.write_all(b"GET /health/pg HTTP/1.0\r\n\r\n").unwrap();
            // As much as a balancer looks at: the status line.
            client.read_exact(&mut vec![0; read]).unwrap();
        }
    }
    assert_eq!(ask(address, "GET", "/health/pg").2, "OK");
}

#[test]
fn private_answers_stay_on_this_machine() {
    let (_http, _source, address) = public(&Doors::default());
    let (line, headers, body) = ask(address, "GET", "/metrics");
    assert!(line.contains(" 200 ") && headers.contains("openmetrics-text"), "{line} {headers}");
    assert!(body.contains("understudy_build_info{version=\"1.2.3\"} 1"), "{body}");
    let (line, headers, body) = ask(address, "GET", "/api/v1/status");
    assert!(line.contains(" 200 ") && headers.contains("application/json"), "{line} {headers}");
    assert_eq!(body, r#"{"cluster":"demo","schema":1}"#);
}

#[test]
fn many_requests_cost_little() {
    let (_http, source, address) = public_on("127.0.0.9", &Doors::default());
    source.serving("pg", true);
    let (requests, began) = (2000, Instant::now());
    for _ in 0..requests {
        assert_eq!(ask(address, "GET", "/health/pg").2, "OK");
    }
    // Reported, not judged: the machine may be busy with other things.
    eprintln!("{:.0} requests a second, one after another", f64::from(requests) / began.elapsed().as_secs_f64());
}
