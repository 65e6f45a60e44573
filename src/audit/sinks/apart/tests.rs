//! Directories that hang for real: a pipe that nobody reads stands where one of their files should be.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use super::*;
use crate::audit::segment::Segment;
use crate::audit::sink::Sink;
use crate::audit::sink::WAITING_BYTES;
use crate::telemetry::labels::Label as _;
use crate::telemetry::labels::Sink as Name;
use crate::telemetry::page::Format;
use crate::telemetry::trace::sampler::Sampler;

/// A clock that can be set forward.
#[derive(Debug)]
struct Ahead(Instant, AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn instant(&self) -> Instant {
        self.0 + self.0.elapsed() + Duration::from_secs(self.1.load(Ordering::Relaxed))
    }
}

struct World {
    root: tempfile::TempDir,
    directories: Vec<PathBuf>,
    apart: Apart,
    clock: Arc<Ahead>,
    telemetry: Arc<Telemetry>,
    threads: Vec<JoinHandle<()>>,
}

const NODE: &str = "gw";

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directories: Vec<_> = ["a", "b"].map(|name| root.path().join(name)).into();
        let clock = Arc::new(Ahead(Instant::now(), AtomicU64::new(0)));
        let telemetry =
            Telemetry::new(&[], Sampler::new(0.0), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let telemetry = Arc::new(telemetry);
        let (tell, told) = mpsc::channel();
        let (mut carriers, mut threads) = (Vec::new(), Vec::new());
        for (place, name) in [Name::Segment, Name::Second].into_iter().enumerate() {
            std::fs::create_dir(&directories[place]).unwrap();
            let sink = Sink::new(name, directories[place].clone(), 4096, mpsc::channel().0);
            let (carrier, porter) = Carrier::new(place, sink, tell.clone());
            carriers.push(carrier);
            threads.push(std::thread::spawn(move || porter.run()));
        }
        let apart = Apart::new(
            carriers,
            told,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&telemetry),
        );
        Self { root, directories, apart, clock, telemetry, threads }
    }

    fn begin(&mut self, first: u64) {
        self.apart.begin(Opening { node: NODE.to_owned(), boot: "0".repeat(32), first });
    }

    fn try_write(&mut self, text: &str) -> io::Result<()> {
        self.apart.first(&Ask::Write(Arc::from(text.as_bytes()), u64::from(!text.is_empty())))
    }

    /// As the writer does: tried until one has it.
    fn write(&mut self, text: &str) {
        let mut written = self.try_write(text);
        while written.is_err() {
            written = self.try_write("");
        }
    }

    /// Waits until one directory has done what it was asked.
    fn settle(&mut self, place: usize) {
        while !self.apart.carriers[place].is_idle() {
            assert!(self.apart.next(self.clock.instant() + PATIENCE * 100).is_some());
        }
    }

    fn look(&mut self) -> io::Result<Before> {
        self.apart.look(&Ask::Look(Arc::from(NODE)))
    }

    /// Waits until a directory has said where the log stood, apart from any look.
    fn settle_look(&mut self, place: usize) {
        while !self.apart.carriers[place].is_idle() {
            self.apart.settle();
            std::thread::yield_now();
        }
    }

    /// What a directory holds of a segment.
    fn holds(&self, place: usize, first: u64) -> String {
        let segment = Segment::new(&self.directories[place], NODE, &"0".repeat(32), first);
        std::fs::read_to_string(segment.plain()).unwrap_or_default()
    }

    fn after(&self, seconds: u64) {
        self.clock.1.fetch_add(seconds, Ordering::Relaxed);
    }

    fn counted(&self, name: Name, result: AuditResult) -> u64 {
        let series = format!(
            "modgate_audit_events_total{{sink=\"{}\",result=\"{}\"}}",
            name.text(),
            result.text()
        );
        let page = self.telemetry.page().render(Format::Text);
        let line = page.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or("0");
        line.trim().parse().unwrap()
    }

    /// Waits until both have done what they were asked.
    fn end(self) -> (tempfile::TempDir, Vec<PathBuf>) {
        self.apart.close();
        for thread in self.threads {
            thread.join().unwrap();
        }
        (self.root, self.directories)
    }
}

/// Whoever opens it to write hangs until [`read`].
fn pipe(path: &Path) -> PathBuf {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    path.to_owned()
}

/// Lets whoever hangs at a pipe go on.
fn read(pipe: &Path) {
    drop(std::fs::File::open(pipe).unwrap());
}

#[test]
fn whichever_directory_hangs_the_other_takes_everything_and_the_first_catches_up_in_order() {
    for hanging in [0, 1] {
        let mut world = World::new();
        let name = [Name::Segment, Name::Second][hanging];
        let pipe = pipe(&world.directories[hanging].join("reserve"));
        world.begin(1);
        world.write("one\n");
        for ask in [Ask::Reserve, Ask::Note(Arc::from("note\n")), Ask::Sync] {
            let _slow_perhaps = world.apart.first(&ask);
        }
        world.write("two\n");
        world.settle(1 - hanging);
        world.after(2);
        // it is known to hang from here on
        world.write("three\n");
        world.begin(4);
        world.write("four\n");
        world.settle(1 - hanging);
        assert_eq!(world.holds(1 - hanging, 1), "one\ntwo\nthree\n");
        assert_eq!(world.apart.carriers[hanging].standing, Standing::Hanging);
        assert!(world.counted(name, AuditResult::Failed) >= 2);
        assert!(world.counted(name, AuditResult::Written) <= 1);
        read(&pipe);
        world.settle(hanging);
        assert_eq!(world.apart.carriers[hanging].standing, Standing::Well);
        assert_eq!(world.counted(name, AuditResult::Written), 4);
        for place in [0, 1] {
            assert_eq!(world.holds(place, 1), "one\ntwo\nthree\n");
            assert_eq!(world.holds(place, 4), "four\n");
        }
        let (_root, directories) = world.end();
        for directory in directories {
            let notes = Segment::new(&directory, NODE, &"0".repeat(32), 1).checkpoints();
            assert_eq!(std::fs::read_to_string(notes).unwrap(), "note\n");
        }
    }
}

#[test]
fn nobody_waits_long_for_two_that_hang_and_what_neither_took_is_written_by_the_first_that_answers()
{
    let mut world = World::new();
    world.begin(1);
    let pipes = [0, 1].map(|place| pipe(&world.directories[place].join("reserve")));
    assert_eq!(world.apart.first(&Ask::Reserve).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(world.try_write("one\n").unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(world.try_write("").unwrap_err().kind(), io::ErrorKind::TimedOut);
    read(&pipes[1]);
    world.write("");
    assert_eq!(world.holds(1, 1), "one\n");
    world.write("two\n");
    read(&pipes[0]);
    let (_root, directories) = world.end();
    for directory in directories {
        let segment = Segment::new(&directory, NODE, &"0".repeat(32), 1);
        assert_eq!(std::fs::read_to_string(segment.plain()).unwrap(), "one\ntwo\n");
    }
}

#[test]
fn a_directory_that_misses_too_much_has_whole_lines_and_comes_back_with_the_next_segment() {
    let mut world = World::new();
    world.begin(1);
    world.write("one\n");
    let pipe = pipe(&world.directories[1].join("reserve"));
    let _slow_perhaps = world.apart.first(&Ask::Reserve);
    let line = format!("{}\n", "x".repeat(1 << 20));
    for _ in 0..=WAITING_BYTES >> 20 {
        world.write(&line);
    }
    assert!(world.apart.carriers[1].load_of() <= WAITING_BYTES);
    assert!(!world.apart.wants_segment(), "it does not answer yet");
    read(&pipe);
    world.settle(1);
    world.settle(0);
    assert!(world.apart.wants_segment());
    world.write("lost there\n");
    world.begin(100);
    assert!(!world.apart.wants_segment());
    world.write("next\n");
    world.settle(1);
    let held = world.holds(1, 1);
    assert!(world.holds(0, 1).starts_with(&held) && held.ends_with('\n'));
    assert!(world.holds(0, 1).ends_with("lost there\n") && !held.ends_with("lost there\n"));
    assert_eq!(world.holds(1, 100), "next\n");
    world.end();
}

#[test]
fn a_disk_that_catches_up_answers_in_order_though_it_syncs_once_for_many() {
    let mut world = World::new();
    world.begin(1);
    let pipe = pipe(&world.directories[1].join("reserve"));
    let _slow_perhaps = world.apart.first(&Ask::Reserve);
    for line in ["one\n", "two\n", "three\n"] {
        world.write(line);
        world.apart.first(&Ask::Sync).unwrap();
    }
    world.begin(4);
    world.write("four\n");
    world.apart.first(&Ask::Sync).unwrap();
    read(&pipe);
    // each answer is heard in its order, or it would never be idle
    world.settle(1);
    assert_eq!(world.holds(1, 1), "one\ntwo\nthree\n");
    assert_eq!(world.holds(1, 4), "four\n");
    assert_eq!(world.counted(Name::Second, AuditResult::Written), 4);
    world.end();
}

#[test]
fn a_start_goes_on_without_a_directory_that_hangs_if_the_other_one_knows_the_log() {
    for knows in [true, false] {
        let mut world = World::new();
        let pipe = pipe(&world.directories[1].join(format!("audit-{NODE}.lock")));
        if knows {
            let segment = Segment::new(&world.directories[0], NODE, &"0".repeat(32), 1);
            std::fs::write(segment.plain(), "{\"event\":\"audit.start\"}\n").unwrap();
        }
        assert_eq!(world.look().unwrap_err().kind(), io::ErrorKind::TimedOut);
        world.settle_look(0);
        world.after(START_PATIENCE.as_secs());
        let found = world.look();
        assert_eq!(found.is_ok(), knows, "{found:?}");
        if let Ok(before) = found {
            assert_eq!(before.unread, [world.directories[1].clone()]);
            assert_eq!(before.chain.next(), 2);
            world.begin(2);
            world.write("two\n");
        }
        read(&pipe);
        if !knows {
            // an answer between two looks counts too: a long segment takes its time
            world.settle_look(1);
            assert!(world.apart.carriers[1].stood.is_some());
            world.look().unwrap();
            world.begin(2);
            world.write("two\n");
        }
        let (_root, directories) = world.end();
        let segment = Segment::new(&directories[1], NODE, &"0".repeat(32), 2);
        assert_eq!(std::fs::read_to_string(segment.plain()).unwrap(), "two\n");
    }
}
