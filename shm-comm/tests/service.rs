//! Request and reply within one process: what the handles of a service promise.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use shm_comm::{
    AttachError, CallError, Channel, Delivered, Interrupter, Payload, Pending, RecvError, Replier,
    ReplierOptions, Reply, ReplyError, Request, Requester, RequesterOptions, ShmMessage, Wait,
    WaitError,
};

/// Nothing takes so long.
/// So many slots a client keeps at hand between its calls.
const KEPT: u32 = 2;

const SOON: Duration = Duration::from_secs(20);
/// Long enough for somebody to be asleep.
const A_WHILE: Duration = Duration::from_millis(30);

const WAITS: [Wait; 4] =
    [Wait::Spin, Wait::Sleep, Wait::SpinThenSleep(Duration::ZERO), Wait::SpinThenSleep(A_WHILE)];

/// A root folder of its own for each test, gone with it.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self) -> Channel {
        Channel::new("test/calls").root(self.0.path())
    }
    fn depth(&self, depth: u32) -> Channel {
        self.channel().depth(depth)
    }
    fn client(&self) -> Requester<u64, u64> {
        Requester::new(self.channel()).unwrap()
    }
    fn server(&self) -> Replier<u64, u64> {
        Replier::new(self.channel()).unwrap()
    }
    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.files(), [""; 0], "something is left behind");
        }
    }
}

#[track_caller]
fn next<Q: Payload + ?Sized, R: Payload + ?Sized>(server: &mut Replier<Q, R>) -> Request<Q, R> {
    server.recv_timeout(SOON).unwrap().expect("a request")
}

/// A server in a thread of its own.
struct Serving<Q: Payload, R: Payload> {
    interrupter: Interrupter,
    thread: JoinHandle<Replier<Q, R>>,
}

impl<Q: ShmMessage, R: ShmMessage> Serving<Q, R> {
    fn start(
        mut server: Replier<Q, R>,
        answer: impl FnMut(&Q) -> R + Send + 'static,
    ) -> Serving<Q, R> {
        let interrupter = server.interrupter();
        let thread = thread::spawn(move || {
            server.serve(answer).unwrap();
            server
        });
        Serving { interrupter, thread }
    }

    #[track_caller]
    fn stop(self) -> Replier<Q, R> {
        self.interrupter.interrupt();
        join(self.thread)
    }
}

/// What a thread returns that is to end soon.
#[track_caller]
fn join<T>(thread: JoinHandle<T>) -> T {
    let end = Instant::now() + SOON;
    while !thread.is_finished() {
        assert!(Instant::now() < end, "the thread does not end");
        thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap()
}

/// How a call is going, once it has ended.
#[track_caller]
fn poll<R: Payload + ?Sized>(pending: &mut Pending<R>) -> Result<Reply<R>, CallError> {
    let end = Instant::now() + SOON;
    loop {
        if let Some(end) = pending.poll().transpose() {
            return end;
        }
        assert!(Instant::now() < end, "no end");
        thread::yield_now();
    }
}

/// Numbers that look like chance, and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Command {
    speed: f64,
    gear: Gear,
    brake: bool,
    _pad0: [u8; 6],
}

#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Gear {
    Neutral = 0,
    Forward = 1,
    Back = 2,
}

const COMMAND: Command = Command { speed: 1.0, gear: Gear::Back, brake: true, _pad0: [0; 6] };

// ── what is asked is answered ────────────────────────────────────────────────────────────────────

#[test]
fn a_request_is_answered_in_either_order_of_start() {
    for server_first in [true, false] {
        let root = Root::new();
        let early = server_first.then(|| Replier::<[i64; 2], i64>::new(root.channel()).unwrap());
        let mut client = Requester::<[i64; 2], i64>::new(root.channel()).unwrap();
        let server = early.unwrap_or_else(|| Replier::new(root.channel()).unwrap());
        let serving = Serving::start(server, |[a, b]| a + b);
        for i in 0..100 {
            let sum = client.request(&[i, 3], SOON).unwrap();
            assert_eq!(*sum, i + 3);
        }
        assert_eq!(root.files(), ["test%2Fcalls.service"]);
        serving.stop();
    }
}

#[test]
fn a_request_that_is_made_before_there_is_a_server_waits_for_one() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
        let caller = thread::spawn(move || *client.request(&4, SOON).unwrap());
        thread::sleep(A_WHILE);
        let serving = Serving::start(root.server(), |number| number * 2);
        assert_eq!(join(caller), 8);
        serving.stop();
    }
}

#[test]
fn every_way_to_wait_serves_on_both_sides() {
    for of_client in WAITS {
        for of_server in WAITS {
            let root = Root::new();
            let options = ReplierOptions::new().wait(of_server);
            let server = Replier::<u64, u64>::with(root.channel(), options).unwrap();
            let options = RequesterOptions::new().wait(of_client);
            let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
            let serving = Serving::start(server, |number| number + 1);
            for number in 0..20 {
                assert_eq!(*client.request(&number, SOON).unwrap(), number + 1);
                thread::sleep(Duration::from_micros(number % 4 * 100));
            }
            serving.stop();
        }
    }
}

#[test]
fn every_way_to_fill_a_request_and_a_reply_arrives() {
    let root = Root::new();
    let (mut client, mut server) = (root.client(), root.server());
    let mut calls = Vec::new();
    calls.push(client.loan().unwrap().write(1).unwrap());
    let mut loan = client.loan().unwrap().init(40);
    *loan += 2;
    calls.push(loan.send().unwrap());
    calls.push(client.loan().unwrap().zeroed().send().unwrap());
    let mut loan = client.loan().unwrap().reused();
    *loan = 4;
    calls.push(loan.send().unwrap());
    let mut loan = client.loan().unwrap();
    // SAFETY: The pointer is to the slot; all of it is written before it is sent.
    unsafe { loan.as_mut_ptr().write(5) };
    // SAFETY: As above.
    calls.push(unsafe { loan.assume_init() }.send().unwrap());
    calls.push(client.send(&6).unwrap());

    for (asked, way) in [1, 42, 0, 4, 5, 6].into_iter().zip(0..) {
        let request = server.try_recv().unwrap().unwrap();
        assert_eq!((*request, request.attempts(), request.is_wanted()), (asked, 0, true));
        let delivered = match way {
            0 => request.reply(&101).unwrap(),
            1 => request.loan_reply().write(102),
            2 => request.loan_reply().zeroed().send(),
            3 => {
                let mut loan = request.loan_reply().reused();
                *loan = 104;
                loan.send()
            }
            4 => {
                let mut loan = request.loan_reply();
                // SAFETY: The pointer is to the slot; all of it is written before it is sent.
                unsafe { loan.as_mut_ptr().write(105) };
                // SAFETY: As above.
                unsafe { loan.assume_init() }.send()
            }
            _ => {
                let mut loan = request.loan_reply().init(100);
                *loan += *loan.request();
                loan.send()
            }
        };
        assert_eq!(delivered, Delivered::Yes);
    }
    let replies: Vec<u64> = calls.into_iter().map(|call| *call.wait(SOON).unwrap()).collect();
    assert_eq!(replies, [101, 102, 0, 104, 105, 106]);
}

#[test]
fn a_reply_is_written_in_place_while_the_request_stays_readable() {
    let root = Root::new();
    let mut client = Requester::<[u8], [u64]>::new(root.depth(2)).unwrap();
    let mut server = Replier::<[u8], [u64]>::new(root.channel()).unwrap();
    for round in 0..20u8 {
        let call = client.send(&[round; 300]).unwrap();
        let request = next(&mut server);
        let mut loan = request.loan_reply_with_len(500).unwrap();
        assert_eq!(loan.request(), [round; 300]);
        // SAFETY: Room for 500 of them.
        unsafe { loan.as_mut_ptr().cast::<[u64; 500]>().write([u64::MAX; 500]) };
        assert_eq!(loan.request(), [round; 300]);
        // SAFETY: All of it was written.
        let mut loan = unsafe { loan.assume_init() };
        for at in 0..300 {
            loan[at] = u64::from(loan.request()[at]) + at as u64;
        }
        assert_eq!(loan.request(), [round; 300]);
        assert_eq!(loan.send(), Delivered::Yes);
        let reply = call.wait(SOON).unwrap();
        assert_eq!((reply.len(), reply[499]), (500, u64::MAX));
        assert!((0..300).all(|at| reply[at] == u64::from(round) + at as u64));
    }
}

#[test]
fn a_loan_that_is_dropped_calls_nobody_and_its_slot_serves_others() {
    let root = Root::new();
    let mut client = Requester::<u64, u64>::new(root.depth(1)).unwrap();
    let mut server = root.server();
    for round in 0..20 {
        drop(client.loan().unwrap());
        drop(client.loan().unwrap().init(666));
        let call = client.loan().unwrap().write(round).unwrap();
        let request = server.try_recv().unwrap().unwrap();
        assert_eq!(*request, round);
        assert_eq!(request.reply(&round).unwrap(), Delivered::Yes);
        assert_eq!(*call.wait(SOON).unwrap(), round);
    }
    let stats = client.stats();
    assert_eq!((stats.free, stats.called), (1, 20));
}

// ── payloads ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn empty_requests_and_replies_arrive() {
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Stop;

    let root = Root::new();
    let mut client = Requester::<Stop, Stop>::new(root.depth(2)).unwrap();
    let serving = Serving::start(Replier::new(root.channel()).unwrap(), |stop: &Stop| *stop);
    for _ in 0..50 {
        assert_eq!(*client.request(&Stop, SOON).unwrap(), Stop);
    }
    serving.stop();
    drop(client);
    let mut client = Requester::<Stop, u64>::new(root.depth(2)).unwrap();
    let serving = Serving::start(Replier::new(root.channel()).unwrap(), |_: &Stop| 7_u64);
    assert_eq!(*client.request(&Stop, SOON).unwrap(), 7);
    serving.stop();
}

#[test]
fn requests_and_replies_of_megabytes_do_not_pass_over_the_stack() {
    const LEN: usize = 8 << 20;
    let root = Root::new();
    let channel = root.depth(1);
    let thread = thread::Builder::new().stack_size(256 << 10).spawn(move || {
        let mut client = Requester::<[u8; LEN], [u8; LEN]>::new(&channel).unwrap();
        let mut server = Replier::<[u8; LEN], [u8; LEN]>::new(&channel).unwrap();
        for round in 1..4 {
            let mut loan = client.loan().unwrap().zeroed();
            loan[LEN - 1] = round;
            let call = loan.send().unwrap();
            let request = next(&mut server);
            assert_eq!((request[0], request[LEN - 1]), (0, round));
            let mut loan = request.loan_reply().zeroed();
            loan[0] = loan.request()[LEN - 1] + 1;
            loan.send();
            let reply = call.wait(SOON).unwrap();
            assert_eq!((reply[0], reply[LEN - 1]), (round + 1, 0));
        }
    });
    join(thread.unwrap());
}

#[test]
fn slices_from_nothing_to_megabytes_arrive_both_ways() {
    const LEN: usize = 8 << 20;
    let root = Root::new();
    let channel = root.depth(1).max_len(LEN).max_reply_len(LEN);
    let mut client = Requester::<[u8], [u8]>::new(&channel).unwrap();
    let mut server = Replier::<[u8], [u8]>::new(root.channel()).unwrap();
    assert_eq!((client.max_len(), server.max_reply_len()), (LEN, LEN));
    let lens = [0, 1, 7, 64, 65, 4096, 1 << 20, LEN, 3, 0];
    for (asked, answered) in lens.into_iter().zip(lens.into_iter().rev()) {
        let bytes = |len: usize| (0..len).map(|i| (i * 31 + len) as u8).collect::<Vec<u8>>();
        let call = client.send(&bytes(asked)).unwrap();
        let request = next(&mut server);
        assert!(*request == bytes(asked)[..], "{asked}");
        assert_eq!(request.reply(&bytes(answered)[..]).unwrap(), Delivered::Yes);
        assert!(*call.wait(SOON).unwrap() == bytes(answered)[..], "{answered}");
    }
}

#[derive(ShmMessage, Debug)]
#[repr(C)]
struct Scan {
    stamp: u64,
    flag: bool,
    ranges: [u8],
}

#[test]
fn structs_that_end_in_a_slice_are_filled_in_place_both_ways() {
    let root = Root::new();
    let channel = root.depth(3).max_len(16).max_reply_len(8);
    let mut client = Requester::<Scan, Scan>::new(&channel).unwrap();
    let mut server = Replier::<Scan, Scan>::new(&channel).unwrap();
    for len in 0..=8 {
        let mut loan = client.loan_with_len(2 * len).unwrap().zeroed();
        (loan.stamp, loan.flag) = (len as u64, true);
        loan.ranges.fill(7);
        let call = loan.send().unwrap();
        let request = next(&mut server);
        assert_eq!(
            (request.stamp, request.flag, request.ranges.len()),
            (len as u64, true, 2 * len)
        );
        let mut loan = request.loan_reply_with_len(len).unwrap().zeroed();
        loan.stamp = loan.request().stamp + 1;
        loan.ranges.fill(9);
        loan.send();
        let reply = call.wait(SOON).unwrap();
        assert_eq!((reply.stamp, reply.flag), (len as u64 + 1, false));
        assert_eq!(reply.ranges, vec![9; len]);
        // What came as a reply can be sent as a request.
        drop(client.send(&reply).unwrap());
    }
}

#[test]
fn more_elements_than_there_is_room_for_are_an_error_with_both_numbers() {
    let root = Root::new();
    let channel = root.depth(1).max_len(10).max_reply_len(5);
    let mut client = Requester::<[u16], [u16]>::new(&channel).unwrap();
    let mut server = Replier::<[u16], [u16]>::new(&channel).unwrap();
    let error = client.request(&[0; 11], SOON).unwrap_err();
    assert!(matches!(error, CallError::TooLong { len: 11, max_len: 10, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "service \"test/calls\": a request of 11 elements, 10 are possible (max_len)"
    );
    assert!(matches!(client.send(&[0; 11]), Err(CallError::TooLong { .. })));
    assert!(matches!(client.loan_with_len(usize::MAX), Err(CallError::TooLong { .. })));
    assert!(server.try_recv().unwrap().is_none(), "nobody was called");

    for by_loan in [true, false] {
        let call = client.send(&[1; 10]).unwrap();
        let request = next(&mut server);
        let error = match by_loan {
            true => request.loan_reply_with_len(6).unwrap_err(),
            false => request.reply(&[0; 6]).unwrap_err(),
        };
        assert!(matches!(error, ReplyError::TooLong { len: 6, max_len: 5 }), "{error}");
        assert_eq!(error.to_string(), "a reply of 6 elements, 5 are possible (max_reply_len)");
        let told = call.wait(SOON).unwrap_err();
        assert!(matches!(told, CallError::Declined { .. }), "{told}");
    }
    let call = client.send(&[1; 10]).unwrap();
    next(&mut server).reply(&[2; 5]).unwrap();
    assert_eq!(*call.wait(SOON).unwrap(), [2; 5]);
}

#[cfg(feature = "msgpack")]
mod encoded {
    use super::*;
    use serde::{Deserialize, Serialize};
    use shm_comm::{EncodeError, Msgpack};

    #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
    struct Plan {
        name: String,
        stops: Vec<[f64; 2]>,
    }

    /// Another type of the same name.
    mod other {
        use super::*;

        #[derive(Serialize, Deserialize, Debug)]
        pub struct Plan {
            pub stops: String,
        }
    }

    fn plan(stops: usize) -> Plan {
        Plan { name: "dock".to_owned(), stops: vec![[0.25, -1.5]; stops] }
    }

    #[test]
    fn encoded_requests_and_replies_arrive() {
        let root = Root::new();
        let mut client = Requester::<Msgpack<Plan>, Msgpack<String>>::new(root.channel()).unwrap();
        let mut server = Replier::<Msgpack<Plan>, Msgpack<String>>::new(root.channel()).unwrap();
        let interrupter = server.interrupter();
        let serving = thread::spawn(move || {
            server.serve(|plan| format!("{} {}", plan.name, plan.stops.len())).unwrap();
            server
        });
        for stops in 0..50 {
            let reply = client.request(&plan(stops), SOON).unwrap();
            assert_eq!(*reply, format!("dock {stops}"));
            assert_eq!(reply.into_value(), format!("dock {stops}"));
        }
        interrupter.interrupt();
        let mut server = join(serving);
        let call = client.send(&plan(3)).unwrap();
        let request = next(&mut server);
        assert_eq!(*request, plan(3));
        assert_eq!(request.reply(&"by hand".to_owned()).unwrap(), Delivered::Yes);
        assert_eq!(*call.wait(SOON).unwrap(), "by hand");
    }

    #[test]
    fn one_side_may_be_encoded_and_the_other_not() {
        let root = Root::new();
        let mut client = Requester::<Msgpack<Plan>, u64>::new(root.channel()).unwrap();
        let mut server = Replier::<Msgpack<Plan>, u64>::new(root.channel()).unwrap();
        let call = client.send(&plan(3)).unwrap();
        let request = next(&mut server);
        let mut loan = request.loan_reply().zeroed();
        *loan = loan.request().stops.len() as u64;
        loan.send();
        assert_eq!(*call.wait(SOON).unwrap(), 3);
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_both_numbers() {
        type Bytes = Msgpack<Vec<u8>>;
        let root = Root::new();
        let channel = root.depth(1).max_len(100).max_reply_len(50);
        let mut client = Requester::<Bytes, Bytes>::new(&channel).unwrap();
        let mut server = Replier::<Bytes, Bytes>::new(&channel).unwrap();
        let too_long = |error: &EncodeError| match error {
            EncodeError::TooLong { needed, max } => (*needed, *max),
            other => panic!("{other}"),
        };
        let error = client.request(&vec![0; 100], SOON).unwrap_err();
        let CallError::Encode { error, .. } = error else { panic!("{error}") };
        assert_eq!(too_long(&error), (103, 100));
        let error = client.send(&vec![0; 100]).unwrap_err();
        assert!(matches!(error, CallError::Encode { .. }), "{error}");
        assert!(server.try_recv().unwrap().is_none(), "nobody was called");

        let call = client.send(&vec![0; 90]).unwrap();
        let error = next(&mut server).reply(&vec![0; 90]).unwrap_err();
        let ReplyError::Encode(error) = error else { panic!("{error}") };
        assert_eq!(too_long(&error), (93, 50));
        let told = call.wait(SOON).unwrap_err();
        assert!(matches!(told, CallError::Declined { .. }), "{told}");

        // A server goes on after that.
        let interrupter = server.interrupter();
        let serving = thread::spawn(move || server.serve(|bytes| bytes.clone()).unwrap());
        let told = client.request(&vec![1; 90], SOON).unwrap_err();
        assert!(matches!(told, CallError::Declined { .. }), "{told}");
        assert_eq!(*client.request(&vec![1; 40], SOON).unwrap(), [1; 40]);
        interrupter.interrupt();
        join(serving);
    }

    #[test]
    fn what_cannot_be_decoded_is_an_error_on_the_side_that_reads_it() {
        let root = Root::new();
        type Client<Q, R> = Requester<Msgpack<Q>, Msgpack<R>>;
        let mut bad = Client::<other::Plan, Plan>::new(root.channel()).unwrap();
        let mut surprised = Client::<Plan, other::Plan>::new(root.channel()).unwrap();
        let mut good = Client::<Plan, Plan>::new(root.channel()).unwrap();
        let mut server = Replier::<Msgpack<Plan>, Msgpack<Plan>>::new(root.channel()).unwrap();

        let call = bad.send(&other::Plan { stops: "none".to_owned() }).unwrap();
        let error = server.recv_timeout(SOON).unwrap_err();
        assert!(matches!(error, RecvError::Decode { .. }), "{error}");
        let told = call.wait(SOON).unwrap_err();
        assert!(matches!(told, CallError::Declined { .. }), "{told}");

        let call = surprised.send(&plan(1)).unwrap();
        next(&mut server).reply(&plan(2)).unwrap();
        let told = call.wait(SOON).unwrap_err();
        assert!(matches!(told, CallError::Decode { .. }), "{told}");

        let call = good.send(&plan(1)).unwrap();
        next(&mut server).reply(&plan(2)).unwrap();
        assert_eq!(*call.wait(SOON).unwrap(), plan(2));
        assert!(good.stats().held <= 2 * KEPT);
    }
}

// ── several at a time ────────────────────────────────────────────────────────────────────────────

#[test]
fn calls_are_answered_in_any_order_and_each_gets_its_own_reply() {
    let root = Root::new();
    let mut client = Requester::<u64, u64>::new(root.depth(32)).unwrap();
    let mut server = root.server();
    let mut chance = Chance(1);
    for round in 0..50 {
        let count = 1 + round % 32;
        let mut calls: Vec<_> =
            (0..count).map(|i| (i, client.send(&(round * 100 + i)).unwrap())).collect();
        assert_eq!(client.stats().queued as u64, count);
        let mut requests: Vec<_> = (0..count).map(|_| next(&mut server)).collect();
        while !requests.is_empty() {
            let request = requests.swap_remove(chance.below(requests.len() as u64) as usize);
            let number = *request;
            assert_eq!(request.reply(&(number + 7)).unwrap(), Delivered::Yes);
        }
        while !calls.is_empty() {
            let (i, call) = calls.swap_remove(chance.below(calls.len() as u64) as usize);
            assert_eq!(*call.wait(SOON).unwrap(), round * 100 + i + 7);
        }
        assert!(client.stats().free + KEPT >= 32);
    }
}

#[test]
fn a_call_that_is_still_open_delays_none_of_the_others() {
    for depth in [2, 3, 8] {
        let root = Root::new();
        let mut client = Requester::<u64, u64>::new(root.depth(depth)).unwrap();
        let mut server = root.server();
        let call = client.send(&7).unwrap();
        let slow = next(&mut server);
        let serving = Serving::start(server, |number| number + 1);
        for number in 0..1000 {
            assert_eq!(*client.request(&number, SOON).unwrap(), number + 1, "depth {depth}");
        }
        assert_eq!(slow.reply(&8).unwrap(), Delivered::Yes);
        let reply = call.wait(SOON).unwrap();
        // Nor does a reply that is kept.
        for number in 0..1000 {
            assert_eq!(*client.request(&number, SOON).unwrap(), number + 1, "depth {depth}");
        }
        assert_eq!(*reply, 8);
        drop(reply);
        assert!(client.stats().free + KEPT >= depth);
        // Nor a loan.
        let mut slow = root.client();
        let loan = slow.loan().unwrap();
        for number in 0..1000 {
            assert_eq!(*client.request(&number, SOON).unwrap(), number + 1, "depth {depth}");
        }
        assert_eq!(*loan.write(1).unwrap().wait(SOON).unwrap(), 2);
        serving.stop();
    }
}

#[test]
fn servers_share_the_calls_and_each_client_gets_its_own_answers() {
    const CALLS: u64 = 3000;
    for depth in [1, 2, 3, 64] {
        let root = Root::new();
        let keeper = Requester::<[u64; 2], [u64; 3]>::new(root.depth(depth)).unwrap();
        let servers: Vec<_> = (0..2)
            .map(|server| {
                let replier = Replier::<[u64; 2], [u64; 3]>::new(root.channel()).unwrap();
                Serving::start(replier, move |[client, number]| [*client, *number, server])
            })
            .collect();
        let clients: Vec<_> = (0..3)
            .map(|id| {
                let mut client = Requester::<[u64; 2], [u64; 3]>::new(root.channel()).unwrap();
                let calls = if depth < 3 { CALLS / 6 } else { CALLS };
                thread::spawn(move || {
                    let mut served = [0; 2];
                    for number in 0..calls {
                        let reply = client.request(&[id, number], SOON).unwrap();
                        assert_eq!(reply[..2], [id, number]);
                        served[reply[2] as usize] += 1;
                    }
                    served
                })
            })
            .collect();
        let mut served = [0; 2];
        for client in clients {
            let by = join(client);
            served = [served[0] + by[0], served[1] + by[1]];
        }
        servers.into_iter().for_each(|server| drop(server.stop()));
        let stats = keeper.stats();
        assert_eq!((stats.called, stats.served), (served[0] + served[1], stats.called));
        assert_eq!((stats.timed_out, stats.failed, stats.free), (0, 0, depth));
    }
}

#[test]
fn clients_with_many_calls_in_flight_each_get_their_own_answers() {
    let root = Root::new();
    let keeper = Requester::<[u64; 2], [u64; 2]>::new(root.depth(16)).unwrap();
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let replier = Replier::<[u64; 2], [u64; 2]>::new(root.channel()).unwrap();
            Serving::start(replier, |request| *request)
        })
        .collect();
    let clients: Vec<_> = (0..3)
        .map(|id| {
            let mut client = Requester::<[u64; 2], [u64; 2]>::new(root.channel()).unwrap();
            thread::spawn(move || {
                let mut chance = Chance(id);
                let mut calls: Vec<(u64, Pending<[u64; 2]>)> = Vec::new();
                let mut number = 0;
                while number < 4000 || !calls.is_empty() {
                    if number < 4000 && calls.len() < 5 {
                        match client.send(&[id, number]) {
                            Ok(call) => {
                                calls.push((number, call));
                                number += 1;
                                continue;
                            }
                            // One that no server has taken for a lap stops those behind it.
                            Err(CallError::Full { .. }) if !calls.is_empty() => {}
                            Err(CallError::Full { .. }) => {
                                thread::yield_now();
                                continue;
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                    let (number, mut call) =
                        calls.swap_remove(chance.below(calls.len() as u64) as usize);
                    match chance.below(3) {
                        0 => assert_eq!(*call.wait(SOON).unwrap(), [id, number]),
                        1 => assert_eq!(*poll(&mut call).unwrap(), [id, number]),
                        _ => drop(call),
                    }
                }
            })
        })
        .collect();
    clients.into_iter().for_each(join);
    servers.into_iter().for_each(|server| drop(server.stop()));
    let stats = keeper.stats();
    assert_eq!((stats.called, stats.free, stats.failed), (12_000, 16, 0));
}

#[test]
fn two_threads_wait_for_calls_of_one_client() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
        let mut server = root.server();
        for round in 0..20 {
            let waiting: Vec<_> = (0..3)
                .map(|i| {
                    let call = client.send(&(round * 10 + i)).unwrap();
                    thread::spawn(move || *call.wait(SOON).unwrap())
                })
                .collect();
            let mut requests: Vec<_> = (0..3).map(|_| next(&mut server)).collect();
            thread::sleep(Duration::from_millis(round % 3));
            requests.rotate_left(round as usize % 3);
            for request in requests {
                let number = *request;
                request.reply(&(number + 1)).unwrap();
            }
            for (waiting, i) in waiting.into_iter().zip(0..) {
                assert_eq!(join(waiting), round * 10 + i + 1);
            }
        }
    }
}

// ── polled, cancelled, too late ──────────────────────────────────────────────────────────────────

#[test]
fn a_call_can_be_polled() {
    let root = Root::new();
    let (mut client, mut server) = (root.client(), root.server());
    let mut call = client.send(&1).unwrap();
    assert!(call.poll().unwrap().is_none());
    let request = next(&mut server);
    assert!(call.poll().unwrap().is_none());
    request.reply(&2).unwrap();
    let reply = call.poll().unwrap().unwrap();
    assert_eq!(*reply, 2);
    // It has ended; what was received stays.
    for _ in 0..2 {
        let error = call.poll().unwrap_err();
        assert!(matches!(error, CallError::Ended { .. }), "{error}");
    }
    let error = call.wait(SOON).unwrap_err();
    assert!(matches!(error, CallError::Ended { .. }), "{error}");
    assert_eq!(*reply, 2);
    let mut call = client.send(&1).unwrap();
    drop(next(&mut server));
    let error = call.poll().unwrap_err();
    assert!(matches!(error, CallError::Declined { .. }), "{error}");
}

#[test]
fn a_call_that_is_dropped_is_cancelled() {
    let root = Root::new();
    let mut client = Requester::<u64, u64>::new(root.depth(2)).unwrap();
    let mut server = root.server();
    // Before a server has it, nobody ever will.
    for number in 0..10 {
        drop(client.send(&number).unwrap());
        assert!(server.try_recv().unwrap().is_none());
    }
    // Afterwards the server is told, if it asks, and its answer reaches nobody.
    let call = client.send(&1).unwrap();
    let request = next(&mut server);
    assert!(request.is_wanted());
    drop(call);
    assert!(!request.is_wanted());
    assert_eq!(*request, 1, "what it has read stays");
    let other = client.send(&2).unwrap();
    assert!(matches!(client.send(&3), Err(CallError::Full { .. })), "the server has it still");
    assert_eq!(request.reply(&11).unwrap(), Delivered::CallerGone);
    let third = client.send(&3).unwrap();
    for number in [2, 3] {
        let request = next(&mut server);
        assert_eq!(*request, number);
        assert_eq!(request.reply(&(number + 10)).unwrap(), Delivered::Yes);
    }
    assert_eq!((*other.wait(SOON).unwrap(), *third.wait(SOON).unwrap()), (12, 13));
    // One that is dropped after its answer came leaves nothing either.
    let call = client.send(&4).unwrap();
    next(&mut server).reply(&14).unwrap();
    drop(call);
    // And one whose server declines a call that nobody waits for.
    let call = client.send(&5).unwrap();
    let request = next(&mut server);
    drop(call);
    drop(request);
    assert_eq!(client.stats().free, 2);
}

#[test]
fn a_call_that_times_out_is_cancelled() {
    let root = Root::new();
    let (mut client, mut server) = (root.client(), root.server());
    for wait_apart in [true, false] {
        let call = match wait_apart {
            true => client.send(&1).unwrap().wait(A_WHILE),
            false => client.request(&1, A_WHILE),
        };
        assert!(matches!(call, Err(CallError::TimedOut { waited: A_WHILE, .. })), "{call:?}");
        assert!(server.try_recv().unwrap().is_none(), "nobody will serve it any more");
    }
    let call = client.send(&2).unwrap();
    let request = next(&mut server);
    let error = call.wait(A_WHILE).unwrap_err();
    assert_eq!(error.to_string(), "service \"test/calls\": no reply within 30ms");
    assert!(!request.is_wanted());
    let call = client.send(&3).unwrap();
    assert_eq!(request.reply(&12).unwrap(), Delivered::CallerGone);
    next(&mut server).reply(&13).unwrap();
    assert_eq!(*call.wait(SOON).unwrap(), 13);
    assert_eq!(client.stats().timed_out, 3);
}

#[test]
fn a_late_answer_is_never_seen_by_the_next_call() {
    for (depth, wait) in [(1, Wait::Spin), (2, Wait::Sleep), (4, Wait::default()), (64, Wait::Spin)]
    {
        const ROUNDS: u64 = 2000;
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, [u64; 4]>::with(root.depth(depth), options).unwrap();
        let mut chance = Chance(depth.into());
        let server = Replier::<u64, [u64; 4]>::new(root.channel()).unwrap();
        let serving = Serving::start(server, move |number| {
            let until = Instant::now() + Duration::from_micros(chance.below(60));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            [*number; 4]
        });
        let mut chance = Chance(7);
        let (mut answered, mut late, mut full) = (0, 0, 0);
        for number in 0..ROUNDS {
            // From time to time it waits for long enough, so that something is answered on any machine.
            let time =
                if number % 50 == 0 { SOON } else { Duration::from_micros(chance.below(90)) };
            let outcome = match number % 3 {
                0 => client.send(&number).and_then(|call| call.wait(time)),
                _ => client.request(&number, time),
            };
            match outcome {
                Ok(reply) => {
                    assert_eq!(*reply, [number; 4], "depth {depth}");
                    answered += 1;
                }
                Err(CallError::TimedOut { .. }) => late += 1,
                Err(CallError::Full { .. }) => full += 1,
                Err(error) => panic!("depth {depth}: {error}"),
            }
        }
        assert!(answered > 10 && late > 0, "depth {depth}: {answered} answered, {late} late");
        serving.stop();
        let stats = client.stats();
        assert_eq!((stats.called, stats.timed_out), (ROUNDS - full, late), "depth {depth}");
        assert_eq!(stats.failed, 0, "depth {depth}");
        assert!(stats.free + KEPT >= depth, "depth {depth}");
        assert!(stats.served >= answered);
    }
}

#[test]
fn without_a_server_it_says_so_and_with_one_that_it_was_too_slow() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
        for time in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(130)] {
            let start = Instant::now();
            let error = client.request(&1, time).unwrap_err();
            assert!(start.elapsed() >= time);
            let CallError::NoServer { waited, .. } = error else { panic!("{error}") };
            assert_eq!(waited, time);
        }
        let error = client.send(&1).unwrap().wait(Duration::from_millis(3)).unwrap_err();
        assert_eq!(error.to_string(), "service \"test/calls\": no server came within 3ms");

        let mut server = root.server();
        for time in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(130)] {
            let error = client.request(&1, time).unwrap_err();
            assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
        }
        // Nobody carries out what nobody waits for.
        assert!(server.try_recv().unwrap().is_none());
        drop(server);
        let error = client.request(&1, Duration::from_millis(5)).unwrap_err();
        assert!(matches!(error, CallError::NoServer { .. }), "{error}");
    }
}

#[test]
fn a_server_that_comes_and_goes_before_the_time_is_over_was_there() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
        let call = client.send(&1).unwrap();
        drop(root.server());
        let end = call.wait(Duration::from_millis(20));
        assert!(matches!(end, Err(CallError::TimedOut { .. })), "{end:?}");
    }
    // And if the wait has begun.
    let root = Root::new();
    let mut client = root.client();
    let waiting = thread::spawn(move || client.request(&1, Duration::from_secs(2)).map(drop));
    thread::sleep(A_WHILE);
    drop(root.server());
    let end = join(waiting);
    assert!(matches!(end, Err(CallError::TimedOut { .. })), "{end:?}");
}

#[test]
fn a_server_that_goes_without_having_taken_a_call_leaves_it_to_the_next() {
    let root = Root::new();
    let (mut client, first) = (root.client(), root.server());
    let call = client.send(&1).unwrap();
    drop(first);
    let mut second = root.server();
    next(&mut second).reply(&2).unwrap();
    assert_eq!(*call.wait(SOON).unwrap(), 2);
}

// ── declined ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_request_that_is_dropped_is_declined() {
    let root = Root::new();
    let (mut client, mut server) = (root.client(), root.server());
    let mut check = |drops: &mut dyn FnMut(Request<u64, u64>)| {
        let call = client.send(&1).unwrap();
        drops(next(&mut server));
        let error = call.wait(SOON).unwrap_err();
        assert_eq!(
            error.to_string(),
            "service \"test/calls\": the server has declined the request"
        );
        assert!(matches!(error, CallError::Declined { .. }));
    };
    check(&mut drop);
    check(&mut |request| drop(request.loan_reply()));
    check(&mut |request| drop(request.loan_reply().init(7)));
    check(&mut |request| {
        let answer = || -> Result<Delivered, std::num::ParseIntError> {
            let reply: u64 = format!("x{}", *request).parse()?;
            Ok(request.reply(&reply).expect("a reply that fits"))
        };
        answer().unwrap_err();
    });
    assert_eq!((client.stats().failed, client.stats().served), (4, 0));
    assert!(client.stats().free + KEPT >= 64);
}

#[test]
fn a_server_that_panics_declines_what_it_was_about_to_answer() {
    let root = Root::new();
    let mut client = root.client();
    let mut server = root.server();
    let panics = thread::spawn(move || {
        server.serve(|number| match number {
            0 => std::panic::resume_unwind(Box::new("the server fails")),
            number => number + 1,
        })
    });
    assert_eq!(*client.request(&1, SOON).unwrap(), 2);
    let error = client.request(&0, SOON).unwrap_err();
    assert!(matches!(error, CallError::Declined { .. }), "{error}");
    assert!(panics.join().is_err(), "the panic goes on");
    let serving = Serving::start(root.server(), |number| number + 2);
    assert_eq!(*client.request(&0, SOON).unwrap(), 2);
    serving.stop();
}

#[test]
fn a_repeatable_call_that_is_declined_is_not_repeated() {
    let root = Root::new();
    let options = RequesterOptions::new().repeatable(true);
    let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
    let mut server = root.server();
    let call = client.send(&1).unwrap();
    drop(next(&mut server));
    let error = call.wait(SOON).unwrap_err();
    assert!(matches!(error, CallError::Declined { .. }), "{error}");
    assert!(server.try_recv().unwrap().is_none());
}

#[test]
fn a_request_that_is_no_value_is_declined_and_the_error_names_the_field() {
    let root = Root::new();
    let mut client = Requester::<Command, u64>::new(root.channel()).unwrap();
    let mut server = Replier::<Command, u64>::new(root.channel()).unwrap();
    let mut garbage = |offset: usize, byte| {
        let mut loan = client.loan().unwrap();
        let start = loan.as_mut_ptr();
        // SAFETY: The pointer is to a slot for a `Command`, which has more bytes.
        unsafe { start.write(COMMAND) };
        // SAFETY: As above.
        unsafe { start.cast::<u8>().add(offset).write(byte) };
        // SAFETY: It is not, on purpose. Nothing here looks at it before it is checked.
        unsafe { loan.assume_init() }.send().unwrap()
    };
    for (offset, byte, field) in [(8, 3, "gear"), (9, 2, "brake")] {
        let call = garbage(offset, byte);
        match server.recv_timeout(SOON) {
            Err(RecvError::Invalid { invalid, .. }) => assert_eq!(invalid.field(), field),
            other => panic!("{other:?}"),
        }
        let error = call.wait(SOON).unwrap_err();
        assert!(matches!(error, CallError::Declined { .. }), "{error}");
    }
    // One that serves goes on with the next.
    let bad = garbage(8, 77);
    let good = client.send(&COMMAND).unwrap();
    let serving = Serving::start(server, |command| command.speed as u64);
    assert!(matches!(bad.wait(SOON), Err(CallError::Declined { .. })));
    assert_eq!(*good.wait(SOON).unwrap(), 1);
    serving.stop();
}

#[test]
fn a_reply_that_is_no_value_is_an_error_that_names_the_field() {
    let root = Root::new();
    let mut client = Requester::<u64, Command>::new(root.depth(1)).unwrap();
    let mut server = Replier::<u64, Command>::new(root.channel()).unwrap();
    for polled in [true, false] {
        let mut call = client.send(&1).unwrap();
        let mut loan = next(&mut server).loan_reply();
        let start = loan.as_mut_ptr();
        // SAFETY: The pointer is to memory for a `Command`.
        unsafe { start.write(COMMAND) };
        // SAFETY: It has more bytes than nine.
        unsafe { start.cast::<u8>().add(9).write(2) };
        // SAFETY: It is not, on purpose. Nothing here looks at it before it is checked.
        assert_eq!(unsafe { loan.assume_init() }.send(), Delivered::Yes);
        let end = if polled { poll(&mut call) } else { call.wait(SOON) };
        match end {
            Err(CallError::Invalid { invalid, .. }) => assert_eq!(invalid.field(), "brake"),
            other => panic!("{other:?}"),
        }
    }
    let call = client.send(&1).unwrap();
    next(&mut server).reply(&COMMAND).unwrap();
    assert_eq!(*call.wait(SOON).unwrap(), COMMAND);
}

// ── full ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn when_all_slots_hold_calls_it_says_so() {
    let root = Root::new();
    let mut client = Requester::<u64, u64>::new(root.depth(3)).unwrap();
    let mut other = root.client();
    let mut server = root.server();
    let waiting = client.send(&1).unwrap();
    let served = other.send(&2).unwrap();
    let replied = client.send(&3).unwrap();
    let full = |result: Result<(), CallError>| match result {
        Err(error @ CallError::Full { slots: 3, .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for client in [&mut client, &mut other] {
        let text =
            "service \"test/calls\": no room for another call, of 3 in flight at most (depth)";
        assert_eq!(full(client.send(&4).map(drop)), text);
        full(client.loan().map(drop));
        let start = Instant::now();
        full(client.request(&4, A_WHILE).map(drop));
        assert!(start.elapsed() >= A_WHILE);
    }
    let first = next(&mut server);
    let second = next(&mut server);
    next(&mut server).reply(&13).unwrap();
    full(client.send(&4).map(drop));
    let reply = replied.wait(SOON).unwrap();
    full(client.send(&4).map(drop));
    assert_eq!(*reply, 13);
    drop(reply);
    let fourth = other.send(&4).unwrap();
    full(client.send(&5).map(drop));
    first.reply(&11).unwrap();
    second.reply(&12).unwrap();
    next(&mut server).reply(&14).unwrap();
    let replies = [waiting, served, fourth].map(|call| *call.wait(SOON).unwrap());
    assert_eq!(replies, [11, 12, 14]);
}

#[test]
fn a_request_waits_for_room() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.depth(2), options).unwrap();
        let mut other = root.client();
        let mut server = root.server();
        let [first, second] = [1, 2].map(|number| other.send(&number).unwrap());
        let caller = thread::spawn(move || *client.request(&3, SOON).unwrap());
        thread::sleep(A_WHILE);
        assert!(!caller.is_finished());
        // Not the answer makes room, but that it was read.
        next(&mut server).reply(&11).unwrap();
        let reply = first.wait(SOON).unwrap();
        assert!(matches!(other.send(&9), Err(CallError::Full { .. })));
        assert_eq!(*next(&mut server), 2);
        drop(reply);
        next(&mut server).reply(&13).unwrap();
        assert_eq!(join(caller), 13);
        assert!(matches!(second.wait(SOON), Err(CallError::Declined { .. })));
    }
}

#[test]
fn one_slot_is_enough_for_many_clients() {
    let root = Root::new();
    let keeper = Requester::<u64, u64>::new(root.depth(1)).unwrap();
    let serving = Serving::start(root.server(), |number| number + 1);
    let clients: Vec<_> = (0..3)
        .map(|id| {
            let mut client = root.client();
            thread::spawn(move || {
                for number in 0..200 {
                    let number = id * 1000 + number;
                    assert_eq!(*client.request(&number, SOON).unwrap(), number + 1);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(join);
    serving.stop();
    assert_eq!(keeper.stats().free, 1);
}

// ── serving, and being interrupted ───────────────────────────────────────────────────────────────

#[test]
fn serve_ends_when_it_is_interrupted_and_goes_on_when_it_is_called_again() {
    for wait in WAITS {
        let root = Root::new();
        let options = ReplierOptions::new().wait(wait);
        let mut server = Replier::<u64, u64>::with(root.channel(), options).unwrap();
        let mut client = root.client();
        for round in 0..5 {
            let serving = Serving::start(server, move |number| number + round);
            assert_eq!(*client.request(&10, SOON).unwrap(), 10 + round);
            server = serving.stop();
            let error = client.request(&10, Duration::from_millis(2)).unwrap_err();
            assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
        }
        // Interrupted before it begins it serves nobody.
        let call = client.send(&1).unwrap();
        server.interrupter().interrupt();
        server.serve(|_| panic!("it was interrupted")).unwrap();
        next(&mut server).reply(&2).unwrap();
        assert_eq!(*call.wait(SOON).unwrap(), 2);
    }
}

#[test]
fn an_interrupter_ends_the_current_or_the_next_blocking_call_of_a_server_once() {
    for wait in WAITS {
        let root = Root::new();
        let mut client = root.client();
        let options = ReplierOptions::new().wait(wait);
        let mut server = Replier::<u64, u64>::with(root.channel(), options).unwrap();
        let interrupter = server.interrupter();
        interrupter.clone().interrupt();
        assert!(matches!(server.recv_timeout(SOON), Err(RecvError::Interrupted)));
        assert!(server.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
        let blocked = thread::spawn(move || {
            let result = server.recv();
            assert!(matches!(result, Err(RecvError::Interrupted)), "{result:?}");
            server
        });
        thread::sleep(A_WHILE);
        assert!(!blocked.is_finished());
        interrupter.interrupt();
        let mut server = join(blocked);
        let call = client.send(&1).unwrap();
        interrupter.interrupt();
        let request = server.try_recv().unwrap().expect("which cannot be interrupted");
        assert!(matches!(server.recv_timeout(SOON), Err(RecvError::Interrupted)));
        request.reply(&2).unwrap();
        assert_eq!(*call.wait(SOON).unwrap(), 2);
        drop(server);
        interrupter.interrupt();
    }
}

#[test]
fn an_interrupter_ends_the_current_or_the_next_blocking_call_of_a_client_once() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.depth(1), options).unwrap();
        let mut server = root.server();
        let interrupter = client.interrupter();
        interrupter.interrupt();
        let waited = client.wait_for_servers(9, SOON);
        assert!(matches!(waited, Err(WaitError::Interrupted)), "{waited:?}");
        interrupter.interrupt();
        let result = client.request(&1, SOON);
        assert!(matches!(result, Err(CallError::Interrupted)), "{result:?}");
        assert!(server.try_recv().unwrap().is_none(), "it was cancelled");
        let result = client.request(&1, Duration::from_millis(1));
        assert!(matches!(result, Err(CallError::TimedOut { .. })), "{result:?}");
        let mut other = root.client();
        type Call = fn(&mut Requester<u64, u64>) -> Result<Reply<u64>, CallError>;
        let block = |mut client: Requester<u64, u64>, call: Call| {
            let blocked = thread::spawn(move || (call(&mut client).map(drop), client));
            thread::sleep(A_WHILE);
            assert!(!blocked.is_finished());
            interrupter.interrupt();
            let (result, client) = join(blocked);
            assert!(matches!(result, Err(CallError::Interrupted)), "{result:?}");
            client
        };
        client = block(client, |client| client.request(&2, SOON));
        client = block(client, |client| client.send(&3)?.wait(SOON));
        // And while it waits for room.
        let call = other.send(&4).unwrap();
        client = block(client, |client| client.request(&5, SOON));
        next(&mut server).reply(&14).unwrap();
        assert_eq!(*call.wait(SOON).unwrap(), 14);
        assert!(server.try_recv().unwrap().is_none());
        let call = client.send(&6).unwrap();
        next(&mut server).reply(&16).unwrap();
        assert_eq!(*call.wait(SOON).unwrap(), 16);
        drop(client);
        interrupter.interrupt();
    }
}

#[test]
fn a_server_that_is_interrupted_passes_the_call_on_that_it_was_woken_for() {
    const ROUNDS: u64 = 300;
    let root = Root::new();
    let mut client = root.client();
    let is_over: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let mut interrupters = Vec::new();
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let options = ReplierOptions::new().wait(Wait::Sleep);
            let mut server = Replier::<u64, u64>::with(root.channel(), options).unwrap();
            interrupters.push(server.interrupter());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    server.serve(|number| number + 1).unwrap();
                    // It is busy with something else.
                    thread::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let interrupter = &interrupters[round as usize % 2];
        let call = if round % 4 < 2 {
            interrupter.interrupt();
            client.send(&round).unwrap()
        } else {
            let call = client.send(&round).unwrap();
            interrupter.interrupt();
            call
        };
        assert_eq!(*call.wait(SOON).unwrap(), round + 1);
    }
    is_over.store(true, Ordering::Relaxed);
    interrupters.iter().for_each(|interrupter| interrupter.interrupt());
    servers.into_iter().for_each(join);
}

#[test]
fn servers_can_be_waited_for() {
    let root = Root::new();
    let mut client = root.client();
    assert!(!client.wait_for_servers(1, Duration::from_millis(5)).unwrap());
    assert!(client.wait_for_servers(0, Duration::ZERO).unwrap());
    assert_eq!(client.servers(), 0);
    let waiting = thread::spawn(move || {
        assert!(client.wait_for_servers(1, SOON).unwrap());
        assert_eq!(client.servers(), 1);
        client
    });
    thread::sleep(A_WHILE);
    let server = root.server();
    let mut client = join(waiting);
    assert_eq!(server.clients(), 1);
    assert!(!client.wait_for_servers(2, Duration::ZERO).unwrap());
    drop(client);
    assert_eq!(server.clients(), 0);
}

#[test]
fn recv_timeout_ends_in_time() {
    let root = Root::new();
    let _client = root.client();
    for wait in WAITS {
        let options = ReplierOptions::new().wait(wait);
        let mut server = Replier::<u64, u64>::with(root.channel(), options).unwrap();
        for time in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(150)] {
            let start = Instant::now();
            assert!(server.recv_timeout(time).unwrap().is_none());
            assert!(start.elapsed() >= time);
        }
    }
}

#[test]
fn a_time_beyond_the_end_of_the_clock_is_no_deadline() {
    let root = Root::new();
    let mut client = root.client();
    let mut server = root.server();
    let worker = thread::spawn(move || {
        server.recv_timeout(Duration::MAX).unwrap().unwrap().reply(&3).unwrap();
    });
    assert_eq!(*client.request(&1, Duration::MAX).unwrap(), 3);
    join(worker);
}

// ── what outlives its handle ─────────────────────────────────────────────────────────────────────

#[test]
fn calls_and_replies_outlive_their_client() {
    let root = Root::new();
    let (mut client, mut server) = (root.client(), root.server());
    let [first, second, third] = [1, 2, 3].map(|number| client.send(&number).unwrap());
    drop(client);
    assert_eq!(server.clients(), 1, "it is there until the last of its calls has ended");
    for number in 1..=3 {
        let request = next(&mut server);
        assert_eq!((*request, request.is_wanted()), (number, true));
        assert_eq!(request.reply(&(number + 10)).unwrap(), Delivered::Yes);
    }
    let first = first.wait(SOON).unwrap();
    let second = join(thread::spawn(move || second.wait(SOON).unwrap()));
    drop((server, third));
    assert_eq!((*first, *second), (11, 12));
    join(thread::spawn(move || drop(first)));
    assert_eq!((*second, root.files().len()), (12, 1));
    drop(second);
    assert_eq!(root.files(), [""; 0]);
}

#[test]
fn a_request_outlives_its_server_and_can_be_answered_by_another_thread() {
    let root = Root::new();
    let (mut client, mut server) = (root.client(), root.server());
    let [first, second, third] = [1, 2, 3].map(|number| client.send(&number).unwrap());
    let requests = [(); 3].map(|()| next(&mut server));
    drop(server);
    assert_eq!(client.servers(), 1, "it is there until the last of its requests is answered");
    let [one, two, three] = requests;
    join(thread::spawn(move || {
        assert_eq!((*one, *two), (1, 2));
        assert_eq!(one.reply(&11).unwrap(), Delivered::Yes);
        drop(two);
    }));
    let loan = three.loan_reply().init(13);
    assert_eq!(*first.wait(SOON).unwrap(), 11);
    assert!(matches!(second.wait(SOON), Err(CallError::Declined { .. })));
    drop(client);
    assert_eq!(loan.send(), Delivered::Yes);
    assert_eq!(*third.wait(SOON).unwrap(), 13);
}

#[test]
fn a_service_keeps_nothing_when_everybody_is_gone() {
    for what in 0..4 {
        let root = Root::new();
        let (mut client, mut server) = (root.client(), root.server());
        let call = client.send(&1).unwrap();
        match what {
            0 => drop((call, client, server)),
            1 => drop((server, client, call)),
            2 => {
                let request = next(&mut server);
                drop((server, client, call));
                assert_eq!(request.reply(&1).unwrap(), Delivered::CallerGone);
            }
            _ => {
                let request = next(&mut server);
                request.reply(&1).unwrap();
                let reply = call.wait(SOON).unwrap();
                drop((client, server));
                assert_eq!((*reply, root.files().len()), (1, 1));
            }
        }
        assert_eq!(root.files(), [""; 0], "{what}");
        let mut server = root.server();
        assert!(server.try_recv().unwrap().is_none(), "{what}");
    }
}

#[test]
fn handles_may_be_sent_and_what_they_give_shared_and_all_say_what_they_are() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + 'static>() {}
    send::<Requester<u64, [u8]>>();
    send::<Replier<[u8], u64>>();
    send::<Pending<[u8]>>();
    share::<Reply<Command>>();
    share::<Request<[u8], Command>>();
    let root = Root::new();
    let (mut client, mut server) = (root.client(), root.server());
    let text = format!("{client:?}");
    assert!(
        text.starts_with("Requester { channel: \"test/calls\", request: \"u64\", reply: \"u64\"")
    );
    assert!(format!("{server:?}").starts_with("Replier { channel: \"test/calls\""));
    let call = client.send(&3).unwrap();
    assert!(format!("{call:?}").starts_with("Pending { channel: \"test/calls\", reply: \"u64\""));
    let request = next(&mut server);
    assert_eq!(format!("{request:?}"), "Request { attempts: 0, message: 3 }");
    request.reply(&4).unwrap();
    assert_eq!(format!("{:?}", call.wait(SOON).unwrap()), "Reply(4)");
}

// ── who decides what the service is ──────────────────────────────────────────────────────────────

#[test]
fn other_types_are_refused_with_the_difference() {
    let root = Root::new();
    let server = Replier::<Command, u64>::new(root.channel()).unwrap();
    let error = Requester::<Command, i64>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    assert!(error.to_string().ends_with("channel u64, you i64"), "{error}");
    let error = Requester::<u64, u64>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    let error = Replier::<Command, Command>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    drop(server);
    let server = Replier::<Command, [u8]>::new(root.channel().max_reply_len(3)).unwrap();
    let error = Requester::<Command, [u8]>::new(root.channel().max_reply_len(4)).unwrap_err();
    assert_eq!(error.to_string(), "channel \"test/calls\" has max_reply_len 3, you ask for 4");
    let error = Requester::<Command, [u8]>::new(root.channel().max_len(4)).unwrap_err();
    assert!(matches!(error, AttachError::FixedSize { option: "max_len", .. }), "{error}");
    drop(server);
}

#[test]
fn the_error_for_another_reply_says_that_it_is_the_reply() {
    let root = Root::new();
    let _server = Replier::<u64, u64>::new(root.channel()).unwrap();
    let error = Requester::<u64, i64>::new(root.channel()).unwrap_err().to_string();
    assert!(error.contains("reply"), "{error}");
}

#[test]
fn options_that_one_side_sets_hold_for_both_in_either_order() {
    for server_sets in [true, false] {
        for server_first in [true, false] {
            if server_first && !server_sets {
                // What a server that is there has chosen, it has chosen.
                continue;
            }
            let root = Root::new();
            let of = |sets: bool| match sets {
                true => root.depth(3).max_len(7).max_reply_len(9),
                false => root.channel(),
            };
            let serve = || Replier::<[u8], [u8]>::new(of(server_sets)).unwrap();
            let call = || Requester::<[u8], [u8]>::new(of(!server_sets)).unwrap();
            let (mut server, mut client);
            if server_first {
                server = serve();
                client = call();
            } else {
                client = call();
                server = serve();
            }
            assert!(client.wait_for_servers(1, SOON).unwrap());
            assert_eq!((client.max_len(), server.max_reply_len()), (7, 9));
            let calls: Vec<_> = (0..3).map(|_| client.send(&[1; 7]).unwrap()).collect();
            assert!(matches!(client.send(&[1]), Err(CallError::Full { slots: 3, .. })));
            for call in calls {
                next(&mut server).reply(&[2; 9]).unwrap();
                assert_eq!(*call.wait(SOON).unwrap(), [2; 9]);
            }
        }
    }
}

#[test]
fn a_client_follows_a_service_that_was_replaced() {
    let root = Root::new();
    let mut client = root.client();
    for (depth, round) in [4, 9, 300, 1].into_iter().zip(0..) {
        let server = Replier::<u64, u64>::new(root.depth(depth)).unwrap();
        let serving = Serving::start(server, move |number| number + round);
        for way in 0..3 {
            let reply = match way {
                0 => client.request(&10, SOON).unwrap(),
                1 => client.send(&10).unwrap().wait(SOON).unwrap(),
                _ => client.loan().unwrap().write(10).unwrap().wait(SOON).unwrap(),
            };
            assert_eq!(*reply, 10 + round, "depth {depth}");
        }
        assert!(client.stats().free + KEPT >= depth);
        serving.stop();
    }
}

#[test]
fn what_a_client_has_of_a_service_that_was_replaced_ends_by_itself() {
    let root = Root::new();
    let mut client = root.client();
    let mut old = root.server();
    let answered = client.send(&1).unwrap();
    next(&mut old).reply(&11).unwrap();
    let replied = client.send(&2).unwrap();
    next(&mut old).reply(&12).unwrap();
    let reply = replied.wait(SOON).unwrap();
    let open = client.send(&3).unwrap();
    let mut polled = client.send(&4).unwrap();
    drop(old);
    let serving =
        Serving::start(Replier::<u64, u64>::new(root.depth(9)).unwrap(), |number| number + 20);
    // A reply that is there can be read, before and after the client follows.
    assert_eq!(*answered.wait(SOON).unwrap(), 11);
    // What no server has seen can be told from what one has.
    let error = open.wait(SOON).unwrap_err();
    assert!(matches!(error, CallError::Replaced { .. }), "{error}");
    assert_eq!(*client.request(&5, SOON).unwrap(), 25);
    let error = polled.poll().unwrap_err();
    assert!(matches!(error, CallError::Replaced { .. }), "{error}");
    assert_eq!(*reply, 12);
    drop(reply);
    drop(polled);
    serving.stop();
}

#[test]
fn a_request_that_waits_is_answered_by_the_server_that_replaces_the_service() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
        let caller = thread::spawn(move || client.request(&1, SOON).map(|reply| *reply));
        thread::sleep(A_WHILE);
        let serving =
            Serving::start(Replier::<u64, u64>::new(root.depth(9)).unwrap(), |number| number + 1);
        let answer = join(caller);
        serving.stop();
        assert!(matches!(answer, Ok(2)), "{answer:?}");
    }
}

#[test]
fn clients_that_wait_for_servers_follow_one_that_replaces_the_service() {
    for wait in WAITS {
        let root = Root::new();
        let options = RequesterOptions::new().wait(wait);
        let mut client = Requester::<u64, u64>::with(root.channel(), options).unwrap();
        let interrupter = client.interrupter();
        let caller = thread::spawn(move || {
            assert!(client.wait_for_servers(1, SOON).unwrap());
            assert_eq!(*client.request(&1, SOON).unwrap(), 2);
            client
        });
        thread::sleep(A_WHILE);
        let serving =
            Serving::start(Replier::<u64, u64>::new(root.depth(9)).unwrap(), |number| number + 1);
        let mut client = join(caller);
        let _idle = serving.stop();
        // Made before the service was replaced.
        let blocked = thread::spawn(move || client.request(&1, SOON).map(drop));
        thread::sleep(A_WHILE);
        interrupter.interrupt();
        let end = join(blocked);
        assert!(matches!(end, Err(CallError::Interrupted)), "{end:?}");
    }
}

#[test]
fn a_client_of_other_types_is_told_when_a_server_comes_and_goes_on_when_it_has_left() {
    let root = Root::new();
    let mut client = Requester::<u64, i32>::new(root.channel()).unwrap();
    let server = root.server();
    for _ in 0..2 {
        match client.request(&1, SOON) {
            Err(CallError::Attach(error)) => {
                assert!(matches!(*error, AttachError::SchemaMismatch { .. }), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    drop(server);
    let serving = Serving::start(Replier::<u64, i32>::new(root.channel()).unwrap(), |number| {
        -(*number as i32)
    });
    assert_eq!(*client.request(&3, SOON).unwrap(), -3);
    serving.stop();
}

#[test]
fn two_servers_with_different_options_do_not_meet() {
    let root = Root::new();
    let first = Replier::<u64, u64>::new(root.depth(4)).unwrap();
    let error = Replier::<u64, u64>::new(root.depth(8)).unwrap_err();
    assert_eq!(error.to_string(), "channel \"test/calls\" has depth 4, you ask for 8");
    drop(first);
    Replier::<u64, u64>::new(root.depth(8)).unwrap();
}

#[test]
fn there_is_room_for_64_of_each_and_a_clear_end() {
    let root = Root::new();
    let mut servers: Vec<_> = (0..64).map(|_| root.server()).collect();
    let mut clients: Vec<_> = (0..64).map(|_| root.client()).collect();
    let error = Replier::<u64, u64>::new(root.channel()).unwrap_err().to_string();
    let text =
        "channel \"test/calls\" has 64 servers already, and no room for more (max_publishers)";
    assert_eq!(error, text);
    let error = Requester::<u64, u64>::new(root.channel()).unwrap_err().to_string();
    let text =
        "channel \"test/calls\" has 64 clients already, and no room for more (max_subscribers)";
    assert_eq!(error, text);
    assert_eq!((servers[3].clients(), clients[9].servers()), (64, 64));
    let calls: Vec<_> =
        clients.iter_mut().zip(0..).map(|(client, number)| client.send(&number).unwrap()).collect();
    for server in servers.iter_mut().rev() {
        let request = next(server);
        let number = *request;
        request.reply(&(number + 1)).unwrap();
    }
    for (call, number) in calls.into_iter().zip(0..) {
        assert_eq!(*call.wait(SOON).unwrap(), number + 1);
    }
    // The last place of each side sleeps and is woken.
    let mut client = clients.pop().unwrap();
    let serving = Serving::start(servers.pop().unwrap(), |number| number + 1);
    drop((servers, clients));
    for number in 0..20 {
        thread::sleep(Duration::from_millis(1));
        assert_eq!(*client.request(&number, SOON).unwrap(), number + 1);
    }
    serving.stop();
}

/// Servers of different depths, each alone at its time, and clients that call all the time.
#[test]
fn clients_get_right_answers_while_the_service_is_replaced_again_and_again() {
    const TIME: Duration = Duration::from_secs(2);
    let root = Root::new();
    let end = Instant::now() + TIME;
    let answered: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|id| {
            let mut client = root.client();
            thread::spawn(move || {
                let mut number = id << 32;
                while Instant::now() < end {
                    number += 1;
                    match client.request(&number, Duration::from_millis(20)) {
                        Ok(reply) => {
                            assert_eq!(*reply, number + 1);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(CallError::NoServer { .. } | CallError::TimedOut { .. }) => {}
                        // Between two of them.
                        Err(CallError::Attach(error)) => {
                            assert!(matches!(*error, AttachError::Busy { .. }), "{error}");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                client
            })
        })
        .collect();
    let mut depth = 2;
    while Instant::now() < end {
        depth = 2 + (depth + 1) % 7;
        let server = Replier::<u64, u64>::new(root.depth(depth)).unwrap();
        let serving = Serving::start(server, |number| number + 1);
        thread::sleep(Duration::from_millis(20));
        serving.stop();
    }
    let clients: Vec<_> = clients.into_iter().map(join).collect();
    assert!(answered.load(Ordering::Relaxed) > 0);
    let serving = Serving::start(root.server(), |number| number + 1);
    for mut client in clients {
        assert_eq!(*client.request(&1, SOON).unwrap(), 2);
        assert!(client.stats().held <= 4 * KEPT);
    }
    serving.stop();
}

// ── figures ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_figures_say_how_the_service_stands() {
    // With so few slots nobody keeps one at hand.
    let root = Root::new();
    let mut client = Requester::<u64, u64>::new(root.depth(3)).unwrap();
    let mut server = root.server();
    #[track_caller]
    fn check(
        client: &Requester<u64, u64>,
        server: &Replier<u64, u64>,
        now: [u32; 3],    // queued, held, free
        so_far: [u64; 4], // called, served, timed out, failed
    ) {
        for stats in [client.stats(), server.stats()] {
            assert_eq!([stats.queued, stats.held, stats.free], now);
            assert_eq!([stats.called, stats.served, stats.timed_out, stats.failed], so_far);
        }
    }
    check(&client, &server, [0, 0, 3], [0, 0, 0, 0]);
    let call = client.send(&1).unwrap();
    check(&client, &server, [1, 0, 2], [1, 0, 0, 0]);
    let request = next(&mut server);
    check(&client, &server, [0, 1, 2], [1, 0, 0, 0]);
    request.reply(&2).unwrap();
    check(&client, &server, [0, 0, 2], [1, 1, 0, 0]);
    assert_eq!(server.stats().kept, 1);
    let reply = call.wait(SOON).unwrap();
    check(&client, &server, [0, 0, 2], [1, 1, 0, 0]);
    assert_eq!(server.stats().kept, 1);
    drop(reply);
    check(&client, &server, [0, 0, 3], [1, 1, 0, 0]);
    let call = client.send(&1).unwrap();
    drop(next(&mut server));
    call.wait(SOON).unwrap_err();
    check(&client, &server, [0, 0, 3], [2, 1, 0, 1]);
    client.request(&1, Duration::from_millis(1)).unwrap_err();
    check(&client, &server, [0, 0, 3], [3, 1, 1, 1]);
    // One that is cancelled has neither timed out nor failed; nor is it served, if its answer is late.
    let call = client.send(&1).unwrap();
    let request = next(&mut server);
    drop(call);
    check(&client, &server, [0, 1, 2], [4, 1, 1, 1]);
    request.reply(&1).unwrap();
    check(&client, &server, [0, 0, 3], [4, 1, 1, 1]);
    let loan = client.loan().unwrap();
    assert_eq!((server.stats().kept, server.stats().free), (1, 2));
    drop(loan);
    // What a handle has counted stays when it is gone.
    drop(root.client().send(&1).unwrap());
    check(&client, &server, [0, 0, 3], [5, 1, 1, 1]);
}
