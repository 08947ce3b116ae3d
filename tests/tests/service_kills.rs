//! What holds of a service when clients and servers are killed at random.

use shm_comm::{CallError, Requester, RequesterOptions, Wait};
use shm_comm_tests::campaign::{Crew, Start};
use shm_comm_tests::handover::{Fixed, Slices, Talk, Task, wait_of};
use shm_comm_tests::harness::{
    Guard, Peer, Root, SOON, peer, random, report, within_a_quarter_of_a_second,
};
use shm_comm_tests::notes::{self, Desk, What};
use std::time::{Duration, Instant};

const PEER: &str = env!("CARGO_BIN_EXE_handover-peer");
const CLIENTS: usize = 3;
const SERVERS: usize = 3;

/// One campaign.
#[derive(Clone, Copy, Debug)]
struct Plan {
    client: &'static str,
    server: &'static str,
    depth: u32,
    calls: u64,
    kills: u64,
    /// How often everybody is killed at a time.
    massacres: u64,
    clients_die: bool,
}

/// How calls have ended. Reported as it is.
#[allow(dead_code)]
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    replied: u64,
    server_lost: u64,
    declined: u64,
    no_server: u64,
    timed_out: u64,
    cancelled: u64,
    latest: Duration,
    kills: u64,
    time: Duration,
}

/// What a client notes it has checked: a reply is that of its call, and no call has ended otherwise than
/// it may, or late. Else it ends by itself, which is noticed here.
fn campaign<T: Talk>(plan: Plan) -> Sum {
    let (root, desk, start) = (Root::new(), Desk::new(), Instant::now());
    let _guard = Guard::over(&root);
    let channel = T::service(root.path(), plan.depth);
    let member = |role: &'static str, who: usize| -> Start<'_> {
        let (root, desk) = (&root, &desk);
        Box::new(move |life| {
            let mut command = peer(PEER, root, "", role, life);
            let (who, depth) = (who.to_string(), plan.depth.to_string());
            Peer::spawn(command.arg(desk.path()).args([who, depth]))
        })
    };
    // Servers first, so that they have the lower numbers.
    let mut crew = Crew::start((0..SERVERS + CLIENTS).map(|i| match i.checked_sub(SERVERS) {
        None => member(plan.server, i),
        Some(client) => member(plan.client, client),
    }));
    let book = |client: usize| desk.book(&format!("client-{client}"));
    let ended = || (0..CLIENTS).map(|client| notes::count(&book(client)));
    // Each client has to go on, not only all together.
    let (mut last, mut since) = ([0; CLIENTS], [Instant::now(); CLIENTS]);
    let mut wait_for = |calls: u64, crew: &mut Crew| {
        while last.iter().sum::<u64>() < calls {
            for (client, now) in ended().enumerate() {
                if now > last[client] {
                    (last[client], since[client]) = (now, Instant::now());
                }
                let look = || Requester::<T::Request, T::Reply>::new(&channel).map(|c| c.stats());
                let is_stuck = since[client].elapsed() > SOON;
                assert!(!is_stuck, "client {client} hangs, {plan:?}, {:?}", look());
            }
            crew.restart();
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    let every = plan.kills / (plan.massacres + 1);
    let mut massacres = 0;
    while crew.kills < plan.kills {
        wait_for(plan.calls * crew.kills / plan.kills, &mut crew);
        std::thread::sleep(Duration::from_micros(random(2000)));
        if crew.kills > (massacres + 1) * every && massacres < plan.massacres {
            massacres += 1;
            crew.kill_everybody();
        } else if plan.clients_die {
            crew.kill_anybody();
        } else {
            crew.kill(random(SERVERS as u64) as usize, Duration::from_millis(random(20)));
            crew.restart();
        }
    }
    wait_for(plan.calls, &mut crew);
    crew.gather();

    // The last are not started again: whoever is there has to clean up. So does a visitor when he comes,
    // so that he comes before.
    let visitor = Requester::<T::Request, T::Reply>::new(&channel).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    crew.kill(random(SERVERS as u64) as usize, Duration::ZERO);
    if plan.clients_die {
        crew.kill(SERVERS + random(CLIENTS as u64) as usize, Duration::ZERO);
    }
    desk.stop("first");
    let mut wait_for_all = |members: std::ops::Range<usize>| {
        for member in members {
            let end = crew.wait(member);
            assert!(end.is_none_or(|status| status.success()), "{end:?}");
        }
    };
    wait_for_all(SERVERS..SERVERS + CLIENTS);
    let end = Instant::now() + SOON;
    loop {
        let stats = visitor.stats();
        if (stats.queued, stats.held, stats.free) == (0, 0, plan.depth) {
            break;
        }
        assert!(Instant::now() < end, "a slot is lost: {plan:?}, {stats:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(visitor);
    desk.stop("second");
    wait_for_all(0..SERVERS);
    assert!(root.files().is_empty(), "{:?}", root.files());

    let mut sum = Sum { kills: crew.kills, time: start.elapsed(), ..Sum::default() };
    for note in (0..CLIENTS).flat_map(|client| notes::read(&book(client))) {
        *match note.what {
            What::Replied => &mut sum.replied,
            What::ServerLost => &mut sum.server_lost,
            What::Declined => &mut sum.declined,
            What::NoServer => &mut sum.no_server,
            What::TimedOut => &mut sum.timed_out,
            What::Cancelled => &mut sum.cancelled,
            other => panic!("{other:?}"),
        } += 1;
        sum.latest = sum.latest.max(Duration::from_micros(note.count));
    }
    sum
}

/// With messages of fixed size and slices, many slots and too few, and all kinds of waiting.
#[test]
fn every_call_ends_in_time_and_no_reply_reaches_another_whoever_is_killed() {
    let plan = Plan {
        client: "call-fixed",
        server: "serve-fixed",
        depth: 64,
        calls: 12_000,
        kills: 200,
        massacres: 4,
        clients_die: true,
    };
    let slices = Plan { client: "call-slices", server: "serve-slices", depth: 7, ..plan };
    let few = Plan { depth: 3, calls: 3000, kills: 80, massacres: 2, ..plan };
    let sums = [campaign::<Fixed>(plan), campaign::<Slices>(slices), campaign::<Fixed>(few)];
    for sum in sums {
        report(format_args!("{sum:?}"));
        assert!(sum.replied > 0 && sum.declined > 0 && sum.cancelled > 0, "{sum:?}");
    }
}

#[test]
fn every_call_that_may_be_repeated_ends_with_its_reply_though_servers_are_killed() {
    let sum = campaign::<Fixed>(Plan {
        client: "call-again",
        server: "serve-all",
        depth: 16,
        calls: 6000,
        kills: 150,
        massacres: 0,
        clients_die: false,
    });
    report(format_args!("{sum:?}"));
    let failed = sum.server_lost + sum.declined + sum.no_server + sum.timed_out;
    assert_eq!((sum.replied > 0, failed), (true, 0));
}

/// A client that waits for a call which a server has, and the server is killed. How long after that it
/// knows.
fn loss(wait: Wait, polls: bool) -> Duration {
    let root = Root::new();
    let _guard = Guard::over(&root);
    let channel = Fixed::service(root.path(), 4);
    let options = RequesterOptions::new().wait(wait);
    let mut client = Requester::<Task, Task>::with(&channel, options).unwrap();
    let server = Peer::start(PEER, &root, "hold-call", 0);
    let mut pending = client.send(&Task::of(1)).unwrap();
    let end = Instant::now() + SOON;
    while client.stats().held == 0 {
        assert!(Instant::now() < end, "it does not take the call");
        std::thread::sleep(Duration::from_micros(100));
    }
    let time = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20 + random(40)));
            let killed = Instant::now();
            server.kill();
            killed
        });
        let error = if polls {
            loop {
                match pending.poll() {
                    Ok(None) => std::thread::sleep(Duration::from_micros(100)),
                    other => break other.expect_err("a reply"),
                }
            }
        } else {
            pending.wait(SOON).expect_err("a reply")
        };
        let known = Instant::now();
        assert!(matches!(error, CallError::ServerLost { .. }), "{error}");
        known.saturating_duration_since(killer.join().unwrap())
    });
    assert_eq!(client.stats().free, 4);
    drop(client);
    assert!(root.files().is_empty(), "{:?}", root.files());
    time
}

#[test]
fn a_client_knows_within_a_quarter_of_a_second_that_its_server_is_dead() {
    for who in 0..4 {
        let wait = wait_of(who);
        let what = format!("with {wait:?} it knows");
        within_a_quarter_of_a_second(&what, || loss(wait, false));
    }
    within_a_quarter_of_a_second("who polls knows", || loss(Wait::default(), true));
}

/// Also if the other one sleeps, and was there all the time.
#[test]
fn another_server_gets_a_call_that_may_be_repeated_within_a_quarter_of_a_second() {
    for who in 0..3 {
        let wait = wait_of(who);
        within_a_quarter_of_a_second(&format!("with {wait:?} another has it"), || {
            let root = Root::new();
            let _guard = Guard::over(&root);
            let channel = Fixed::service(root.path(), 4);
            let options = RequesterOptions::new().wait(wait).repeatable(true);
            let mut client = Requester::<Task, Task>::with(&channel, options).unwrap();
            let server = Peer::start(PEER, &root, "hold-call", 0);
            let pending = client.send(&Task::of(1)).unwrap();
            let end = Instant::now() + SOON;
            while client.stats().held == 0 {
                assert!(Instant::now() < end, "it does not take the call");
                std::thread::sleep(Duration::from_micros(100));
            }
            let options = shm_comm::ReplierOptions::new().wait(wait);
            let mut other = shm_comm::Replier::<Task, Task>::with(&channel, options).unwrap();
            let interrupter = other.interrupter();
            let time = std::thread::scope(|scope| {
                let other = scope.spawn(move || {
                    let request = other.recv().unwrap();
                    let known = Instant::now();
                    assert_eq!((request.number, request.attempts()), (1, 1));
                    request.reply(&Task::of(2)).unwrap();
                    known
                });
                let killer = scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(20 + random(110)));
                    let killed = Instant::now();
                    server.kill();
                    killed
                });
                let reply = pending.wait(SOON);
                // Else nobody ends it.
                interrupter.interrupt();
                assert_eq!(reply.unwrap().number, 2);
                other.join().unwrap().saturating_duration_since(killer.join().unwrap())
            });
            drop(client);
            assert!(root.files().is_empty(), "{:?}", root.files());
            time
        });
    }
}

/// Its slots are free though no other client comes or calls.
#[test]
fn the_slots_of_a_dead_client_come_back_while_a_server_waits() {
    let root = Root::new();
    let _guard = Guard::over(&root);
    let channel = Fixed::service(root.path(), 4);
    let mut server = shm_comm::Replier::<Task, Task>::new(&channel).unwrap();
    for _ in 0..3 {
        // With a request that the server has, one that it has not, and a loan.
        let client = Peer::start(PEER, &root, "hold-calls", 0);
        let request = server.recv_timeout(SOON).unwrap().expect("a call");
        let end = Instant::now() + SOON;
        while server.stats().free > 1 {
            assert!(Instant::now() < end, "it does not make its calls: {:?}", server.stats());
            std::thread::sleep(Duration::from_micros(100));
        }
        client.kill();
        let dead = Instant::now();
        // It may get the other call, too: the client is known to be dead when somebody has looked.
        while server.stats().free < 3 {
            drop(server.recv_timeout(Duration::from_millis(1)).unwrap());
            assert!(dead.elapsed() < SOON, "a slot is lost: {:?}", server.stats());
        }
        let _ = request.reply(&Task::of(1)).unwrap();
        while server.stats().free < 4 {
            drop(server.recv_timeout(Duration::from_millis(1)).unwrap());
            assert!(dead.elapsed() < SOON, "a slot is lost: {:?}", server.stats());
        }
    }
    drop(server);
    assert!(root.files().is_empty(), "{:?}", root.files());
}

/// The server does not know yet that its client is dead, and another has the place of that one.
#[test]
fn the_answer_to_a_dead_client_reaches_nobody_who_has_its_place() {
    let root = Root::new();
    let _guard = Guard::over(&root);
    let channel = Fixed::service(root.path(), 4);
    let mut server = shm_comm::Replier::<Task, Task>::new(&channel).unwrap();
    let client = Peer::start(PEER, &root, "hold-calls", 0);
    let first = server.recv_timeout(SOON).unwrap().expect("a call");
    let second = server.recv_timeout(SOON).unwrap().expect("another call");
    client.kill();
    let mut client = Requester::<Task, Task>::new(&channel).unwrap();
    // Of the same numbers as those of the dead one.
    let mut calls = [3, 4].map(|number| client.send(&Task::of(number)).unwrap());
    for request in [first, second] {
        assert!(!request.is_wanted());
        assert_eq!(request.reply(&Task::of(9)).unwrap(), shm_comm::Delivered::CallerGone);
    }
    assert!(calls.iter_mut().all(|call| call.poll().unwrap().is_none()));
    let stats = server.stats();
    assert_eq!((stats.free, stats.queued), (2, 2), "{stats:?}");
    for (call, number) in calls.into_iter().zip([3, 4]) {
        let request = server.recv_timeout(SOON).unwrap().expect("a call");
        assert_eq!(request.number, number);
        assert_eq!(request.reply(&Task::of(number + 10)).unwrap(), shm_comm::Delivered::Yes);
        assert_eq!(call.wait(SOON).unwrap().number, number + 10);
    }
    drop((client, server));
    assert!(root.files().is_empty(), "{:?}", root.files());
}
