//! The check of kind `ping`: asked again and again until its time is over.

use crate::module::limits;
use crate::ping::{echo, open};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Asks `address` until it answers, at most for `timeout`. How long the answer took.
///
/// # Errors
/// In words: no answer, no way there, no permission.
pub fn ping(address: IpAddr, timeout: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    let fail = |error: &io::Error| match error.kind() {
        ErrorKind::PermissionDenied => format!("{address} cannot be asked: no permission for ICMP (needs CAP_NET_RAW)"),
        _ => format!("{address} cannot be reached: {error}"),
    };
    let socket = open(address).map_err(|error| fail(&error))?;
    let mut last = None;
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        match echo(&socket, address, left.min(limits::ECHO_AGAIN)) {
            Ok(true) => return Ok(begun.elapsed()),
            Ok(false) => last = None,
            Err(error) => {
                // A way may come back; nothing is gained by asking faster.
                last = Some(fail(&error));
                std::thread::sleep(limits::ECHO_AGAIN.min(timeout.saturating_sub(begun.elapsed())));
            }
        }
    }
    Err(last.unwrap_or_else(|| format!("{address} does not answer within {}", humantime::format_duration(timeout))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers() {
        ping("127.0.0.1".parse().unwrap(), Duration::from_secs(30)).unwrap();
        if std::net::UdpSocket::bind(("::1", 0)).is_ok() {
            ping("::1".parse().unwrap(), Duration::from_secs(30)).unwrap();
        }
    }
}
