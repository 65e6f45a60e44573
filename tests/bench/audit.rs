//! What the audit costs: a record in each mode, records a second, verification, and a question to a month of records.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed benchmark")]
#![expect(clippy::panic, reason = "a failed step is a failed benchmark")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(dead_code, reason = "the harness of the promises; a benchmark needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use it::support::log::download;
use it::support::log::during;
use it::support::log::settings;
use it::support::log::verified;
use modgate::audit::Audit;
use modgate::audit::Class;
use modgate::audit::Place;
use modgate::audit::filter::Filter;
use modgate::audit::keeper;
use modgate::audit::query;
use modgate::audit::query::Listener;
use modgate::config::audit::Mode;
use modgate::config::audit::Packing;

fn main() {
    for mode in Mode::ALL {
        one_by_one(mode);
    }
    // best-effort records are shed before the queue is full, so nobody can offer them without end
    sixty_four_at_once(Mode::Written);
    sixty_four_at_once(Mode::Durable);
    let directory = tempfile::tempdir().unwrap();
    flood(directory.path());
    verify(directory.path());
    month();
}

fn percentile(sorted: &[Duration], share: usize) -> Duration {
    sorted[(sorted.len() - 1) * share / 100]
}

/// How long somebody waits for a record when nobody else does.
fn one_by_one(mode: Mode) {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.config.private_mode = mode;
    let count = if mode == Mode::Durable { 300 } else { 3_000 };
    let mut took = during(settings, |audit| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut took = Vec::new();
            for n in 0..count {
                let event = download("2026-10-01T12:00:00.000000Z", "user:alice", &format!("m{n}"));
                let begun = Instant::now();
                let _late = audit.record(Class::Private, event).await;
                took.push(begun.elapsed());
            }
            took
        })
    });
    took.sort_unstable();
    println!(
        "{:11} one by one: p50 {:?}, p99 {:?}",
        mode.word(),
        percentile(&took, 50),
        percentile(&took, 99)
    );
}

/// The same while sixty-three others wait too: group commit shares one sync.
fn sixty_four_at_once(mode: Mode) {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.config.private_mode = mode;
    let each = if mode == Mode::Durable { 100 } else { 1_000 };
    let begun = Instant::now();
    during(settings, |audit| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let one = async |caller: usize| {
                for n in 0..each {
                    let module = format!("corp.example/{caller}/{n}");
                    let event = download("2026-10-01T12:00:00.000000Z", "user:alice", &module);
                    // on a busy disk one or another waits longer than anybody has to; it is written all the same
                    let _late = audit.record(Class::Private, event).await;
                }
            };
            futures_util::future::join_all((0..64).map(one)).await;
        });
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:11} 64 at once: {:.0} records/s", mode.word(), f64::from(each * 64) / seconds);
}

/// A place, however long it takes: a benchmark has nobody who waits for an answer.
async fn place(audit: &Audit) -> Place {
    loop {
        if let Ok(place) = audit.reserve(Class::Private).await {
            return place;
        }
    }
}

/// How many records a second the writer takes when nobody waits for them.
fn flood(directory: &Path) {
    let records = 400_000_u32;
    let begun = Instant::now();
    during(settings(directory), |audit| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for n in 0..records {
                let module = format!("corp.example/m{}", n % 1000);
                let event = download("2026-10-01T12:00:00.000000Z", "user:alice", &module);
                place(audit).await.append(event);
            }
        });
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "sustained: {:.0} records/s, making the events included",
        f64::from(records) / seconds
    );
}

fn verify(directory: &Path) {
    let measure = |what: &str| {
        let begun = Instant::now();
        let report = verified(directory, "");
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(report.exit_code(), 0, "{report:?}");
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let speed = report.bytes as f64 / 1e6 / seconds;
        println!(
            "verify, {what}: {speed:.0} MB/s of records (goal: 300), {} records",
            report.records
        );
    };
    measure("plain");
    for segment in modgate::audit::segment::list(&directory.join("audit")).unwrap() {
        keeper::close(&segment, Packing::Compress).unwrap();
    }
    measure("compressed");
}

struct Count(u64);

impl Listener for Count {
    fn record(&mut self, _record: &serde_json::Value, _line: &str) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

/// Thirty days of hourly segments, as at ten million records a day, each with 1/160 of the records, or as many as the
/// argument says (`cargo bench --bench audit -- 14000`): everything that a question costs for each segment is real, and what
/// it costs for each record of the answer too.
fn month() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.config.packing = Packing::Compress;
    let each: u32 = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(2_600);
    let hours = 30 * 24_u32;
    let begun = Instant::now();
    during(settings, |audit| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for n in 0..hours * each {
                let (hour, within) = (n / each, n % each);
                let time = format!(
                    "2026-09-{:02}T{:02}:{:02}:00.000000Z",
                    hour / 24 + 1,
                    hour % 24,
                    within * 60 / each
                );
                // one in a thousand of five thousand people, and of twenty thousand modules
                let actor = if n % 5_000 == 7 {
                    "user:rare".to_owned()
                } else {
                    format!("user:u{}", n % 4_999)
                };
                let module = if n % 5_000 == 9 {
                    "corp.example/rare".to_owned()
                } else {
                    format!("corp.example/m{}", n % 19_997)
                };
                place(audit).await.append(download(&time, &actor, &module));
            }
        });
    });
    split_hourly(&directory.path().join("audit"), u64::from(each));
    println!(
        "a month: {} records in {hours} segments (of 300 million; 1/{} of the scale), made in {:.0?}",
        hours * each,
        300_000_000 / (hours * each),
        begun.elapsed()
    );
    questions(directory.path());
}

fn questions(directory: &Path) {
    let some = |text: &str| Some(text.to_owned());
    let principal = Filter { actor: some("user:rare"), ..Filter::default() };
    ask(directory, "one principal", &principal);
    let module = Filter { module: some("corp.example/rare"), ..Filter::default() };
    ask(directory, "one module", &module);
    let (from, to) = (some("2026-09-20"), some("2026-09-21"));
    ask(directory, "everything of one day", &Filter { from, to, ..Filter::default() });
}

fn ask(directory: &Path, what: &str, filter: &Filter) {
    let mut count = Count(0);
    let begun = Instant::now();
    let effort = query::scan(&[directory.join("audit")], filter, &mut count).unwrap();
    println!(
        "query, {what}: {:.2?} (goal: 2 s), {} records found, {} segments opened, {} skipped, {} MB read",
        begun.elapsed(),
        count.0,
        effort.opened,
        effort.skipped,
        effort.bytes / 1_000_000
    );
}

/// Makes hourly segments of what was written within a minute: the same lines, cut where an hour ends.
fn split_hourly(audit: &Path, each: u64) {
    let whole = modgate::audit::segment::list(audit).unwrap();
    let node = "hourly";
    for segment in whole {
        use std::io::BufRead as _;
        use std::io::Write as _;
        let mut lines = segment.open().unwrap().lines().map(Result::unwrap).peekable();
        let mut first = segment.first;
        while lines.peek().is_some() {
            let part = modgate::audit::segment::Segment::new(audit, node, &segment.boot, first);
            let mut file = std::io::BufWriter::new(std::fs::File::create(part.plain()).unwrap());
            for line in lines.by_ref().take(usize::try_from(each).unwrap()) {
                writeln!(file, "{line}").unwrap();
            }
            file.into_inner().unwrap();
            keeper::close(&part, Packing::Compress).unwrap();
            first += each;
        }
        for path in [segment.plain(), segment.packed(), segment.index(), segment.checkpoints()] {
            let _there = std::fs::remove_file(path);
        }
    }
}
