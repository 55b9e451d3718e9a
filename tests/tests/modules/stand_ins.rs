//! What cannot run here: the scripts meet stand-ins that answer as the real commands do. This shows that the scripts ask
//! the right things in the right order, not that the application agrees: these modules are called unproven.

use crate::LIMIT;
use crate::generic::boot_systemd;
use crate::rig::{Rig, word};
use std::fs;
use std::path::Path;
use tests::lab::scenario;

fn story(name: &str, template: &'static str, body: impl FnOnce(Rig<'_>) + Send + 'static) {
    scenario(name, LIMIT, move |lab| {
        let host = lab.host("a");
        host.run(["chmod", "755", word(&host.dir)]);
        let mut rig = Rig::new(&host, template);
        // Each answer of a stand-in is several processes.
        rig.set("CHECK_SECONDS", "20");
        body(rig);
    });
}

/// Docker: containers are files with their state.
const DOCKER: &str = r#"
for last; do :; done
case "$1 $2" in
    "image inspect") [ "$last" = shop:1 ] ;;
    create\ *) echo created > "$STAND_IN/container" ;;
    start\ *) echo running > "$STAND_IN/container" ;;
    stop\ *) echo exited > "$STAND_IN/container" ;;
    kill\ *) echo exited > "$STAND_IN/container" ;;
    rm\ *) rm -f "$STAND_IN/container" ;;
    exec\ *) [ -e "$STAND_IN/works" ] ;;
    "ps --all") [ ! -e "$STAND_IN/container" ] || echo 4711 ;;
    "compose --project-name")
        case " $* " in
            *" up --no-start "*) echo created > "$STAND_IN/container" ;;
            *" start "*) echo running > "$STAND_IN/container" ;;
            *" stop "* | *" kill "*) echo exited > "$STAND_IN/container" ;;
            *" down "*) rm -f "$STAND_IN/container" ;;
        esac
        ;;
    inspect\ *)
        [ -e "$STAND_IN/container" ] || { echo "Error: No such container: $last" >&2; exit 1; }
        case $5 in
            *State.Status*) cat "$STAND_IN/container" ;;
            *Health*) cat "$STAND_IN/health" 2> /dev/null || echo ;;
            *RestartPolicy*) cat "$STAND_IN/policy" 2> /dev/null || echo no ;;
            *Mounts*) cat "$STAND_IN/mounts" ;;
        esac
        ;;
esac
"#;

fn docker(rig: &mut Rig<'_>) {
    rig.stand_in("docker", DOCKER);
    fs::write(rig.state().join("mounts"), "bind true /srv/shop\nbind false /etc/localtime\n\n").unwrap();
    fs::write(rig.state().join("works"), "").unwrap();
    rig.replicated(&[Path::new("/srv/shop")]);
    rig.set("CONTAINER", "shop");
}

#[test]
fn docker_container() {
    story("module-docker", "docker", |mut rig| {
        docker(&mut rig);
        rig.set("IMAGE", "shop:2");
        rig.call("start").must_fail().saying("image shop:2 is not on this node");
        rig.set("IMAGE", "shop:1");
        rig.set("CONTAINER_OPTIONS", "--volume /srv/shop:/data");
        rig.set("CHECK_COMMAND", "ask shop");
        rig.calls();
        rig.call("start").must().silent_about("WARNING");
        assert!(rig.calls().contains("docker create --name shop --volume /srv/shop:/data shop:1\n"));
        rig.call("check-container").must();
        fs::remove_file(rig.state().join("works")).unwrap();
        rig.call("check-container").must_fail().saying("'ask shop' failed");
        fs::write(rig.state().join("health"), "unhealthy\n").unwrap();
        rig.call("check-container").must_fail().saying("unhealthy");
        fs::remove_file(rig.state().join("health")).unwrap();
        rig.calls();
        rig.call("stop").must();
        let calls = rig.calls();
        assert!(calls.contains("docker stop --time 30 shop\n") && calls.contains("docker rm --force shop\n"), "{calls}");
        rig.call("check-container").must_fail().saying("not there");
        rig.set("CHECK_COMMAND", "");
        fs::write(rig.state().join("mounts"), "volume true /var/lib/docker/volumes/x/_data\n").unwrap();
        fs::write(rig.state().join("policy"), "always\n").unwrap();
        rig.call("start").must().saying("volume of docker's").saying("restart policy 'always'");
        rig.calls();
        rig.force().must();
        assert!(rig.calls().contains("docker kill shop\n"));
    });
}

#[test]
fn docker_project() {
    story("module-docker-project", "docker", |mut rig| {
        docker(&mut rig);
        let file = rig.host.dir.join("compose.yaml");
        fs::write(&file, "services: {}\n").unwrap();
        rig.set("COMPOSE_FILE_OF_MODULE", word(&file));
        rig.call("check-container").must_fail().saying("has no containers");
        rig.call("start").must();
        rig.call("check-container").must();
        rig.calls();
        rig.call("stop").must();
        let calls = rig.calls();
        assert!(calls.contains("stop --timeout 30") && calls.contains("down"), "{calls}");
        rig.call("stop").must().saying("does not run");
        rig.call("start").must();
        rig.force().must();
        assert!(rig.calls().contains("kill"));
    });
}

/// SQL*Plus: an instance is a process with the name of PMON.
const SQLPLUS: &str = r#"
text=$(cat)
open() { [ -e "$STAND_IN/open" ]; }
refused() { printf 'ERROR at line 1:\nORA-01034: ORACLE not available\n'; exit 1; }
case $text in
    *STARTUP*)
        if [ -e "$STAND_IN/broken" ]; then
            printf 'ORA-01157: cannot identify/lock data file 4\n'
            exit 1
        fi
        setsid "$STAND_IN/ora_pmon_SHOP" 600 < /dev/null > /dev/null 2>&1 &
        echo $! > "$STAND_IN/open"
        ;;
    *SHUTDOWN*) open && kill "$(cat "$STAND_IN/open")"; rm -f "$STAND_IN/open" ;;
    *'v$instance'*) open || refused; echo OPEN ;;
    *open_mode*) open || refused; [ ! -e "$STAND_IN/hangs" ] || sleep 600; cat "$STAND_IN/mode" ;;
    *'v$datafile'*) printf '/u01/oradata/SHOP/system01.dbf\n/u09/other/users01.dbf\n' ;;
    *'v$parameter'*) printf 'commit_wait=NOWAIT\ndb_block_checksum=TYPICAL\n' ;;
esac
"#;

#[test]
fn oracle() {
    story("module-oracle", "oracle", |mut rig| {
        let home = rig.host.dir.join("home");
        rig.program(&home.join("bin/sqlplus"), SQLPLUS);
        rig.program(&home.join("bin/lsnrctl"), "");
        fs::create_dir_all(home.join("dbs")).unwrap();
        fs::write(home.join("dbs/lkSHOP"), "").unwrap();
        fs::copy("/bin/sleep", rig.state().join("ora_pmon_SHOP")).unwrap();
        fs::write(rig.state().join("mode"), "READ WRITE\n").unwrap();
        let oratab = rig.host.dir.join("oratab");
        fs::write(&oratab, format!("SHOP:{}:Y\n", home.display())).unwrap();
        rig.set("ORACLE_SID", "SHOP");
        rig.set("ORACLE_HOME", word(&home));
        rig.set("ORACLE_USER", "nobody");
        rig.set("ORATAB", word(&oratab));
        rig.replicated(&[Path::new("/u01/oradata")]);
        rig.call("check-sql").must_fail().saying("ORA-01034");
        let said = rig.call("start").must().saying("the database is open").saying("change the Y");
        said.saying("/u09/other, which is not replicated").silent_about("/u01/oradata/SHOP,").saying("commit_wait").saying("NOWAIT");
        assert!(!home.join("dbs/lkSHOP").exists());
        rig.must_run("ora_pmon_SHOP");
        rig.call("check-sql").must();
        rig.call("start").must().saying("open already");
        fs::write(rig.state().join("mode"), "READ ONLY\n").unwrap();
        rig.call("check-sql").must_fail().saying("not READ WRITE");
        fs::write(rig.state().join("hangs"), "").unwrap();
        rig.set("CHECK_SECONDS", "1");
        rig.call("check-sql").must_fail().saying("did not answer within 1 s");
        rig.set("CHECK_SECONDS", "20");
        rig.call("stop").must();
        rig.must_not_run("ora_pmon_SHOP");
        rig.call("stop").must().saying("does not run");
        rig.call("start").must();
        rig.force().must().saying("aborting");
        rig.must_not_run("ora_pmon_SHOP");
        fs::write(rig.state().join("broken"), "").unwrap();
        rig.call("start").must_fail().saying("ORA-01157");
    });
}

/// sqlcmd: one database is recovering at the first two looks.
const SQLCMD: &str = r#"
[ "$SQLCMDUSER" = watcher ] && [ "$SQLCMDPASSWORD" = secret ] || { echo "Login failed for user '$SQLCMDUSER'."; exit 1; }
for text; do :; done
pid=$(cat "$STAND_IN/server" 2> /dev/null)
[ -n "$pid" ] && kill -0 "$pid" 2> /dev/null || { echo 'TCP Provider: Error code 0x2749'; exit 1; }
case $text in
    *state_desc*) echo >> "$STAND_IN/looked"; [ "$(wc -l < "$STAND_IN/looked")" -gt 2 ] || echo 'shop RECOVERING' ;;
    *master_files*) printf '/var/opt/mssql/data/master.mdf\n/srv/far/shop.ldf\n' ;;
    *delayed_durability*) echo shop ;;
    *page_verify*) ;;
    *) echo 1 ;;
esac
"#;

#[test]
fn sqlserver() {
    story("module-sqlserver", "sqlserver", |mut rig| {
        let (server, login, data) = (rig.host.dir.join("sqlservr"), rig.host.dir.join("login"), rig.host.dir.join("mssql"));
        rig.stand_in("sqlcmd", SQLCMD);
        fs::create_dir_all(data.join("data")).unwrap();
        rig.program(&server, "echo $$ > \"$STAND_IN/server\"\nexec sleep 600\n");
        rig.set("MSSQL_SERVER", word(&server));
        rig.set("MSSQL_USER", "nobody");
        rig.set("MSSQL_LOGIN", word(&login));
        rig.set("MSSQL_DATA", word(&data));
        rig.replicated(&[&data, Path::new("/var/opt/mssql")]);
        rig.call("start").must_fail().saying("cannot read").saying("PASSWORD=word");
        rig.force().must();
        fs::write(&login, "LOGIN=watcher\nPASSWORD=secret\n").unwrap();
        rig.call("check-sql").must_fail();
        rig.set("PROGRESS", "0");
        let said = rig.call("start").must().saying("SQL Server is not ready yet after").saying("shop RECOVERING");
        let said = said.saying("SQL Server is ready").saying("/srv/far, which is not replicated");
        said.saying("DANGEROUS SETTING delayed durability of shop = FORCED");
        rig.call("check-sql").must();
        assert!(!rig.calls().contains("secret"), "the password is on a command line");
        rig.call("stop").must();
        rig.must_not_run("sleep");
        rig.call("start").must();
        rig.force().must();
        rig.must_not_run("sleep");
    });
}

/// k3s and its kubectl; ready at the second look.
const K3S: &str = r#"
case "$1 $2" in
    "server "*) echo $$ > "$STAND_IN/server"; exec sleep 600 ;;
    "kubectl get")
        pid=$(cat "$STAND_IN/server" 2> /dev/null)
        [ -n "$pid" ] && kill -0 "$pid" 2> /dev/null || { echo 'The connection to the server was refused' >&2; exit 1; }
        case $* in
            *--raw*) if [ ! -e "$STAND_IN/looked" ]; then touch "$STAND_IN/looked"; echo '[-]etcd failed'; exit 1; fi; echo ok ;;
            *) cat "$STAND_IN/node" ;;
        esac
        ;;
esac
"#;

#[test]
fn k3s() {
    story("module-k3s", "k3s", |mut rig| {
        rig.stand_in("k3s", K3S);
        rig.stand_in("k3s-killall.sh", "");
        fs::write(rig.state().join("node"), "True").unwrap();
        let data = rig.host.dir.join("k3s");
        fs::create_dir_all(data.join("server/db")).unwrap();
        fs::write(data.join("server/db/state.db-shm"), "").unwrap();
        rig.set("K3S_DATA", word(&data));
        rig.set("K3S_NODE", "one");
        rig.replicated(&[&data.join("server")]);
        rig.call("check-api").must_fail().saying("refused");
        rig.call("start").must().saying("k3s is ready").silent_about("WARNING");
        assert!(!data.join("server/db/state.db-shm").exists());
        assert!(rig.calls().contains("k3s kubectl uncordon one\n"));
        rig.call("check-api").must();
        fs::write(rig.state().join("node"), "False").unwrap();
        rig.call("check-api").must_fail().saying("node one is not Ready");
        rig.call("stop").must();
        rig.must_not_run("sleep");
        let calls = rig.calls();
        let drained = calls.find("kubectl drain one").expect("drained");
        assert!(drained < calls.find("k3s-killall.sh").expect("containers ended"), "{calls}");
        fs::write(rig.state().join("node"), "True").unwrap();
        fs::create_dir_all(data.join("server/db/etcd")).unwrap();
        rig.call("start").must().saying("embedded etcd");
        rig.calls();
        rig.force().must();
        let calls = rig.calls();
        assert!(!calls.contains("drain") && calls.contains("k3s-killall.sh"), "{calls}");
        rig.must_not_run("sleep");
    });
}

/// virsh: a guest is a file with its state; it hears the second press of the power button.
const VIRSH: &str = r#"
shift
state=$STAND_IN/guest
case $1 in
    define) [ -e "$state" ] || echo 'shut off' > "$state" ;;
    domstate) [ -e "$state" ] || exit 1; cat "$state"; echo ;;
    start) echo running > "$state" ;;
    shutdown) if [ -e "$STAND_IN/pressed" ]; then echo 'shut off' > "$state"; else touch "$STAND_IN/pressed"; fi ;;
    destroy) echo 'shut off' > "$state" ;;
    domblklist) printf 'file disk vda %s/disk.qcow2\nfile cdrom sda -\nblock disk vdb /dev/sdz\n' "$IMAGES" ;;
    dumpxml) cat "$IMAGES/domain.xml" ;;
    qemu-agent-command) [ -e "$STAND_IN/agent" ] ;;
esac
"#;

#[test]
fn a_libvirt_guest() {
    story("module-kvm-libvirt", "kvm", |mut rig| {
        let images = rig.host.dir.join("images");
        fs::create_dir(&images).unwrap();
        let xml = "<domain><os><nvram template='x'>/var/lib/libvirt/qemu/nvram/win.fd</nvram></os><driver cache='unsafe'/></domain>\n";
        fs::write(images.join("domain.xml"), xml).unwrap();
        rig.stand_in("virsh", VIRSH);
        rig.set("IMAGES", word(&images));
        rig.set("KVM_GUEST", "win");
        rig.set("KVM_XML", word(&images.join("domain.xml")));
        rig.set("KVM_AGENT", "yes");
        fs::write(rig.state().join("agent"), "").unwrap();
        rig.replicated(&[&images]);
        rig.call("check-guest").must_fail().saying("guest win is");
        let said = rig.call("start").must().saying("is ready").saying("DANGEROUS SETTING cache of a disk of win = unsafe");
        said.saying("/var/lib/libvirt/qemu/nvram, which is not replicated").saying("disk /dev/sdz of win is a block");
        let calls = rig.calls();
        for asked in ["autostart --disable win", "managedsave-remove win", "start win"] {
            assert!(calls.contains(asked), "{asked}: {calls}");
        }
        rig.call("check-guest").must();
        fs::remove_file(rig.state().join("agent")).unwrap();
        rig.call("check-guest").must_fail().saying("its agent did not answer");
        fs::write(rig.state().join("guest"), "paused\n").unwrap();
        rig.call("check-guest").must_fail().saying("guest win is paused");
        fs::write(rig.state().join("guest"), "running\n").unwrap();
        rig.call("stop").must().saying("is off now");
        assert!(rig.calls().matches("shutdown win").count() >= 2, "the button is pressed again");
        fs::write(rig.state().join("agent"), "").unwrap();
        rig.call("start").must();
        rig.force().must();
        assert!(rig.calls().contains("destroy win"));
    });
}

/// `systemd-run`, and what `systemctl show` says of the unit it makes.
const SYSTEMD_RUN: &str = r#"
while :; do
    case $1 in
        --unit=*) unit=${1#--unit=} ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
mkdir -p "$STAND_IN/pids"
setsid "$@" < /dev/null > /dev/null 2>&1 &
echo $! > "$STAND_IN/pids/$unit"
"#;

#[test]
fn where_systemd_runs_a_command_gets_a_unit_of_its_own() {
    story("module-systemd-run", "mirror", |mut rig| {
        boot_systemd(&rig, &[]);
        rig.stand_in("systemd-run", SYSTEMD_RUN);
        rig.set("APP_COMMAND", "sleep 600");
        rig.call("start").must();
        let calls = rig.calls();
        assert!(calls.contains("--unit=understudy-app-tried-application.service --uid=root --property=KillMode=mixed"), "{calls}");
        rig.call("check-running").must();
        rig.call("stop").must();
        rig.must_not_run("sleep");
        rig.call("start").must();
        rig.force().must();
        rig.must_not_run("sleep");
    });
}
