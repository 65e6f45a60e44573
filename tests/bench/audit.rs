//! What the audit costs: a record in each mode, records a second, verification, and a question to a month of records.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed benchmark")]
#![expect(clippy::panic, reason = "a failed step is a failed benchmark")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(dead_code, reason = "the harness of the promises; a benchmark needs a part of it")]
#[path = "../it"]
mod it {
    pub(crate) mod support;
}

#[path = "audit/month.rs"]
mod month;

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
use modgate::audit::keeper;
use modgate::config::audit::Mode;
use modgate::config::audit::Packing;

fn main() {
    if std::env::args().any(|text| text == "month") {
        return month::month();
    }
    for mode in Mode::ALL {
        one_by_one(mode);
    }
    // best-effort records are shed before the queue is full, so nobody can offer them without end
    sixty_four_at_once(Mode::Written);
    sixty_four_at_once(Mode::Durable);
    let directory = tempfile::tempdir().unwrap();
    flood(directory.path());
    verify(directory.path());
    month::month();
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
