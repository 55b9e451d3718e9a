//! The mount behaves as the plain directory: the same commands in both, the same words and codes
//! out of both. `docs/semantics.md` names these tests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::engine::{Engine, Start, wait_for};
use tests::hosts::Host;
use tests::lab::{Lab, scenario, tool};

const LIMIT: Duration = Duration::from_secs(240);
/// Runs what follows as an ordinary user in the group 77 besides its own.
const USER: &str = "setpriv --reuid 1234 --regid 1235 --groups 77";

/// A plain directory and a mounted one on one file system of one host.
struct Both {
    host: Host,
    plain: PathBuf,
    mounted: PathBuf,
    engine: Engine,
}

impl Both {
    fn new(lab: &std::sync::Arc<Lab>) -> Both {
        let host = lab.host("a");
        let (plain, mounted) = (host.dir.join("plain"), host.dir.join("mounted"));
        for dir in [&plain, &mounted] {
            host.run([Path::new("mkdir"), dir]);
        }
        let engine = Start::new(&host, "mount", &mounted).args(["--passthrough", "--insecure"]).spawn();
        engine.wait_ready();
        // Ordinary users must be able to reach both.
        for dir in host.dir.ancestors().take(4) {
            let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o755));
        }
        Both { host, plain, mounted, engine }
    }

    fn outcome(&self, dir: &Path, script: &str) -> String {
        let script = format!("cd {} && exec 2>&1\n{script}", dir.display());
        let output = self.host.try_run(["timeout", "60", "bash", "-c", &script]);
        let words = String::from_utf8_lossy(&output.stdout).replace(&*dir.to_string_lossy(), "DIR");
        format!("{words}[{}]", output.status.code().unwrap_or(-1))
    }

    /// The script does the same in both directories; what it said.
    fn same(&self, script: &str) -> String {
        let plain = self.outcome(&self.plain, script);
        let mounted = self.outcome(&self.mounted, script);
        assert_eq!(mounted, plain, "mount (left) and plain directory (right) differ in: {script}");
        plain
    }
}

fn both(name: &str, body: impl FnOnce(&Both) + Send + 'static) {
    scenario(name, LIMIT, move |lab| {
        let mut both = Both::new(lab);
        body(&both);
        both.engine.stop();
    });
}

#[test]
fn pjdfstest_finds_nothing() {
    both("pjdfstest", |both| {
        let config = both.host.dir.join("pjdfstest.toml");
        let words = "[features]\nposix_fallocate = {}\nrename_ctime = {}\nutime_now = {}\nutimensat = {}\n\
                     [settings]\nnaptime = 0.02\nallow_remount = false\n\
                     [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n";
        fs::write(&config, words).unwrap();
        let (test, config) = (tool("pjdfstest"), config.to_string_lossy().into_owned());
        // A short path: names of sockets end at 108 bytes.
        both.host.run([Path::new("mount"), Path::new("--bind"), &both.mounted, Path::new("/mnt")]);
        let output = both.host.try_run([&*test.to_string_lossy(), "-c", &config, "-p", "/mnt"]);
        both.host.run(["umount", "/mnt"]);
        let words = String::from_utf8_lossy(&output.stdout);
        let failed: Vec<_> = words.lines().filter(|line| !line.ends_with("ok")).collect();
        assert!(output.status.success() && words.contains("Summary: 0 failed"), "{failed:#?}");
    });
}

#[test]
fn fsx_reads_what_it_wrote() {
    both("fsx", |both| {
        let config = both.host.dir.join("fsx.toml");
        let weights = "close_open = 1\ninvalidate = 1\nmapread = 5\nmapwrite = 8\nread = 10\nwrite = 10\ntruncate = 3\n\
                       fsync = 0.2\nposix_fallocate = 2\npunch_hole = 3\nsendfile = 2\ncopy_file_range = 3\n";
        fs::write(&config, format!("flen = 1048576\n[weights]\n{weights}")).unwrap();
        let (file, config) = (both.mounted.join("file"), config.to_string_lossy().into_owned());
        let words = [&*tool("fsx").to_string_lossy(), "-q", "-f", &config, "-N", "20000", "-S", "4711", "-P"].map(str::to_owned);
        let places = [both.host.dir.to_string_lossy().into_owned(), file.to_string_lossy().into_owned()];
        let output = both.host.try_run(words.iter().chain(&places));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    });
}

#[test]
fn owners_groups_and_acls_come_out_the_same() {
    both("owners", |both| {
        both.same(&format!(
            "mkdir d g; chown 0:77 g; chmod 2775 g; chmod 777 d; umask 027\n\
             {USER} touch d/f g/f; {USER} mkdir g/s; {USER} mkfifo d/p; {USER} ln -s t d/l\n\
             setfacl -d -m u:99:rwx,g:88:rx d; {USER} touch d/inherits; {USER} mkdir d/inherits.d; getfacl -n d/*\n\
             stat -c '%n %a %u %g %F' d/* g/*; {USER} mknod d/null c 1 3; mknod d/zero c 1 5; head -c 3 d/zero | wc -c"
        ));
    });
}

#[test]
fn set_id_bits_go_when_they_must_and_stay_when_they_may() {
    both("set-id", |both| {
        for change in ["echo x >> f", "echo x > f", "truncate -s 3 f", "fallocate -l 9000 f", "chown :1235 f", "setfacl -m u:9:rw f"] {
            for mode in ["6777", "2767", "2775"] {
                for user in [USER, "setpriv --reuid 1234 --regid 1235 --clear-groups", ""] {
                    both.same(&format!(
                        "rm -f f; echo data > f; chown 1234:77 f; chmod {mode} f; {user} bash -c '{change}'; stat -c '%a %u %g' f"
                    ));
                }
            }
        }
        both.same("chmod 6755 f; perl -e 'chown -1, -1, \"f\" or die'; stat -c %a f");
    });
}

#[test]
fn extended_attributes_and_who_may_see_them() {
    both("xattr", |both| {
        both.same(&format!(
            "echo > f; chmod 666 f; for n in user.a trusted.b security.c system.d bad; do setfattr -n $n -v 1 f; done\n\
             getfattr -d -m - f; {USER} getfattr -d -m - f; {USER} setfattr -n trusted.x -v 1 f; ln -s f l; setfattr -h -n trusted.l -v 1 l\n\
             getfattr -h -m - l; setfattr -x user.a f; setfattr -x user.a f; setfattr -n user.big -v $(printf %70000s) f"
        ));
    });
}

#[test]
fn inode_flags_hold() {
    both("flags", |both| {
        // Less the words: an open that a plain directory refuses is refused here at the first change.
        both.same(
            "{ echo data > f; chattr +i f; rm -f f; mv f g; ln f g; chmod 600 f; touch f; truncate -s 0 f; cat f; chattr -i f\n\
             chattr +a f; echo more >> f; truncate -s 0 f; rm -f f; cat f; chattr -a f; lsattr f | cut -c1-10; rm f\n\
             mkdir d; touch d/x; chattr +i d; touch d/y; rm -f d/x; chattr -i d; rm -r d; } 2>&1 | sed 's/:.*: Operation/: Operation/'",
        );
        both.same("echo data > f; chattr +a f; perl -e 'open F, \"+<\", \"f\"; syswrite F, \"X\"'; cat f; chattr -a f");
    });
}

#[test]
fn what_lost_its_last_name_lives_on_while_it_is_open() {
    both("orphans", |both| {
        both.same(
            "echo old > f; exec 3<>f; rm f; echo new >&3; cat /proc/self/fd/3; stat -L -c '%h %s %a' /proc/self/fd/3; chmod 640 /proc/self/fd/3\n\
             stat -L -c %a /proc/self/fd/3; echo 1 > a; echo 2 > b; exec 4<b; mv a b; cat b - <&4\n\
             mkdir d; cd d; rmdir ../d; ls; touch x; cd ..; mkfifo p; exec 5<>p; rm p; echo through >&5; read line <&5; echo $line",
        );
        // A FIFO that nobody else has open: removing it must not wait for its other end.
        both.same("mkfifo p q; rm p; mv q r; rm r; mknod z b 7 200; rm z; ls");
    });
}

#[test]
fn what_was_removed_is_closed() {
    both("closed", |both| {
        both.same("mkdir d; for i in $(seq 2000); do echo x > d/$i; done; rm -r d");
        let fds = format!("/proc/{}/fd", both.engine.pid());
        let deleted = || fs::read_dir(&fds).unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        let none = wait_for(LIMIT, || deleted().all(|path| !path.to_string_lossy().contains("(deleted)")).then_some(()));
        assert!(none.is_some(), "the engine keeps removed files open");
    });
}

#[test]
fn times_are_exact_and_never_run_backwards() {
    both("times", |both| {
        both.same(
            "for t in 0 0.999999999 -1 -0.000000001 -1000000000.5 2147483648.5 10000000000; do touch -d @$t f; stat -c '%.9X %.9Y' f; done\n\
             perl -e 'use Time::HiRes \"stat\"; open F, \"+>\", \"m\"; my $last = 0; for (1..3000) { $_ % 5 ? syswrite F, \"x\" : truncate F, $_;\n\
             my $now = (stat F)[9]; print \"back\\n\" if $now < $last; $last = $now }'",
        );
    });
}

#[test]
fn names_of_every_kind() {
    both("names", |both| {
        both.same(
            "for n in $(printf %0255d 0) $(printf %0256d 0) $(printf %05000d 0) $'a b' $'a\\nb' $'\\xff\\xfe' ... -; do touch -- \"./$n\"; done; ls -b\n\
             for i in $(seq 60); do mkdir $(printf %0250d 0); cd $(printf %0250d 0); done; echo deep > file; mv file file2; cat file2; cd /",
        );
        both.same("mkdir r; touch r/x r/y; perl -e 'use Fcntl; print syscall(316, -100, \"r/x\", -100, \"r/y\", $_), \" \", $!+0, \"\\n\" for 1, 2, 3, 8'");
    });
}

#[test]
fn the_hidden_directory_is_out_of_reach() {
    scenario("hidden", LIMIT, |lab| {
        let host = lab.host("a");
        let dir = host.dir.join("data");
        fs::create_dir_all(dir.join(".understudy")).unwrap();
        let mut engine = Start::new(&host, "mount", &dir).args(["--passthrough", "--insecure"]).spawn();
        engine.wait_ready();
        let seen = host.view(&dir);
        assert_eq!(fs::read_dir(&seen).unwrap().count(), 0);
        assert_eq!(fs::metadata(&seen).unwrap().nlink(), 2);
        let hidden = seen.join(".understudy");
        assert!(!hidden.exists());
        assert_eq!(fs::create_dir(&hidden).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(fs::remove_dir(&hidden).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        fs::write(seen.join("file"), "").unwrap();
        assert_eq!(fs::rename(seen.join("file"), &hidden).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(fs::hard_link(seen.join("file"), &hidden).unwrap_err().raw_os_error(), Some(libc::EPERM));
        engine.stop();
    });
}

#[test]
fn more_files_are_open_than_the_engine_may_have_descriptors() {
    scenario("descriptors", LIMIT, |lab| {
        let host = lab.host("a");
        let dir = host.dir.join("data");
        fs::create_dir(&dir).unwrap();
        let mut start = Start::new(&host, "mount", &dir).args(["--passthrough", "--insecure"]);
        limit_descriptors(&mut start.command, 300);
        let mut engine = start.spawn();
        engine.wait_ready();
        let script = format!(
            "cd {}; perl -e 'for (1..900) {{ open my $f, \"+>\", \"f$_\" or die; syswrite $f, $_; push @f, $f }} unlink \"f$_\" for 1..100;\n\
             for (1..900) {{ sysseek $f[$_-1], 0, 0; sysread $f[$_-1], my $got, 9; die \"$_: $got\" unless $got == $_ }}'",
            dir.display()
        );
        host.run(["bash", "-c", &script]);
        engine.stop();
    });
}

/// Puts `prlimit` around a command.
fn limit_descriptors(command: &mut std::process::Command, most: u32) {
    let mut limited = std::process::Command::new("prlimit");
    limited.arg(format!("--nofile={most}")).arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    *command = limited;
}
