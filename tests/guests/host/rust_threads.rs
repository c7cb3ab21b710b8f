//! A Rust program: std threads, channels, scoped threads, a RwLock, a Condvar,
//! a panic that is caught, and deadlines by `Instant`.
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn fold(digest: u64, value: u64) -> u64 {
    (digest ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
}

fn main() {
    let steps: u64 = std::env::args().nth(1).map_or(300, |s| s.parse().expect("a number of steps"));
    std::panic::set_hook(Box::new(|_| {}));
    let (jobs, inbox) = sync_channel::<u64>(16);
    let (answers, outbox) = channel::<(u64, u64)>();
    let inbox = Arc::new(Mutex::new(inbox));
    let table = Arc::new(RwLock::new(HashMap::<u64, String>::new()));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (inbox, answers, table) = (inbox.clone(), answers.clone(), table.clone());
            std::thread::spawn(move || {
                loop {
                    let Ok(job) = inbox.lock().unwrap().recv() else { return };
                    let text = format!("job {job} of a pool");
                    table.write().unwrap().insert(job % 64, text.clone());
                    let mut sum = 0;
                    for i in 0..2000 {
                        sum = fold(sum, mix(job ^ i));
                    }
                    let caught = std::panic::catch_unwind(|| {
                        if job.is_multiple_of(5) {
                            panic!("{text}");
                        }
                        job
                    });
                    sum = fold(sum, caught.unwrap_or(u64::MAX));
                    answers.send((job, sum)).unwrap();
                }
            })
        })
        .collect();
    drop(answers);

    let mut results = BTreeMap::new();
    let pair = Arc::new((Mutex::new(0u64), Condvar::new()));
    for step in 0..steps {
        for k in 0..8 {
            jobs.send(step * 8 + k).unwrap();
        }
        for _ in 0..8 {
            let (job, sum) = outbox.recv().unwrap();
            results.insert(job, sum);
        }
        // A short deadline that nothing can meet, and one that is met at once.
        let begin = Instant::now();
        let (held, timeout) =
            pair.1.wait_timeout_while(pair.0.lock().unwrap(), Duration::from_millis(1), |n| *n == step).unwrap();
        assert!(timeout.timed_out() && begin.elapsed() >= Duration::from_millis(1), "woke before the deadline");
        drop(held);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                *pair.0.lock().unwrap() += 1;
                pair.1.notify_all();
            });
        });
        let held = pair.1.wait_while(pair.0.lock().unwrap(), |n| *n != step + 1).unwrap();
        assert_eq!(*held, step + 1);
        drop(held);
        if step % (steps / 20).max(1) == 0 {
            println!("step {step} of {steps}");
            std::io::stdout().flush().unwrap();
        }
    }
    drop(jobs);
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(results.len() as u64, steps * 8);
    assert!(table.read().unwrap().values().all(|text| text.starts_with("job ")));
    let digest = results.iter().fold(0, |digest, (job, sum)| fold(fold(digest, *job), *sum));
    println!("digest {digest:016x}");
}
