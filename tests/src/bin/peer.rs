//! The other process of a test: `peer ROLE ROOT [ARGUMENT]`. Ends with 0, is killed, or says on
//! stderr what is wrong and ends with 3. Ends when its parent does.

use shm_comm::{Channel, Publisher, Subscriber, SubscriberOptions, Wait};
use shm_comm_tests::{Ledger, Numbered};
use std::process::ExitCode;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    // SAFETY: No pointers are involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, root, rest @ ..] = arguments.as_slice() else {
        eprintln!("peer ROLE ROOT [ARGUMENT]");
        return ExitCode::from(2);
    };
    let channel = Channel::new("peers").root(root);
    let number = rest.first().and_then(|number| number.parse().ok()).unwrap_or(0);
    let result = match role.as_str() {
        "publish" => publish(&channel, number),
        "subscribe" => subscribe(&channel, number),
        "hold" => hold(&channel),
        "churn" => churn(&channel, number),
        "publish-without-system-calls" => publish_without_system_calls(&channel, number),
        _ => Err(format!("no role {role}").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer {role}: {error}");
            ExitCode::from(3)
        }
    }
}

/// Publishes so many messages, or, if 0, until killed; now and then with a loan that it drops.
fn publish(channel: &Channel, count: u64) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    let first = publisher.stats().published;
    let end = if count == 0 { u64::MAX } else { first + count };
    for number in first..end {
        if number % 7 == 3 {
            drop(publisher.loan()?.init(Numbered::new(u64::MAX / 2)));
        }
        if number.is_multiple_of(5) {
            publisher.send(&Numbered::new(number))?;
        } else {
            publisher.loan()?.write(Numbered::new(number));
        }
        if count == 0 && number % 200 == 199 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(())
}

/// Receives and checks until killed, holding so many samples.
fn subscribe(channel: &Channel, hold: u64) -> Result<()> {
    let wait = if hold.is_multiple_of(2) { Wait::default() } else { Wait::Sleep };
    let options = SubscriberOptions::new().max_held(hold as u8 + 1).wait(wait);
    let mut subscriber = Subscriber::<Numbered>::with(channel, options)?;
    Ok(Ledger::default().read(&mut subscriber, hold as usize, || false)?)
}

/// Receives one message and keeps it until killed.
fn hold(channel: &Channel) -> Result<()> {
    let mut subscriber = Subscriber::<Numbered>::new(channel)?;
    let sample = subscriber.recv()?;
    loop {
        sample.check()?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Attaches and detaches, again and again.
fn churn(channel: &Channel, seed: u64) -> Result<()> {
    for round in seed.. {
        let mut publisher =
            (round % 3 != 0).then(|| Publisher::<Numbered>::new(channel)).transpose()?;
        let subscriber =
            (round % 3 != 1).then(|| Subscriber::<Numbered>::new(channel)).transpose()?;
        if let Some(publisher) = &mut publisher {
            let number = publisher.stats().published;
            publisher.send(&Numbered::new(number))?;
        }
        drop(publisher);
        drop(subscriber);
    }
    Ok(())
}

/// Publishes with every system call but the end of the process forbidden: one, and it is killed.
fn publish_without_system_calls(channel: &Channel, count: u64) -> Result<()> {
    let mut publisher = Publisher::<Numbered>::new(channel)?;
    // A subscriber that is to sleep is given the time.
    publisher.wait_for_subscribers(1, Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(100));
    let first = publisher.stats().published;
    forbid_system_calls()?;
    for number in first..first + count {
        match publisher.loan() {
            Ok(loan) => loan.write(Numbered::new(number)),
            Err(_) => exit(4),
        }
    }
    exit(0)
}

/// (Not the kernel's strict mode, which forbids reading the time stamp counter, too.)
fn forbid_system_calls() -> std::io::Result<()> {
    let check = |result| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    let step = |code: u32, jump_true: u8, jump_false: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k,
    };
    // The number of the call is the first word of what the filter sees.
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_exit_group as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: No pointers are involved.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: A filter of so many steps, which the kernel copies.
    check(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    })
}

fn exit(code: i32) -> ! {
    // SAFETY: Ends the process and touches nothing.
    unsafe { libc::_exit(code) }
}
