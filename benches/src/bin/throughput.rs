//! How many messages one process can send to another that may lose some.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use shm_comm_benches::patterns::Length;
use shm_comm_benches::probe::{Bracket, Prober};
use shm_comm_benches::report::{self, Table, thousandth};
use shm_comm_benches::{Result, args::Args, peer::Peer, queue, transport};

const ABOUT: &str = "\
throughput: one process sends messages of 48 bytes as fast as it can, another on a
second core receives what it can. Every message is written in full and checked on
receipt, and every one that is missed is counted. `queue`: jobs of 64 bytes, of
which none is missed. See benches/README.md.";

/// Of a message: six words.
const PAYLOAD: usize = 48;

/// A line of the JSON output.
#[derive(Serialize)]
struct Row<'a> {
    transport: &'a str,
    mode: &'a str,
    payload: usize,
    sent_mps: f64,
    received_mps: f64,
    sent: u64,
    missed: u64,
    #[serde(flatten)]
    bracket: Bracket,
    round: u32,
}

fn main() -> ExitCode {
    shm_comm_benches::run(ABOUT, &["pubsub", "queue"], measure)
}

fn measure(args: &Args, peer: &mut Peer) -> Result<()> {
    let (rounds, length, patience) = match args.quick {
        true => (10, Duration::from_millis(250), Duration::from_secs(9)),
        false => (30, Duration::from_millis(500), Duration::from_secs(60)),
    };
    if !args.json {
        let (first, second) = peer.cores();
        println!("from core {first} to core {second}\n");
    }
    let (transports, payload) = match args.what {
        "queue" => (vec![queue::entry()], queue::PAYLOAD),
        _ => (transport::all(), PAYLOAD),
    };
    let mut prober = Prober::new(peer, length / 4, patience)?;
    let mut table = Table::default();
    for round in 1..=rounds {
        if round > 1 && !prober.is_patient() {
            break;
        }
        for transport in &transports {
            for mode in transport.modes.iter().filter(|mode| mode.streams) {
                let (stream, bracket) = prober.bracketed(|peer| {
                    let job = peer.job(transport.name, mode.name, payload);
                    (transport.throughput)(peer, &job, Length(length))
                })?;
                if args.json {
                    report::json(&Row {
                        transport: transport.name,
                        mode: mode.name,
                        payload,
                        sent_mps: thousandth(stream.sent_mps),
                        received_mps: thousandth(stream.received_mps),
                        sent: stream.sent,
                        missed: stream.missed,
                        bracket,
                        round,
                    })?;
                }
                let label = format!("{} {} {payload}", transport.name, mode.name);
                let Bracket { raw_before_ns, raw_after_ns, steady } = bracket;
                let missed = stream.missed as f64 / stream.sent as f64 * 100.0;
                let figures =
                    [stream.sent_mps, stream.received_mps, missed, raw_before_ns, raw_after_ns];
                table.add(label, steady, &figures);
            }
        }
    }
    if !args.json {
        let columns = [
            ("sent, M/s", 2),
            ("received", 2),
            ("missed, %", 2),
            ("raw before", 1),
            ("raw after", 1),
        ];
        table.print("transport mode bytes", &columns);
    }
    Ok(())
}
