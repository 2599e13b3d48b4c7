//! What the daemons tell a service manager such as systemd, by the protocol of sd_notify(3).

use frames::discovery::Role;
use netns_tests::{Lab, Layout, Notifications, SOON, eventually, never};
use nix::sys::signal::Signal;
use rstest::rstest;
use std::time::Duration;

/// With a service manager for one of the daemons, that wants a sign of life every 400 ms.
fn supervised(device: Role) -> Option<(Lab, Notifications)> {
    let mut lab = Lab::build(Layout::default())?;
    let path = lab.folder().join("notify");
    let notifications = Notifications::listen(&path);
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("a path")), ("WATCHDOG_USEC", "400000")];
    lab.daemon(device).start_with(&environment);
    Some((lab, notifications))
}

#[rstest]
#[case::relay(
    Role::Relay,
    "1 of 1 ports up, 0 of 0 controls in contact",
    "1 of 1 ports up, 1 of 1 controls in contact",
    "1 of 1 ports up, 0 of 1 controls in contact"
)]
#[case::control(
    Role::Control,
    "0 of 1 symbols up, 0 of 0 relays in contact",
    "1 of 1 symbols up, 1 of 1 relays in contact",
    "0 of 1 symbols up, 0 of 1 relays in contact"
)]
fn it_is_told_how_things_are(
    #[case] device: Role,
    #[case] alone: &str,
    #[case] both: &str,
    #[case] left: &str,
) {
    let Some((mut lab, mut notifications)) = supervised(device) else { return };
    notifications.await_text("READY=1");
    notifications.await_text(&format!("STATUS={alone}"));
    match device {
        Role::Relay => lab.control.start(),
        Role::Control => lab.relay.start(),
    }
    lab.await_symbol();
    notifications.await_text(&format!("STATUS={both}"));
    // Who does not take leave is missed.
    match device {
        Role::Relay => lab.control.kill_9(),
        Role::Control => lab.relay.kill_9(),
    }
    notifications.await_text(&format!("STATUS={left}"));
    assert!(!notifications.heard().iter().any(|heard| heard == "STOPPING=1"));
    match device {
        Role::Relay => lab.relay.terminate(),
        Role::Control => lab.control.terminate(),
    }
    notifications.await_text("STOPPING=1");
}

#[rstest]
#[case::relay(Role::Relay)]
#[case::control(Role::Control)]
fn signs_of_life_come_for_as_long_as_the_loop_turns(#[case] device: Role) {
    let Some((mut lab, mut notifications)) = supervised(device) else { return };
    let more = |notifications: &mut Notifications, count: usize| {
        let before = notifications.signs_of_life();
        eventually(SOON, "signs of life", || match notifications.signs_of_life() - before {
            signs if signs >= count => Ok(()),
            signs => Err(format!("{signs}")),
        });
    };
    more(&mut notifications, 5);
    lab.daemon(device).process().signal(Signal::SIGSTOP);
    // What was on its way.
    std::thread::sleep(Duration::from_millis(50));
    let before = notifications.signs_of_life();
    never(Duration::from_secs(1), "no sign of life of a daemon that stands still", || {
        match notifications.signs_of_life() {
            signs if signs == before => Ok(()),
            signs => Err(format!("{signs}, {before} before")),
        }
    });
    lab.daemon(device).process().signal(Signal::SIGCONT);
    more(&mut notifications, 3);
}

#[test]
fn without_one_nothing_is_told_and_all_works() {
    let Some(lab) = Lab::up() else { return };
    lab.await_symbol();
}
