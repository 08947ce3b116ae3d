//! What holds of a queue and of a service when somebody is killed, or stops, at any system call and at any
//! instruction. See `every_instruction.rs` for how: a peer runs step by step, and whenever it has changed
//! the memory, a copy of that gets those who stay and those who come. Some of these kills, and all stops,
//! are done for real.

use shm_comm::{CallError, Pending, Puller, Pusher, Replier, Request, Requester, Wait};
use shm_comm_tests::Watch;
use shm_comm_tests::handover::{Task, drain, patient};
use shm_comm_tests::harness::{Guard, Root, SOON, random, report};
use shm_comm_tests::scenes::{self, OWN, SLOTS, reply_to, small};
use shm_comm_tests::trace::{Run, Stop, Tracee, stay_on_this_processor};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Duration;

const PEER: &str = env!("CARGO_BIN_EXE_handover-peer");

/// Elsewhere a pair of instructions may be one atomic operation, which a stop in between makes fail
/// for ever.
const STEPS: bool = cfg!(target_arch = "x86_64");

/// The way to later instructions is too long to go there again and again.
const NEAR: usize = 20_000;

/// Starts a traced peer, or says that this system does not permit it.
fn trace(root: &Root, role: &str, argument: u64) -> Option<Tracee> {
    match Tracee::start(PEER, root, role, argument) {
        Ok(tracee) => Some(tracee),
        Err(error) => {
            let forbidden = [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported];
            assert!(forbidden.contains(&error.kind()), "{error}");
            report(format_args!("skipped: ptrace is not permitted: {error}"));
            None
        }
    }
}

/// What a peer does, and what others may then see, in this order.
#[derive(Clone, Copy, Debug)]
struct Scene {
    role: &'static str,
    argument: u64,
    outcomes: &'static [&'static str],
}

/// Those who are there when a peer comes, and stay.
trait Cast: Sized {
    /// In the scenes of this one.
    const SCENES: &'static [Scene];
    /// Opens them.
    fn open(root: &Root) -> Self;
    /// What they do before the peer comes (0), at its first mark, and at its second.
    fn prepare(&mut self, scene: Scene, mark: u32);
    /// Those that are to die before the peer comes.
    fn dead(scene: Scene) -> &'static [(&'static str, u64)];
    /// What they see now that the peer is dead, first with somebody who comes now, or else by themselves.
    fn outcome(&mut self, root: &Root, newcomer: bool, watch: &Watch) -> String;
    /// Everything can be used, and nothing is lost.
    fn works(self, root: &Root, watch: &Watch);
    /// Others go on while the peer is stopped, and then it does.
    fn goes_on(self, root: &Root, scene: Scene, peer: Tracee, watch: &Watch);
}

/// Lets a peer go on to its end, and says with what it has ended.
fn end(mut peer: Tracee) -> i32 {
    loop {
        if let Stop::Ended(code) = peer.run(Run::ToMark) {
            return code;
        }
    }
}

/// Those who stay in a queue.
struct Queue {
    pusher: Pusher<Task>,
    puller: Puller<Task>,
    held: Option<shm_comm::Job<Task>>,
    next: u64,
}

impl Queue {
    fn push(&mut self, count: u64) {
        for _ in 0..count {
            assert!(self.pusher.try_send(&Task::of(self.next)).unwrap());
            self.next += 1;
        }
    }

    fn recv(&mut self) -> shm_comm::Job<Task> {
        self.puller.recv_timeout(SOON).unwrap().expect("a job")
    }
}

/// Takes the dead letters, and says which.
fn letters(puller: &mut Puller<Task>) -> Vec<u64> {
    let mut letters = Vec::new();
    while let Some(letter) = puller.dead_letters().unwrap() {
        letters.push(letter.number);
        letter.done();
    }
    letters
}

impl Cast for Queue {
    const SCENES: &'static [Scene] = &[
        Scene {
            role: "push",
            argument: 0,
            outcomes: &["[(1, 1), (2, 1)] []", "[(1, 1), (2, 1), (100, 1)] []"],
        },
        Scene {
            role: "push",
            argument: 1,
            outcomes: &["[(1, 1), (2, 1)] []", "[(1, 1), (2, 1), (100, 1)] []"],
        },
        Scene { role: "push", argument: 2, outcomes: &["[(1, 1), (2, 1)] []"] },
        // With the slot of somebody else in the way.
        Scene { role: "push", argument: 10, outcomes: &["[] []", "[(100, 1)] []"] },
        Scene { role: "push", argument: 12, outcomes: &["[] []"] },
        Scene {
            role: "pull",
            argument: 0,
            outcomes: &["[(1, 1), (2, 1)] []", "[(1, 2), (2, 1)] []", "[(2, 1)] []"],
        },
        Scene {
            role: "pull",
            argument: 1,
            outcomes: &["[(1, 1), (2, 1)] []", "[(1, 2), (2, 1)] []"],
        },
        Scene {
            role: "pull",
            argument: 2,
            outcomes: &["[(1, 1), (2, 1)] []", "[(1, 2), (2, 1)] []", "[(2, 1)] [1]"],
        },
        Scene {
            role: "pull",
            argument: 3,
            outcomes: &["[(1, 1), (2, 1)] []", "[(1, 2), (2, 1)] []", "[(2, 1)] []"],
        },
        Scene { role: "pull", argument: 4, outcomes: &["[(2, 1)] [1]", "[(2, 1)] []"] },
        Scene { role: "pull", argument: 5, outcomes: &["[(2, 1)] [1]"] },
        // A job that was put back before.
        Scene {
            role: "pull",
            argument: 6,
            outcomes: &["[(1, 2), (2, 1)] []", "[(1, 3), (2, 1)] []", "[(2, 1)] []"],
        },
        Scene { role: "come", argument: 0, outcomes: &["[(1, 2), (2, 1)] []"] },
        Scene { role: "come", argument: 1, outcomes: &["[(1, 2), (2, 1)] []"] },
    ];

    fn open(root: &Root) -> Queue {
        let channel = small(root.path());
        let pusher = Pusher::new(&channel).unwrap();
        let puller = Puller::with(&channel, patient(Wait::Sleep)).unwrap();
        Queue { pusher, puller, held: None, next: 1 }
    }

    fn prepare(&mut self, scene: Scene, mark: u32) {
        match (scene.role, scene.argument, mark) {
            ("come", _, 0) => self.push(2),
            ("push", 10.., 1) => {
                self.push(u64::from(SLOTS));
                self.held = Some(self.recv());
                (1..SLOTS).for_each(|_| self.recv().done());
            }
            ("push" | "pull", how, 1) => {
                self.push(2);
                match (scene.role, how) {
                    ("pull", 4 | 5) => self.recv().reject(),
                    ("pull", 6) => drop(self.recv()),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn dead(scene: Scene) -> &'static [(&'static str, u64)] {
        if scene.role == "come" { &[("die", 0), ("die", 1)] } else { &[] }
    }

    fn outcome(&mut self, root: &Root, newcomer: bool, watch: &Watch) -> String {
        let mut jobs = Vec::new();
        let mut newcomer = newcomer.then(|| {
            let open = || Puller::<Task>::with(small(root.path()), patient(Wait::Sleep)).unwrap();
            watch.time("open a puller", open)
        });
        match &mut newcomer {
            Some(puller) => jobs = watch.time("drain", || drain(puller)).unwrap(),
            None => {
                // Once to find the dead, which it does not look for more often than every 5 ms, and once for what
                // they have left.
                for _ in 0..2 {
                    let patience = Duration::from_millis(6);
                    while let Some(job) = self.puller.recv_timeout(patience).unwrap() {
                        jobs.push((job.check_id(), job.deliveries()));
                        job.done();
                    }
                }
            }
        }
        let of_first: Vec<u64> =
            jobs.iter().filter(|job| job.1 == 1).map(|(id, _)| id.number).collect();
        assert!(of_first.is_sorted(), "out of order: {jobs:?}");
        let mut jobs: Vec<(u64, u32)> = jobs.into_iter().map(|(id, n)| (id.number, n)).collect();
        jobs.sort_unstable();
        let letters = letters(newcomer.as_mut().unwrap_or(&mut self.puller));
        format!("{jobs:?} {letters:?}")
    }

    fn works(self, root: &Root, watch: &Watch) {
        let Queue { mut pusher, mut puller, held, .. } = self;
        let usable = SLOTS - u32::from(held.is_some());
        let stats = pusher.stats();
        let found = (stats.queued, stats.held, stats.dead_letters, stats.free);
        assert_eq!(found, (0, SLOTS - usable, 0, usable), "a slot is lost: {stats:?}");
        let mut newcomer = Pusher::<Task>::new(small(root.path())).unwrap();
        // Slots that were put back often are some laps ahead: until the others are there, there is room for
        // fewer.
        let mut full_laps = 0;
        for lap in 0..30 {
            let pusher = if lap % 2 == 0 { &mut pusher } else { &mut newcomer };
            let mut pushed = 0;
            while watch.time("push", || pusher.try_send(&Task::of(pushed)).unwrap()) {
                pushed += 1;
            }
            assert!(pushed > 0, "full, and empty: {:?}", pusher.stats());
            full_laps += u32::from(pushed == u64::from(usable));
            for number in 0..pushed {
                let job = watch.time("recv", || puller.recv_timeout(SOON).unwrap()).unwrap();
                assert_eq!((job.number, job.deliveries()), (number, 1));
                job.done();
            }
            if full_laps == 3 {
                break;
            }
        }
        assert_eq!(full_laps, 3, "there is never room for all: {:?}", pusher.stats());
        if let Some(held) = held {
            held.check_id();
            held.done();
        }
        assert_eq!(pusher.stats().free, SLOTS);
        drop((pusher, newcomer, puller));
        assert!(root.files().is_empty(), "{:?}", root.files());
    }

    /// Every job is done once, or is a dead letter once, whoever has done it.
    fn goes_on(mut self, root: &Root, scene: Scene, peer: Tracee, watch: &Watch) {
        let mut done = Vec::new();
        let mut buried = letters(&mut self.puller);
        let work = |puller: &mut Puller<Task>, done: &mut Vec<u64>| {
            let jobs = watch.time("drain", || drain(puller)).unwrap();
            done.extend(jobs.into_iter().map(|(id, _)| id.number));
        };
        work(&mut self.puller, &mut done);
        // A few laps, with somebody who comes now.
        let open = || Puller::<Task>::with(small(root.path()), patient(Wait::Sleep)).unwrap();
        let mut newcomer = watch.time("open a puller", open);
        for _ in 0..3 * SLOTS {
            let job = Task::of(self.next);
            let room = watch.time("push", || self.pusher.send_timeout(&job, SOON).unwrap());
            assert!(room, "others wait for the one who is stopped: {:?}", self.pusher.stats());
            self.next += 1;
            let puller = if random(2) == 0 { &mut self.puller } else { &mut newcomer };
            let job = watch.time("recv", || puller.recv_timeout(SOON).unwrap());
            let job = job.expect("others wait for the one who is stopped");
            done.push(job.number);
            job.done();
        }
        // So that there is something for it.
        self.push(2);
        let own = end(peer);
        assert!(own < 250, "it has failed");
        if scene.role == "pull" && own > 0 {
            done.push(own as u64);
        }
        // It may have given back something.
        work(&mut newcomer, &mut done);
        buried.extend(letters(&mut newcomer));
        if let Some(held) = self.held.take() {
            done.push(held.number);
            held.done();
        }
        done.extend(buried);
        done.sort_unstable();
        let mut all: Vec<u64> = (1..self.next).collect();
        // What had been done before.
        if scene.argument >= 10 {
            all.retain(|number| !(2..=u64::from(SLOTS)).contains(number));
        }
        if scene.role == "push" && scene.argument % 10 < 2 {
            all.push(OWN);
        }
        assert_eq!(done, all, "{scene:?}");
        drop(newcomer);
        self.works(root, watch);
    }
}

/// A job that is whole.
trait CheckId {
    fn check_id(&self) -> shm_comm_tests::notes::Id;
}

impl CheckId for shm_comm::Job<Task> {
    fn check_id(&self) -> shm_comm_tests::notes::Id {
        assert_eq!(**self, Task::new(self.id()));
        self.id()
    }
}

/// Those who stay in a service.
struct Service {
    client: Requester<Task, Task>,
    server: Replier<Task, Task>,
    calls: Vec<(u64, Pending<Task>)>,
    held: Option<Request<Task, Task>>,
}

impl Service {
    fn call(&mut self, number: u64) {
        self.calls.push((number, self.client.send(&Task::of(number)).unwrap()));
    }

    fn recv(&mut self) -> Request<Task, Task> {
        self.server.recv_timeout(SOON).unwrap().expect("a request")
    }

    /// Answers what there is, and says to what.
    fn serve(&mut self, patience: Duration) -> Vec<u64> {
        let mut served = Vec::new();
        while let Some(request) = self.server.recv_timeout(patience).unwrap() {
            served.push(request.number);
            let reply = reply_to(request.number);
            let _ = request.reply(&reply).unwrap();
        }
        served
    }

    /// How its calls have ended.
    fn ends(&mut self, watch: &Watch) -> Vec<(u64, &'static str)> {
        let ends = self.calls.drain(..).map(|(number, pending)| {
            let end = watch.time("wait for a reply", || pending.wait(SOON));
            let end = match end {
                Ok(reply) => {
                    assert_eq!(*reply, reply_to(number), "another reply");
                    "replied"
                }
                Err(CallError::ServerLost { .. }) => "lost",
                Err(CallError::Declined { .. }) => "declined",
                Err(error) => panic!("{error}"),
            };
            (number, end)
        });
        ends.collect()
    }
}

/// What a server sees of calls, and how they end. The call of a client that is killed ends with him.
impl Cast for Service {
    const SCENES: &'static [Scene] = &[
        Scene { role: "call", argument: 0, outcomes: &["[] []"] },
        Scene { role: "call", argument: 1, outcomes: &["[] []"] },
        Scene { role: "call", argument: 2, outcomes: &["[] []"] },
        Scene { role: "call", argument: 3, outcomes: &["[] []"] },
        Scene { role: "call", argument: 4, outcomes: &["[] []"] },
        Scene { role: "call", argument: 5, outcomes: &["[] []"] },
        Scene { role: "call", argument: 6, outcomes: &["[] []"] },
        Scene {
            role: "serve",
            argument: 0,
            outcomes: &[
                r#"[1, 2] [(1, "replied"), (2, "replied")]"#,
                r#"[2] [(1, "lost"), (2, "replied")]"#,
                r#"[2] [(1, "replied"), (2, "replied")]"#,
            ],
        },
        Scene {
            role: "serve",
            argument: 1,
            outcomes: &[
                r#"[1, 2] [(1, "replied"), (2, "replied")]"#,
                r#"[2] [(1, "lost"), (2, "replied")]"#,
                r#"[2] [(1, "declined"), (2, "replied")]"#,
            ],
        },
        Scene {
            role: "serve",
            argument: 2,
            outcomes: &[
                r#"[1, 2] [(1, "replied"), (2, "replied")]"#,
                r#"[2] [(1, "lost"), (2, "replied")]"#,
                r#"[2] [(1, "replied"), (2, "replied")]"#,
            ],
        },
        // Its client has given up.
        Scene { role: "serve", argument: 3, outcomes: &[r#"[2] [(2, "replied")]"#] },
        Scene {
            role: "come-to-service",
            argument: 0,
            outcomes: &[r#"[2] [(1, "lost"), (2, "replied")]"#],
        },
        Scene {
            role: "come-to-service",
            argument: 1,
            outcomes: &[r#"[2] [(1, "lost"), (2, "replied")]"#],
        },
    ];

    fn open(root: &Root) -> Service {
        let channel = small(root.path());
        let server = Replier::new(&channel).unwrap();
        let client = Requester::new(&channel).unwrap();
        Service { client, server, calls: Vec::new(), held: None }
    }

    fn prepare(&mut self, scene: Scene, mark: u32) {
        match (scene.role, scene.argument, mark) {
            ("come-to-service", _, 0) | ("serve", _, 1) => {
                self.call(1);
                self.call(2);
            }
            ("serve", 3, 2) => drop(self.calls.remove(0)),
            ("call", 2, 2) => {
                let _ = self.recv().reply(&reply_to(OWN)).unwrap();
            }
            ("call", 3 | 6, 2) => self.held = Some(self.recv()),
            ("call", 5, 2) => drop(self.recv()),
            _ => {}
        }
    }

    fn dead(scene: Scene) -> &'static [(&'static str, u64)] {
        match scene.role {
            "come-to-service" => &[("die-in-service", 0), ("die-in-service", 1)],
            _ => &[],
        }
    }

    fn outcome(&mut self, root: &Root, newcomer: bool, watch: &Watch) -> String {
        let mut served = if newcomer {
            let open = || Requester::<Task, Task>::new(small(root.path())).unwrap();
            drop(watch.time("open a requester", open));
            self.serve(Duration::ZERO)
        } else {
            let mut served = self.serve(Duration::from_millis(6));
            served.extend(self.serve(Duration::from_millis(6)));
            served
        };
        // It may have come before it is known that its client is dead.
        served.retain(|number| newcomer || *number != OWN);
        if let Some(held) = self.held.take() {
            assert_eq!(held.number, OWN);
            let _ = held.reply(&reply_to(OWN)).unwrap();
        }
        let ends = self.ends(watch);
        // What was answered to the dead.
        std::thread::sleep(Duration::from_millis(if newcomer { 0 } else { 6 }));
        assert_eq!(self.serve(Duration::ZERO), [], "a call was answered twice");
        if newcomer {
            drop(Requester::<Task, Task>::new(small(root.path())).unwrap());
        }
        format!("{served:?} {ends:?}")
    }

    fn works(mut self, root: &Root, watch: &Watch) {
        let stats = self.client.stats();
        let found = (stats.queued, stats.held, stats.free);
        assert_eq!(found, (0, 0, SLOTS), "a slot is lost: {stats:?}");
        let mut full_laps = 0;
        for _ in 0..30 {
            let mut count = 0;
            let end = loop {
                match self.client.send(&Task::of(count)) {
                    Ok(pending) => self.calls.push((count, pending)),
                    Err(error) => break error,
                }
                count += 1;
            };
            assert!(matches!(end, CallError::Full { .. }), "{end}");
            assert!(count > 0, "full, and empty: {:?}", self.client.stats());
            full_laps += u32::from(count == u64::from(SLOTS));
            let numbers: Vec<u64> = (0..count).collect();
            assert_eq!(self.serve(Duration::ZERO), numbers);
            assert!(self.ends(watch).into_iter().eq(numbers.into_iter().map(|n| (n, "replied"))));
            if full_laps == 3 {
                break;
            }
        }
        assert_eq!(full_laps, 3, "there is never room for all: {:?}", self.client.stats());
        assert_eq!(self.client.stats().free, SLOTS);
        drop(self);
        assert!(root.files().is_empty(), "{:?}", root.files());
    }

    fn goes_on(mut self, root: &Root, scene: Scene, peer: Tracee, watch: &Watch) {
        let mut served = self.serve(Duration::ZERO);
        if scene.role == "come-to-service" {
            // The slots of the dead may be with the one who is stopped while he cleans up.
            let (number, pending) = self.calls.pop().unwrap();
            assert_eq!((number, *pending.wait(SOON).unwrap()), (2, reply_to(2)));
        }
        let open = || Requester::<Task, Task>::new(small(root.path())).unwrap();
        let mut newcomer = watch.time("open a requester", open);
        for i in 0..3 * SLOTS {
            let number = 10 + u64::from(i);
            let client = if i % 2 == 0 { &mut newcomer } else { &mut self.client };
            let pending =
                client.send(&Task::of(number)).expect("others wait for the one who is stopped");
            let request = watch.time("recv", || self.server.recv_timeout(SOON).unwrap());
            let request = request.expect("others wait for the one who is stopped");
            assert_eq!(request.number, number);
            let _ = request.reply(&reply_to(number)).unwrap();
            assert_eq!(
                *watch.time("wait for a reply", || pending.wait(SOON)).unwrap(),
                reply_to(number)
            );
        }
        // So that there is something for it.
        let own_calls = scene.role == "serve" && scene.argument != 3;
        if own_calls {
            self.call(50);
        }
        let own = end(peer);
        assert!(own < 250, "it has failed");
        if own_calls {
            served.push(own as u64);
        }
        served.extend(self.serve(Duration::ZERO));
        if let Some(held) = self.held.take() {
            let _ = held.reply(&reply_to(OWN)).unwrap();
        }
        served.retain(|number| *number != OWN);
        served.sort_unstable();
        let calls: Vec<u64> = self.calls.iter().map(|(number, _)| *number).collect();
        let expected: Vec<u64> = match scene.role {
            // One was taken by the dead.
            "come-to-service" => vec![2],
            _ => calls,
        };
        assert_eq!(served, expected, "{scene:?}");
        for (number, end) in self.ends(watch) {
            let expected = match scene.role {
                "come-to-service" if number == 1 => "lost",
                "serve" if scene.argument == 1 && number == own as u64 => "declined",
                _ => "replied",
            };
            assert_eq!((number, end), (number, expected), "{scene:?}");
        }
        drop(newcomer);
        self.works(root, watch);
    }
}

/// A peer at its second mark, with everybody who is to see what it does now.
struct Stage<C> {
    // Dropped first: it is traced by this thread.
    peer: Tracee,
    cast: C,
    /// All that is shared. It only changes while the peer or this thread runs.
    memory: memmap2::Mmap,
}

impl<C: Cast> Stage<C> {
    /// `None`: ptrace is not permitted.
    fn set(root: &Root, scene: Scene) -> Option<Stage<C>> {
        let mut cast = C::open(root);
        cast.prepare(scene, 0);
        let mut dead = Vec::new();
        for (role, argument) in C::dead(scene) {
            let mut peer = trace(root, role, *argument)?;
            peer.run_to_mark();
            dead.push(peer);
        }
        dead.into_iter().for_each(Tracee::kill);
        let mut peer = trace(root, scene.role, scene.argument)?;
        for mark in 1..=2 {
            peer.run_to_mark();
            cast.prepare(scene, mark);
        }
        let file = File::open(&root.files()[0]).unwrap();
        // SAFETY: Nobody writes to it while it is looked at: the peer stands, and this thread looks.
        let memory = unsafe { memmap2::Mmap::map(&file).unwrap() };
        Some(Stage { peer, cast, memory })
    }

    /// Goes so many instructions on, at most to its third mark.
    fn step(&mut self, count: usize) {
        for _ in 0..count {
            if self.peer.run(Run::OneInstruction) == Stop::Mark {
                return;
            }
        }
    }
}

/// How a scene has ended among the outcomes that it may have.
fn outcome(scene: Scene, found: &str) -> usize {
    let expected = scene.outcomes.iter().position(|expected| *expected == found);
    expected.unwrap_or_else(|| panic!("{scene:?}: {found}"))
}

/// Those who stay get this memory, in which the peer was when it was killed. They have come to where they
/// are in the same way, on a channel of their own.
fn survivors<C: Cast>(
    base: &Root,
    scene: Scene,
    memory: &[u8],
    newcomer: bool,
    watch: &Watch,
) -> usize {
    let root = Root::within(base.path());
    let mut cast = C::open(&root);
    cast.prepare(scene, 0);
    // The stand-in leaves before the window.
    scenes::play(scene.role, root.path(), scene.argument, &mut |mark| {
        cast.prepare(scene, mark);
        mark < 2
    })
    .unwrap();
    let file = File::options().read(true).write(true).open(&root.files()[0]).unwrap();
    file.write_all_at(memory, 0).unwrap();
    let found = cast.outcome(&root, newcomer, watch);
    let outcome = outcome(scene, &found);
    cast.works(&root, watch);
    outcome
}

/// Everybody was killed: whoever comes finds what is in the file, or makes a new one.
fn heirs(base: &Root, scene: Scene, name: &std::path::Path, memory: &[u8], watch: &Watch) -> usize {
    let root = Root::within(base.path());
    let path = root.path().join(name);
    std::fs::write(&path, memory).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut heirs = Queue::open(&root);
    let found = heirs.outcome(&root, false, watch);
    let outcome = outcome(scene, &found);
    heirs.works(&root, watch);
    outcome
}

/// Steps through all scenes. With `inherit` everybody may die: only what is in a queue outlives that.
fn killed_at_any_instruction<C: Cast>(inherit: bool) {
    if !STEPS {
        return;
    }
    let base = Root::new();
    let watch = Guard::over(&base);
    stay_on_this_processor();
    let chosen = random(2);
    for scene in C::SCENES.iter().copied() {
        // To come takes hundreds of thousands of instructions: each time one of two is looked at so closely.
        let is_long = !C::dead(scene).is_empty();
        let how = match is_long && scene.argument != chosen {
            true => Run::ToSystemCall,
            false => Run::OneInstruction,
        };
        let root = Root::within(base.path());
        let Some(mut stage) = Stage::<C>::set(&root, scene) else { return };
        let name = root.files()[0].file_name().unwrap().to_owned();
        let mut last = Vec::new();
        let (mut steps, mut changes) = (0, Vec::new());
        let (mut reached, mut first) = (0, true);
        loop {
            if stage.memory[..] != last[..] {
                last = stage.memory.to_vec();
                changes.push(steps);
                for newcomer in [true, false] {
                    let outcome = survivors::<C>(&base, scene, &last, newcomer, &watch);
                    assert!(outcome >= reached, "{scene:?}: from {reached} to {outcome}");
                    assert!(outcome == 0 || !first, "{scene:?}");
                    reached = outcome;
                }
                // A job that somebody holds who stays is another matter.
                if inherit && scene.argument < 10 {
                    let outcome = heirs(&base, scene, name.as_ref(), &last, &watch);
                    assert_eq!(outcome, reached, "{scene:?}");
                }
                first = false;
            }
            match stage.peer.run(how) {
                Stop::There => steps += 1,
                stop => break assert_eq!(stop, Stop::Mark),
            }
        }
        assert_eq!(reached, scene.outcomes.len() - 1, "{scene:?}");
        drop(stage);
        // For real, to show that it is the same; and stopped.
        let near: Vec<usize> = changes.iter().copied().filter(|n| !is_long && *n < NEAR).collect();
        let real: Vec<usize> = near.iter().copied().step_by(near.len() / 10 + 1).collect();
        for instruction in &real {
            let root = Root::within(base.path());
            let Some(mut stage) = Stage::<C>::set(&root, scene) else { return };
            stage.step(*instruction);
            stage.peer.kill();
            let found = stage.cast.outcome(&root, random(2) == 0, &watch);
            outcome(scene, &found);
            stage.cast.works(&root, &watch);

            let root = Root::within(base.path());
            let Some(mut stage) = Stage::<C>::set(&root, scene) else { return };
            stage.step(*instruction + random(3) as usize);
            stage.cast.goes_on(&root, scene, stage.peer, &watch);
        }
        if is_long {
            for n in (random(2) as usize..).step_by(2) {
                let root = Root::within(base.path());
                let Some(mut stage) = Stage::<C>::set(&root, scene) else { return };
                let is_over = (0..n).any(|_| stage.peer.run(Run::ToSystemCall) == Stop::Mark);
                if random(3) == 0 {
                    stage.cast.goes_on(&root, scene, stage.peer, &watch);
                } else {
                    stage.peer.kill();
                    let found = stage.cast.outcome(&root, random(2) == 0, &watch);
                    outcome(scene, &found);
                    stage.cast.works(&root, &watch);
                }
                if is_over {
                    break;
                }
            }
        }
        report(format_args!(
            "{} {}: killed at any of {steps} steps, {} of which change the memory; {} times for real, and \
             stopped; {}",
            scene.role,
            scene.argument,
            changes.len(),
            real.len(),
            watch.nobody_was_delayed()
        ));
    }
}

#[test]
fn killed_or_stopped_at_any_instruction_it_harms_nobody_in_a_queue() {
    killed_at_any_instruction::<Queue>(true);
}

#[test]
fn killed_or_stopped_at_any_instruction_it_harms_nobody_in_a_service() {
    killed_at_any_instruction::<Service>(false);
}

/// At the n-th beginning or end of a system call in its life. `None`: ptrace is not permitted; else
/// whether its life was over.
fn live(root: &Root, role: &str, n: u32) -> Option<(Tracee, bool)> {
    let mut peer = trace(root, role, 0)?;
    peer.run_to_mark();
    let mut is_over = false;
    for _ in 0..n {
        if peer.run(Run::ToSystemCall) == Stop::Mark {
            is_over = true;
            break;
        }
    }
    Some((peer, is_over))
}

/// With nobody there, or where somebody stays. The end of a call leaves what the beginning of the next one
/// finds, but for stores that another test looks at: so every second one will do.
fn killed_at_any_system_call<C: Cast>(role: &str, check: impl Fn(&str)) {
    let base = Root::new();
    let watch = Guard::over(&base);
    let mut kills = 0;
    for somebody_stays in [false, true] {
        for n in (random(2) as u32..).step_by(2) {
            let root = Root::within(base.path());
            let member = somebody_stays.then(|| C::open(&root));
            let Some((peer, is_over)) = live(&root, role, n) else { return };
            peer.kill();
            kills += 1;
            let mut cast = member.unwrap_or_else(|| C::open(&root));
            check(&cast.outcome(&root, random(2) == 0, &watch));
            cast.works(&root, &watch);
            if is_over {
                break;
            }
        }
    }
    report(format_args!(
        "{role}: killed at {kills} beginnings and ends of system calls; {}",
        watch.nobody_was_delayed()
    ));
}

/// Its first job was pushed or not, was done or not, or came back; and then its second.
#[test]
fn killed_at_any_system_call_it_harms_nobody_in_a_queue() {
    let expected = [
        "[] []",
        "[(100, 1)] []",
        "[(100, 2)] []",
        "[(101, 1)] []",
        "[(101, 2)] []",
        "[(101, 3)] []",
    ];
    killed_at_any_system_call::<Queue>("live-in-queue", |found| {
        assert!(expected.contains(&found), "{found}");
    });
}

#[test]
fn killed_at_any_system_call_it_harms_nobody_in_a_service() {
    // Nobody serves what its client does not wait for any more; or he does before it is known.
    killed_at_any_system_call::<Service>("live-in-service", |found| {
        assert!(["[] []", "[101] []"].contains(&found), "{found}");
    });
}
