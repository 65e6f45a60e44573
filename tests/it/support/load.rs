//! Clients that ask for things that are held, again and again, while something breaks: every answer must be the right one.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::client::Client;
use super::tree::Tree;
use super::until;

/// Clients that run.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wanted: Vec<(String, Vec<u8>)>,
    over: AtomicBool,
    answered: AtomicUsize,
    times: Mutex<Vec<Duration>>,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    /// Four clients of modules `example.com/m0` and so on.
    pub(crate) fn of(client: &Client, tree: &Tree, modules: usize) -> Self {
        let artifacts = ["@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip", "@v/list"];
        let wanted = (0..modules).flat_map(|module| {
            artifacts.map(|artifact| {
                let path = format!("example.com/m{module}");
                let body = std::fs::read(tree.file(&path, artifact)).unwrap();
                (format!("/{path}/{artifact}"), body)
            })
        });
        let shared = Arc::new(Shared {
            wanted: wanted.collect(),
            over: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            times: Mutex::default(),
            wrong: Mutex::default(),
        });
        for (path, body) in &shared.wanted {
            let answer = client.get(path);
            assert!(answer.status == 200 && &answer.body == body, "{path}: {}", answer.status);
        }
        let start = |offset: usize| {
            let (client, shared) = (client.clone(), Arc::clone(&shared));
            std::thread::spawn(move || run(&client, &shared, offset))
        };
        let threads = (0..CLIENTS).map(start).collect();
        Self { shared, threads }
    }

    /// Waits for so many further answers and tells how long they took.
    #[expect(clippy::print_stdout, reason = "with --nocapture it tells how long answers took")]
    pub(crate) fn phase(&self, name: &str, answers: usize) {
        self.shared.times.lock().unwrap().clear();
        let enough = self.shared.answered.load(Ordering::Relaxed) + answers;
        let begun = Instant::now();
        let answered = || self.shared.answered.load(Ordering::Relaxed);
        // how long all of them take says nothing, but there must always be a next one
        while answered() < enough {
            let before = answered();
            until(&format!("another answer: {name}"), || answered() > before);
        }
        let mut times = self.shared.times.lock().unwrap().clone();
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        println!(
            "{name:38} {:5} answers in {:5.1} s, p50 {:>9.1?}, p99 {:>9.1?}, max {:>9.1?}",
            times.len(),
            begun.elapsed().as_secs_f64(),
            at(50),
            at(99),
            at(100)
        );
    }

    /// Ends the clients; not one answer may have been wrong.
    #[expect(clippy::print_stdout, reason = "with --nocapture it tells how many there were")]
    pub(crate) fn end(self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let wrong = self.shared.wrong.lock().unwrap();
        let answered = self.shared.answered.load(Ordering::Relaxed);
        println!("{} wrong answers of {answered}", wrong.len());
        assert_eq!(*wrong, Vec::<String>::new());
    }
}

fn run(client: &Client, shared: &Shared, offset: usize) {
    let mut turn = offset * shared.wanted.len() / CLIENTS;
    while !shared.over.load(Ordering::Relaxed) {
        let (path, body) = &shared.wanted[turn % shared.wanted.len()];
        turn += 1;
        let begun = Instant::now();
        let answer = client.get(path);
        shared.times.lock().unwrap().push(begun.elapsed());
        if answer.status != 200 || &answer.body != body {
            shared.wrong.lock().unwrap().push(format!("{path}: {}", answer.status));
        }
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
}

const CLIENTS: usize = 4;
