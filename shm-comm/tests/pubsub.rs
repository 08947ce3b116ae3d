//! Publish and subscribe within one process: what the handles promise.

use shm_comm::{
    AttachError, Channel, LoanError, Publisher, Read, RecvError, Start, Subscriber,
    SubscriberOptions, Wait,
};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

/// A root folder of its own for each test, gone with it.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        Root(tempfile::tempdir_in("/dev/shm").unwrap())
    }
    fn channel(&self) -> Channel {
        Channel::new("test/channel").root(self.0.path())
    }
    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn subscriber(root: &Root, options: SubscriberOptions) -> Subscriber<u64> {
    Subscriber::with(root.channel(), options).unwrap()
}

#[test]
fn a_message_arrives_in_either_order_of_start() {
    for publisher_first in [true, false] {
        let root = Root::new();
        let early = publisher_first.then(|| Publisher::<[f64; 7]>::new(root.channel()).unwrap());
        let mut subscriber = Subscriber::<[f64; 7]>::new(root.channel()).unwrap();
        let mut publisher =
            early.unwrap_or_else(|| Publisher::<[f64; 7]>::new(root.channel()).unwrap());
        publisher.loan().unwrap().write([0.5; 7]);
        let sample = subscriber.recv_timeout(SOON).unwrap().unwrap();
        assert_eq!(*sample, [0.5; 7]);
        assert_eq!((sample.sequence(), sample.missed()), (0, 0));
        assert_eq!(sample.bytes().len(), 56);
        assert_eq!(sample.publisher(), publisher.id());
    }
}
