//! From the name of a replica to the name of its control socket, and back.
//!
//! Names default to directories, so they hold slashes and can be long; a socket's path is bounded
//! to 108 bytes by the kernel. Names are written with `%XX`, so that two names never meet; long
//! ones are cut and told apart by a digest, and the whole name stands in a file beside the socket.

/// Longest encoded name that is used as it is.
const WHOLE: usize = 60;
/// What a longer one keeps of its beginning.
const KEPT: usize = 36;

/// Name of the files of replica `name`, without their ending.
pub fn stem(name: &str) -> String {
    let encoded = encode(name);
    if encoded.len() <= WHOLE {
        return encoded;
    }
    let digest = blake3::hash(name.as_bytes()).to_hex();
    format!("{}~{}", &encoded[..KEPT], &digest.as_str()[..16])
}

/// The name behind a stem; `None` when it was cut or is none of ours.
pub fn name(stem: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &tail[2..];
            }
            b'~' => return None,
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).ok()
}

fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0);
        if plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    if encoded.is_empty() { "%".to_owned() } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_and_paths_become_file_names() {
        assert_eq!(stem("data-1.x"), "data-1.x");
        assert_eq!(stem("/var/lib"), "%2Fvar%2Flib");
        assert_eq!(stem(".."), "%2E.");
        assert!(!stem("").is_empty());
    }

    #[test]
    fn names_come_back() {
        for original in ["a", "/var/lib/a b", "~x", "%41", "\u{e9}\n"] {
            assert_eq!(name(&stem(original)).as_deref(), Some(original));
        }
        assert_eq!(name("a%4"), None);
    }

    #[test]
    fn long_names_are_cut_and_differ() {
        let one = stem(&format!("/{}1", "d".repeat(300)));
        let two = stem(&format!("/{}2", "d".repeat(300)));
        assert!(one.len() <= WHOLE && one != two);
        assert_eq!(name(&one), None);
    }
}
