//! Values of any layout through the same handles, encoded by a codec.
#![cfg(all(feature = "msgpack", feature = "postcard", feature = "bincode"))]

mod common;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shm_comm::codec::{self, Codec};
use shm_comm::{
    AttachError, Bincode, Channel, EncodeError, Encoded, Msgpack, Postcard, Publisher, Read,
    RecvError, Schema, SendError, Subscriber, SubscriberOptions,
};
use std::collections::BTreeMap;

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self) -> Channel {
        Channel::new("encoded").root(self.0.path())
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Plan {
    name: String,
    stops: Vec<[f64; 2]>,
    limits: BTreeMap<String, f32>,
    next: Option<Box<Plan>>,
}

fn plan(stops: usize) -> Plan {
    Plan {
        name: "dock".to_owned(),
        stops: vec![[0.25, -1.5]; stops],
        limits: BTreeMap::from([("speed".to_owned(), 1.5)]),
        next: Some(Box::new(Plan {
            name: "é".to_owned(),
            stops: Vec::new(),
            limits: BTreeMap::new(),
            next: None,
        })),
    }
}

fn exchange<C: Codec>() {
    for read in [Read::Auto, Read::Pinned, Read::Copied] {
        let root = Root::new();
        let options = SubscriberOptions::new().read(read);
        let mut publisher = Publisher::<Encoded<Plan, C>>::new(root.channel()).unwrap();
        let mut subscriber = Subscriber::<Encoded<Plan, C>>::with(root.channel(), options).unwrap();
        for stops in 0..100 {
            publisher.send(&plan(stops)).unwrap();
            let sample = subscriber.recv().unwrap();
            assert_eq!(*sample, plan(stops));
            assert_eq!(C::decode::<Plan>(sample.bytes()).unwrap(), plan(stops));
            assert_eq!((sample.sequence(), sample.missed()), (stops as u64, 0));
            assert_eq!(sample.into_value(), plan(stops));
        }
    }
}

#[test]
fn a_value_arrives_whatever_the_codec() {
    exchange::<codec::Msgpack>();
    exchange::<codec::Postcard>();
    exchange::<codec::Bincode>();
}

#[test]
fn a_message_can_be_decoded_as_something_that_borrows_from_it() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct Name<'a> {
        name: &'a str,
    }
    let root = Root::new();
    let mut publisher = Publisher::<Msgpack<Plan>>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<Msgpack<Plan>>::new(root.channel()).unwrap();
    publisher.send(&plan(3)).unwrap();
    let sample = subscriber.recv().unwrap();
    let Name { name } = sample.decode_as().unwrap();
    assert_eq!(name, "dock");
    let bytes = sample.bytes().as_ptr_range();
    assert!(bytes.contains(&name.as_ptr()), "it lies in the message");
}

#[test]
fn what_does_not_fit_is_an_error_with_both_numbers_and_loses_nothing() {
    let root = Root::new();
    let channel = root.channel().max_len(100);
    let mut publisher = Publisher::<Postcard<Vec<u8>>>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Postcard<Vec<u8>>>::new(&channel).unwrap();
    let error = publisher.send(&vec![0; 100]).unwrap_err();
    let SendError::Encode { error: EncodeError::TooLong { needed: 101, max: 100, .. }, .. } = error
    else {
        panic!("{error}")
    };
    publisher.send(&vec![7; 99]).unwrap();
    let sample = subscriber.recv().unwrap();
    assert_eq!((sample.len(), sample.sequence(), sample.missed()), (99, 0, 0));
}

/// Another type of the same name.
mod other {
    use super::*;

    #[derive(Serialize, Deserialize)]
    pub struct Plan {
        pub stops: String,
    }
}

#[test]
fn what_cannot_be_decoded_is_an_error_and_the_next_message_comes() {
    let root = Root::new();
    let mut publisher = Publisher::<Msgpack<other::Plan>>::new(root.channel()).unwrap();
    let mut good = Publisher::<Msgpack<Plan>>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<Msgpack<Plan>>::new(root.channel()).unwrap();
    publisher.send(&other::Plan { stops: "none".to_owned() }).unwrap();
    let error = subscriber.recv().unwrap_err();
    assert!(matches!(error, RecvError::Decode { sequence: 0, .. }), "{error}");
    assert!(error.to_string().starts_with("channel \"encoded\": message 0 cannot be decoded: "));
    good.send(&plan(1)).unwrap();
    assert_eq!(*subscriber.recv().unwrap(), plan(1));
}

#[track_caller]
fn mismatch<A, B>() -> String
where
    A: Serialize + DeserializeOwned + 'static,
    B: shm_comm::Payload + ?Sized,
{
    let root = Root::new();
    let publisher = Publisher::<Msgpack<A>>::new(root.channel()).unwrap();
    let error = Subscriber::<B>::new(root.channel()).unwrap_err();
    drop(publisher);
    let AttachError::SchemaMismatch { difference, .. } = error else { panic!("{error}") };
    difference.to_string()
}

#[test]
fn codec_and_type_are_compared() {
    let text = mismatch::<Plan, Postcard<Plan>>();
    assert!(text.contains("msgpack") && text.contains("postcard"), "{text}");
    let text = mismatch::<Plan, Msgpack<Vec<Plan>>>();
    assert!(text.contains("Plan") && text.contains("Vec<Plan>"), "{text}");
    let text = mismatch::<Plan, [u8]>();
    assert!(text.contains("msgpack"), "{text}");
    assert_eq!(Schema::of::<Bincode<Option<Plan>>>().canonical(), "bincode(Option<Plan>)");
}

/// A codec that writes elsewhere than it is told to.
enum Elsewhere {}

impl Codec for Elsewhere {
    const NAME: &'static str = "elsewhere";

    fn encode<T: Serialize + ?Sized>(
        _: &T,
        into: &mut codec::Sink<'_>,
    ) -> Result<(), codec::EncodeError> {
        let room: &'static mut [u8] = Box::leak(Box::new([0; 1000]));
        *into = codec::Sink::new(room);
        std::io::Write::write_all(into, &[7; 1000]).unwrap();
        Ok(())
    }

    fn decode<'a, T: Deserialize<'a>>(_: &'a [u8]) -> Result<T, codec::DecodeError> {
        Err(codec::DecodeError::TooDeep { max: 0 })
    }
}

#[test]
fn a_codec_that_writes_elsewhere_publishes_nothing() {
    let root = Root::new();
    let channel = root.channel().max_len(100);
    let mut publisher = Publisher::<Encoded<u8, Elsewhere>>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Encoded<u8, Elsewhere>>::new(&channel).unwrap();
    let error = publisher.send(&1).unwrap_err();
    assert!(error.to_string().contains("another sink"), "{error}");
    assert!(subscriber.try_recv().unwrap().is_none());
    assert_eq!(publisher.stats().sent, 0);
}
