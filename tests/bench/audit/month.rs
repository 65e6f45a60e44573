//! Questions to a month of records: two nodes with a segment an hour each, as at ten million records a day.
//!
//! Each segment has 1/160 of its records, or as many as an argument says in all (`cargo bench --bench audit -- month 416667`
//! is ten million a day: forty gigabytes and half an hour; a directory behind it keeps them for another time). Five thousand
//! principals and twenty thousand modules are spread evenly, so that hardly two records of an answer share a block: real ones
//! come in bursts, whose records stand together. One record of ten thousand is a denial. Somebody who is in every block costs
//! what reading everything costs, and so does a question that no key is about. The lines are the writer's own with other
//! values in them.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use modgate::audit::chain::Chain;
use modgate::audit::event::Event;
use modgate::audit::filter::Filter;
use modgate::audit::index::Index;
use modgate::audit::keeper;
use modgate::audit::name::Name;
use modgate::audit::name::Outcome;
use modgate::audit::query;
use modgate::audit::query::Effort;
use modgate::audit::query::Indexes;
use modgate::audit::query::Listener;
use modgate::audit::segment;
use modgate::audit::segment::Segment;
use modgate::config::audit::Packing;

use crate::it::support::log::download;
use crate::it::support::log::settings;
use crate::it::support::log::write;

/// Makes the records and asks; in a directory that an argument names they stay, and only questions are asked the next time.
pub(crate) fn month() {
    let passing = tempfile::tempdir().unwrap();
    let named = std::env::args().skip(1).find(|text| text.contains('/')).map(PathBuf::from);
    let directory = named.unwrap_or_else(|| passing.path().to_owned());
    assert!(directory.is_dir(), "{} is no directory: make it first", directory.display());
    if segment::list(&directory).unwrap().is_empty() {
        make(&directory);
    }
    let records = tell(&directory);
    let some = |text: &str| Some(text.to_owned());
    let principal = Filter { actor: some("user:u7"), ..Filter::default() };
    let module = Filter { module: some("corp.example/team9/m9"), ..Filter::default() };
    let both = Filter { actor: some("user:u7"), ..module.clone() };
    let denials = Filter { event: some("authz.deny"), ..Filter::default() };
    let goal = if records < 299_000_000 { "" } else { " (goal: 2 s)" };
    for (what, filter, goal) in [
        ("one principal", principal, goal),
        ("one module", module, goal),
        ("one principal and one module", both, ""),
        ("all denials", denials, ""),
    ] {
        let is_cold = forget();
        let first = if is_cold { "nothing of it in memory" } else { "memory as it is" };
        ask(&directory, &format!("{what}, {first}{goal}"), &filter);
        ask(&directory, &format!("{what}, again{goal}"), &filter);
    }
}

/// Has the machine forget what it read, where that is allowed.
fn forget() -> bool {
    std::process::Command::new("sync").status().is_ok_and(|done| done.success())
        && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// How much there is: counted by the indexes.
fn tell(directory: &Path) -> u64 {
    let (mut records, mut packed, mut indexes) = (0, 0, 0);
    let segments = segment::list(directory).unwrap();
    for segment in &segments {
        let index = Index::open(segment).unwrap();
        records += index.head.last - index.head.first + 1;
        packed += index.records_bytes().unwrap();
        indexes += std::fs::metadata(segment.index()).unwrap().len();
    }
    println!(
        "a month: {records} records in {} segments (ten million a day are 300 million), {} MB compressed, {} MB of indexes",
        segments.len(),
        packed / 1_000_000,
        indexes / 1_000_000,
    );
    records
}

fn make(directory: &Path) {
    let each: u64 = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(2_600);
    let [allowed, denied] = templates();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (node, seed) in [("gw-1", 1), ("gw-2", 2)] {
            let lines = [&allowed, &denied];
            scope.spawn(move || fill(directory, node, each / 2, lines, &mut Random(seed)));
        }
    });
    println!("made in {:.0?}", begun.elapsed());
}

struct Count(u64);

impl Listener for Count {
    fn record(&mut self, _record: &serde_json::Value, _line: &str) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

fn ask(directory: &Path, what: &str, filter: &Filter) {
    let (mut count, begun) = (Count(0), Instant::now());
    let directories = [directory.to_owned()];
    let effort = query::scan(&directories, filter, Indexes::Make, &mut count).unwrap();
    let Effort { opened, skipped, bytes } = effort;
    println!(
        "query, {what}: {:.2?}, {} records found, {opened} segments opened, {skipped} skipped, {} MB read",
        begun.elapsed(),
        count.0,
        bytes / 1_000_000
    );
}

/// Writes a node's segments, an hour each.
fn fill(directory: &Path, node: &str, each: u64, lines: [&Template; 2], random: &mut Random) {
    let boot = "0191".repeat(8);
    let mut chain = Chain::default();
    for hour in 0..HOURS {
        let segment = Segment::new(directory, node, &boot, chain.next());
        let mut file = std::io::BufWriter::new(std::fs::File::create(segment.plain()).unwrap());
        for within in 0..each {
            let micros = within * 3_600_000_000 / each;
            let time = format!(
                "2026-09-{:02}T{:02}:{:02}:{:02}.{:06}Z",
                hour / 24 + 1,
                hour % 24,
                micros / 60_000_000,
                micros / 1_000_000 % 60,
                micros % 1_000_000
            );
            let kind = usize::from(random.below(10_000) == 0);
            let mut line = lines[kind].line(chain.next(), node, &time, random);
            chain.seal(&mut line);
            line.push(b'\n');
            file.write_all(&line).unwrap();
        }
        file.into_inner().unwrap();
        keeper::close(&segment, Packing::Compress).unwrap();
    }
}

/// A line of the writer, cut where values stand that differ from record to record.
struct Template(Vec<(String, Value)>);

#[derive(Debug, Clone, Copy)]
enum Value {
    Seq,
    Node,
    Time,
    Id,
    Actor,
    Port,
    Module,
    Bytes,
    Trace,
    End,
}

impl Template {
    /// Cuts a line; `marks` are the values that stand in it.
    fn cut(line: &str, marks: &[(String, Value)]) -> Self {
        // the chain's own member is added when a line is sealed
        let mut rest = line.split(",\"chain\":").next().unwrap();
        let mut parts = Vec::new();
        let next = |rest: &str| {
            let found = marks.iter().filter(|(mark, _)| rest.contains(mark.as_str()));
            found.min_by_key(|(mark, _)| rest.find(mark.as_str()))
        };
        while let Some((mark, value)) = next(rest) {
            let (before, behind) = rest.split_once(mark.as_str()).unwrap();
            parts.push((before.to_owned(), *value));
            rest = behind;
        }
        parts.push((format!("{rest}}}"), Value::End));
        Self(parts)
    }

    fn line(&self, seq: u64, node: &str, time: &str, random: &mut Random) -> Vec<u8> {
        let mut line = Vec::with_capacity(1024);
        for (text, value) in &self.0 {
            line.extend_from_slice(text.as_bytes());
            match value {
                Value::Seq => write!(line, "\"seq\":{seq},"),
                Value::Node => line.write_all(node.as_bytes()),
                Value::Time => line.write_all(time.as_bytes()),
                Value::Id => write!(
                    line,
                    "0192{:04x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
                    seq >> 16 & 0xffff,
                    seq & 0xffff,
                    random.below(1 << 12),
                    random.below(1 << 12),
                    random.below(1 << 48)
                ),
                Value::Actor => write!(line, "user:u{}", random.below(5_000)),
                Value::Port => write!(line, "{}", 20_000 + random.below(40_000)),
                Value::Module => {
                    let module = random.below(20_000);
                    write!(line, "corp.example/team{}/m{module}", module % 300)
                }
                Value::Bytes => write!(line, "{}", random.below(1_000_000)),
                Value::Trace => write!(line, "{:016x}{:016x}", random.next(), random.next()),
                Value::End => Ok(()),
            }
            .unwrap();
        }
        line
    }
}

/// The line of a download and that of a denial.
fn templates() -> [Template; 2] {
    let directory = tempfile::tempdir().unwrap();
    let time = "2026-10-01T12:00:00.000000Z";
    let allowed = download(time, "user:PLACE", "corp.example/PLACE");
    let denied = Event { name: Name::AuthzDeny, outcome: Outcome::Denied, ..allowed.clone() };
    let id = allowed.id.clone();
    write(settings(directory.path()), [allowed, denied]);
    let audit: PathBuf = directory.path().join("audit");
    let lines = std::fs::read_to_string(segment::list(&audit).unwrap()[0].plain()).unwrap();
    let mut lines = lines.lines().filter(|line| line.contains("user:PLACE"));
    [(); 2].map(|()| {
        let line = lines.next().unwrap();
        let seq = modgate::audit::chain::seq(line.as_bytes()).unwrap();
        let marks = [
            (format!("\"seq\":{seq},"), Value::Seq),
            ("gw".to_owned(), Value::Node),
            (time.to_owned(), Value::Time),
            (id.clone(), Value::Id),
            ("user:PLACE".to_owned(), Value::Actor),
            ("51514".to_owned(), Value::Port),
            ("corp.example/PLACE".to_owned(), Value::Module),
            ("123456".to_owned(), Value::Bytes),
            ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), Value::Trace),
        ];
        let template = Template::cut(line, &marks);
        assert_eq!(template.0.len(), marks.len() + 1, "each value stands once in {line}");
        template
    })
}

/// Steele, Lea and Flood: Fast splittable pseudorandom number generators, 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const HOURS: u64 = 30 * 24;
