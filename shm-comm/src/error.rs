//! What can go wrong, one enum per operation, with the facts inside.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::message::Invalid;
use crate::pattern::Pattern;
use crate::schema::{Malformed, SchemaDiff};

/// Why a handle could not be opened on a channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The name cannot be one. Choose another: any UTF-8 without NUL, not empty, that takes at most
    /// 255 bytes as a file name, `.pubsub` included (`/`, `%`, control characters and a leading dot
    /// take three each).
    #[error("channel name {name:?} {reason}")]
    BadName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option of the channel is outside its limits. Choose another value.
    #[error("channel {channel:?}: {option} is {value}, it can be {min} to {max}")]
    BadOption {
        /// The channel's name.
        channel: String,
        /// The option's name.
        option: &'static str,
        /// As given.
        value: u64,
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
    },
    /// What is there in place of a segment is not one, or is damaged. If nobody needs it, remove it.
    #[error("{} is not a segment of a channel: {reason}", path.display())]
    NotAChannel {
        /// The file.
        path: PathBuf,
        /// What gives it away.
        reason: String,
    },
    /// The segment belongs to another user, or may not be used by you. Use a root folder of your own,
    /// or [`Access::Group`](crate::Access::Group) on both sides.
    #[error("{} belongs to user {owner} (mode {mode:04o}), you are user {user}", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who may do what with it.
        mode: u32,
        /// Who asks.
        user: u32,
    },
    /// The segment was made by a release with another memory format. Use the same release on all
    /// sides.
    #[error("{} has memory format {found}, this program knows {known}", path.display())]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// The segment's.
        found: u32,
        /// This library's.
        known: u32,
    },
    /// The file of the channel holds another channel: it was renamed or copied. Remove it.
    #[error("the file of the {asked} {channel:?} holds the {pattern} {found:?}")]
    WrongSegment {
        /// The name asked for.
        channel: String,
        /// The pattern asked for.
        asked: Pattern,
        /// The name in the segment.
        found: String,
        /// The pattern in the segment.
        pattern: Pattern,
    },
    /// The channel carries messages of another type, and here is how they differ. Use the same type on
    /// both sides; or, to read messages that have gained fields at their end, an older one.
    #[error(
        "channel {channel:?} carries `{channel_type}`, not this program's `{your_type}`:\
         {}",
        lines(difference)
    )]
    SchemaMismatch {
        /// The channel's name.
        channel: String,
        /// The name of the channel's type.
        channel_type: String,
        /// The name of this program's type.
        your_type: String,
        /// Field by field. Both types whole are in [`Channel::info`](crate::Channel::info) and
        /// [`Schema::of`](crate::Schema::of).
        difference: SchemaDiff,
    },
    /// The type is too large or too complicated to be [described](crate::Schema::to_bytes). Nest less, or
    /// shorten names.
    #[error("channel {channel:?}: the type `{type_name}` cannot be described: {error}")]
    Indescribable {
        /// The channel's name.
        channel: String,
        /// The type's name.
        type_name: String,
        /// What is too much.
        #[source]
        error: Malformed,
    },
    /// [`Channel::max_len`](crate::Channel::max_len) is set, and messages have no elements; or
    /// [`max_reply_len`](crate::Channel::max_reply_len), and replies have none. Leave it out.
    #[error("channel {channel:?}: {option} is set, but every `{type_name}` has the same size")]
    FixedSize {
        /// The channel's name.
        channel: String,
        /// `max_len` or `max_reply_len`.
        option: &'static str,
        /// The name of the type.
        type_name: String,
    },
    /// [`Channel::max_reply_len`](crate::Channel::max_reply_len) is set, and only services have replies.
    /// Leave it out.
    #[error("channel {channel:?}: max_reply_len is set, but a {pattern} has no replies")]
    NoReplies {
        /// The channel's name.
        channel: String,
        /// What it does with messages.
        pattern: Pattern,
    },
    /// The channel exists with another value of an option that this handle sets. Set the same value
    /// on both sides, or leave it out to take what the channel has.
    #[error("channel {channel:?} has {option} {found}, you ask for {asked}")]
    GeometryMismatch {
        /// The channel's name.
        channel: String,
        /// The option's name.
        option: &'static str,
        /// What the channel has.
        found: u64,
        /// What was asked for.
        asked: u64,
    },
    /// The file system has no room. Make room, or use a smaller depth or message; a container often
    /// has a `/dev/shm` of 64 MiB only.
    #[error(
        "no room for another {needed} bytes in {}{}{}",
        path.display(),
        file_system.map(|size| format!(", on a file system of {size} bytes")).unwrap_or_default(),
        free.map(|free| format!(", {free} of them free")).unwrap_or_default()
    )]
    NoSpace {
        /// The segment.
        path: PathBuf,
        /// Bytes that were asked for, by one ring or for the fixed part of the segment.
        needed: u64,
        /// Bytes of the whole file system, where that can be told.
        file_system: Option<u64>,
        /// Bytes of it that were free. If those are enough, it has no room for another *file*.
        free: Option<u64>,
    },
    /// The message, or all slots of all publishers, are too large for any file.
    #[error("channel {channel:?} would need more than {} bytes", i64::MAX)]
    TooLarge {
        /// The channel's name.
        channel: String,
    },
    /// All places are taken by live processes. Close some, or set the option of that name higher
    /// when the channel is made.
    #[error("channel {channel:?} has {max} {kind} already, and no room for more ({option})")]
    TooManyParticipants {
        /// The channel's name.
        channel: String,
        /// `publishers` or `subscribers`, `pushers` or `pullers`, `servers` or `clients`.
        kind: &'static str,
        /// `max_publishers` or `max_subscribers`.
        option: &'static str,
        /// How many there can be.
        max: u32,
    },
    /// The root folder cannot be trusted with channels. Use one that is yours and that nobody else
    /// may write to.
    #[error("root folder {path:?} {reason}")]
    UnsafeRoot {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Others come and go so fast that there was no time to attach, or one of them was stopped in the
    /// middle of it. Try again; if that does not help, look for a stopped process.
    #[error("{} was busy for {waited:?}: others create, replace or remove it", path.display())]
    Busy {
        /// The segment.
        path: PathBuf,
        /// How long was tried.
        waited: std::time::Duration,
    },
    /// The operating system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Os {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why there is no slot for a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoanError {
    /// Readers hold every slot. Drop samples earlier, or make the channel with a larger
    /// [`depth`](crate::Channel::depth).
    #[error(
        "channel {channel:?}: all {slots} slots are held, by {} (several may hold the same)",
        holders.iter().map(Holder::to_string).collect::<Vec<_>>().join(", ")
    )]
    AllSlotsHeld {
        /// The channel's name.
        channel: String,
        /// How many slots this publisher has.
        slots: u64,
        /// Who holds how many of them, as far as one look can tell.
        holders: Vec<Holder>,
    },
    /// The message has more elements than there is room for. Nothing was published. Make the channel with
    /// a larger [`max_len`](crate::Channel::max_len).
    #[error("channel {channel:?}: a message of {len} elements, {max_len} are possible (max_len)")]
    TooLong {
        /// The channel's name.
        channel: String,
        /// Elements that the message was to have.
        len: usize,
        /// Elements that there is room for.
        max_len: usize,
    },
    /// All slots are held, and it cannot be found out whether those who hold them live: somebody in this
    /// process has closed descriptors that he does not know (`close_range`), and with them the one that
    /// leads to this publisher's locks. Stop that, and open a new one.
    #[error("channel {channel:?}: the lock is lost, its descriptor was closed by somebody else")]
    LockLost {
        /// The channel's name.
        channel: String,
    },
    /// This process is a child that was forked after the publisher was opened. Open a new one here.
    #[error("channel {channel:?}: the publisher was opened before a fork, by the parent")]
    Forked {
        /// The channel's name.
        channel: String,
    },
}

/// A subscriber that holds slots of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number in the channel.
    pub subscriber: u32,
    /// Its process, as that process sees itself.
    pub pid: u32,
    /// How many slots it holds.
    pub held: u32,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Holder { subscriber, pid, held } = self;
        write!(f, "subscriber {subscriber} (pid {pid}): {held}")
    }
}

/// Why an encoded value was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no slot for it.
    #[error(transparent)]
    Loan(#[from] LoanError),
    /// The codec cannot encode it, or it does not fit. Nothing was published.
    #[error("channel {channel:?}: cannot encode a message: {error}")]
    Encode {
        /// The channel's name.
        channel: String,
        /// What the codec says.
        #[source]
        error: EncodeError,
    },
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// A publisher published bytes that are no value of the message's type. The next call goes on
    /// with the next message. Find the publisher that writes it.
    #[error("channel {channel:?}: message {sequence} is not valid: {invalid}")]
    Invalid {
        /// The channel's name.
        channel: String,
        /// The message's number among those of its publisher.
        sequence: u64,
        /// Which field holds what.
        invalid: Invalid,
    },
    /// A publisher published bytes of which the codec cannot make a value of this type. The next call goes
    /// on with the next message. Types on both sides have the same name, but are they the same?
    #[error("channel {channel:?}: message {sequence} cannot be decoded: {error}")]
    Decode {
        /// The channel's name.
        channel: String,
        /// The message's number among those of its publisher.
        sequence: u64,
        /// What the codec says.
        #[source]
        error: DecodeError,
    },
    /// This subscriber holds as many samples as it may. Drop one, or ask for a larger
    /// [`max_held`](crate::SubscriberOptions::max_held). Nothing is lost by this call.
    #[error("channel {channel:?}: no more samples may be held than {max_held} (max_held)")]
    TooManySamples {
        /// The channel's name.
        channel: String,
        /// How many may be held.
        max_held: u8,
    },
    /// An [`Interrupter`](crate::Interrupter) was used.
    #[error("interrupted, by the handle's interrupter")]
    Interrupted,
    /// A publisher has come or has replaced the channel, and it cannot be joined: usually it has
    /// another type, or an option that contradicts this subscriber's. Every call tries again, so that
    /// the subscriber goes on when that has changed.
    #[error("the channel has changed: {0}")]
    Attach(#[source] Box<AttachError>),
    /// Somebody in this process has closed descriptors that he does not know (`close_range`), and with
    /// them the one that leads to this subscriber's locks. Others still see it alive, and its slots are not
    /// given away, but it cannot tell any more who else is alive. Stop that, and open a new one.
    #[error("channel {channel:?}: the lock is lost, its descriptor was closed by somebody else")]
    LockLost {
        /// The channel's name.
        channel: String,
    },
    /// This process is a child that was forked after the subscriber was opened. Open a new one here.
    #[error("channel {channel:?}: the subscriber was opened before a fork, by the parent")]
    Forked {
        /// The channel's name.
        channel: String,
    },
}

/// Why a job was not pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The job has more elements than there is room for. Make the channel with a larger
    /// [`max_len`](crate::Channel::max_len).
    #[error("queue {channel:?}: a job of {len} elements, {max_len} are possible (max_len)")]
    TooLong {
        /// The channel's name.
        channel: String,
        /// Elements that the job was to have.
        len: usize,
        /// Elements that there is room for.
        max_len: usize,
    },
    /// Every slot holds a dead letter: no worker will ever make room. Look at them
    /// ([`Puller::dead_letters`](crate::Puller::dead_letters)), and remove them.
    #[error("queue {channel:?}: all {slots} slots hold dead letters")]
    DeadLetters {
        /// The channel's name.
        channel: String,
        /// How many there are.
        slots: u32,
    },
    /// The codec cannot encode it, or it does not fit.
    #[error("queue {channel:?}: cannot encode a job: {error}")]
    Encode {
        /// The channel's name.
        channel: String,
        /// What the codec says.
        #[source]
        error: EncodeError,
    },
    /// An [`Interrupter`](crate::Interrupter) was used.
    #[error("interrupted, by the pusher's interrupter")]
    Interrupted,
    /// Somebody in this process has closed descriptors that he does not know (`close_range`), and with
    /// them the one that leads to this handle's locks. Stop that, and open a new one.
    #[error("queue {channel:?}: the lock is lost, its descriptor was closed by somebody else")]
    LockLost {
        /// The channel's name.
        channel: String,
    },
    /// This process is a child that was forked after the pusher was opened. Open a new one here.
    #[error("queue {channel:?}: the pusher was opened before a fork, by the parent")]
    Forked {
        /// The channel's name.
        channel: String,
    },
}

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There was no server, all the time that was waited. Nobody has seen the request. Start one.
    #[error("service {channel:?}: no server came within {waited:?}")]
    NoServer {
        /// The channel's name.
        channel: String,
        /// How long that was.
        waited: Duration,
    },
    /// The reply did not come in time. The call is cancelled: a server that has it may still carry it out,
    /// and its reply reaches nobody.
    #[error("service {channel:?}: no reply within {waited:?}")]
    TimedOut {
        /// The channel's name.
        channel: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The server died with the request. Whether it was carried out nobody knows. If that does no harm, make
    /// the call again, or say so from the beginning
    /// ([`repeatable`](crate::RequesterOptions::repeatable)).
    #[error("service {channel:?}: the server died while it served the request")]
    ServerLost {
        /// The channel's name.
        channel: String,
    },
    /// The server has dropped the request without a reply: it did not want to, or failed.
    #[error("service {channel:?}: the server has declined the request")]
    Declined {
        /// The channel's name.
        channel: String,
    },
    /// A server has replaced the service by one with other options while the call waited. Nobody has seen the
    /// request: make the call again.
    #[error(
        "service {channel:?}: it was replaced by one with other options, nobody has seen the request"
    )]
    Replaced {
        /// The channel's name.
        channel: String,
    },
    /// The call had ended already: its reply was received, or an error told why there is none.
    #[error("service {channel:?}: the call has ended already")]
    Ended {
        /// The channel's name.
        channel: String,
    },
    /// As many calls are in flight as can be, of all clients. Nobody has seen the request. Wait for replies,
    /// drop those that are not needed, or make the channel with a larger [`depth`](crate::Channel::depth).
    #[error("service {channel:?}: no room for another call, of {slots} in flight at most (depth)")]
    Full {
        /// The channel's name.
        channel: String,
        /// How many there can be.
        slots: u32,
    },
    /// The request has more elements than there is room for. Make the channel with a larger
    /// [`max_len`](crate::Channel::max_len).
    #[error("service {channel:?}: a request of {len} elements, {max_len} are possible (max_len)")]
    TooLong {
        /// The channel's name.
        channel: String,
        /// Elements that the request was to have.
        len: usize,
        /// Elements that there is room for.
        max_len: usize,
    },
    /// The reply is no value of its type. Find the server that writes it.
    #[error("service {channel:?}: the reply is not valid: {invalid}")]
    Invalid {
        /// The channel's name.
        channel: String,
        /// Which field holds what.
        invalid: Invalid,
    },
    /// The codec cannot encode the request, or it does not fit.
    #[error("service {channel:?}: cannot encode a request: {error}")]
    Encode {
        /// The channel's name.
        channel: String,
        /// What the codec says.
        #[source]
        error: EncodeError,
    },
    /// The codec cannot make a value of this type of the reply.
    #[error("service {channel:?}: the reply cannot be decoded: {error}")]
    Decode {
        /// The channel's name.
        channel: String,
        /// What the codec says.
        #[source]
        error: DecodeError,
    },
    /// An [`Interrupter`](crate::Interrupter) was used. The call is cancelled, as by a time-out.
    #[error("interrupted, by the requester's interrupter")]
    Interrupted,
    /// A server has replaced the channel, and it cannot be joined: usually it has other types, or an option
    /// that contradicts this requester's. Every call tries again.
    #[error("the service has changed: {0}")]
    Attach(#[source] Box<AttachError>),
    /// Somebody in this process has closed descriptors that he does not know (`close_range`), and with
    /// them the one that leads to this handle's locks. Stop that, and open a new one.
    #[error("service {channel:?}: the lock is lost, its descriptor was closed by somebody else")]
    LockLost {
        /// The channel's name.
        channel: String,
    },
    /// This process is a child that was forked after the requester was opened. Open a new one here.
    #[error("service {channel:?}: the requester was opened before a fork, by the parent")]
    Forked {
        /// The channel's name.
        channel: String,
    },
}

/// Why a request was not answered. Its client is told that it is declined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The reply has more elements than there is room for. Make the channel with a larger
    /// [`max_reply_len`](crate::Channel::max_reply_len).
    #[error("a reply of {len} elements, {max_len} are possible (max_reply_len)")]
    TooLong {
        /// Elements that the reply was to have.
        len: usize,
        /// Elements that there is room for.
        max_len: usize,
    },
    /// The codec cannot encode it, or it does not fit.
    #[error("cannot encode a reply: {0}")]
    Encode(#[source] EncodeError),
    /// This process is a child that was forked after the request was received. Only its parent can answer.
    #[error("the request was received before a fork, by the parent")]
    Forked,
}

/// Why a wait for participants ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// An [`Interrupter`](crate::Interrupter) was used.
    #[error("interrupted, by the handle's interrupter")]
    Interrupted,
    /// Somebody in this process has closed descriptors that he does not know (`close_range`), and with
    /// them the one that leads to this handle's locks. Others still see it alive, and its slots are not
    /// given away, but it cannot tell any more who else is alive. Stop that, and open a new one.
    #[error("channel {channel:?}: the lock is lost, its descriptor was closed by somebody else")]
    LockLost {
        /// The channel's name.
        channel: String,
    },
    /// This process is a child that was forked after the handle was opened. Open a new one here.
    #[error("channel {channel:?}: the handle was opened before a fork, by the parent")]
    Forked {
        /// The channel's name.
        channel: String,
    },
}

/// Each difference on a line of its own, indented.
fn lines(difference: &SchemaDiff) -> String {
    difference.to_string().lines().map(|line| format!("\n  {line}")).collect()
}

/// Any error of this crate, for `fn main() -> Result<(), shm_comm::Error>`.
///
/// Its `Debug` is its `Display`, which is what a `main` that returns it prints.
#[derive(thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
#[allow(missing_docs)] // they are what they wrap
pub enum Error {
    Attach(#[from] AttachError),
    Loan(#[from] LoanError),
    Send(#[from] SendError),
    Recv(#[from] RecvError),
    Push(#[from] PushError),
    Call(#[from] CallError),
    Reply(#[from] ReplyError),
    Wait(#[from] WaitError),
    Os(#[from] io::Error),
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Why a value cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Encoded, it is longer than a slot. Send less at once, or use longer slots.
    #[error("the value takes {needed} bytes, {max} are possible (max_len)")]
    TooLong {
        /// Bytes that it would take.
        needed: usize,
        /// Bytes that a slot has.
        max: usize,
    },
    /// It is nested too deeply, so that nobody would decode it. Send a list of parts, that name each
    /// other by their index.
    #[error("the value is nested more than {max} levels deep")]
    TooDeep {
        /// The `MAX_DEPTH` of the module `codec`.
        max: usize,
    },
    /// The format has no form for it, or its type refused. Use another codec, or see what the type's
    /// `Serialize` does.
    #[error("cannot be encoded as {codec}: {reason}")]
    Codec {
        /// The codec's name.
        codec: &'static str,
        /// What is in the way.
        reason: String,
    },
}

/// Why bytes are no value of the type. Mostly: whoever sent them has another type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A value would be nested too deeply. Send a list of parts, that name each other by their index.
    #[error("the value is nested more than {max} levels deep")]
    TooDeep {
        /// The `MAX_DEPTH` of the module `codec`.
        max: usize,
    },
    /// A sequence claims to have more elements than such a message can hold, which only elements of no
    /// size make possible. Send their number instead of them.
    #[error("more than {max} elements in a message of {len} bytes")]
    TooManyValues {
        /// Bytes of the message.
        len: usize,
        /// Elements that it may have, in all its sequences together.
        max: usize,
    },
    /// The value ends before the bytes do. Use the same type on both sides.
    #[error("{left} of {len} bytes are left over after the value")]
    Trailing {
        /// Bytes behind the value.
        left: usize,
        /// All bytes.
        len: usize,
    },
    /// The bytes break the format, or the type refused what they say. Use the same type on both sides.
    #[error("cannot be decoded as {codec}: {reason}")]
    Codec {
        /// The codec's name.
        codec: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl DecodeError {
    /// The same, with the place where decoding ended.
    #[cfg(any(feature = "bincode", feature = "postcard"))]
    #[cold]
    pub(crate) fn at(mut self, position: usize) -> DecodeError {
        if let DecodeError::Codec { reason, .. } = &mut self {
            reason.push_str(&format!(", at byte {position}"));
        }
        self
    }
}
