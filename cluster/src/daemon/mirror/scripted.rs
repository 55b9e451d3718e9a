//! Addresses that scripts of the module move: a cloud's route, an elastic address, a name server's entry. Such a script may
//! take many seconds, so a thread of its own calls it, and what the module wants last is all that counts.

use super::input::Input;
use crate::config::{AddressScript, Module, VirtualIp};
use crate::daemon::{modules, node::Node};
use crate::module::environment::{Context, Environment};
use crate::module::process::Plan;
use crossbeam::channel::Sender;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// What a script is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The address leads to this node.
    Take,
    /// This node gives it up; the other one may have taken it already.
    Give,
}

impl Wish {
    fn word(self) -> &'static str {
        match self {
            Wish::Take => "add",
            Wish::Give => "remove",
        }
    }
}

#[derive(Default)]
struct Wanted {
    wish: Option<(Wish, Context)>,
    over: bool,
}

#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    news: Condvar,
}

/// The module's addresses of that kind. Dropping it lets the script that runs come to its end.
pub(super) struct Scripted(Option<Arc<Shared>>);

impl Scripted {
    /// A thread is there only for a module that has such addresses.
    pub(super) fn start(node: &Node, module: &Module, inputs: &Sender<Input>) -> std::io::Result<Scripted> {
        let addresses: Vec<(VirtualIp, AddressScript)> =
            module.virtual_ips.iter().filter_map(|ip| Some((ip.clone(), ip.script.clone()?))).collect();
        if addresses.is_empty() {
            return Ok(Scripted(None));
        }
        let shared = Arc::new(Shared::default());
        let worker = Worker { shared: shared.clone(), addresses, environment: modules::environment(node, module), inputs: inputs.clone() };
        std::thread::Builder::new().name("addresses".to_owned()).spawn(move || worker.run())?;
        Ok(Scripted(Some(shared)))
    }

    /// Asks for it; what was asked before and has not begun is forgotten.
    pub(super) fn wish(&self, wish: Wish, context: Context) {
        if let Some(shared) = &self.0 {
            shared.wanted.lock().wish = Some((wish, context));
            shared.news.notify_one();
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.wanted.lock().over = true;
            shared.news.notify_one();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    addresses: Vec<(VirtualIp, AddressScript)>,
    environment: Environment,
    inputs: Sender<Input>,
}

impl Worker {
    fn run(self) {
        while let Some((wish, context)) = self.next() {
            for (address, script) in &self.addresses {
                if let Err(why) = self.call(wish, &context, address, script) {
                    // The module's thread is gone when the daemon ends.
                    let _ = self.inputs.send(Input::AddressScript(wish, why));
                }
            }
        }
    }

    fn next(&self) -> Option<(Wish, Context)> {
        let mut wanted = self.shared.wanted.lock();
        loop {
            if let Some(wish) = wanted.wish.take() {
                return Some(wish);
            }
            if wanted.over {
                return None;
            }
            self.shared.news.wait(&mut wanted);
        }
    }

    fn call(&self, wish: Wish, context: &Context, address: &VirtualIp, script: &AddressScript) -> Result<(), String> {
        let text = format!("{}/{}", address.address, address.prefix);
        let mut environment = self.environment.values(context, false);
        environment.push(("UNDERSTUDY_VIRTUAL_IP".to_owned(), text.clone()));
        let command = vec![script.file.clone().into_os_string(), wish.word().into(), text.into()];
        let folder = script.file.parent().map(Into::into).unwrap_or_else(|| "/".into());
        let plan = Plan { command, environment, folder };
        plan.must(&format!("{} {}", plan.name(), wish.word()), script.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn worker(script: &str, timeout: Duration) -> (tempfile::TempDir, Worker, crossbeam::channel::Receiver<Input>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("move");
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let address = VirtualIp {
            name: "address".into(),
            address: "192.0.2.7".parse().unwrap(),
            prefix: 32,
            interface: None,
            on_loss: crate::config::LostAddress::Restore,
            reset_connections: true,
            script: Some(AddressScript { file: file.clone(), timeout }),
        };
        let (inputs, told) = crossbeam::channel::bounded(8);
        let environment = Environment { module: "pg".into(), node: "n1".into(), ..Environment::default() };
        let addresses = vec![(address, AddressScript { file, timeout })];
        (folder, Worker { shared: Arc::default(), addresses, environment, inputs }, told)
    }

    #[test]
    fn the_last_wish_counts_and_the_script_is_told_everything() {
        let long = Duration::from_secs(60);
        let (folder, worker, told) =
            worker("#!/bin/sh\necho \"$1 $2 $UNDERSTUDY_VIRTUAL_IP $UNDERSTUDY_NODE $UNDERSTUDY_ACTION\" >> said\n", long);
        let scripted = Scripted(Some(worker.shared.clone()));
        scripted.wish(Wish::Take, Context::new("WAIT", "ALONE", "start"));
        scripted.wish(Wish::Give, Context::new("ALONE", "WAIT", "swap"));
        drop(scripted);
        worker.run();
        assert_eq!(std::fs::read_to_string(folder.path().join("said")).unwrap(), "remove 192.0.2.7/32 192.0.2.7/32 n1 swap\n");
        assert!(told.is_empty());
    }

    #[test]
    fn what_fails_or_hangs_is_told() {
        for (script, limit, words) in
            [("exec false", Duration::from_secs(60), "move add"), ("exec sleep 600", Duration::from_millis(50), "took longer")]
        {
            let (_folder, worker, told) = worker(&format!("#!/bin/sh\n{script}\n"), limit);
            let scripted = Scripted(Some(worker.shared.clone()));
            scripted.wish(Wish::Take, Context::default());
            drop(scripted);
            worker.run();
            match told.try_recv().unwrap() {
                Input::AddressScript(Wish::Take, why) => assert!(why.contains(words), "{why}"),
                _ => panic!("something else is told"),
            }
        }
    }
}
