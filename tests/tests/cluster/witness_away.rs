//! The witness is away, which nobody notices; then the secondary is gone: the primary goes on by the right that both had
//! agreed on meanwhile.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

#[test]
fn then_the_secondary_gone() {
    scenario("c-witness", LIMIT, |lab| {
        let mut site = Site::in_sync(lab, Setup { witness: true, ..Setup::default() });
        let clients = site.clients("c-witness");
        clients.wait_by("a", 200, WORK);
        site.kill_witness();
        let away = |shown: &serde_json::Value| shown["can_fail_over"]["reason_code"] == "quorum_away";
        site.nodes[0].wait("knowing that the witness is away", WORK, away);
        clients.wait_by("a", 100, WORK);
        site.power_off(1);
        site.nodes[0].wait_phase("Alone", WORK);
        clients.wait_by("a", 200, WORK);
        site.start_witness();
        site.power_on(1);
        site.wait_roles(0);
        site.judge(0, clients, None);
    });
}
