//! How long one message takes between two processes, as a multiple of one cache line's way.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use shm_comm_benches::patterns::Length;
use shm_comm_benches::probe::{Bracket, Prober};
use shm_comm_benches::report::{self, Table, tenth, thousandth};
use shm_comm_benches::{Result, args::Args, peer::Peer, service, transport};

const ABOUT: &str = "\
latency: half a round trip between two processes on two cores, in nanoseconds,
every row between two raw exchanges of one cache line. Messages are written and
checked in full. `service`: a request and its reply, in place of messages on two
channels. `ratio` is p50 over the mean of the two raw medians. See benches/README.md.";

/// A line of the JSON output.
#[derive(Serialize)]
struct Row<'a> {
    transport: &'a str,
    mode: &'a str,
    payload: usize,
    p50_ns: f64,
    p99_ns: f64,
    #[serde(flatten)]
    bracket: Bracket,
    ratio: f64,
    round: u32,
}

fn main() -> ExitCode {
    shm_comm_benches::run(ABOUT, &["pubsub", "service"], measure)
}

fn measure(args: &Args, peer: &mut Peer) -> Result<()> {
    let (rounds, length, patience) = match args.quick {
        true => (3, Duration::from_millis(100), Duration::from_secs(9)),
        false => (11, Duration::from_millis(250), Duration::from_secs(80)),
    };
    if !args.json {
        let (first, second) = peer.cores();
        println!("half a round trip between core {first} and core {second}, ns\n");
    }
    let transports = match args.what {
        "service" => vec![service::entry()],
        _ => transport::all(),
    };
    let mut prober = Prober::new(peer, length / 2, patience)?;
    let mut table = Table::default();
    for round in 1..=rounds {
        if round > 1 && !prober.is_patient() {
            break;
        }
        for transport in &transports {
            for mode in transport.modes {
                for &payload in mode.payloads {
                    let (latency, bracket) = prober.bracketed(|peer| {
                        let job = peer.job(transport.name, mode.name, payload);
                        (transport.latency)(peer, &job, Length(length))
                    })?;
                    let ratio = latency.p50 / bracket.raw_ns();
                    if args.json {
                        report::json(&Row {
                            transport: transport.name,
                            mode: mode.name,
                            payload,
                            p50_ns: tenth(latency.p50),
                            p99_ns: tenth(latency.p99),
                            bracket,
                            ratio: thousandth(ratio),
                            round,
                        })?;
                    }
                    let label = format!("{} {} {payload}", transport.name, mode.name);
                    let Bracket { raw_before_ns, raw_after_ns, steady } = bracket;
                    let figures = [latency.p50, latency.p99, raw_before_ns, raw_after_ns, ratio];
                    table.add(label, steady, &figures);
                }
            }
        }
    }
    if !args.json {
        let columns = [("p50", 1), ("p99", 1), ("raw before", 1), ("raw after", 1), ("ratio", 2)];
        table.print("transport mode bytes", &columns);
    }
    Ok(())
}
