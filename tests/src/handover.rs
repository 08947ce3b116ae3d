//! Jobs and calls that say whose they are, and whether they are whole.

use crate::harness::random;
use crate::notes::Id;
use shm_comm::{
    CallError, Channel, Delivered, Pending, Puller, PushError, Pusher, RecvError, Replier,
};
use shm_comm::{Reply, ReplyError, Request, Requester, ShmMessage, Wait};
use std::path::Path;
use std::time::Duration;

/// A small job, or a call, or its answer.
#[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Task {
    /// See [`Id`].
    pub who: u32,
    /// See [`Id`].
    pub generation: u32,
    /// See [`Id`].
    pub number: u64,
    /// Made of those.
    pub words: [u64; 5],
}

impl Task {
    /// The job of this one.
    pub fn new(id: Id) -> Task {
        let Id { who, generation, number } = id;
        Task { who, generation, number, words: std::array::from_fn(|i| id.word(i)) }
    }

    /// The job of this number, where nothing else matters.
    pub fn of(number: u64) -> Task {
        Task::new(Id { who: 0, generation: 0, number })
    }

    /// Whose it is.
    pub fn id(&self) -> Id {
        Id { who: self.who, generation: self.generation, number: self.number }
    }

    fn check(&self) -> Result<Id, String> {
        if *self == Task::new(self.id()) { Ok(self.id()) } else { Err(format!("torn: {self:?}")) }
    }
}

/// The most elements of a slice.
pub const MAX_LEN: usize = 40;

/// The same as a slice: of a length that differs, in which the first words say whose it is.
fn slice(id: Id) -> Vec<u64> {
    let len = 2 + (id.word(0) >> 32) as usize % (MAX_LEN - 2);
    let mut words = vec![u64::from(id.who) << 32 | u64::from(id.generation), id.number];
    words.extend((2..len).map(|i| id.word(i)));
    words
}

fn check_slice(words: &[u64]) -> Result<Id, String> {
    let [first, number, ..] = *words else { return Err(format!("too short: {words:?}")) };
    let id = Id { who: (first >> 32) as u32, generation: first as u32, number };
    if words == slice(id) { Ok(id) } else { Err(format!("torn: {words:?}")) }
}

/// A job, sized or not.
pub trait Work: ShmMessage {
    /// The queue of it, as everybody makes it who finds none.
    fn queue(root: &Path, depth: u32) -> Channel;
    /// Pushes one, in one of many ways.
    fn push(pusher: &mut Pusher<Self>, id: Id) -> Result<(), PushError>;
    /// Whose it is, or what is wrong with it.
    fn check(&self) -> Result<Id, String>;
}

impl Work for Task {
    fn queue(root: &Path, depth: u32) -> Channel {
        Channel::new("tasks").root(root).depth(depth)
    }

    fn push(pusher: &mut Pusher<Task>, id: Id) -> Result<(), PushError> {
        let task = Task::new(id);
        match random(8) {
            0 => {
                // What was lent and not sent is nowhere.
                drop(pusher.loan()?.init(Task::of(u64::MAX)));
                pusher.send(&task)?;
            }
            1 => {
                let mut loan = pusher.loan()?.init(Task::of(u64::MAX));
                if random(50) == 0 {
                    std::thread::sleep(Duration::from_micros(random(2000)));
                }
                *loan = task;
                loan.send();
            }
            2 => pusher.loan()?.write(task),
            3 => while !pusher.try_send(&task)? {},
            4 => while !pusher.send_timeout(&task, Duration::from_micros(random(3000)))? {},
            _ => pusher.send(&task)?,
        }
        Ok(())
    }

    fn check(&self) -> Result<Id, String> {
        Task::check(self)
    }
}

impl Work for [u64] {
    fn queue(root: &Path, depth: u32) -> Channel {
        Channel::new("slices").root(root).depth(depth).max_len(MAX_LEN)
    }

    fn push(pusher: &mut Pusher<[u64]>, id: Id) -> Result<(), PushError> {
        let words = slice(id);
        match random(4) {
            0 => {
                drop(pusher.loan_with_len(MAX_LEN)?.zeroed());
                pusher.send(&words)?;
            }
            1 => {
                let mut loan = pusher.loan_with_len(words.len())?.zeroed();
                loan.copy_from_slice(&words);
                loan.send();
            }
            2 => while !pusher.send_timeout(&words, Duration::from_micros(random(3000)))? {},
            _ => pusher.send(&words)?,
        }
        Ok(())
    }

    fn check(&self) -> Result<Id, String> {
        check_slice(self)
    }
}

/// What goes between clients and servers, sized or not.
pub trait Talk {
    /// A request.
    type Request: ShmMessage + ?Sized;
    /// A reply.
    type Reply: ShmMessage + ?Sized;
    /// The service of it, as everybody makes it who finds none.
    fn service(root: &Path, depth: u32) -> Channel;
    /// Makes a call.
    fn send(client: &mut Client<Self>, id: Id) -> Result<Pending<Self::Reply>, CallError>;
    /// Makes a call and waits for its reply.
    fn request(
        client: &mut Client<Self>,
        id: Id,
        timeout: Duration,
    ) -> Result<Reply<Self::Reply>, CallError>;
    /// Whose request it is, or what is wrong with it.
    fn check_request(request: &Self::Request) -> Result<Id, String>;
    /// Whose reply it is, or what is wrong with it.
    fn check_reply(reply: &Self::Reply) -> Result<Id, String>;
    /// Answers a request, at once or while it reads it.
    fn reply(request: Question<Self>, id: Id) -> Result<Delivered, ReplyError>;
    /// Answers everything, until interrupted.
    fn serve(server: &mut Server<Self>) -> Result<(), RecvError>;
}

/// Who calls.
pub type Client<T> = Requester<<T as Talk>::Request, <T as Talk>::Reply>;
/// Who answers.
pub type Server<T> = Replier<<T as Talk>::Request, <T as Talk>::Reply>;
/// What a server gets.
pub type Question<T> = Request<<T as Talk>::Request, <T as Talk>::Reply>;

/// The answer to a call is that of another number, which says which.
fn answer(id: Id) -> Id {
    Id { number: !id.number, ..id }
}

/// [`Talk`] in messages of fixed size.
#[derive(Debug)]
pub struct Fixed;
/// [`Talk`] in slices.
#[derive(Debug)]
pub struct Slices;

impl Talk for Fixed {
    type Request = Task;
    type Reply = Task;

    fn service(root: &Path, depth: u32) -> Channel {
        Channel::new("tasks").root(root).depth(depth)
    }

    fn send(client: &mut Client<Fixed>, id: Id) -> Result<Pending<Task>, CallError> {
        match random(3) {
            0 => {
                drop(client.loan()?.init(Task::of(u64::MAX)));
                client.loan()?.write(Task::new(id))
            }
            1 => client.loan()?.init(Task::new(id)).send(),
            _ => client.send(&Task::new(id)),
        }
    }

    fn request(
        client: &mut Client<Fixed>,
        id: Id,
        timeout: Duration,
    ) -> Result<Reply<Task>, CallError> {
        client.request(&Task::new(id), timeout)
    }

    fn check_request(request: &Task) -> Result<Id, String> {
        request.check()
    }

    fn check_reply(reply: &Task) -> Result<Id, String> {
        reply.check().map(answer)
    }

    fn reply(request: Question<Fixed>, id: Id) -> Result<Delivered, ReplyError> {
        if random(2) == 0 {
            return request.reply(&Task::new(answer(id)));
        }
        let mut loan = request.loan_reply().init(Task::of(0));
        *loan = Task::new(answer(id));
        // The request is still there.
        assert_eq!(loan.request().check(), Ok(id));
        Ok(loan.send())
    }

    fn serve(server: &mut Server<Fixed>) -> Result<(), RecvError> {
        server.serve(|request| Task::new(answer(request.id())))
    }
}

impl Talk for Slices {
    type Request = [u64];
    type Reply = [u64];

    fn service(root: &Path, depth: u32) -> Channel {
        let channel = Channel::new("slices").root(root).depth(depth);
        channel.max_len(MAX_LEN).max_reply_len(MAX_LEN)
    }

    fn send(client: &mut Client<Slices>, id: Id) -> Result<Pending<[u64]>, CallError> {
        if random(2) == 0 {
            return client.send(&slice(id));
        }
        let words = slice(id);
        let mut loan = client.loan_with_len(words.len())?.zeroed();
        loan.copy_from_slice(&words);
        loan.send()
    }

    fn request(
        client: &mut Client<Slices>,
        id: Id,
        timeout: Duration,
    ) -> Result<Reply<[u64]>, CallError> {
        client.request(&slice(id), timeout)
    }

    fn check_request(request: &[u64]) -> Result<Id, String> {
        check_slice(request)
    }

    fn check_reply(reply: &[u64]) -> Result<Id, String> {
        check_slice(reply).map(answer)
    }

    fn reply(request: Question<Slices>, id: Id) -> Result<Delivered, ReplyError> {
        let words = slice(answer(id));
        if random(2) == 0 {
            return request.reply(&words);
        }
        let mut loan = request.loan_reply_with_len(words.len())?.zeroed();
        loan.copy_from_slice(&words);
        assert_eq!(check_slice(loan.request()), Ok(id));
        Ok(loan.send())
    }

    fn serve(server: &mut Server<Slices>) -> Result<(), RecvError> {
        loop {
            let request = match server.recv() {
                Ok(request) => request,
                Err(RecvError::Interrupted) => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Ok(id) = check_slice(&request) {
                let _ = Slices::reply(request, id);
            }
        }
    }
}

/// How each waits.
pub fn wait_of(who: u64) -> Wait {
    match who % 4 {
        0 => Wait::default(),
        1 => Wait::Sleep,
        2 => Wait::SpinThenSleep(Duration::from_micros(300)),
        _ => Wait::Spin,
    }
}

/// A worker that waits for whatever comes, with the most patience for jobs whose workers die.
pub fn patient(wait: Wait) -> shm_comm::PullerOptions {
    shm_comm::PullerOptions::new().wait(wait).max_deliveries(15)
}

/// Takes all jobs that can be had now.
pub fn drain<T: Work + ?Sized>(puller: &mut Puller<T>) -> Result<Vec<(Id, u32)>, String> {
    let mut jobs = Vec::new();
    while let Some(job) = puller.try_recv().map_err(|error| error.to_string())? {
        jobs.push((job.check()?, job.deliveries()));
        job.done();
    }
    Ok(jobs)
}
