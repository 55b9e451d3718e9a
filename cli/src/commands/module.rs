//! `understudy module`: modules made from templates.

use crate::args::{CreateArgs, Global, ModuleCommand, ModuleCommandArgs, TemplatesArgs};
use crate::output;
use cluster::config::{self, Problem};
use cluster::templates::{self, Rendered, Template, Values};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub fn run(args: &ModuleCommandArgs, global: &Global) -> Outcome {
    match &args.command {
        ModuleCommand::Templates(args) => list(args, global),
        ModuleCommand::Create(args) => create(args, global),
    }
}

fn usage(what: &str, why: &dyn std::fmt::Display, cure: &str) -> Failure {
    Failure::new(FailureKind::Usage, what, why.to_string(), cure)
}

fn find(name: &str) -> Result<&'static Template, Failure> {
    templates::find(name).map_err(|why| usage("cannot use that template", &why, "see `understudy module templates`"))
}

fn list(args: &TemplatesArgs, global: &Global) -> Outcome {
    let one = args.name.as_deref().map(find).transpose()?;
    let all: Vec<&Template> = one.map_or_else(|| templates::templates().iter().collect(), |one| vec![one]);
    if global.json {
        let templates: Vec<Value> = all.iter().map(|template| describe(template)).collect();
        output::line(&json!({ "schema": output::SCHEMA, "templates": templates }).to_string());
    } else if one.is_some() {
        all.iter().for_each(|template| output::text(&keys(template)));
    } else {
        let width = all.iter().map(|template| template.name.len()).max().unwrap_or(0);
        for template in all {
            output::line(&format!("{:<width$}  {:<7}  {}{}", template.name, template.kind, template.summary, proof(template)));
        }
        output::line("\nthe keys of one: understudy module templates NAME");
    }
    Ok(())
}

fn proof(template: &Template) -> String {
    if template.proven { format!(" (tested with {})", template.proven_on) } else { " (not tested with the application)".into() }
}

fn describe(template: &Template) -> Value {
    let keys: Vec<Value> = template
        .keys
        .iter()
        .map(|key| json!({ "name": key.name, "meaning": key.meaning, "default": key.default, "required": key.required, "example": key.example }))
        .collect();
    json!({ "name": template.name, "kind": template.kind, "summary": template.summary, "proven": template.proven,
            "proven_on": template.proven_on, "keys": keys })
}

fn keys(template: &Template) -> String {
    let mut text = format!("{}  {}\n  {}{}\n", template.name, template.kind, template.summary, proof(template));
    for key in &template.keys {
        let need = match (&key.default, key.required) {
            (_, true) => "needed".to_owned(),
            (Some(default), _) => format!("default {default}"),
            (None, _) => "may be left out".to_owned(),
        };
        text += &format!("  --set {}={}\n      {} ({need})\n", key.name, key.example, key.meaning);
    }
    text
}

fn create(args: &CreateArgs, global: &Global) -> Outcome {
    if !config::is_name(&args.name) {
        let why = format!("`{}` is no name of a module", args.name);
        return Err(usage("cannot make the module", &why, "use letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`"));
    }
    let mut values = Values::new();
    for (key, value) in &args.set {
        if values.insert(key.clone(), value.clone()).is_some() {
            return Err(usage("cannot make the module", &format!("{key} is set twice"), "set it once"));
        }
    }
    let cure = format!("see `understudy module templates {}`", args.from);
    let files = templates::render(find(&args.from)?, &values).map_err(|why| usage("cannot make the module", &why, &cure))?;
    if args.dry_run {
        tell_files(&files, global);
        return Ok(());
    }
    let folder = global.config.join("modules").join(&args.name);
    write(&folder, &files)?;
    let checked = problems(&global.config, &args.name);
    tell(&folder, &files, checked.as_deref(), args, global);
    match checked.unwrap_or_default().first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("{} was made, and has to be corrected", folder.display());
            Err(usage(&what, first, "correct it, then run `understudy config check`"))
        }
    }
}

/// What is wrong with the new module; none: there is no cluster yet that it could be judged by.
fn problems(directory: &Path, name: &str) -> Option<Vec<Problem>> {
    if !directory.join(config::load::CLUSTER_FILE).exists() {
        return None;
    }
    Some(match config::load_cluster(directory) {
        Ok(cluster) => config::load_module(directory, name, &cluster).err().unwrap_or_default(),
        Err(problems) => problems,
    })
}

/// All of it or nothing; what is there stays.
fn write(folder: &Path, files: &[Rendered]) -> Outcome {
    let cannot = |why: io::Error| {
        let (cure, why) = match why.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                ("take another name, or move it away first".to_owned(), "it is there already".to_owned())
            }
            _ => ("see that the configuration directory can be written, or name it with --config".to_owned(), why.to_string()),
        };
        Failure::new(FailureKind::Failed, format!("cannot make {}", folder.display()), why, cure)
    };
    if folder.symlink_metadata().is_ok() {
        return Err(cannot(io::ErrorKind::AlreadyExists.into()));
    }
    let modules = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(modules).map_err(cannot)?;
    // Beside the modules: a name that begins with a dot is none of a module.
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(modules).map_err(cannot)?;
    for file in files {
        let path = new.path().join(&file.path);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(cannot)?;
        }
        fs::write(&path, &file.bytes).map_err(cannot)?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(cannot)?;
    }
    fs::set_permissions(new.path(), Permissions::from_mode(0o755)).map_err(cannot)?;
    fs::rename(new.path(), folder).map_err(cannot)?;
    // It has its name now, and nothing is left to be removed.
    drop(new.keep());
    Ok(())
}

fn tell_files(files: &[Rendered], global: &Global) {
    if global.json {
        let all: Vec<Value> = files
            .iter()
            .map(|file| json!({ "path": file.path, "executable": file.executable, "text": String::from_utf8_lossy(&file.bytes) }))
            .collect();
        return output::line(&json!({ "schema": output::SCHEMA, "event": "dry_run", "files": all }).to_string());
    }
    for file in files {
        let mark = if file.executable { " (executable)" } else { "" };
        output::line(&format!("==> {}{mark} <==\n{}", file.path, String::from_utf8_lossy(&file.bytes)));
    }
}

fn tell(folder: &Path, files: &[Rendered], checked: Option<&[Problem]>, args: &CreateArgs, global: &Global) {
    if global.json {
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let value = json!({ "schema": output::SCHEMA, "module": args.name, "folder": folder.display().to_string(), "files": paths,
                            "checked": checked.is_some(), "problems": checked.unwrap_or_default() });
        return output::line(&value.to_string());
    }
    output::line(&format!("{} made from {}", folder.display(), args.from));
    match checked {
        None => output::line("not checked: there is no cluster.toml yet; make one with `understudy init`"),
        Some([]) => output::line(&format!(
            "next: read {}/README.md if there is one, `understudy config push`, `understudy reload`, `understudy start {}`",
            folder.display(),
            args.name
        )),
        Some(problems) => problems.iter().for_each(|problem| output::line(&output::one_line(&problem.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_written_whole_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("modules/db");
        let file = |path: &str, executable| Rendered { path: path.into(), bytes: b"x".to_vec(), executable };
        write(&folder, &[file("module.toml", false), file("start", true)]).expect("written");
        let mode = |name: &str| fs::metadata(folder.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("module.toml"), mode("start")), (0o644, 0o755));
        let failure = write(&folder, &[file("module.toml", false)]).expect_err("it is there");
        assert!(failure.to_string().contains("it is there already"), "{failure}");
        assert_eq!(fs::read_dir(dir.path().join("modules")).expect("there").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn every_template_says_what_it_takes() {
        for template in templates::templates() {
            let text = keys(template);
            assert!(template.keys.iter().all(|key| text.contains(&format!("--set {}=", key.name))), "{text}");
        }
    }
}
