//! MessagePack is for other languages: a Python process reads a message in its slot, and writes one.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use shm_comm::codec::{self, Codec};
use shm_comm::{Channel, Msgpack, Publisher, Subscriber};

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Plan {
    name: String,
    reader: Option<String>,
    stops: Vec<(f64, f64)>,
    limits: BTreeMap<String, i64>,
    mode: Mode,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Mode {
    Idle,
    Follow { leader: u32 },
}

fn plan(reader: Option<&str>, sign: f64) -> Plan {
    Plan {
        name: "to the dock, été".to_owned(),
        reader: reader.map(str::to_owned),
        stops: vec![(sign * 0.5, sign * 1e300), (sign * 2.0, sign * -3.25)],
        limits: BTreeMap::from([("low".to_owned(), i64::MIN), ("high".to_owned(), 1 << 40)]),
        mode: Mode::Follow { leader: 7 },
    }
}

#[test]
fn python_reads_a_message_in_its_slot_and_writes_one() {
    let python = |arguments: &[&Path]| Command::new("python3").args(arguments).output();
    let has_msgpack = Command::new("python3").args(["-c", "import msgpack"]).output();
    if !has_msgpack.is_ok_and(|output| output.status.success()) {
        let _ = writeln!(std::io::stderr(), "skipped: needs python3 and its package msgpack");
        return;
    }
    let private = Permissions::from_mode(0o700); // whatever the umask
    let root = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
    let channel = Channel::new("plan").root(root.path());
    let mut publisher = Publisher::<Msgpack<Plan>>::new(&channel).unwrap();
    let mut subscriber = Subscriber::<Msgpack<Plan>>::new(&channel).unwrap();
    publisher.send(&plan(Some("nobody"), 2.0)).unwrap();
    publisher.send(&plan(None, 1.0)).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/msgpack_message.py");
    let output = python(&[&script, &root.path().join("plan.pubsub")]).unwrap();
    let read = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{read}");
    assert_eq!(
        read.trim_end(),
        "{\"limits\": {\"high\": 1099511627776, \"low\": -9223372036854775808}, \
         \"mode\": {\"Follow\": {\"leader\": 7}}, \"name\": \"to the dock, \\u00e9t\\u00e9\", \
         \"reader\": null, \"stops\": [[0.5, 1e+300], [2.0, -3.25]]}"
    );

    let answer: Plan = codec::Msgpack::decode(&output.stdout).unwrap();
    assert_eq!(answer, plan(Some("python"), -1.0));
    // And on it goes.
    publisher.send(&answer).unwrap();
    assert_eq!(*subscriber.latest().unwrap().unwrap(), answer);
}
