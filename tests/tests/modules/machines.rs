//! A virtual machine: the real QEMU with a guest of 512 bytes.

use crate::LIMIT;
use crate::rig::{Rig, word};
use std::fs;
use std::path::Path;
use tests::engine::wait_for;
use tests::lab::scenario;

/// A boot sector that adds one to the first byte of the disk's second sector through the BIOS, then waits for the power
/// button (bit 8 of the ACPI event register at 0x600) and switches the machine off (0x2000 into the register at 0x604).
const GUEST: &[u8] = &[
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, // ax = ds = es = 0
    0xb8, 0x01, 0x02, 0xbb, 0x00, 0x7e, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13, // read sector 2 to 0x7e00
    0xfe, 0x06, 0x00, 0x7e, // add one
    0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7e, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13, // write it
    0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef, // let the power button set its bit
    0xfb, 0xf4, // until the next interrupt
    0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf5, // again, unless the bit is set
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd, // off
];

fn disk(path: &Path) {
    let mut bytes = vec![0; 1 << 20];
    bytes[..GUEST.len()].copy_from_slice(GUEST);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path, bytes).unwrap();
}

/// How often the guest has booted, as its disk says.
fn boots(disk: &Path) -> u8 {
    fs::read(disk).unwrap()[512]
}

fn wait_boots(disk: &Path, number: u8) {
    let seen = wait_for(crate::PATIENCE, || (boots(disk) == number).then_some(()));
    assert!(seen.is_some(), "the guest has booted {} times, not {number}", boots(disk));
}

fn arguments(disk: &Path, more: &str) -> String {
    let drive = format!("file={},format=raw,if=ide,cache=writeback{more}", disk.display());
    format!("# one argument a line\n-machine\npc,accel=tcg\n-m\n16\n-display\nnone\n-nodefaults\n\n-drive\n{drive}\n")
}

#[test]
fn a_guest_lives_and_dies() {
    scenario("module-kvm", LIMIT, |lab| {
        let host = lab.host("a");
        let images = host.dir.join("images");
        fs::create_dir(&images).unwrap();
        let (image, file) = (images.join("disk.raw"), images.join("qemu.arguments"));
        disk(&image);
        fs::write(&file, arguments(&image, "")).unwrap();
        let mut rig = Rig::new(&host, "kvm");
        rig.set("KVM_GUEST", "tiny");
        rig.set("KVM_ARGUMENTS", word(&file));
        rig.set("CHECK_SECONDS", "20");
        rig.replicated(&[&images]);
        rig.call("check-guest").must_fail().saying("guest tiny is off");
        rig.call("start").must().saying("is ready").silent_about("WARNING");
        wait_boots(&image, 1);
        rig.call("check-guest").must();
        rig.call("start").must().saying("running already");
        // The power button: the guest switches itself off.
        rig.call("stop").must().saying("guest tiny is off now");
        rig.must_not_run("qemu-system-x86");
        rig.call("start").must();
        wait_boots(&image, 2);
        rig.set("CHECK_SECONDS", "1");
        rig.signal("STOP", &rig.processes("qemu-system-x86"));
        rig.call("check-guest").must_fail().saying("silent");
        rig.force().must();
        rig.must_not_run("qemu-system-x86");
        rig.set("CHECK_SECONDS", "20");
        fs::write(&file, arguments(&image, "").replace("cache=writeback", "cache=unsafe")).unwrap();
        rig.replicated(&[]);
        rig.call("start").must().saying("DANGEROUS SETTING").saying("which is not replicated");
        wait_boots(&image, 3);
        rig.force().must();
        rig.set("STRICT", "yes");
        rig.call("start").must_fail();
        rig.must_not_run("qemu-system-x86");
    });
}
