//! Messages with as many elements as they like: slices, and structs that end in one.

mod common;

use shm_comm::{
    AttachError, Channel, LoanError, Publisher, Read, RecvError, Schema, ShmMessage, Subscriber,
    SubscriberOptions,
};

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(common::private_folder())
    }
    fn channel(&self, max_len: usize) -> Channel {
        Channel::new("unsized").root(self.0.path()).max_len(max_len)
    }
}

/// In either way of reading.
fn both() -> [SubscriberOptions; 2] {
    [Read::Pinned, Read::Copied].map(|read| SubscriberOptions::new().read(read))
}

#[derive(ShmMessage, Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
    z: f32,
}

#[derive(ShmMessage, Debug)]
#[repr(C)]
struct Cloud {
    stamp: u64,
    frame: u32,
    points: [Point],
}

/// Its elements end where Rust still counts bytes.
#[derive(ShmMessage, Debug)]
#[repr(C)]
struct Image {
    stamp: u64,
    width: u32,
    flag: bool,
    data: [u8],
}

#[test]
fn a_slice_arrives_with_its_length() {
    for options in both() {
        let root = Root::new();
        let mut publisher = Publisher::<[u16]>::new(root.channel(5)).unwrap();
        let mut subscriber = Subscriber::<[u16]>::with(root.channel(5), options).unwrap();
        for len in 0..=5 {
            let sent: Vec<u16> = (0..len).collect();
            publisher.send(&sent).unwrap();
            let received = subscriber.try_recv().unwrap().unwrap();
            assert_eq!(*received, sent[..]);
            assert_eq!(received.bytes().len(), 2 * sent.len());
        }
    }
}

#[test]
fn a_struct_that_ends_in_a_slice_is_filled_in_place() {
    for options in both() {
        let root = Root::new();
        let mut publisher = Publisher::<Cloud>::new(root.channel(100)).unwrap();
        let mut subscriber = Subscriber::<Cloud>::with(root.channel(100), options).unwrap();
        assert_eq!(publisher.max_len(), 100);

        let mut cloud = publisher.loan_with_len(3).unwrap().zeroed();
        assert_eq!(cloud.points, [Point::default(); 3]);
        (cloud.stamp, cloud.frame) = (7, 1);
        cloud.points[2] = Point { x: 1.0, y: 2.0, z: 3.0 };
        cloud.send();

        let cloud = subscriber.try_recv().unwrap().unwrap();
        assert_eq!((cloud.stamp, cloud.frame, cloud.points.len()), (7, 1, 3));
        assert_eq!(cloud.points[2], Point { x: 1.0, y: 2.0, z: 3.0 });
        assert_eq!(cloud.bytes().len(), 12 + 3 * 12);

        // From one channel to the next.
        publisher.send(&cloud).unwrap();
        drop(cloud);
        let again = subscriber.try_recv().unwrap().unwrap();
        assert_eq!((again.stamp, again.points[2].z), (7, 3.0));
    }
}

#[test]
fn what_is_behind_the_last_element_is_no_part_of_a_message_and_is_zero() {
    let root = Root::new();
    let mut publisher = Publisher::<Image>::new(root.channel(16).depth(1)).unwrap();
    let mut subscriber = Subscriber::<Image>::new(root.channel(16)).unwrap();
    // Every slot has held a longer message.
    for _ in 0..64 {
        let mut long = publisher.loan_with_len(16).unwrap().zeroed();
        long.data.fill(0xff);
        long.send();
    }
    let mut short = publisher.loan_with_len(2).unwrap();
    // SAFETY: The slot has room for the fixed part and sixteen elements.
    unsafe { short.as_mut_ptr().cast::<u8>().write_bytes(1, 24) };
    // SAFETY: All its bytes are 1, which is a `bool`, too.
    unsafe { short.assume_init() }.send();

    let image = subscriber.latest().unwrap().unwrap();
    assert_eq!(image.data, [1, 1]);
    assert_eq!(size_of_val(&*image), 16);
    assert_eq!(image.bytes(), [1; 15]);
    let whole: *const Image = &*image;
    // SAFETY: The last byte that Rust counts; the library has written it.
    assert_eq!(unsafe { whole.cast::<u8>().add(15).read() }, 0);
}

#[test]
fn more_elements_than_there_is_room_for_are_an_error_with_both_numbers() {
    let root = Root::new();
    let mut publisher = Publisher::<[u8]>::new(root.channel(10)).unwrap();
    let mut subscriber = Subscriber::<[u8]>::new(root.channel(10)).unwrap();
    let error = publisher.send(&[0; 11]).unwrap_err();
    assert!(matches!(error, LoanError::TooLong { len: 11, max_len: 10, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "channel \"unsized\": a message of 11 elements, 10 are possible (max_len)"
    );
    assert!(matches!(publisher.loan_with_len(usize::MAX), Err(LoanError::TooLong { .. })));
    assert!(subscriber.try_recv().unwrap().is_none(), "nothing was published");
    publisher.send(&[1; 10]).unwrap();
    assert_eq!(*subscriber.try_recv().unwrap().unwrap(), [1; 10]);
}

#[test]
fn every_element_is_checked() {
    let root = Root::new();
    let mut publisher = Publisher::<[bool]>::new(root.channel(4)).unwrap();
    let mut subscriber = Subscriber::<[bool]>::new(root.channel(4)).unwrap();
    let mut loan = publisher.loan_with_len(4).unwrap();
    // SAFETY: Room for four bytes.
    unsafe { loan.as_mut_ptr().cast::<[u8; 4]>().write([0, 1, 1, 3]) };
    // SAFETY: It is not true, which is what this is about: the subscriber sees to it.
    unsafe { loan.assume_init() }.send();
    publisher.send(&[true, false]).unwrap();
    let error = subscriber.try_recv().unwrap_err().to_string();
    assert!(error.contains("`[3]` holds [3]"), "{error}");
    assert_eq!(*subscriber.try_recv().unwrap().unwrap(), [true, false]);
}

#[test]
fn the_capacity_is_taken_from_the_channel_or_must_match() {
    let root = Root::new();
    let any = || Channel::new("unsized").root(root.0.path());
    let publisher = Publisher::<[u32]>::new(root.channel(1000)).unwrap();
    assert_eq!(publisher.max_len(), 1000);
    assert_eq!(Publisher::<[u32]>::new(any()).unwrap().max_len(), 1000);
    assert!(matches!(
        Subscriber::<[u32]>::new(root.channel(999)).unwrap_err(),
        AttachError::GeometryMismatch { option: "max_len", found: 1000, asked: 999, .. }
    ));
    drop(publisher);
    assert_eq!(Publisher::<[u32]>::new(any()).unwrap().max_len(), 4096, "16 KiB");
}

#[test]
fn a_publisher_may_choose_the_capacity_after_subscribers_have_come() {
    let root = Root::new();
    let any = || Channel::new("unsized").root(root.0.path());
    let mut subscriber = Subscriber::<[u8]>::new(any()).unwrap();
    let mut publisher = Publisher::<[u8]>::new(root.channel(1 << 20)).unwrap();
    publisher.loan_with_len(1 << 20).unwrap().reused().send();
    assert_eq!(subscriber.recv().unwrap().len(), 1 << 20);
}

#[test]
fn a_message_of_fixed_size_has_no_capacity() {
    let root = Root::new();
    let error = Publisher::<u64>::new(root.channel(3)).unwrap_err();
    assert!(matches!(error, AttachError::FixedSize { .. }), "{error}");
    let any = Channel::new("unsized").root(root.0.path());
    let publisher = Publisher::<u64>::new(&any).unwrap();
    assert_eq!(publisher.max_len(), 0);
    let error = Subscriber::<u64>::new(root.channel(3)).unwrap_err();
    assert!(matches!(error, AttachError::FixedSize { .. }), "{error}");
}

#[test]
fn a_look_from_outside_shows_the_capacity() {
    let root = Root::new();
    let channel = root.channel(12);
    let publisher = Publisher::<Cloud>::new(&channel).unwrap();
    let [info] = &channel.info().unwrap()[..] else { panic!("one pattern") };
    assert_eq!((info.max_len, info.message_size), (Some(12), 160));
    assert_eq!(info.schema, Schema::of::<Cloud>());
    assert_eq!(info.type_name, "Cloud");
    drop(publisher);
}

#[test]
fn an_empty_message_arrives() {
    #[derive(ShmMessage, Debug, PartialEq)]
    #[repr(C)]
    struct Stop;

    let root = Root::new();
    let channel = Channel::new("stop").root(root.0.path());
    let mut publisher = Publisher::<Stop>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Stop>::new(&channel).unwrap();
    publisher.send(&Stop).unwrap();
    let stop = subscriber.try_recv().unwrap().unwrap();
    assert_eq!((&*stop, stop.bytes()), (&Stop, &[][..]));
}

#[test]
fn a_subscriber_may_hold_as_many_when_messages_become_larger() {
    let root = Root::new();
    let channel = Channel::new("unsized").root(root.0.path());
    let options = SubscriberOptions::new().read(Read::Pinned);
    let mut subscriber = Subscriber::<[u8]>::with(&channel, options).unwrap();
    let mut publisher = Publisher::<[u8]>::new(root.channel(100_000)).unwrap();
    for _ in 0..4 {
        publisher.send(&[1; 100_000][..]).unwrap();
    }
    let held: Vec<_> = (0..4).map(|_| subscriber.try_recv().unwrap().unwrap()).collect();
    assert!(held.iter().all(|sample| sample.len() == 100_000));
    assert!(matches!(subscriber.try_recv(), Err(RecvError::TooManySamples { max_held: 4, .. })));
}
