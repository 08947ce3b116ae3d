//! The other process of a test with garbage: `hostile-peer ROLE ROOT MILLISECONDS`. Errors are fine
//! for it. Ends with 0, or says on stderr which call took too long and ends with 3; ends when its
//! parent does.

use shm_comm::{Channel, Publisher, Read, Start, Subscriber, SubscriberOptions, Wait};
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::ptr::null;
use std::time::{Duration, Instant};

/// No call may take longer, whatever is in the memory.
const LONGEST_CALL: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    // SAFETY: No pointers are involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, root, milliseconds] = arguments.as_slice() else {
        eprintln!("hostile-peer ROLE ROOT MILLISECONDS");
        return ExitCode::from(2);
    };
    let channel = Channel::new("hostile").root(root);
    let end = Instant::now() + Duration::from_millis(milliseconds.parse().unwrap_or(0));
    let mut calls = Calls::default();
    match role.as_str() {
        "attach" => return attach(&channel),
        "full" => return full(root, &channel),
        "publish" => publish(&channel, end, &mut calls),
        "subscribe" => subscribe(&channel, end, &mut calls),
        _ => return ExitCode::from(2),
    }
    println!("{role}: {calls:?}");
    if let Some((what, time)) = calls.longest.filter(|(_, time)| *time > LONGEST_CALL) {
        eprintln!("hostile-peer {role}: {what} took {time:?}");
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}

/// Ends with 0 if it can be attached, else with 1, and says why not.
fn attach(channel: &Channel) -> ExitCode {
    match (Subscriber::<u64>::new(channel), Publisher::<u64>::new(channel)) {
        (Ok(_), Ok(_)) => ExitCode::SUCCESS,
        (subscriber, publisher) => {
            println!("{:?}\n{:?}", subscriber.err(), publisher.err());
            ExitCode::FAILURE
        }
    }
}

/// Sees a bit for a ring that was never allocated, on a file system that is full. Only root can do
/// that: a file system that nobody else sees is mounted over the root folder. Ends with 77 if it
/// cannot be.
fn full(root: &str, channel: &Channel) -> ExitCode {
    let call = |result: i32| (result == 0).then_some(());
    let mount = || {
        let root = CString::new(root).ok()?;
        let (source, options) = (c"none".as_ptr(), c"size=256k,mode=700".as_ptr().cast());
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: No pointers are involved.
        call(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        // SAFETY: C strings, or null where that is allowed.
        call(unsafe { libc::mount(source, c"/".as_ptr(), null(), private, null()) })?;
        // SAFETY: C strings.
        call(unsafe { libc::mount(source, root.as_ptr(), c"tmpfs".as_ptr(), 0, options) })
    };
    if mount().is_none() {
        return ExitCode::from(77);
    }
    let mut publisher = Publisher::<u64>::new(channel).unwrap();
    let mut subscriber = Subscriber::<u64>::new(channel).unwrap();
    publisher.send(&1).unwrap();
    let file = File::options().read(true).write(true).open(format!("{root}/hostile.pubsub"));
    let file = file.unwrap();
    let bytes = std::fs::read(format!("{root}/hostile.pubsub")).unwrap();
    // The control area follows the texts, and begins with the bitmap of the rings.
    let number = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap());
    let text_end = number(20) + number(40) + number(44);
    let filler = File::create(format!("{root}/filler")).unwrap();
    while filler.write_at(&[1; 4096], filler.metadata().unwrap().len()).is_ok() {}
    file.write_all_at(&[0xff], u64::from(text_end.next_multiple_of(64))).unwrap();
    for _ in 0..20 {
        let _ = publisher.send(&2);
        let _ = (subscriber.try_recv(), subscriber.latest());
    }
    ExitCode::SUCCESS
}

/// What came of the calls.
#[derive(Debug, Default)]
struct Calls {
    good: u64,
    errors: u64,
    longest: Option<(&'static str, Duration)>,
}

impl Calls {
    fn make<T, E: std::fmt::Display>(
        &mut self,
        what: &'static str,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Option<T> {
        let start = Instant::now();
        let result = call();
        let time = start.elapsed();
        if self.longest.is_none_or(|(_, longest)| longest < time) {
            self.longest = Some((what, time));
        }
        match result {
            Ok(value) => {
                self.good += 1;
                Some(value)
            }
            Err(error) => {
                self.errors += 1;
                let _ = error.to_string();
                None
            }
        }
    }
}

/// Publishes, and now and then leaves and comes again.
fn publish(channel: &Channel, end: Instant, calls: &mut Calls) {
    while Instant::now() < end {
        let Some(mut publisher) = calls.make("attach", || Publisher::<u64>::new(channel)) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        for value in 0..500 {
            calls.make("send", || publisher.send(&value));
            if value % 100 == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        let _ = (publisher.subscribers(), publisher.stats());
    }
}

/// Receives in every way that there is, and now and then leaves and comes again.
fn subscribe(channel: &Channel, end: Instant, calls: &mut Calls) {
    let short = Duration::from_millis(2);
    for round in 0.. {
        if Instant::now() >= end {
            return;
        }
        let options = SubscriberOptions::new()
            .wait([Wait::Sleep, Wait::default(), Wait::Spin][round % 3])
            .start([Start::Next, Start::Oldest][round / 3 % 2])
            .read([Read::Pinned, Read::Copied][round / 6 % 2]);
        let open = || Subscriber::<u64>::with(channel, options);
        let Some(mut subscriber) = calls.make("attach", open) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut held = None;
        for step in 0..30 {
            let sample = match step % 3 {
                0 => calls.make("recv_timeout", || subscriber.recv_timeout(short)),
                1 => calls.make("try_recv", || subscriber.try_recv()),
                _ => calls.make("latest", || subscriber.latest()),
            };
            if step % 4 == 0 {
                held = sample;
            }
        }
        let _ = (subscriber.publishers(), subscriber.stats());
        drop(subscriber);
        drop(held);
    }
}
