//! Both hosts lose power under load and return, in either order: the last primary leads, and what was acknowledged is there.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

fn both_return(name: &'static str, order: [usize; 2]) {
    scenario(name, LIMIT, move |lab| {
        let mut site = Site::in_sync(lab, Setup::default());
        let clients = site.clients(name);
        clients.wait_by("a", 300, WORK);
        site.plug(1, false);
        site.power_off(0);
        site.power_off(1);
        order.iter().for_each(|&which| site.power_on(which));
        site.wait_roles(0);
        clients.wait_by("a", 200, WORK);
        site.judge(0, clients, None);
    });
}

#[test]
fn primary_first() {
    both_return("c-power-ab", [0, 1]);
}

#[test]
fn secondary_first() {
    both_return("c-power-ba", [1, 0]);
}
