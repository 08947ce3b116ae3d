//! Values of any layout through the same handles: a codec makes bytes of them in the slot, and values
//! of the bytes.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Codec, Sink};
use crate::error::{
    CallError, DecodeError, EncodeError, PushError, RecvError, ReplyError, SendError,
};
use crate::payload::{Payload, sealed};
use crate::pubsub::{Publisher, Sample};
use crate::pushpull::{Puller, Pusher};
use crate::reqrep::{Delivered, Pending, Replier, Reply, Request, Requester};
use crate::schema::{Kind, Schema};

/// Says of a handle that it carries values of `T` as the bytes that the codec `C` makes of them.
///
/// There is no value of this type: it is a name, mostly written as [`Msgpack<T>`](crate::Msgpack) and its
/// like. A [`Publisher`] of it `send`s a `&T`, which is encoded straight into the slot; a
/// [`Sample`] of it derefs to a `T`, which was decoded from there once, when it was received.
///
/// The codec's name and that of the type, as [`std::any::type_name`] has it but without module paths, are
/// the channel's schema: a program with another codec, or with a type of another name, is refused. What
/// the type consists of is not compared; what then does not fit is
/// [`RecvError::Decode`](crate::RecvError::Decode).
///
/// Values are decoded from the slot, which trusts all publishers not to write to a message that they have
/// published. [`Read::Copied`](crate::Read::Copied) takes the bytes out first, and trusts nobody.
///
/// How large an encoded value may be is [`Channel::max_len`](crate::Channel::max_len) bytes; larger ones
/// are [`EncodeError::TooLong`](crate::EncodeError::TooLong).
///
/// ```
/// # #[cfg(feature = "msgpack")]
/// # fn main() -> Result<(), shm_comm::Error> {
/// # let folder = tempfile::tempdir()?;
/// # let channel = shm_comm::Channel::new("plan").root(folder.path().join("root"));
/// use serde::{Deserialize, Serialize};
/// use shm_comm::{Msgpack, Publisher, Subscriber};
///
/// #[derive(Serialize, Deserialize)]
/// struct Plan {
///     name: String,
///     stops: Vec<[f64; 2]>,
/// }
///
/// let mut publisher = Publisher::<Msgpack<Plan>>::new(&channel)?;
/// let mut subscriber = Subscriber::<Msgpack<Plan>>::new(&channel)?;
///
/// publisher.send(&Plan { name: "dock".to_owned(), stops: vec![[0.0, 1.5], [2.0, 1.0]] })?;
///
/// let plan = subscriber.recv()?;
/// assert_eq!((plan.name.as_str(), plan.stops.len()), ("dock", 2));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "msgpack"))]
/// # fn main() {}
/// ```
pub struct Encoded<T, C> {
    never: std::convert::Infallible,
    name: PhantomData<fn() -> (T, C)>,
}

/// A `T` as MessagePack, with the names of its fields: every language can read it.
#[cfg(feature = "msgpack")]
pub type Msgpack<T> = Encoded<T, codec::Msgpack>;

/// A `T` in the format of the crate [postcard](https://docs.rs/postcard): the fewest bytes.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let channel = shm_comm::Channel::new("speed").root(folder.path().join("root"));
/// let mut publisher = shm_comm::Publisher::<shm_comm::Postcard<(String, f32)>>::new(&channel)?;
/// publisher.send(&("left".to_owned(), 0.5))?;
/// # Ok::<(), shm_comm::Error>(())
/// ```
#[cfg(feature = "postcard")]
pub type Postcard<T> = Encoded<T, codec::Postcard>;

/// A `T` in the format that the crate bincode had by default until version 1.
#[cfg(feature = "bincode")]
pub type Bincode<T> = Encoded<T, codec::Bincode>;

impl<T, C> fmt::Debug for Encoded<T, C> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.never {}
    }
}

impl<T, C> sealed::Sealed for Encoded<T, C> {}

impl<T: DeserializeOwned + 'static, C: Codec> Payload for Encoded<T, C> {
    type Value = T;
    type Raw = [u8];
    type Decoded = T;

    fn describe() -> Schema {
        const {
            assert!(
                codec::is_name(C::NAME),
                "a codec's name has 1 to 32 bytes of `a` to `z`, `0` to `9`, `_`, `.` and `-`"
            );
        }
        let kind =
            Kind::Encoded { codec: C::NAME.to_owned(), name: without_paths(type_name::<T>()) };
        Schema { size: 0, align: 1, kind }
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<T, DecodeError> {
        C::decode(bytes)
    }

    #[inline(always)]
    fn value<'s>(_: &'s [u8], decoded: &'s T) -> &'s T {
        decoded
    }
}

/// Encodes `value` into a slot.
fn encode<T: Serialize, C: Codec>(value: &T, sink: &mut Sink<'_>) -> Result<(), EncodeError> {
    let room = sink.room();
    C::encode(value, sink)?;
    // A codec can put another sink in the place of this one, and what that counts is not here.
    if std::ptr::eq(sink.room(), room) { Ok(()) } else { Err(not_written(C::NAME)) }
}

impl<T: Serialize + DeserializeOwned + 'static, C: Codec> Publisher<Encoded<T, C>> {
    /// Encodes `value` straight into the slot of the next message, and publishes it.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing is published then. If there is not enough room it says how many bytes it
    /// would have taken.
    pub fn send(&mut self, value: &T) -> Result<(), SendError> {
        self.encode(|sink| encode::<T, C>(value, sink))
    }
}

impl<T: Serialize + DeserializeOwned + 'static, C: Codec> Pusher<Encoded<T, C>> {
    /// Encodes `job` straight into the next slot, and pushes it. Waits while the queue is full.
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing is pushed then. If there is not enough room it says how many bytes it would
    /// have taken.
    pub fn send(&mut self, job: &T) -> Result<(), PushError> {
        self.encode(&mut |sink| encode::<T, C>(job, sink))
    }

    /// The same, for a time. `false`: it was full all the time, and nothing was pushed.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_timeout(&mut self, job: &T, timeout: Duration) -> Result<bool, PushError> {
        self.encode_timeout(timeout, &mut |sink| encode::<T, C>(job, sink))
    }

    /// The same, without waiting. `false`: it is full, and nothing was pushed.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), but it cannot be interrupted.
    pub fn try_send(&mut self, job: &T) -> Result<bool, PushError> {
        self.try_encode(&mut |sink| encode::<T, C>(job, sink))
    }
}

impl<T: DeserializeOwned + 'static, C: Codec> Puller<Encoded<T, C>> {
    /// Takes the next job out and acknowledges it, in one step: **at most once**. If this process dies after
    /// that, the job is lost. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    pub fn take(&mut self) -> Result<T, RecvError> {
        Ok(self.recv()?.done_with())
    }
}

impl<T: DeserializeOwned + 'static, C: Codec> Reply<Encoded<T, C>> {
    /// The decoded value.
    pub fn into_value(self) -> T {
        self.into_decoded()
    }
}

impl<T, C, R> Requester<Encoded<T, C>, R>
where
    T: Serialize + DeserializeOwned + 'static,
    C: Codec,
    R: Payload + ?Sized,
{
    /// Encodes a request, calls the service, and waits for the reply. If all slots hold calls in flight, it
    /// waits for one, too.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Whatever it is, the call has ended: a late reply reaches nobody.
    pub fn request(&mut self, request: &T, timeout: Duration) -> Result<Reply<R>, CallError> {
        self.encode_and_wait(timeout, |sink| encode::<T, C>(request, sink))
    }

    /// Encodes a request, and calls the service without waiting for the reply. There may be several calls in
    /// flight.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`], [`CallError::Encode`], [`CallError::Attach`], and what is wrong with this handle.
    pub fn send(&mut self, request: &T) -> Result<Pending<R>, CallError> {
        self.encode(|sink| encode::<T, C>(request, sink))
    }
}

impl<Q, T, C> Request<Q, Encoded<T, C>>
where
    Q: Payload + ?Sized,
    T: Serialize + DeserializeOwned + 'static,
    C: Codec,
{
    /// Encodes the answer straight into the slot.
    ///
    /// # Errors
    ///
    /// [`ReplyError`]. The request is declined then.
    pub fn reply(self, reply: &T) -> Result<Delivered, ReplyError> {
        self.encode(|sink| encode::<T, C>(reply, sink))
    }
}

impl<Q, T, C> Replier<Q, Encoded<T, C>>
where
    Q: Payload + ?Sized,
    T: Serialize + DeserializeOwned + 'static,
    C: Codec,
{
    /// Answers every request with what `answer` makes of it, until this replier's
    /// [interrupter](Self::interrupter) is used. A request that is not valid is declined; so is one at which
    /// `answer` panics, and the panic goes on; and one whose answer cannot be encoded.
    ///
    /// # Errors
    ///
    /// What is wrong with this handle.
    pub fn serve(&mut self, mut answer: impl FnMut(&Q::Value) -> T) -> Result<(), RecvError> {
        self.serve_encoded(|request| {
            let reply = answer(&request);
            // Its client is told that it is declined.
            let _ = request.reply(&reply);
        })
    }
}

impl<T: DeserializeOwned + 'static, C: Codec> Sample<Encoded<T, C>> {
    /// The decoded value.
    pub fn into_value(self) -> T {
        self.into_decoded()
    }

    /// Decodes the message once more, as another type: usually one that borrows from the message, for
    /// example a struct of `&str`, or, of a format that names its fields as
    /// MessagePack does, one that has only some of them.
    ///
    /// What it borrows lies in the slot, where the pin of this sample keeps it; with
    /// [`Read::Copied`](crate::Read::Copied) in memory of this process. In the slot, this trusts all
    /// publishers not to write to a message that they have published, not even by mistake: a `&str` was
    /// looked at when it was decoded, and one that is no UTF-8 any more is undefined behaviour.
    ///
    /// # Errors
    ///
    /// What the codec says.
    pub fn decode_as<'s, U: Deserialize<'s>>(&'s self) -> Result<U, DecodeError> {
        C::decode(self.bytes())
    }
}

#[cold]
fn not_written(codec: &'static str) -> EncodeError {
    let reason = "the codec has written to another sink than the one that it was given".to_owned();
    EncodeError::Codec { codec, reason }
}

/// A type's name without the modules in which it and its arguments are.
fn without_paths(full: &str) -> String {
    let mut name = String::with_capacity(full.len());
    let mut segment = 0;
    let mut rest = full.chars();
    while let Some(c) = rest.next() {
        if c == ':' && rest.as_str().starts_with(':') {
            rest.next();
            name.truncate(segment);
            continue;
        }
        name.push(c);
        if !(c.is_alphanumeric() || c == '_') {
            segment = name.len();
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_module_paths() {
        for (full, short) in [
            ("u8", "u8"),
            ("my_robot::plans::Plan", "Plan"),
            ("alloc::vec::Vec<(u8, my_robot::Plan)>", "Vec<(u8, Plan)>"),
            ("core::option::Option<[a::b::C; 3]>", "Option<[C; 3]>"),
            ("&str", "&str"),
            ("std::collections::HashMap<alloc::string::String, f64>", "HashMap<String, f64>"),
        ] {
            assert_eq!(without_paths(full), short);
        }
        assert_eq!(without_paths(type_name::<Option<Vec<String>>>()), "Option<Vec<String>>");
    }
}
