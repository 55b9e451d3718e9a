//! What other hosts need for metrics and status: a certificate, its key, and the token that they send. Read before the daemon
//! runs, and again when the files change, so that a renewed certificate needs no restart.

use super::limits;
use crate::config::Tls;
use axum_server::tls_rustls::RustlsConfig;
use fsrepl::report::{Failure, FailureKind};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The token that clients send; only its digest is kept.
#[derive(Clone, Copy)]
pub struct Token(blake3::Hash);

impl Token {
    /// The token of a file's text.
    ///
    /// # Errors
    /// Too short, too long, or with characters that no header carries.
    pub fn parse(text: &str) -> Result<Token, String> {
        let token = text.trim();
        if !(limits::TOKEN_LEAST..=limits::TOKEN_MOST).contains(&token.len()) {
            return Err(format!("{} characters; it takes {} to {}", token.len(), limits::TOKEN_LEAST, limits::TOKEN_MOST));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("blanks or characters other than ASCII in the token".into());
        }
        Ok(Token(blake3::hash(token.as_bytes())))
    }

    /// Whether it is what an `Authorization` header carries. How long that takes says nothing of the token: digests are
    /// compared, in constant time.
    pub fn fits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(b"Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && blake3::hash(token) == self.0
    }
}

/// The token of today.
pub type SharedToken = Arc<RwLock<Token>>;

/// The protected port, ready to be served.
pub struct Protected {
    settings: Tls,
    stamp: Vec<Stamp>,
    /// For the acceptor.
    pub(super) config: RustlsConfig,
    /// For the routes.
    pub(super) token: SharedToken,
}

/// What changes when a file is replaced or written.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(settings: &Tls) -> Vec<Stamp> {
    let of = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.ino(), data.len(), data.mtime(), data.mtime_nsec()));
    [&settings.certificate, &settings.key, &settings.token_file].map(|path| of(path)).to_vec()
}

impl Protected {
    /// As configured; none: nothing is.
    ///
    /// # Errors
    /// A file that cannot be used, by its name, with what to do.
    pub fn of(http: &crate::config::Http) -> Result<Option<Protected>, Failure> {
        http.tls.as_ref().map(Protected::load).transpose()
    }

    fn load(settings: &Tls) -> Result<Protected, Failure> {
        let stamp = stamp(settings);
        let (config, token) = (server(settings)?, token(&settings.token_file)?);
        let (config, token) = (RustlsConfig::from_config(Arc::new(config)), Arc::new(RwLock::new(token)));
        Ok(Protected { settings: settings.clone(), stamp, config, token })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// Takes in files that have changed; what cannot be used is said once, and what was there stays in use.
    pub fn renew(&mut self) {
        let now = stamp(&self.settings);
        if now == self.stamp {
            return;
        }
        self.stamp = now;
        match (server(&self.settings), token(&self.settings.token_file)) {
            (Ok(config), Ok(token)) => {
                self.config.reload_from_config(Arc::new(config));
                *self.token.write() = token;
                tracing::info!("certificate, key and token of the HTTP server were read again");
            }
            (Err(failure), _) | (_, Err(failure)) => tracing::error!(%failure, "certificate, key and token stay as they were"),
        }
    }
}

fn failure(path: &Path, why: impl std::fmt::Display, cure: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("cannot answer HTTP with TLS, because of {}", path.display()), why.to_string(), cure)
}

fn read(path: &Path, cure: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limits::FILE).read_to_end(&mut bytes));
    read.map_err(|why| failure(path, why, cure))?;
    Ok(bytes)
}

fn token(path: &Path) -> Result<Token, Failure> {
    let cure = "put a long random word into it (`openssl rand -hex 32`), for root alone (chmod 600)";
    let mode = std::fs::metadata(path).map_err(|why| failure(path, why, cure))?.mode();
    if mode & 0o007 != 0 {
        return Err(failure(path, format!("everybody on this machine may use it (mode {:04o})", mode & 0o7777), cure));
    }
    let text = String::from_utf8(read(path, cure)?).map_err(|why| failure(path, why, cure))?;
    Token::parse(&text).map_err(|why| failure(path, why, cure))
}

fn server(settings: &Tls) -> Result<ServerConfig, Failure> {
    let cure = "name a file with the certificate and those that vouch for it, in PEM";
    let bytes = read(&settings.certificate, cure)?;
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|why| failure(&settings.certificate, why, cure))?;
    if chain.is_empty() {
        return Err(failure(&settings.certificate, "there is no certificate in it", cure));
    }
    let cure = "name a file with the certificate's private key, in PEM, without a passphrase";
    let key = PrivateKeyDer::from_pem_slice(&read(&settings.key, cure)?).map_err(|why| failure(&settings.key, why, cure))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|why| failure(&settings.certificate, why, "use another build of understudy"))?;
    let cure = format!("use the key that belongs to {}", settings.certificate.display());
    let config = builder.with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(|why| failure(&settings.key, format!("key and certificate do not go together: {why}"), &cure))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_itself_and_nothing_else() {
        let token = Token::parse("0123456789abcdef\n").unwrap();
        assert!(token.fits(b"Bearer 0123456789abcdef"));
        assert!(token.fits(b"bearer 0123456789abcdef"));
        for other in
            ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef ", "Basic 0123456789abcdef", "0123456789abcdef"]
        {
            assert!(!token.fits(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn tokens_that_can_be_guessed_or_never_sent_are_refused() {
        for bad in ["", "short", "sixteen letters and blanks", "0123456789abcdeä", &"x".repeat(limits::TOKEN_MOST + 1)] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }
}
