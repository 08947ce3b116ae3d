use shm_comm::Publisher;

fn main() {
    let mut numbers = Publisher::<u64>::new("numbers").unwrap();
    let first = numbers.loan().unwrap();
    let second = numbers.loan().unwrap();
    first.write(1);
    second.write(2);
}
