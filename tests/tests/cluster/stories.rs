//! What several scenarios have in common.

use crate::{LIMIT, WORK};
use std::sync::Arc;
use tests::cluster::{Clients, Setup, Site, Watch};
use tests::lab::{Lab, scenario};

/// Under load something happens to `a`, whose host lives: `b` takes over.
pub fn moves_to_the_other(name: &'static str, setup: Setup, happens: impl FnOnce(&Arc<Lab>, &Site) + Send + 'static) {
    scenario(name, LIMIT, move |lab| {
        let site = Site::in_sync(lab, setup);
        let (clients, watch) = (site.clients(name), site.watch());
        clients.wait_by("a", 300, WORK);
        happens(lab, &site);
        clients.wait_by("b", 300, WORK);
        site.wait_roles(1);
        site.judge(1, clients, Some(watch));
    });
}

/// The host of `a`, which leads, is gone at once, under load: `b` takes over. `a` boots and follows; `alone` looks at
/// `b` before that.
pub fn host_goes_and_returns<T>(site: &mut Site, clients: &Clients, watch: &Watch, alone: impl FnOnce(&Site) -> T) -> T {
    clients.wait_by("a", 300, WORK);
    watch.excuse(0);
    site.power_off(0);
    clients.wait_by("b", 300, WORK);
    let seen = alone(site);
    site.boot(0);
    watch.back(0, site.nodes[0].host.first_process());
    site.nodes[0].start_daemon();
    site.wait_roles(1);
    seen
}
