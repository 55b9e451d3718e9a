//! podman, the real engine, with an image made of this machine's own shell.

use crate::LIMIT;
use crate::rig::{Rig, directory, word};
use tests::lab::scenario;

/// Packs a shell with the libraries it needs and makes an image of it.
const IMAGE: &str = r#"set -e
root=$1
for program in /bin/sh /bin/sleep /bin/cat; do
    for file in $program $(ldd "$program" | grep -o '/[^ ]*'); do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
done
mkdir -p "$root/data" "$root/proc" "$root/dev" "$root/sys" "$root/etc"
tar -C "$root" -c . | podman import -q - understudy-test:1 > /dev/null
"#;

/// Appends a line at each start, so that the replicated directory shows what ran.
const APPLICATION: &str = "echo started >> /data/log\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n";

#[test]
fn a_podman_container_lives_and_dies() {
    scenario("module-podman", LIMIT, |lab| {
        let host = lab.host("a");
        let (data, storage, root) = (directory(&host, "data", "root"), directory(&host, "storage", "root"), host.dir.join("root"));
        let mut rig = Rig::new(&host, "podman");
        // Storage of its own. Control groups as a machine with the newer kind has them.
        host.run(["sh", "-c", "mkdir -p /var/lib/containers && mount --bind \"$1\" /var/lib/containers", "-", word(&storage)]);
        host.run(["sh", "-c", "umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"]);
        host.run(["sh", "-c", IMAGE, "-", word(&root)]);
        std::fs::write(data.join("application"), APPLICATION).unwrap();
        let limits = "--ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --cgroups=disabled --network=none";
        rig.set("CONTAINER", "tried");
        rig.set("IMAGE", "understudy-test:2");
        rig.set("CONTAINER_OPTIONS", &format!("{limits} --volume {}:/data", data.display()));
        rig.set("CONTAINER_COMMAND", "/bin/sh /data/application");
        rig.set("CHECK_COMMAND", "/bin/cat /data/log");
        rig.set("CHECK_SECONDS", "20");
        rig.replicated(&[&data]);
        rig.call("check-container").must_fail().saying("not there");
        rig.call("start").must_fail().saying("image understudy-test:2 is not on this node").saying("both nodes need the same one");
        rig.set("IMAGE", "understudy-test:1");
        rig.call("start").must().saying("is ready").silent_about("WARNING");
        rig.call("check-container").must();
        rig.call("start").must().saying("running already");
        rig.call("stop").must();
        rig.must_not_run("sleep");
        rig.call("stop").must().saying("there is no container");
        rig.call("start").must();
        rig.force().must();
        rig.must_not_run("sleep");
        assert_eq!(std::fs::read_to_string(data.join("log")).unwrap(), "started\nstarted\n");
        rig.replicated(&[]);
        rig.call("start").must().saying("which is not replicated").saying(word(&data));
        rig.set("CHECK_COMMAND", "/bin/cat /data/nothing");
        rig.call("check-container").must_fail().saying("'/bin/cat /data/nothing' failed");
        rig.force().must();
    });
}
