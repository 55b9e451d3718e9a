//! The first copy: very many small files, and one large one, beside rsync over the same wire and beside the wire and
//! the disk themselves.

use super::Load;
use super::files::{LARGE, Numbers, lay_out};
use super::resync::{lay_tree, start_with};
use crate::columns::{Column, Rig};
use crate::hosts::run;
use crate::proc;
use crate::server::{Server, Signal};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::{Context, Result};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SMALL: &str = "small files";
const LARGE_FILE: &str = "one large file";
const PEAK: &str = "primary, memory at most";
const PEAK_B: &str = "secondary, memory at most";
const FILES: u64 = 100_000;
const RSYNC_PORT: u16 = 8730;
const STREAM_PORT: u16 = 8731;

/// See the module.
pub struct First;

impl Load for First {
    fn about(&self) -> &'static str {
        "first copy of 100,000 files of 4 KiB and of one of 4 GiB; peer: rsync -a; raw: the slower of wire and disk"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: SMALL, unit: "files/s" },
            Metric { name: LARGE_FILE, unit: "MB/s" },
            Metric { name: PEAK, unit: "MB" },
            Metric { name: PEAK_B, unit: "MB" },
        ]
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(SMALL, Reference::To(Column::Peer), Bound::AtLeast(3.0)),
                Aim::ours(LARGE_FILE, Reference::To(Column::Raw), Bound::AtLeast(0.8)),
                Aim::ours(PEAK, Reference::Itself, Bound::AtMost(250.0)),
                Aim::ours(PEAK_B, Reference::Itself, Bound::AtMost(250.0)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Raw, Column::Ours, Column::Peer]
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        if column != Column::Peer {
            return Ok(());
        }
        let root = rig.dir(Column::Peer);
        for name in ["small", "large"] {
            fs::create_dir_all(root.join(name))?;
        }
        lay_tree(&root.join("small"), files(rig))?;
        lay_out(&root.join("large/file"), size(rig), LARGE).map(drop)
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let (files, size) = (files(rig), size(rig));
        match column {
            Column::Ours => ours(rig, files, size),
            Column::Peer => rsync(rig, files, size),
            _ => raw(rig, size),
        }
    }
}

fn files(rig: &Rig) -> u64 {
    rig.size(FILES, FILES / 100)
}

fn size(rig: &Rig) -> u64 {
    rig.size(4 << 30, 64 << 20)
}

fn mb_per_second(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

/// From the start of the engines until they are in sync, which includes that the secondary's disk has it.
fn ours(rig: &mut Rig, files: u64, size: u64) -> Result<Readings> {
    let mut times = Vec::new();
    let mut peaks = [0.0_f64; 2];
    for small in [true, false] {
        let begin = std::cell::Cell::new(Instant::now());
        start_with(rig, |root| {
            if small {
                lay_tree(root, files)?;
            } else {
                lay_out(&root.join("file"), size, LARGE)?;
            }
            begin.set(Instant::now());
            Ok(())
        })?;
        times.push(begin.get().elapsed());
        let pair = rig.pair.as_ref().context("no pair")?;
        for (peak, pid) in peaks.iter_mut().zip([pair.primary.pid(), pair.secondary_pid()?]) {
            *peak = peak.max(proc::memory(pid)?.peak);
        }
    }
    Ok(Readings::from([
        (SMALL, files as f64 / times[0].as_secs_f64()),
        (LARGE_FILE, mb_per_second(size, times[1])),
        (PEAK, peaks[0]),
        (PEAK_B, peaks[1]),
    ]))
}

/// The same with `rsync -a` to a daemon on the other host, and a flush of what it wrote.
fn rsync(rig: &Rig, files: u64, size: u64) -> Result<Readings> {
    let (from, to, config) = (rig.dir(Column::Peer), rig.path("peer-b"), rig.path("rsyncd.conf"));
    empty(&to)?;
    let text = format!("use chroot = no\nuid = root\ngid = root\n[to]\npath = {}\nread only = no\n", to.display());
    fs::write(&config, text)?;
    let mut daemon = Command::new("rsync");
    daemon.args(["--daemon", "--no-detach", &format!("--port={RSYNC_PORT}"), &format!("--config={}", config.display())]);
    let (address, log) = (rig.hosts().b.at(RSYNC_PORT), rig.log("rsyncd"));
    let _daemon = rig.hosts().b.inside(|| Server::start("the rsync daemon", &mut daemon, log, Signal::TERM))?;
    rig.hosts().a.inside(|| {
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            anyhow::ensure!(Instant::now() < until, "the rsync daemon does not answer: is rsync installed?");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    })?;
    let copy = |name: &str| -> Result<Duration> {
        let start = Instant::now();
        let (source, target) = (format!("{}/", from.join(name).display()), format!("rsync://{address}/to/{name}/"));
        rig.hosts().a.inside(|| run(Command::new("rsync").args(["-a", &source, &target])).map(drop))?;
        rig.settle()?;
        Ok(start.elapsed())
    };
    let (small, large) = (copy("small")?, copy("large")?);
    Ok(Readings::from([(SMALL, files as f64 / small.as_secs_f64()), (LARGE_FILE, mb_per_second(size, large))]))
}

fn empty(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir)?;
    Ok(fs::create_dir(dir)?)
}

/// The slower of a stream over the wire and of a file written and flushed.
fn raw(rig: &Rig, size: u64) -> Result<Readings> {
    let address = rig.hosts().b.at(STREAM_PORT);
    let listener = rig.hosts().b.inside(|| Ok(TcpListener::bind(address)?))?;
    let data = Numbers::new(9).bytes(LARGE);
    let start = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let receiver = scope.spawn(move || -> Result<u64> {
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; LARGE];
            let mut got = 0;
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(got),
                    n => got += n as u64,
                }
            }
        });
        let mut stream = rig.hosts().a.inside(|| Ok(TcpStream::connect(address)?))?;
        for _ in 0..size / LARGE as u64 {
            stream.write_all(&data)?;
        }
        drop(stream);
        let got = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        anyhow::ensure!(got == size / LARGE as u64 * LARGE as u64, "the stream lost bytes");
        Ok(())
    })?;
    let wire = mb_per_second(size, start.elapsed());
    let start = Instant::now();
    let path = rig.path("raw-b").join("file");
    lay_out(&path, size, LARGE)?;
    let disk = mb_per_second(size, start.elapsed());
    fs::remove_file(path)?;
    Ok(Readings::from([(LARGE_FILE, wire.min(disk))]))
}
