//! Who holds a directory: the processes an operator has to end before it can be taken or left.
//!
//! Read from `/proc`, while processes come and go: what vanishes meanwhile holds nothing.

use super::mounts::{self, Mount, within};
use crate::limits::{HOLDER_DESCRIPTORS, HOLDER_MAPPINGS, HOLDERS};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// In which way a process holds a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It works there.
    WorkingDirectory(PathBuf),
    /// It was confined there by chroot.
    Root(PathBuf),
    /// Its program lies there.
    Program(PathBuf),
    /// An open descriptor.
    Open(PathBuf),
    /// A mapped file.
    Mapped(PathBuf),
}

/// A process that holds a directory, and the first way found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, in this node's view.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// How it holds the directory.
    pub how: How,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, path) = match &self.how {
            How::WorkingDirectory(path) => ("working directory", path),
            How::Root(path) => ("root directory", path),
            How::Program(path) => ("program", path),
            How::Open(path) => ("open file", path),
            How::Mapped(path) => ("mapped file", path),
        };
        write!(f, "{} (pid {}: {way} {})", self.command, self.pid, path.display())
    }
}

/// Holders as one line.
pub fn describe(holders: &[Holder]) -> String {
    let words: Vec<String> = holders.iter().map(Holder::to_string).collect();
    match holders.len() {
        0 => "no process could be identified".to_owned(),
        HOLDERS.. => format!("{}, and perhaps more", words.join(", ")),
        _ => words.join(", "),
    }
}

/// The processes other than this one that hold `dir` or something below it; at most
/// [`HOLDERS`].
///
/// Processes of this mount namespace are recognised by path. In others the same directory may have
/// another path (a container's volume) and the same path may be another directory, so their own
/// mount tables are asked where they see our file systems.
pub fn holders(dir: &Path) -> Vec<Holder> {
    let dir = mounts::resolve(dir).unwrap_or_else(|_| dir.to_path_buf());
    let mut scan = Scan::new(dir);
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| scan.process(pid)).take(HOLDERS).collect()
}

/// The processes other than this one that hold anything of the file system `device` (`major:minor`), which other mount
/// namespaces may still show where ours does not.
pub fn holders_of(device: &str) -> Vec<Holder> {
    let mut scan = Scan { places: vec![(device.to_owned(), PathBuf::from("/"))], prefixes: HashMap::new() };
    if let Ok(own) = fs::read_link("/proc/thread-self/ns/mnt") {
        scan.prefixes.insert(own.into_os_string(), Vec::new());
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| scan.process(pid)).take(HOLDERS).collect()
}

/// A directory of a file system: `(device, path inside it)`.
type Place = (String, PathBuf);

struct Scan {
    /// What `dir` shows, and what lies hidden under mounts on it.
    places: Vec<Place>,
    /// Where each mount namespace sees these places.
    prefixes: HashMap<OsString, Vec<PathBuf>>,
}

impl Scan {
    fn new(dir: PathBuf) -> Self {
        let mut prefixes = HashMap::new();
        if let Ok(own) = fs::read_link("/proc/thread-self/ns/mnt") {
            prefixes.insert(own.into_os_string(), vec![dir.clone()]);
        }
        Scan { places: places(&dir).unwrap_or_default(), prefixes }
    }

    fn process(&mut self, pid: u32) -> Option<Holder> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let how = find(&process, self.prefixes_of(&process)?)?;
        let name = fs::read(process.join("comm")).unwrap_or_default();
        let command = String::from_utf8_lossy(name.trim_ascii_end()).into_owned();
        Some(Holder { pid, command, how })
    }

    fn prefixes_of(&mut self, process: &Path) -> Option<&[PathBuf]> {
        let namespace = fs::read_link(process.join("ns/mnt")).ok()?.into_os_string();
        let seen = self.prefixes.entry(namespace).or_insert_with(|| {
            let mounts = mounts::read(&process.join("mountinfo")).unwrap_or_default();
            self.places.iter().flat_map(|place| seen_at(place, &mounts)).collect()
        });
        Some(seen)
    }
}

/// The places `dir` stands for: that of the mount it is on, and of every mount stacked on it.
fn places(dir: &Path) -> io::Result<Vec<Place>> {
    let mounts = mounts::list()?;
    let mut places: Vec<Place> = mounts::stack(&mounts, dir)?.into_iter().map(|m| (m.device.clone(), m.root.clone())).collect();
    if let Some(parent) = dir.parent() {
        let below = mounts::id_of(parent)?;
        let base = mounts.iter().find(|m| m.id == below);
        places.extend(base.and_then(|m| Some((m.device.clone(), mounts::root_of(m, dir)?))));
    }
    Ok(places)
}

/// Every path under which a mount table shows `place` or a part of it.
fn seen_at((device, root): &Place, mounts: &[Mount]) -> Vec<PathBuf> {
    let of_device = mounts.iter().filter(|m| m.device == *device);
    of_device
        .filter_map(|mount| {
            let path = match root.strip_prefix(&mount.root) {
                // Joining nothing would leave a slash at the end.
                Ok(below) if below.as_os_str().is_empty() => mount.point.clone(),
                Ok(below) => mount.point.join(below),
                Err(_) => mount.root.starts_with(root).then(|| mount.point.clone())?,
            };
            let hidden = mounts.iter().any(|m| m.parent == mount.id && path.starts_with(&m.point));
            (!hidden).then_some(path)
        })
        .collect()
}

fn find(process: &Path, prefixes: &[PathBuf]) -> Option<How> {
    let held = |link: PathBuf| fs::read_link(link).ok().filter(|path| matches(path.as_os_str().as_bytes(), prefixes));
    let plain = |name: &str| held(process.join(name));
    plain("cwd")
        .map(How::WorkingDirectory)
        .or_else(|| plain("root").map(How::Root))
        .or_else(|| plain("exe").map(How::Program))
        .or_else(|| {
            let descriptors = fs::read_dir(process.join("fd")).ok()?.flatten().take(HOLDER_DESCRIPTORS);
            descriptors.map(|entry| entry.path()).find_map(held).map(How::Open)
        })
        .or_else(|| mapped(&process.join("maps"), prefixes).map(How::Mapped))
}

fn matches(path: &[u8], prefixes: &[PathBuf]) -> bool {
    // The kernel marks removed files by a suffix; the removed directory itself counts too.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    prefixes.iter().any(|dir| within(path, dir))
}

fn mapped(maps: &Path, prefixes: &[PathBuf]) -> Option<PathBuf> {
    let mut table = Vec::new();
    // An error in the middle means that the process ended; what was read by then still counts.
    let _ = fs::File::open(maps).ok()?.take(HOLDER_MAPPINGS).read_to_end(&mut table);
    let paths = table.split(|&byte| byte == b'\n').filter_map(|line| {
        let start = line.iter().position(|&byte| byte == b'/')?;
        Some(mounts::unescape(&line[start..]))
    });
    paths.into_iter().find(|path| matches(path.as_os_str().as_bytes(), prefixes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::in_private_mounts;
    use rustix::mount::{MountFlags, mount, mount_bind};
    use std::process::{Child, Command, Stdio};

    /// A process that ends with the test, whatever happens, and has said that it is set up.
    struct Other(Child);

    impl Other {
        fn shell(script: &str, at: &Path) -> Other {
            let script = format!("{script}; echo set; read wait");
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).current_dir(at).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = shell.spawn().unwrap();
            let mut word = [0; 4];
            child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
            Other(child)
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn only(dir: &Path) -> Holder {
        let found = holders(dir);
        assert_eq!(found.len(), 1, "{}", describe(&found));
        found.into_iter().next().unwrap()
    }

    #[test]
    fn working_directory_and_open_file() {
        let temp = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(temp.path()).unwrap();
        assert_eq!(holders(&dir), []);
        fs::create_dir(dir.join("sub")).unwrap();
        {
            let other = Other::shell("true", &dir.join("sub"));
            let holder = only(&dir);
            assert_eq!((holder.pid, holder.command.as_str()), (other.0.id(), "sh"));
            assert_eq!(holder.how, How::WorkingDirectory(dir.join("sub")));
        }
        let _other = Other::shell(&format!("exec 5>{0}/file; rm {0}/file", dir.display()), Path::new("/"));
        assert_eq!(only(&dir).how, How::Open(PathBuf::from(format!("{}/file (deleted)", dir.display()))));
        assert_eq!(holders(&dir.join("sub")), []);
    }

    #[test]
    fn a_program_and_its_mapping() {
        let temp = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(temp.path()).unwrap();
        fs::copy("/bin/cat", dir.join("cat")).unwrap();
        let child = Command::new(dir.join("cat")).stdin(Stdio::piped()).spawn().unwrap();
        let other = Other(child);
        assert_eq!(only(&dir).how, How::Program(dir.join("cat")));
        let maps = PathBuf::from(format!("/proc/{}/maps", other.0.id()));
        assert_eq!(mapped(&maps, std::slice::from_ref(&dir)), Some(dir.join("cat")));
    }

    #[test]
    fn the_same_place_at_another_path_in_another_namespace() {
        let temp = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(temp.path()).unwrap();
        let (dir, volume) = (base.join("data"), base.join("volume"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&volume).unwrap();
        let _inside = in_private_mounts(|| {
            mount_bind(&dir, &volume).unwrap();
            Other::shell("true", &volume)
        });
        assert_eq!(only(&dir).how, How::WorkingDirectory(volume));
    }

    #[test]
    fn the_same_path_to_another_place_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(temp.path()).unwrap();
        let _inside = in_private_mounts(|| {
            mount("none", &dir, "tmpfs", MountFlags::empty(), None).unwrap();
            Other::shell("true", &dir)
        });
        assert_eq!(holders(&dir), []);
    }

    #[test]
    fn a_line_for_the_operator() {
        let holder = Holder { pid: 812, command: "postgres".into(), how: How::Open("/data/x".into()) };
        assert_eq!(describe(&[holder]), "postgres (pid 812: open file /data/x)");
    }
}
