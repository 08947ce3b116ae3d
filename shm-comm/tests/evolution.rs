//! Messages gain fields: who reads what, who is refused, and why.

mod common;

use shm_comm::{
    AttachError, Channel, Payload, Publisher, Read, RecvError, ShmMessage, Subscriber,
    SubscriberOptions,
};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self) -> Channel {
        Channel::new("pose").root(self.0.path())
    }
}

/// The same message, as three releases of a program have it.
mod v1 {
    use super::*;
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub y: f64,
    }
}
mod v2 {
    use super::*;
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub y: f64,
        pub heading: f64,
    }
}
mod v3 {
    use super::*;
    #[derive(ShmMessage, Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub y: f64,
        pub heading: f64,
        pub sure: bool,
        pub _pad0: [u8; 7],
    }
}

const V1: v1::Pose = v1::Pose { x: 1.0, y: 2.0 };
const V2: v2::Pose = v2::Pose { x: 1.0, y: 2.0, heading: 3.0 };
const V3: v3::Pose = v3::Pose { x: 1.0, y: 2.0, heading: 3.0, sure: true, _pad0: [0; 7] };

#[test]
fn an_old_reader_reads_the_fields_it_knows_in_place() {
    for read in [Read::Auto, Read::Pinned, Read::Copied] {
        let root = Root::new();
        let options = || SubscriberOptions::new().read(read);
        let mut publisher = Publisher::<v3::Pose>::new(root.channel()).unwrap();
        let mut first = Subscriber::<v1::Pose>::with(root.channel(), options()).unwrap();
        let mut second = Subscriber::<v2::Pose>::with(root.channel(), options()).unwrap();
        let mut third = Subscriber::<v3::Pose>::with(root.channel(), options()).unwrap();
        for _ in 0..1000 {
            publisher.send(&V3).unwrap();
            let sample = first.try_recv().unwrap().unwrap();
            assert_eq!((&*sample, sample.bytes().len()), (&V1, 16));
            assert_eq!(*second.try_recv().unwrap().unwrap(), V2);
            assert_eq!(*third.try_recv().unwrap().unwrap(), V3);
        }
    }
}

#[test]
fn an_old_reader_does_not_judge_fields_that_it_does_not_know() {
    let root = Root::new();
    let mut publisher = Publisher::<v3::Pose>::new(root.channel()).unwrap();
    let mut old = Subscriber::<v1::Pose>::new(root.channel()).unwrap();
    let mut new = Subscriber::<v3::Pose>::new(root.channel()).unwrap();
    let mut loan = publisher.loan().unwrap();
    // SAFETY: Room for a `Pose`.
    unsafe { loan.as_mut_ptr().cast::<u8>().write_bytes(9, size_of::<v3::Pose>()) };
    // SAFETY: It is not true: `sure` is 9.
    unsafe { loan.assume_init() }.send();
    assert!(old.try_recv().unwrap().is_some());
    assert!(matches!(new.try_recv(), Err(RecvError::Invalid { .. })));
}

#[test]
fn a_newer_publisher_replaces_the_channel_and_old_readers_follow() {
    let root = Root::new();
    let mut old = Publisher::<v1::Pose>::new(root.channel()).unwrap();
    let mut subscriber = Subscriber::<v1::Pose>::new(root.channel()).unwrap();
    old.send(&V1).unwrap();
    let error = Publisher::<v2::Pose>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    drop(old);
    let mut new = Publisher::<v2::Pose>::new(root.channel()).unwrap();
    new.send(&V2).unwrap();
    // First what is left of the old one.
    for _ in 0..2 {
        assert_eq!(*subscriber.recv_timeout(SOON).unwrap().unwrap(), V1);
    }
}

#[test]
fn readers_of_any_age_and_a_publisher_meet_in_any_order() {
    enum Handle {
        Old(Subscriber<v1::Pose>),
        New(Subscriber<v2::Pose>),
        Publisher(Publisher<v2::Pose>),
    }
    let open = |root: &Root, which| match which {
        0 => Handle::Old(Subscriber::new(root.channel()).unwrap()),
        1 => Handle::New(Subscriber::new(root.channel()).unwrap()),
        _ => Handle::Publisher(Publisher::new(root.channel()).unwrap()),
    };
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let root = Root::new();
        let mut handles = order.map(|which| open(&root, which));
        for handle in &mut handles {
            if let Handle::Publisher(publisher) = handle {
                publisher.send(&V2).unwrap();
            }
        }
        for handle in &mut handles {
            match handle {
                Handle::Old(old) => {
                    assert_eq!(*old.recv_timeout(SOON).unwrap().unwrap(), V1, "{order:?}");
                }
                Handle::New(new) => {
                    assert_eq!(*new.recv_timeout(SOON).unwrap().unwrap(), V2, "{order:?}");
                }
                Handle::Publisher(_) => {}
            }
        }
    }
}

/// What a program that comes with `You` is told on a channel of `There`.
#[track_caller]
fn refusal<There: Payload, You: Payload>() -> String {
    let root = Root::new();
    let publisher = Publisher::<There>::new(root.channel()).unwrap();
    let error = Subscriber::<You>::new(root.channel()).unwrap_err();
    drop(publisher);
    let AttachError::SchemaMismatch { difference, .. } = error else { panic!("{error}") };
    difference.to_string()
}

#[test]
fn a_newer_reader_is_told_what_an_older_channel_lacks() {
    let text = refusal::<v1::Pose, v2::Pose>();
    assert!(text.contains("heading: not in the channel"), "{text}");
}

#[test]
fn an_older_publisher_is_refused_and_told_why() {
    let root = Root::new();
    let publisher = Publisher::<v2::Pose>::new(root.channel()).unwrap();
    let error = Publisher::<v1::Pose>::new(root.channel()).unwrap_err().to_string();
    assert!(error.contains("heading: unknown to you"), "{error}");
    drop(publisher);
}

mod aligned {
    use super::*;
    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Pose {
        pub x: f64,
        pub y: f64,
        pub id: u128,
    }
}

#[test]
fn a_field_at_the_end_may_not_raise_the_alignment() {
    let text = refusal::<aligned::Pose, v1::Pose>();
    assert!(text.contains("an appended field may not raise the alignment (8, now 16)"), "{text}");
}

mod path_v1 {
    use super::*;
    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Path {
        pub goal: v1::Pose,
        pub speed: f64,
    }
}
mod path_v2 {
    use super::*;
    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Path {
        pub goal: v2::Pose,
        pub speed: f64,
    }
}

#[test]
fn a_nested_message_may_not_grow() {
    let text = refusal::<path_v2::Path, path_v1::Path>();
    assert!(text.contains("goal: a nested message may not grow"), "{text}");
}

mod scan_v1 {
    use super::*;
    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Scan {
        pub stamp: u64,
        pub ranges: [f32],
    }
}
mod scan_v2 {
    use super::*;
    #[derive(ShmMessage)]
    #[repr(C)]
    pub struct Scan {
        pub stamp: u64,
        pub range_max: f32,
        pub ranges: [f32],
    }
}

#[test]
fn a_slice_ends_evolution() {
    let root = Root::new();
    let publisher = Publisher::<scan_v2::Scan>::new(root.channel()).unwrap();
    let error = Subscriber::<scan_v1::Scan>::new(root.channel()).unwrap_err().to_string();
    drop(publisher);
    assert!(error.contains("range_max: unknown to you"), "{error}");
    assert!(error.contains("a trailing slice ends evolution"), "{error}");
}

#[test]
fn readers_of_different_age_do_not_take_the_channel_from_each_other() {
    // An older one with an option of its own is refused, and the newer one stays.
    let root = Root::new();
    let mut new = Subscriber::<v2::Pose>::new(root.channel()).unwrap();
    let error = Subscriber::<v1::Pose>::new(root.channel().depth(32)).unwrap_err();
    assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{error}");
    assert!(new.try_recv().unwrap().is_none());

    // A newer one does not undo what an older one has chosen.
    let root = Root::new();
    let mut old = Subscriber::<v1::Pose>::new(root.channel().depth(32)).unwrap();
    let error = Subscriber::<v2::Pose>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    assert!(old.try_recv().unwrap().is_none());
    let mut new = Subscriber::<v2::Pose>::new(root.channel().depth(32)).unwrap();
    assert!(old.try_recv().unwrap().is_none());
    assert!(new.try_recv().unwrap().is_none());
}

#[test]
fn who_cannot_read_what_was_left_behind_leaves_it_to_those_who_can() {
    let root = Root::new();
    let mut new = Subscriber::<v2::Pose>::new(root.channel()).unwrap();
    let mut old = Subscriber::<v1::Pose>::new(root.channel()).unwrap();
    let mut publisher = Publisher::<v1::Pose>::new(root.channel()).unwrap();
    publisher.send(&V1).unwrap();
    drop(publisher);
    for _ in 0..3 {
        let error = new.try_recv().unwrap_err().to_string();
        assert!(error.contains("heading: not in the channel"), "{error}");
    }
    // Nor does somebody take it away who comes only now, for its schema or for an option.
    let error = Subscriber::<v2::Pose>::new(root.channel()).unwrap_err();
    assert!(matches!(error, AttachError::SchemaMismatch { .. }), "{error}");
    let error = Subscriber::<v1::Pose>::new(root.channel().depth(32)).unwrap_err();
    assert!(matches!(error, AttachError::GeometryMismatch { .. }), "{error}");
    assert_eq!(*old.recv_timeout(SOON).unwrap().unwrap(), V1);

    let mut publisher = Publisher::<v2::Pose>::new(root.channel()).unwrap();
    publisher.send(&V2).unwrap();
    assert_eq!(*new.recv_timeout(SOON).unwrap().unwrap(), V2);
    assert_eq!(*old.recv_timeout(SOON).unwrap().unwrap(), V1);
    drop((publisher, new, old));
    assert_eq!(std::fs::read_dir(root.0.path()).unwrap().count(), 0);
}
