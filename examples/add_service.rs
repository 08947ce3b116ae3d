//! The smallest service: it adds two numbers. `cargo run --example add_service`

use std::{thread, time::Duration};

use shm_comm::{Replier, Requester};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Mostly in another process, where `serve` is all that `main` does.
    let mut server = Replier::<[i64; 2], i64>::new("math/add")?;
    let interrupter = server.interrupter();
    let server = thread::spawn(move || server.serve(|[a, b]| a + b));

    let mut client = Requester::<[i64; 2], i64>::new("math/add")?;
    for n in 1..=3 {
        let sum = client.request(&[n, 40], Duration::from_secs(1))?;
        println!("{n} + 40 = {}", *sum);
    }

    interrupter.interrupt();
    server.join().map_err(|_| "the server has panicked")??;
    Ok(())
}
