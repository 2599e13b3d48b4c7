//! What the daemons tell a service manager such as systemd, by the protocol of sd_notify(3).

use netns_tests::{Lab, Layout, Notifications, SOON, eventually, never};
use nix::sys::signal::Signal;
use rstest::rstest;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
enum Device {
    Relay,
    Control,
}

/// With a service manager for one of the daemons, that wants a sign of life every 400 ms.
fn supervised(device: Device) -> Option<(Lab, Notifications)> {
    let mut lab = Lab::build(Layout::default())?;
    let path = lab.folder().join("notify");
    let notifications = Notifications::listen(&path);
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("a path")), ("WATCHDOG_USEC", "400000")];
    match device {
        Device::Relay => lab.relay.start_with(&environment),
        Device::Control => lab.control.start_with(&environment),
    }
    Some((lab, notifications))
}

fn supervised_process(lab: &mut Lab, device: Device) -> &mut netns_tests::Process {
    match device {
        Device::Relay => lab.relay.process(),
        Device::Control => lab.control.process(),
    }
}

#[rstest]
#[case::relay(
    Device::Relay,
    "1 of 1 ports up, 0 of 0 controls in contact",
    "1 of 1 ports up, 1 of 1 controls in contact",
    "1 of 1 ports up, 0 of 1 controls in contact"
)]
#[case::control(
    Device::Control,
    "0 of 1 symbols up, 0 of 0 relays in contact",
    "1 of 1 symbols up, 1 of 1 relays in contact",
    "0 of 1 symbols up, 0 of 1 relays in contact"
)]
fn it_is_told_how_things_are(
    #[case] device: Device,
    #[case] alone: &str,
    #[case] both: &str,
    #[case] left: &str,
) {
    let Some((mut lab, mut notifications)) = supervised(device) else { return };
    notifications.await_text("READY=1");
    notifications.await_text(&format!("STATUS={alone}"));
    match device {
        Device::Relay => lab.control.start(),
        Device::Control => lab.relay.start(),
    }
    lab.await_symbol();
    notifications.await_text(&format!("STATUS={both}"));
    // Who does not take leave is missed.
    match device {
        Device::Relay => lab.control.kill_9(),
        Device::Control => lab.relay.kill_9(),
    }
    notifications.await_text(&format!("STATUS={left}"));
    assert!(!notifications.heard().iter().any(|heard| heard == "STOPPING=1"));
    match device {
        Device::Relay => lab.relay.terminate(),
        Device::Control => lab.control.terminate(),
    }
    notifications.await_text("STOPPING=1");
}

#[rstest]
#[case::relay(Device::Relay)]
#[case::control(Device::Control)]
fn signs_of_life_come_for_as_long_as_the_loop_turns(#[case] device: Device) {
    let Some((mut lab, mut notifications)) = supervised(device) else { return };
    let more = |notifications: &mut Notifications, count: usize| {
        let before = notifications.signs_of_life();
        eventually(SOON, "signs of life", || match notifications.signs_of_life() - before {
            signs if signs >= count => Ok(()),
            signs => Err(format!("{signs}")),
        });
    };
    more(&mut notifications, 5);
    supervised_process(&mut lab, device).signal(Signal::SIGSTOP);
    // What was on its way.
    std::thread::sleep(Duration::from_millis(50));
    let before = notifications.signs_of_life();
    never(Duration::from_secs(1), "no sign of life of a daemon that stands still", || {
        match notifications.signs_of_life() {
            signs if signs == before => Ok(()),
            signs => Err(format!("{signs}, {before} before")),
        }
    });
    supervised_process(&mut lab, device).signal(Signal::SIGCONT);
    more(&mut notifications, 3);
}

#[test]
fn without_one_nothing_is_told_and_all_works() {
    let Some(lab) = Lab::up() else { return };
    lab.await_symbol();
}
