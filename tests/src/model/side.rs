//! One directory and the processes of several users that act on it.

use super::op::{Op, Reply};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, as `setpriv` takes them.
    pub groups: &'static str,
}

/// Root, a member of group 2000, and a stranger.
pub const USERS: [User; 3] = [
    User { uid: 0, gid: 0, groups: "0" },
    User { uid: 1001, gid: 1001, groups: "1001,2000" },
    User { uid: 1002, gid: 1002, groups: "1002" },
];

/// Makes the command that runs a program where the directory can be seen.
pub type Launch<'a> = &'a dyn Fn(&Path) -> Command;

/// A directory under test.
pub struct Side {
    actors: Vec<Actor>,
}

struct Actor {
    child: Child,
    ops: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Side {
    /// Starts a process of each user in `dir`, which exists. `hand` must be readable by all users.
    pub fn start(launch: Launch<'_>, hand: &Path, dir: &Path) -> Side {
        let dir = dir.to_str().expect("the harness makes plain names").to_owned();
        let start = |user: &User| {
            let mut command = launch(Path::new("setpriv"));
            command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
            command.args(["--groups", user.groups, "--"]).arg(hand).arg("act");
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start an actor by setpriv");
            let ops = child.stdin.take();
            let replies = BufReader::new(child.stdout.take().expect("stdout is piped"));
            let mut actor = Actor { child, ops, replies };
            let entered = actor.run(&Op::Enter { dir: dir.clone() });
            assert!(entered.result.is_ok(), "user {} cannot enter {dir}: {entered:?}", user.uid);
            actor
        };
        Side { actors: USERS.iter().map(start).collect() }
    }

    /// Lets one user do one thing.
    pub fn run(&mut self, user: usize, op: &Op) -> Reply {
        self.actors[user].run(op)
    }
}

impl Actor {
    fn run(&mut self, op: &Op) -> Reply {
        let line = serde_json::to_string(op).expect("an operation is JSON");
        let ops = self.ops.as_mut().expect("open until dropped");
        writeln!(ops, "{line}").unwrap_or_else(|e| panic!("the actor is gone before {op:?}: {e}"));
        let mut reply = String::new();
        self.replies.read_line(&mut reply).expect("read the actor's reply");
        serde_json::from_str(&reply).unwrap_or_else(|e| panic!("the actor died of {op:?}: {e}"))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.ops.take());
        let _ = self.child.wait();
    }
}
