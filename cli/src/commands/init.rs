//! `understudy init`: a first configuration, with a comment for everything that may be wanted later.

use crate::args::{Global, InitArgs};
use crate::{engine, output};
use cluster::config::load::{CLUSTER_FILE, load_cluster_file};
use cluster::config::template::cluster_template;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::json;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// What the template names.
const KEY_FILE: &str = "cluster.key";

pub fn run(args: &InitArgs, global: &Global) -> Outcome {
    let names: Vec<&str> = args.node.iter().map(|node| node.name.as_str()).collect();
    let addresses: Vec<_> = args.node.iter().map(|node| node.addresses.clone()).collect();
    let text = cluster_template(&args.name, &names, &addresses);
    if args.dry_run {
        output::text(&text);
        return Ok(());
    }
    let file = global.config.join(CLUSTER_FILE);
    fs::create_dir_all(&global.config).map_err(|why| cannot(&file, &why))?;
    if file.exists() {
        return Err(cannot(&file, &io::ErrorKind::AlreadyExists.into()));
    }
    write(&file, &text, global)?;
    let key = global.config.join(KEY_FILE);
    let made = !key.exists();
    if made {
        engine::keygen(&key)?;
    }
    tell(&file, &key, made, global);
    Ok(())
}

fn cannot(file: &Path, why: &io::Error) -> Failure {
    let (why, cure) = match why.kind() {
        io::ErrorKind::AlreadyExists => ("it is there already".to_owned(), "edit it, or move it away first"),
        _ => (why.to_string(), "see that the directory can be written, or name it with --config"),
    };
    Failure::new(FailureKind::Failed, format!("cannot make {}", file.display()), why, cure)
}

/// Under its name only when it is sound, and never over another one.
fn write(file: &Path, text: &str, global: &Global) -> Outcome {
    let mut new = tempfile::Builder::new()
        .prefix(".cluster-")
        .suffix(".toml")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(&global.config)
        .map_err(|why| cannot(file, &why))?;
    new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(|why| cannot(file, &why))?;
    if let Err(problems) = load_cluster_file(new.path()) {
        let first = problems.first().map(|problem| format!("{}: found {}, expected {}", problem.key, problem.found, problem.expected));
        let cure = "correct --name and --node; nothing was written";
        return Err(Failure::new(FailureKind::Usage, "cannot make a configuration of that", first.unwrap_or_default(), cure));
    }
    new.persist_noclobber(file).map_err(|why| cannot(file, &why.error))?;
    Ok(())
}

fn tell(file: &Path, key: &Path, made: bool, global: &Global) {
    let (file, key) = (file.display().to_string(), key.display().to_string());
    if global.json {
        return output::line(&json!({ "schema": output::SCHEMA, "file": file, "key_file": key, "key_made": made }).to_string());
    }
    output::line(&format!("{file} made"));
    output::line(&if made { format!("{key} made") } else { format!("{key} was there, and is used") });
    output::line(
        "next: copy both to the other nodes over a safe channel, then start the daemon on each: systemctl enable --now understudy",
    );
}
