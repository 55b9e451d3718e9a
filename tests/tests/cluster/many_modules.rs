//! Many modules write, and the host of all of them is gone at once: all fail over, and none loses anything.

use crate::WORK;
use std::time::Duration;
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

const MODULES: usize = 32;
const PATIENCE: Duration = Duration::from_millis(400);

#[test]
fn all_fail_over_together() {
    scenario("c-many", Duration::from_secs(400), |lab| {
        let mut site = Site::prepare(lab, Setup { modules: MODULES, witness: true, ..Setup::default() });
        site.many_first_start(WORK * 4);
        let clients: Vec<_> = (0..MODULES).map(|number| site.clients_of(number, PATIENCE)).collect();
        clients.iter().for_each(|clients| clients.wait_by("a", 20, WORK));
        site.power_off(0);
        clients.iter().for_each(|clients| clients.wait_by("b", 20, WORK * 2));
        site.power_on(0);
        site.wait_all_on(1);
        for (number, clients) in clients.into_iter().enumerate() {
            let notes = clients.stop();
            site.must_hold_of(1, number, &notes);
        }
    });
}
