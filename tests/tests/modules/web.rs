//! nginx and Apache, the real servers.

use crate::LIMIT;
use crate::rig::{Rig, word};
use std::fs;
use tests::hosts::Host;
use tests::lab::scenario;

fn nginx(host: &Host) -> String {
    let dir = host.dir.display();
    format!(
        "pid {dir}/nginx.pid;\nerror_log {dir}/nginx-error.log;\nworker_processes 2;\nevents {{ }}\nhttp {{\n access_log off;\n\
         client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
         server {{ listen 127.0.0.1:8080; location / {{ return 200 'hello'; }} location /broken {{ return 503; }} }}\n}}\n"
    )
}

fn apache(host: &Host) -> String {
    let dir = host.dir.display();
    let modules = ["mpm_event", "authz_core", "dir", "alias"];
    let modules: String = modules.iter().map(|m| format!("LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n")).collect();
    fs::write(host.dir.join("index.html"), "hello").unwrap();
    format!(
        "{modules}ServerRoot {dir}\nServerName test\nPidFile {dir}/apache.pid\nMutex file:{dir} default\nErrorLog {dir}/apache-error.log\n\
         User www-data\nGroup www-data\nListen 127.0.0.1:8080\nDocumentRoot {dir}\nRedirect 503 /broken\n\
         <Directory {dir}>\nRequire all granted\n</Directory>\n"
    )
}

fn story(template: &'static str, process: &'static str, configuration: fn(&Host) -> String) {
    scenario(&format!("module-{template}"), LIMIT, move |lab| {
        let host = lab.host("a");
        host.run(["chmod", "755", word(&host.dir)]);
        let file = host.dir.join("server.conf");
        fs::write(&file, configuration(&host)).unwrap();
        let mut rig = Rig::new(&host, template);
        rig.set("WEB_CONFIG", word(&file));
        rig.set("CHECK_URL", "http://127.0.0.1:8080/");
        whole_life(&mut rig, process);
        rig.set("CHECK_SECONDS", "1");
        rig.call("start").must();
        rig.signal("STOP", &rig.processes(process));
        rig.call("check-http").must_fail().saying("within 1 s");
        rig.force().must();
        rig.must_not_run(process);
        fs::write(&file, "nonsense\n").unwrap();
        rig.call("start").must_fail().saying("does not accept its configuration");
        rig.must_not_run(process);
    });
}

fn whole_life(rig: &mut Rig<'_>, process: &str) {
    rig.call("check-http").must_fail();
    rig.call("start").must().saying("is ready");
    rig.call("check-http").must();
    rig.call("start").must().saying("running already");
    rig.set("CHECK_URL", "http://127.0.0.1:8080/broken");
    rig.call("check-http").must_fail().saying("503");
    rig.set("CHECK_URL", "http://127.0.0.1:8080/");
    rig.call("stop").must();
    rig.must_not_run(process);
    rig.call("stop").must().saying("does not run");
    // Workers outlive a master that was killed, and keep its port.
    rig.call("start").must();
    let master = *rig.processes(process).iter().min().unwrap();
    rig.signal("KILL", &[master]);
    rig.call("start").must();
    rig.call("check-http").must();
    rig.force().must();
    rig.must_not_run(process);
}

#[test]
fn nginx_lives_and_dies() {
    story("nginx", "nginx", nginx);
}

#[test]
fn apache_lives_and_dies() {
    story("apache", "apache2", apache);
}
