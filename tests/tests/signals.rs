//! An interrupter in a signal handler. In a file of its own: a handler belongs to the process.

use shm_comm::{Channel, Interrupter, RecvError, Subscriber, SubscriberOptions, Wait};
use std::sync::OnceLock;
use std::time::Duration;

static INTERRUPTER: OnceLock<Interrupter> = OnceLock::new();

extern "C" fn on_signal(_: libc::c_int) {
    if let Some(interrupter) = INTERRUPTER.get() {
        interrupter.interrupt();
    }
}

#[test]
fn a_signal_handler_ends_a_blocked_call() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    // A folder in it that the library makes is private, whatever the umask.
    let channel = Channel::new("signals").root(folder.path().join("root"));
    let options = SubscriberOptions::new().wait(Wait::Sleep);
    let mut subscriber = Subscriber::<u64>::with(channel, options).unwrap();
    INTERRUPTER.set(subscriber.interrupter()).unwrap();
    let handler: extern "C" fn(libc::c_int) = on_signal;
    // SAFETY: The handler only does what is allowed in one.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    for _ in 0..20 {
        // SAFETY: No pointers are involved.
        let receiver = unsafe { libc::pthread_self() };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                // SAFETY: That thread waits for this one at the end of the scope.
                unsafe { libc::pthread_kill(receiver, libc::SIGUSR1) };
            });
            let result = subscriber.recv_timeout(Duration::from_secs(20));
            assert!(matches!(result, Err(RecvError::Interrupted)), "{result:?}");
        });
    }
}
