//! What holds of a queue when pushers and workers are killed at random.

use shm_comm::{Puller, PullerOptions, Pusher, Wait};
use shm_comm_tests::campaign::{Crew, Start};
use shm_comm_tests::handover::{Task, Work};
use shm_comm_tests::harness::{
    Guard, Peer, Root, SOON, peer, random, report, within_a_quarter_of_a_second,
};
use shm_comm_tests::notes::{self, Desk, Id, Note, What};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const PEER: &str = env!("CARGO_BIN_EXE_handover-peer");

/// One campaign.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// `tasks` or `slices`.
    of: &'static str,
    depth: u32,
    pushers: usize,
    workers: usize,
    jobs: u64,
    kills: u64,
    /// How often everybody is killed at a time.
    massacres: u64,
}

/// What was noted in a campaign.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    pushed: u64,
    /// Nobody knows.
    perhaps_pushed: u64,
    delivered: u64,
    done: u64,
    given_back: u64,
    /// Done by somebody who was killed before he had acknowledged it, and by somebody else.
    twice: u64,
    kills: u64,
}

fn start<'a>(plan: Plan, root: &'a Root, desk: &'a Desk, role: &'a str, who: usize) -> Start<'a> {
    Box::new(move |life| {
        let mut command = peer(PEER, root, "", &format!("{role}-{}", plan.of), life);
        let (who, depth) = (who.to_string(), plan.depth.to_string());
        Peer::spawn(command.arg(desk.path()).args([who, depth]))
    })
}

fn campaign<T: Work + ?Sized>(plan: Plan) -> Sum {
    let (root, desk) = (Root::new(), Desk::new());
    let _guard = Guard::over(&root);
    let channel = T::queue(root.path(), plan.depth);
    let members = plan.pushers + plan.workers;
    let mut crew = Crew::start((0..members).map(|i| match i.checked_sub(plan.pushers) {
        None => start(plan, &root, &desk, "push", i),
        Some(worker) => start(plan, &root, &desk, "pull", worker),
    }));
    let book = |pusher: usize| desk.book(&format!("pusher-{pusher}"));
    // Two notes for each job.
    let pushed = || (0..plan.pushers).map(|pusher| notes::count(&book(pusher)) / 2).sum::<u64>();
    let wait_for = |jobs: u64, crew: &mut Crew| {
        let (mut last, mut since) = (pushed(), Instant::now());
        while last < jobs {
            let now = pushed();
            if now > last {
                (last, since) = (now, Instant::now());
            }
            let look = || Pusher::<T>::new(&channel).map(|pusher| pusher.stats());
            assert!(since.elapsed() < SOON, "it hangs after {now} jobs, {plan:?}, {:?}", look());
            crew.restart();
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    let every = plan.kills / (plan.massacres + 1);
    let mut massacres = 0;
    while crew.kills < plan.kills {
        wait_for(plan.jobs * crew.kills / plan.kills, &mut crew);
        std::thread::sleep(Duration::from_micros(random(2000)));
        if crew.kills > (massacres + 1) * every && massacres < plan.massacres {
            massacres += 1;
            crew.kill_everybody();
        } else {
            crew.kill_anybody();
        }
    }
    wait_for(plan.jobs, &mut crew);
    crew.gather();

    // The last are not started again: whoever is there has to clean up. So does a visitor when he comes,
    // so that he comes before.
    let visitor = Pusher::<T>::new(&channel).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    crew.kill(random(plan.pushers as u64) as usize, Duration::ZERO);
    if plan.workers > 1 {
        crew.kill(plan.pushers + random(plan.workers as u64) as usize, Duration::ZERO);
    }
    desk.stop("first");
    for pusher in 0..plan.pushers {
        let end = crew.wait(pusher);
        assert!(end.is_none_or(|status| status.success()), "{end:?}");
    }
    let end = Instant::now() + SOON;
    loop {
        let stats = visitor.stats();
        if (stats.queued, stats.held, stats.free) == (0, 0, plan.depth) {
            assert_eq!(stats.dead_letters, 0, "{stats:?}");
            break;
        }
        assert!(Instant::now() < end, "a slot is lost: {plan:?}, {stats:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(visitor);
    desk.stop("second");
    let lives = (0..plan.workers).map(|worker| crew.lives(plan.pushers + worker)).collect();
    let in_peace = (0..plan.workers).map(|worker| {
        let end = crew.wait(plan.pushers + worker);
        assert!(end.is_none_or(|status| status.success()), "{end:?}");
        end.is_some()
    });
    let in_peace = in_peace.collect();
    assert!(root.files().is_empty(), "{:?}", root.files());
    let sum = check(plan, &desk, lives, in_peace);
    Sum { kills: crew.kills, ..sum }
}

/// What became of one job.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// Whether its push has returned.
    pushed: bool,
    deliveries: Vec<u64>,
    /// In which delivery it was done, and whether that was acknowledged.
    done: Vec<(u64, bool)>,
}

/// Compares what pushers and workers have noted.
fn check(plan: Plan, desk: &Desk, lives: Vec<u64>, in_peace: Vec<bool>) -> Sum {
    let mut sum = Sum::default();
    let mut fates: HashMap<Id, Fate> = HashMap::new();
    for pusher in 0..plan.pushers {
        let mut next = 0;
        for note in notes::read(&desk.book(&format!("pusher-{pusher}"))) {
            assert_eq!((note.id.who, note.id.number), (pusher as u32, next), "{note:?}");
            let is_pushed = note.what == What::Pushed;
            fates.entry(note.id).or_default().pushed |= is_pushed;
            next += u64::from(is_pushed);
        }
    }
    let mut first_deliveries: HashMap<u32, Id> = HashMap::new();
    for (worker, lives) in lives.into_iter().enumerate() {
        for life in 0..lives {
            let book = notes::read(&desk.book(&format!("worker-{worker}-{life}")));
            let ended_in_peace = in_peace[worker] && life + 1 == lives;
            let open = enter_worker(&book, &mut fates, &mut sum);
            assert!(!ended_in_peace || open == 0, "worker {worker} has left {open} jobs");
            if plan.workers > 1 {
                continue;
            }
            // All of them one after the other.
            for note in book.iter().filter(|note| (note.what, note.count) == (What::Got, 1)) {
                let last = first_deliveries.insert(note.id.who, note.id);
                let order = |id: Id| (id.generation, id.number);
                let in_turn = last.is_none_or(|last| order(last) < order(note.id));
                assert!(in_turn, "{:?} after {last:?}", note.id);
            }
        }
    }
    for (id, fate) in &fates {
        if fate.pushed {
            sum.pushed += 1;
            assert!(!fate.done.is_empty(), "{id:?} is lost: {fate:?}");
        } else {
            sum.perhaps_pushed += 1;
        }
        let mut counts = fate.deliveries.clone();
        counts.sort_unstable();
        counts.dedup();
        assert_eq!(
            counts.len(),
            fate.deliveries.len(),
            "{id:?} was delivered twice as one: {fate:?}"
        );
        let mut done = fate.done.clone();
        done.sort_unstable();
        if let Some((_, earlier)) = done.split_last() {
            assert!(earlier.iter().all(|done| !done.1), "{id:?} was done again: {fate:?}");
            sum.twice += u64::from(!earlier.is_empty());
        }
    }
    sum
}

/// Enters what a worker has noted, and says how many jobs he has left behind.
fn enter_worker(book: &[Note], fates: &mut HashMap<Id, Fate>, sum: &mut Sum) -> usize {
    let mut open = 0;
    for note in book {
        let fate = fates.get_mut(&note.id).unwrap_or_else(|| panic!("nobody's: {note:?}"));
        match note.what {
            What::Got => {
                open += 1;
                sum.delivered += 1;
                fate.deliveries.push(note.count);
            }
            What::Did => {
                sum.done += 1;
                fate.done.push((note.count, false));
            }
            What::Acknowledged => {
                open -= 1;
                let done = fate.done.iter_mut().find(|done| **done == (note.count, false));
                done.expect("what was acknowledged was done").1 = true;
            }
            _ => {
                open -= 1;
                sum.given_back += 1;
            }
        }
    }
    open
}

/// With a few slots and with many, messages of fixed size and slices, and all kinds of waiting.
#[test]
fn five_hundred_kills_lose_none_of_two_hundred_thousand_jobs() {
    let plan = Plan {
        of: "tasks",
        depth: 64,
        pushers: 3,
        workers: 4,
        jobs: 110_000,
        kills: 220,
        massacres: 4,
    };
    let plans = [
        plan,
        Plan { of: "slices", depth: 64, jobs: 55_000, kills: 120, ..plan },
        Plan { of: "slices", depth: 3, jobs: 25_000, kills: 110, ..plan },
        Plan { depth: 1, jobs: 10_000, kills: 70, ..plan },
    ];
    let mut all = Sum::default();
    for plan in plans {
        let start = Instant::now();
        let sum = match plan.of {
            "tasks" => campaign::<Task>(plan),
            _ => campaign::<[u64]>(plan),
        };
        report(format_args!(
            "{} of depth {}: {sum:?} in {:.1?}",
            plan.of,
            plan.depth,
            start.elapsed()
        ));
        all.pushed += sum.pushed;
        all.kills += sum.kills;
    }
    assert!(all.pushed >= 200_000 && all.kills >= 500, "{all:?}");
}

/// A worker after the other, while pushers and workers are killed.
#[test]
fn jobs_of_a_pusher_that_are_delivered_once_come_in_order_whoever_is_killed() {
    let plan = Plan {
        of: "tasks",
        depth: 16,
        pushers: 3,
        workers: 1,
        jobs: 15_000,
        kills: 100,
        massacres: 2,
    };
    report(format_args!("{:?}", campaign::<Task>(plan)));
    report(format_args!(
        "{:?}",
        campaign::<Task>(Plan { depth: 2, jobs: 5_000, kills: 40, ..plan })
    ));
}

/// How long after its death somebody gets the job of a worker that was killed.
fn redelivery(wait: Wait) -> Duration {
    let root = Root::new();
    let _guard = Guard::over(&root);
    let channel = Task::queue(root.path(), 4);
    let mut pusher = Pusher::<Task>::new(&channel).unwrap();
    let worker = Peer::start(PEER, &root, "hold-job", 0);
    assert!(pusher.wait_for_pullers(1, SOON).unwrap());
    pusher.send(&Task::of(1)).unwrap();
    let end = Instant::now() + SOON;
    while pusher.stats().held == 0 {
        assert!(Instant::now() < end, "it does not take the job");
        std::thread::sleep(Duration::from_micros(100));
    }
    let mut puller = Puller::<Task>::with(&channel, PullerOptions::new().wait(wait)).unwrap();
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            // At any moment of its sleep.
            std::thread::sleep(Duration::from_millis(20 + random(110)));
            let killed = Instant::now();
            worker.kill();
            killed
        });
        let job = puller.recv_timeout(SOON).unwrap().expect("the job of the dead one");
        let delivered = Instant::now();
        assert_eq!((job.number, job.deliveries()), (1, 2));
        job.done();
        delivered.saturating_duration_since(killer.join().unwrap())
    });
    drop((pusher, puller));
    assert!(root.files().is_empty(), "{:?}", root.files());
    killed
}

#[test]
fn a_sleeping_worker_gets_the_job_of_a_dead_one_within_a_quarter_of_a_second() {
    within_a_quarter_of_a_second("a sleeping worker has it", || redelivery(Wait::Sleep));
}

#[test]
fn a_spinning_worker_gets_the_job_of_a_dead_one_soon() {
    within_a_quarter_of_a_second("a spinning worker has it", || redelivery(Wait::Spin));
}

/// Nobody waits, but somebody comes.
#[test]
fn whoever_comes_gets_the_job_of_a_dead_worker_at_once() {
    let root = Root::new();
    let channel = Task::queue(root.path(), 4);
    let mut pusher = Pusher::<Task>::new(&channel).unwrap();
    for number in 0..10 {
        let worker = Peer::start(PEER, &root, "hold-job", 0);
        pusher.send(&Task::of(number)).unwrap();
        let end = Instant::now() + SOON;
        while pusher.stats().held == 0 {
            assert!(Instant::now() < end, "it does not take the job");
            std::thread::sleep(Duration::from_micros(100));
        }
        worker.kill();
        let mut puller = Puller::<Task>::new(&channel).unwrap();
        let job = puller.try_recv().unwrap().expect("the job of the dead one");
        assert_eq!((job.number, job.deliveries()), (number, 2));
        job.done();
    }
    drop(pusher);
    assert!(root.files().is_empty(), "{:?}", root.files());
}

/// After so many deaths that it must be the job.
#[test]
fn a_job_that_kills_its_workers_becomes_a_dead_letter() {
    let root = Root::new();
    let channel = Task::queue(root.path(), 4);
    let mut pusher = Pusher::<Task>::new(&channel).unwrap();
    pusher.send(&Task::of(1)).unwrap();
    let mut deaths = 0;
    let mut puller = loop {
        let worker = Peer::start(PEER, &root, "hold-job", 0);
        let end = Instant::now() + SOON;
        while pusher.stats().held == 0 {
            assert!(Instant::now() < end, "it does not take the job");
            std::thread::sleep(Duration::from_micros(100));
        }
        worker.kill();
        deaths += 1;
        // Who comes finds the dead one.
        let puller = Puller::<Task>::new(&channel).unwrap();
        if pusher.stats().dead_letters == 1 {
            break puller;
        }
        assert_eq!((pusher.stats().queued, deaths < 8), (1, true));
    };
    assert!(puller.try_recv().unwrap().is_none());
    let letter = puller.dead_letters().unwrap().expect("the job");
    assert_eq!((letter.number, deaths), (1, 8));
    letter.done();
    drop((pusher, puller));
    assert!(root.files().is_empty(), "{:?}", root.files());
}
