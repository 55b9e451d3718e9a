//! The modelled application: writes while it runs, and cannot be stopped while a reply is held.

use super::host::AppState;
use super::queue::Happening;
use super::world::World;
use cluster::failover::Event;

impl World {
    pub(super) fn start_app(&mut self, node: usize) {
        let delay = 20 + self.rng.below(60);
        let host = &mut self.hosts[node];
        host.app.run = host.next_run();
        host.app.state = AppState::Starting;
        let run = host.app.run;
        self.queue.push(self.now + delay, Happening::AppStarted { node, run });
    }

    pub(super) fn app_started(&mut self, node: usize, run: u32) {
        let app = &mut self.hosts[node].app;
        if app.run == run && app.state == AppState::Starting {
            app.state = AppState::Running;
            self.tell_of_app(node, Event::AppStarted);
            self.queue.push(self.now + 5, Happening::Write { node, run });
        }
    }

    pub(super) fn stop_app(&mut self, node: usize, kill: bool) {
        let delay = if kill { 5 } else { 10 + self.rng.below(50) };
        let host = &mut self.hosts[node];
        if kill {
            host.app.hangs = false;
        }
        host.app.state = match host.app.state {
            AppState::Down => AppState::Down,
            _ => AppState::Stopping,
        };
        host.app.run = host.next_run();
        let run = host.app.run;
        self.queue.push(self.now + delay, Happening::AppStopped { node, run });
    }

    /// A process that waits for a reply cannot be ended, only an answer or the engine's death ends it.
    pub(super) fn app_stopped(&mut self, node: usize, run: u32) {
        let host = &mut self.hosts[node];
        if host.app.run != run {
            return;
        }
        if host.app.state == AppState::Stopping {
            let blocked = host.engine.as_ref().is_some_and(|engine| engine.blocks());
            if blocked || host.app.hangs {
                return self.queue.push(self.now + 50, Happening::AppStopped { node, run });
            }
        }
        host.app.state = AppState::Down;
        self.tell_of_app(node, Event::AppStopped);
    }

    /// It ends by itself.
    pub(super) fn app_fails(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.app.state == AppState::Running {
            host.app.state = AppState::Down;
            host.app.run = host.next_run();
            self.tell_of_app(node, Event::AppFailed("exit 1".into()));
        }
    }

    fn tell_of_app(&mut self, node: usize, event: Event) {
        let run = self.hosts[node].app.run;
        let event = Box::new(event);
        self.queue.push(self.now + 1, Happening::Told { node, from: super::queue::Proc::App, run, event });
    }
}
