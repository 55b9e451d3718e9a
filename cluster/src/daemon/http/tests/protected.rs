//! TLS and the token, with certificates made here.

use super::super::tls::Protected;
use super::{Doors, Set, connect, serve, whole};
use crate::config::{Http, Tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Puts a certificate and a key for `name` into `dir`; gives the certificate.
fn certify(dir: &Path, name: &str) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

fn token(dir: &Path, text: &str, mode: u32) {
    fs::write(dir.join("token"), text).unwrap();
    fs::set_permissions(dir.join("token"), Permissions::from_mode(mode)).unwrap();
}

fn configured(dir: &Path) -> Http {
    let [certificate, key, token_file] = ["cert.pem", "key.pem", "token"].map(|name| dir.join(name));
    Http { tls: Some(Tls { port: 0, certificate, key, token_file }) }
}

fn files() -> (TempDir, rustls::pki_types::CertificateDer<'static>) {
    let dir = tempfile::tempdir().unwrap();
    let certificate = certify(dir.path(), "node1.example");
    token(dir.path(), &format!("{TOKEN}\n"), 0o600);
    (dir, certificate)
}

fn client(to: SocketAddr, trusted: &rustls::pki_types::CertificateDer<'static>) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("node1.example").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(to))
}

fn ask(to: SocketAddr, trusted: &rustls::pki_types::CertificateDer<'static>, path: &str, more: &str) -> (String, String, String) {
    let mut client = client(to, trusted);
    write!(client, "GET {path} HTTP/1.1\r\nHost: node1.example\r\n{more}\r\n").unwrap();
    whole(client)
}

#[test]
fn others_are_answered_with_the_token_only() {
    let (dir, certificate) = files();
    let protected = Protected::of(&configured(dir.path())).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let source = Arc::new(Set::default());
    source.serving("pg", true);
    let _http = serve(vec![], Some((vec![listener], protected)), source, &Doors::default()).unwrap();
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for path in ["/metrics", "/api/v1/status"] {
        assert!(ask(address, &certificate, path, &right).0.contains(" 200 "), "{path}");
        for wrong in ["", "Authorization: Bearer x\r\n", &format!("Authorization: Basic {TOKEN}\r\n")] {
            let (line, headers, body) = ask(address, &certificate, path, wrong);
            assert!(line.contains(" 401 ") && headers.contains("www-authenticate: bearer"), "{path} {wrong:?}: {line}");
            assert!(!body.contains("understudy_") && !body.contains("schema"));
        }
    }
    // The health of modules is public everywhere.
    assert_eq!(ask(address, &certificate, "/health/pg", "").2, "OK");
    assert_eq!(ask(address, &certificate, "/health/pg", &right).2, "OK");
    // In clear nothing is said.
    let mut clear = connect(address);
    // The server may have closed before all of it is written: that is an answer as well.
    let _ = clear.write_all(format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{right}\r\n").as_bytes());
    let mut bytes = Vec::new();
    let _ = std::io::Read::read_to_end(&mut clear, &mut bytes);
    assert!(!bytes.starts_with(b"HTTP"));
}

#[test]
fn renewed_files_are_taken_in_and_broken_ones_are_not() {
    let (dir, old) = files();
    let mut protected = Protected::of(&configured(dir.path())).unwrap().unwrap();
    let before = protected.config.get_inner();
    protected.renew();
    assert!(Arc::ptr_eq(&before, &protected.config.get_inner()), "nothing has changed");
    let new = certify(dir.path(), "node1.example");
    token(dir.path(), "another-token-of-some-length", 0o600);
    protected.renew();
    assert!(!Arc::ptr_eq(&before, &protected.config.get_inner()));
    assert!(protected.token.read().fits(b"Bearer another-token-of-some-length"));
    fs::write(dir.path().join("cert.pem"), "").unwrap();
    let good = protected.config.get_inner();
    protected.renew();
    assert!(Arc::ptr_eq(&good, &protected.config.get_inner()), "what was there stays in use");
    assert_ne!(old, new);
}

#[test]
fn what_cannot_be_used_is_named() {
    assert!(Protected::of(&Http::default()).unwrap().is_none());
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 7] = [
        ("cert.pem", |dir| fs::remove_file(dir.join("cert.pem")).unwrap()),
        ("cert.pem", |dir| fs::write(dir.join("cert.pem"), "nothing").unwrap()),
        ("key.pem", |dir| fs::remove_file(dir.join("key.pem")).unwrap()),
        ("key.pem", |dir| fs::write(dir.join("key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap()),
        ("token", |dir| fs::remove_file(dir.join("token")).unwrap()),
        ("token", |dir| token(dir, "short", 0o600)),
        ("token", |dir| token(dir, TOKEN, 0o644)),
    ];
    for (file, spoil) in spoil {
        let (dir, _) = files();
        spoil(dir.path());
        let failure = Protected::of(&configured(dir.path())).err().unwrap();
        assert_eq!(failure.kind, fsrepl::report::FailureKind::Usage);
        let (words, path) = (failure.to_string(), dir.path().join(file));
        assert!(words.contains(path.to_str().unwrap()) && !words.contains(TOKEN), "{words}");
    }
}
