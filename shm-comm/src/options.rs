//! What a user may choose: the channel, which both sides share, and what each handle does with it.

use std::path::PathBuf;
use std::time::Duration;

/// A channel: its name and, where that matters, its geometry. Both sides say the same.
///
/// `&str` and `String` convert into it, so that a name is enough for most. An option that is not
/// set takes what the channel has, or its default if the channel does not exist yet; one that is
/// set must match what the channel has.
///
/// ```
/// use shm_comm::Channel;
///
/// let poses = Channel::new("robot/pose").depth(256);
/// # drop(poses);
/// ```
#[must_use = "a channel is opened by a publisher or a subscriber"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub(crate) name: String,
    pub(crate) root: Option<PathBuf>,
    pub(crate) depth: Option<u32>,
    pub(crate) max_publishers: Option<u16>,
    pub(crate) max_subscribers: Option<u16>,
    pub(crate) max_len: Option<usize>,
    pub(crate) max_reply_len: Option<usize>,
    pub(crate) access: Access,
}

/// Who may use a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Only the user that this process acts as: a folder of mode 0700, files of mode 0600.
    #[default]
    Owner,
    /// All members of the folder's group: a folder of mode 2770, files of mode 0660, whatever the
    /// umask. They trust each other: each can stop a channel, and remove its file.
    ///
    /// Every handle of the channel says it. The folder is by default
    /// `/dev/shm/shm-comm-group-<group id>`, by the process's effective group, which is a group of
    /// their own for most users. A folder that is not there, or is yours and empty, is shared with the
    /// process's group (its parents must be there). For a group that is not
    /// everybody's first one let root make the folder: `sudo install -d -g robots -m 2770
    /// /dev/shm/robots`. One that somebody else has made for such a group, where everybody can make
    /// folders, is refused: he may share another group with you than the one you mean.
    ///
    /// Do not put it into a folder that hands its own group on (setgid) and that everybody may write
    /// to: there anybody can make a folder of that group.
    Group,
}

impl Channel {
    /// The channel of that name: any UTF-8 without NUL, not empty.
    pub fn new(name: impl Into<String>) -> Channel {
        Channel {
            name: name.into(),
            root: None,
            depth: None,
            max_publishers: None,
            max_subscribers: None,
            max_len: None,
            max_reply_len: None,
            access: Access::Owner,
        }
    }

    /// The folder in which the channel's file is. It is made if it is not there, with its parents,
    /// and must be this user's, with no write access for others. Default: the environment variable
    /// `SHM_COMM_ROOT` if it is set and not empty, or else `/dev/shm/shm-comm-<user id>`.
    ///
    /// Two programs meet in one folder only, so give an absolute path: a relative one depends on
    /// where each was started.
    ///
    /// It should be on a tmpfs. On a disk everything works, and the disk is busy.
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Channel {
        self.root = Some(folder.into());
        self
    }

    /// Who may use the channel. Default: [`Access::Owner`].
    pub fn access(mut self, access: Access) -> Channel {
        self.access = access;
        self
    }

    /// How many messages of each publisher a subscriber may fall behind before it misses some, at
    /// least, while nobody holds samples. 1 to 65536. Default: 64, for messages above 16 KiB less
    /// (a mebibyte of them), never below 8.
    ///
    /// A publisher's ring has more slots: room for what up to 8 subscribers (fewer with a lower
    /// [`max_subscribers`](Self::max_subscribers)) may hold by default, rounded up to a power of two.
    /// All of it is allocated when the publisher opens: 16 KiB for 64 bytes, 100 MB for a full-HD
    /// image of 6.2 MB, or 25 MB with `depth(1).max_subscribers(1)`.
    ///
    /// Of a queue it is how many jobs there can be that are not done, dead letters included; default: 256, for
    /// large ones less. Of a service how many calls in flight; default: 64, for large ones less. Each has one
    /// slot, allocated when the channel is made.
    pub fn depth(mut self, slots: u32) -> Channel {
        self.depth = Some(slots);
        self
    }

    /// The most elements of an unsized message: of a `[T]`, or of the slice at the end of a struct. Of an
    /// encoded value the most bytes. Every slot has room for so many, whether they are used or not.
    /// Default: what fits into 16 KiB.
    ///
    /// For a message of fixed size it is an error ([`AttachError::FixedSize`](crate::AttachError::FixedSize)).
    pub fn max_len(mut self, n: usize) -> Channel {
        self.max_len = Some(n);
        self
    }

    /// The same of replies, where [`max_len`](Self::max_len) is of requests. Only of services
    /// ([`AttachError::NoReplies`](crate::AttachError::NoReplies)).
    pub fn max_reply_len(mut self, n: usize) -> Channel {
        self.max_reply_len = Some(n);
        self
    }

    /// How many publishers there can be at a time. 1 to 64, default 8. A place that is not used
    /// takes no memory.
    ///
    /// Of a queue: how many pushers, of a service: how many servers; default 64.
    pub fn max_publishers(mut self, n: u16) -> Channel {
        self.max_publishers = Some(n);
        self
    }

    /// How many subscribers there can be at a time. 1 to 64, default 64. Each place takes 192 bytes;
    /// fewer than 8 also mean fewer slots, see [`depth`](Self::depth).
    ///
    /// Of a queue: how many pullers, of a service: how many clients.
    pub fn max_subscribers(mut self, n: u16) -> Channel {
        self.max_subscribers = Some(n);
        self
    }
}

impl From<&str> for Channel {
    fn from(name: &str) -> Channel {
        Channel::new(name)
    }
}

impl From<String> for Channel {
    fn from(name: String) -> Channel {
        Channel::new(name)
    }
}

impl From<&String> for Channel {
    fn from(name: &String) -> Channel {
        Channel::new(name)
    }
}

impl From<&Channel> for Channel {
    fn from(channel: &Channel) -> Channel {
        channel.clone()
    }
}

/// How a blocking call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Looks again and again. The fastest, and a core is busy all the time.
    Spin,
    /// Looks again and again for so long, then sleeps. Does not spin on a machine with one core.
    SpinThenSleep(Duration),
    /// Sleeps at once. A wake-up takes tens of microseconds.
    Sleep,
}

impl Default for Wait {
    /// Spins for 50 µs, then sleeps.
    fn default() -> Wait {
        Wait::SpinThenSleep(Duration::from_micros(50))
    }
}

/// With which message a subscriber starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// The first one that is published after it has attached.
    #[default]
    Next,
    /// The oldest one that is still there.
    Oldest,
}

/// How a sample reads its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Read {
    /// `Pinned` if every bit pattern is a value of the type (numbers, arrays and structs of them), else
    /// `Copied`: a `bool`, `char`, enum, `NonZero`, [`ShmString`](crate::ShmString),
    /// [`ShmVec`](crate::ShmVec) or [`ShmOption`](crate::ShmOption) is checked, and what was checked must
    /// not change. Encoded values are decoded from the slot: `Pinned`.
    #[default]
    Auto,
    /// In place. The slot is held until the sample is dropped.
    ///
    /// Of a type for which not every bit pattern is a value, this trusts all publishers not to write to
    /// a message that they have published, not even by mistake: it was checked before that, and a value
    /// that is none is undefined behaviour here. So does a codec that reads text which changes meanwhile.
    Pinned,
    /// Into the sample's own memory. Never holds a slot, and [`max_held`](SubscriberOptions::max_held)
    /// does not matter; above 48 bytes every sample is an allocation.
    Copied,
}

/// What a publisher may choose.
#[must_use = "options do nothing until a publisher is opened with them"]
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct PublisherOptions {}

impl PublisherOptions {
    /// The defaults. A publisher has no choices yet: it never waits.
    pub fn new() -> PublisherOptions {
        PublisherOptions::default()
    }
}

/// What a subscriber may choose.
#[must_use = "options do nothing until a subscriber is opened with them"]
#[derive(Clone, Debug, Default)]
pub struct SubscriberOptions {
    pub(crate) wait: Wait,
    pub(crate) start: Start,
    pub(crate) read: Read,
    pub(crate) max_held: Option<u8>,
}

impl SubscriberOptions {
    /// The defaults: spin 50 µs, then sleep; start with the next message; [`Read::Auto`].
    pub fn new() -> SubscriberOptions {
        SubscriberOptions::default()
    }

    /// How blocking calls wait.
    pub fn wait(mut self, wait: Wait) -> SubscriberOptions {
        self.wait = wait;
        self
    }

    /// With which message to start.
    pub fn start(mut self, start: Start) -> SubscriberOptions {
        self.start = start;
        self
    }

    /// How samples read their message.
    pub fn read(mut self, read: Read) -> SubscriberOptions {
        self.read = read;
        self
    }

    /// How many samples may be held at a time. 1 to 16, default 4, and 1 if the channel that it is opened
    /// on is one of messages above 64 KiB. One more is
    /// [`RecvError::TooManySamples`](crate::RecvError::TooManySamples).
    pub fn max_held(mut self, n: u8) -> SubscriberOptions {
        self.max_held = Some(n);
        self
    }
}

/// What a pusher may choose.
#[must_use = "options do nothing until a pusher is opened with them"]
#[derive(Clone, Debug, Default)]
pub struct PusherOptions {
    pub(crate) wait: Wait,
}

impl PusherOptions {
    /// The defaults: while the queue is full, spin 50 µs, then sleep.
    pub fn new() -> PusherOptions {
        PusherOptions::default()
    }

    /// How blocking calls wait.
    pub fn wait(mut self, wait: Wait) -> PusherOptions {
        self.wait = wait;
        self
    }
}

/// What a puller may choose.
#[must_use = "options do nothing until a puller is opened with them"]
#[derive(Clone, Debug)]
pub struct PullerOptions {
    pub(crate) wait: Wait,
    pub(crate) max_deliveries: u8,
}

impl Default for PullerOptions {
    fn default() -> PullerOptions {
        PullerOptions { wait: Wait::default(), max_deliveries: 8 }
    }
}

impl PullerOptions {
    /// The defaults: spin 50 µs, then sleep; 8 deliveries.
    pub fn new() -> PullerOptions {
        PullerOptions::default()
    }

    /// How blocking calls wait.
    pub fn wait(mut self, wait: Wait) -> PullerOptions {
        self.wait = wait;
        self
    }

    /// How often a job is delivered before it becomes a dead letter: 1 to 15, default 8. Each puller
    /// goes by its own for the jobs that it gives back, and for those of dead ones that it finds.
    pub fn max_deliveries(mut self, n: u8) -> PullerOptions {
        self.max_deliveries = n;
        self
    }
}

/// What a requester may choose.
#[must_use = "options do nothing until a requester is opened with them"]
#[derive(Clone, Debug, Default)]
pub struct RequesterOptions {
    pub(crate) wait: Wait,
    pub(crate) repeatable: bool,
}

impl RequesterOptions {
    /// The defaults: spin 50 µs, then sleep; a call is not repeated.
    pub fn new() -> RequesterOptions {
        RequesterOptions::default()
    }

    /// How blocking calls wait.
    pub fn wait(mut self, wait: Wait) -> RequesterOptions {
        self.wait = wait;
        self
    }

    /// Calls do no harm if they are carried out more than once: if a server dies with one, another gets
    /// it. Up to 8 servers; then it is [`ServerLost`](crate::CallError::ServerLost), as for others with the
    /// first.
    pub fn repeatable(mut self, on: bool) -> RequesterOptions {
        self.repeatable = on;
        self
    }
}

/// What a replier may choose.
#[must_use = "options do nothing until a replier is opened with them"]
#[derive(Clone, Debug, Default)]
pub struct ReplierOptions {
    pub(crate) wait: Wait,
}

impl ReplierOptions {
    /// The defaults: spin 50 µs, then sleep.
    pub fn new() -> ReplierOptions {
        ReplierOptions::default()
    }

    /// How blocking calls wait.
    pub fn wait(mut self, wait: Wait) -> ReplierOptions {
        self.wait = wait;
        self
    }
}
