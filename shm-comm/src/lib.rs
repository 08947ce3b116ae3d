//! Typed, zero-copy messages between the processes of one machine.
//!
//! A message is a plain struct with [`#[derive(ShmMessage)]`](derive@ShmMessage). A [`Publisher`]
//! writes it into shared memory, every [`Subscriber`] reads it there; nothing is serialised, nothing
//! is copied, and while nobody sleeps there is no system call.
//!
//! ```
//! # fn main() -> Result<(), shm_comm::Error> {
//! # let folder = tempfile::tempdir()?;
//! # let channel = shm_comm::Channel::new("robot/odometry").root(folder.path().join("root"));
//! use shm_comm::{Publisher, ShmMessage, Subscriber};
//!
//! #[derive(ShmMessage, Debug, PartialEq)]
//! #[repr(C)]
//! struct Odometry {
//!     x: f64,
//!     y: f64,
//!     heading: f64,
//! }
//!
//! let mut publisher = Publisher::<Odometry>::new(&channel)?;
//! let mut subscriber = Subscriber::<Odometry>::new(&channel)?; // mostly in another process
//!
//! publisher.loan()?.write(Odometry { x: 1.0, y: 2.0, heading: 0.5 });
//!
//! let sample = subscriber.recv()?;
//! assert_eq!(sample.heading, 0.5);
//! assert_eq!((sample.sequence(), sample.missed()), (0, 0));
//! # Ok(())
//! # }
//! ```
//!
//! # What this is not
//!
//! It does not cross machines, keeps nothing after everybody has gone, and does not make a slow
//! subscriber's publisher wait. All participants of a channel run as one user or group, and trust each
//! other with the contents of messages.
//!
//! # Features
//!
//! * `msgpack`, on by default, `postcard`, `bincode`: a codec each, for messages that need one.
//! * `codec`: the module of that name without any of them, for a codec of your own.
//! * `serde`, on with every codec: [`ShmString`], [`ShmVec`] and [`ShmOption`] implement `Serialize` and
//!   `Deserialize`, so that a message can derive them; and so can a [`View`](schema::View) be written, as
//!   JSON for example.
//! * `tracing`: events of that crate for what happens to channels, target `shm_comm`. Off by default.

// 64 bits: positions of channels that run for years, offsets of locks beyond every file.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("shm-comm needs 64-bit Linux; other platforms are not supported yet");

extern crate self as shm_comm;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod bounded;
#[cfg(feature = "codec")]
pub mod codec;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom), feature = "codec"))]
mod encoded;
// Whoever makes them is not there when a model is checked.
#[cfg_attr(loom, allow(dead_code))]
mod error;
mod message;
mod pattern;
mod payload;
pub mod schema;
mod text;
mod word;

// The protocols, which loom checks without an operating system.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod queue;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod ring;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod sync;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod wait;

// What needs one.
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod channel;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod door;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod events;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod folder;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod header;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod inspect;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod liveness;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod loan;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod look;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod mapping;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod observer;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod options;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod os;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod process;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod pubsub;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod pushpull;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod reqrep;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
mod segment;

/// The programs of the README, which are to compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use bounded::{CapacityError, ShmOption, ShmString, ShmVec};
pub use error::{DecodeError, EncodeError};
pub use message::{Invalid, ShmMessage};
pub use payload::Payload;
pub use schema::Schema;
pub use shm_comm_derive::ShmMessage;

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom), feature = "codec"))]
pub use encoded::*;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(loom)))]
pub use {
    error::{
        AttachError, CallError, Error, Holder, LoanError, PushError, RecvError, ReplyError,
        SendError, WaitError,
    },
    inspect::{
        ChannelInfo, FileInfo, PublisherInfo, ReplyInfo, SubscriberInfo, channels, files, root,
    },
    loan::{Loan, LoanUninit, Slot},
    observer::{MessageInfo, Observed, Observer},
    options::{
        Access, Channel, PublisherOptions, PullerOptions, PusherOptions, Read, ReplierOptions,
        RequesterOptions, Start, SubscriberOptions, Wait,
    },
    pattern::Pattern,
    pubsub::{
        Iter, Publish, Publisher, PublisherId, PublisherStats, Sample, Subscriber, SubscriberStats,
    },
    pushpull::{Job, Puller, Push, Pusher, QueueStats},
    reqrep::{Answer, Call, Delivered, Pending, Replier, Reply, Request, Requester, ServiceStats},
    wait::Interrupter,
};
