//! One node's log while it is written: numbers, marks, chain, segments and checkpoints.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;
use sha2::Sha256;
use uuid::Uuid;

use crate::audit::chain;
use crate::audit::chain::Chain;
use crate::audit::encode;
use crate::audit::event::Event;
use crate::audit::event::GROUPS;
use crate::audit::event::Spoken;
use crate::audit::event::Standing;
use crate::audit::health::Lost;
use crate::audit::keys::Pseudonyms;
use crate::audit::marks::Marked;
use crate::audit::marks::Marks;
use crate::audit::name::Name;
use crate::audit::name::Outcome;
use crate::audit::recover::Before;
use crate::audit::sink::Opening;
use crate::audit::sinks::Sinks;
use crate::audit::writer::Settings;
use crate::audit::writer::teller::Teller;
use crate::clock::rfc3339_micros;
use crate::telemetry::Telemetry;
use crate::telemetry::labels::audit::Checkpointed;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note;
use crate::tlog::note::Signer;

/// What a log signs with, and whom it tells.
pub(in crate::audit::writer) struct Parts {
    pub(in crate::audit::writer) signers: Vec<Signer>,
    pub(in crate::audit::writer) pseudonyms: Pseudonyms,
    pub(in crate::audit::writer) teller: Teller,
}

pub(in crate::audit::writer) struct Log {
    settings: Settings,
    parts: Parts,
    telemetry: Arc<Telemetry>,
    boot: String,
    chain: Chain,
    marks: Marks,
    sinks: Sinks,
    /// Lines that no sink was given yet.
    lines: Vec<u8>,
    /// Whether no sink has all that they were given.
    owes: bool,
    /// Bytes of the segment.
    holds: u64,
    /// Digests of groups whose record this boot has written.
    groups: HashSet<String>,
    first: u64,
    segment_begun: Instant,
    checked: u64,
    checked_at: Instant,
    pending: u64,
    last_time: SystemTime,
}

impl Log {
    pub(in crate::audit::writer) fn new(
        settings: Settings,
        parts: Parts,
        sinks: Sinks,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let now = settings.clock.instant();
        Self {
            sinks,
            lines: Vec::new(),
            owes: false,
            holds: 0,
            boot: Uuid::now_v7().simple().to_string(),
            chain: Chain::default(),
            marks: Marks::default(),
            groups: HashSet::new(),
            first: 1,
            segment_begun: now,
            checked: 0,
            checked_at: now,
            pending: 0,
            last_time: settings.clock.now(),
            settings,
            parts,
            telemetry,
        }
    }

    /// Locks the directories, and finds out where the log stood.
    pub(in crate::audit::writer) fn look(&mut self) -> io::Result<Before> {
        self.sinks.look(&self.settings.node)
    }

    /// Begins where the log stood, with a record of how it ended.
    pub(in crate::audit::writer) fn begin(&mut self, before: Before) {
        self.chain = before.chain;
        self.checked = self.chain.edge.size();
        let checkpoint = before.steps.last().map(|(note, _)| note.trim_end().to_owned());
        self.parts.teller.begin(before.steps, before.growth, &self.parts.signers);
        let ended = match (&before.boot, before.stopped, before.broken_at) {
            (None, _, _) => "never begun",
            (_, _, Some(_)) => "its tail does not verify",
            (_, true, None) => "stopped",
            (_, false, None) => "ended without a word",
        };
        let unread: Vec<_> =
            before.unread.iter().map(|directory| directory.display().to_string()).collect();
        let mut more = vec![
            ("ended", ended.to_owned()),
            ("previous_boot", before.boot.unwrap_or_default()),
            ("previous_checkpoint", checkpoint.unwrap_or_default()),
            ("cut_bytes", before.cut.to_string()),
            ("unread", unread.join(" ")),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        more.retain(|(_, value)| !value.is_empty());
        // a new key is trusted because a checkpoint of the old one covers this record
        let signers = self.parts.signers.iter();
        let keys: Vec<_> = signers.map(|signer| signer.verifier().to_string()).collect();
        more.push(("keys", keys.join(" ")));
        self.open_segment(Name::AuditStart, more);
        if let Some(seq) = before.broken_at {
            let why = "the tail of the boot before does not verify";
            let detail = vec![("why", why.to_owned()), ("first_bad", seq.to_string())];
            self.own(Name::AuditGap, Outcome::Failed, detail);
        }
    }

    fn open_segment(&mut self, name: Name, more: Vec<(&'static str, String)>) {
        self.first = self.chain.next();
        self.segment_begun = self.settings.clock.instant();
        self.holds = 0;
        let (node, boot) = (self.settings.node.clone(), self.boot.clone());
        self.sinks.begin(Opening { node, boot, first: self.first });
        let roots: Vec<String> = self.chain.edge.roots().iter().map(chain::text_of).collect();
        let mut detail = vec![
            ("tree_size", self.chain.edge.size().to_string()),
            ("tree_edge", roots.join(" ")),
            ("chain_before", chain::text_of(&self.chain.last)),
        ];
        detail.extend(more);
        self.own(name, Outcome::Allowed, detail);
    }

    /// Adds an event, and before it whatever a reader needs to understand it.
    pub(in crate::audit::writer) fn add(&mut self, mut event: Event) {
        let now = self.settings.clock.now();
        if self.last_time.duration_since(now).is_ok_and(|back| back > CLOCK_SLACK) {
            let detail = vec![("before", rfc3339_micros(self.last_time))];
            self.own(Name::AuditClock, Outcome::Failed, detail);
        }
        self.last_time = now;
        self.cut_groups(&mut event);
        if let Some(actor) = &mut event.actor {
            actor.roles.truncate(GROUPS);
            if actor.name == Spoken::Typed || self.settings.config.pseudonymise {
                actor.id = actor.id.as_deref().map(|id| self.parts.pseudonyms.of(id));
            }
            if let Some(cert) = &mut actor.cert
                && self.settings.config.pseudonymise
            {
                cert.san = self.parts.pseudonyms.of(&cert.san);
            }
            if let Some(token) = &mut actor.token {
                token.jti = token.jti.as_deref().map(|jti| self.parts.pseudonyms.of(jti));
            }
        }
        let marked = self.marks.mark(&event, now);
        self.push(event, &marked);
    }

    /// Somebody in very many groups gets a record of them all, once a boot, and their digest from then on.
    fn cut_groups(&mut self, event: &mut Event) {
        let Some(actor) = event.actor.as_mut().filter(|actor| actor.groups.len() > GROUPS) else {
            return;
        };
        let mut all = std::mem::take(&mut actor.groups);
        all.sort_unstable();
        let digest = format!("sha256:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(all.join("\n"))));
        actor.groups = all.iter().take(GROUPS).cloned().collect();
        actor.gset = Some(digest.clone());
        if self.groups.len() >= GROUP_SETS || !self.groups.insert(digest.clone()) {
            return;
        }
        for (part, groups) in all.chunks(GROUPS).enumerate() {
            let groups: Vec<_> =
                groups.iter().map(|group| encode::cut(group, GROUP_BYTES)).collect();
            let detail = vec![
                ("gset", digest.clone()),
                ("part", part.to_string()),
                ("groups", groups.join("\n")),
            ];
            self.own(Name::ActorGroups, Outcome::Allowed, detail);
        }
    }

    /// Adds a record of the audit itself.
    fn own(&mut self, name: Name, outcome: Outcome, detail: Vec<(&'static str, String)>) {
        let time = rfc3339_micros(self.settings.clock.now());
        let mut event = Event::bare(time, name, Uuid::now_v7().to_string(), outcome);
        event.detail = detail.into();
        self.push(event, &Marked::default());
    }

    fn push(&mut self, mut event: Event, marked: &Marked) {
        let mut line = Vec::with_capacity(1024);
        let (seq, node, boot) =
            (self.chain.next(), self.settings.node.as_str(), self.boot.as_str());
        let (repeat, family) = (marked.repeat, marked.family.as_deref());
        let standing = Standing { seq, node, boot, repeat, family };
        let mut encoded = encode::json(&event.line(standing), &mut line);
        if line.len() > LINE_BYTES && event.name != Name::AuditStart {
            line.clear();
            event.shorten();
            encoded = encode::json(&event.line(standing), &mut line);
        }
        if let Err(error) = encoded {
            // a record of fixed members cannot fail to be one; if it does, somebody must know
            tracing::error!(%error, "an audit event could not be encoded");
            return;
        }
        self.parts.teller.push(self.chain.seal(&mut line));
        line.push(b'\n');
        self.lines.extend_from_slice(&line);
        self.holds += line.len() as u64;
        self.pending += 1;
    }

    /// Writes what was added; well if either sink has it all. What neither took waits in them, and is written first.
    pub(in crate::audit::writer) fn flush(&mut self) -> io::Result<()> {
        let records = std::mem::take(&mut self.pending);
        let written = self.sinks.write(&self.lines, records);
        self.lines.clear();
        self.owes = written.is_err();
        written
    }

    /// Has a disk take what was written; whether one did.
    pub(in crate::audit::writer) fn sync(&mut self) -> bool {
        let synced = self.sinks.sync();
        if let Err(error) = &synced {
            tracing::error!(%error, "the audit could not be synced to disk");
        }
        synced.is_ok()
    }

    /// Does what is due; whether there is something to write.
    pub(in crate::audit::writer) fn turn(&mut self) -> bool {
        self.sinks.turn();
        if self.owes {
            return false;
        }
        let config = &self.settings.config;
        let now = self.settings.clock.instant();
        let holds = self.chain.next() - self.first;
        let since = now.saturating_duration_since(self.segment_begun);
        let old = since >= config.max_age && holds > 1;
        let let_in = since >= LET_IN_AFTER && self.sinks.wants_segment();
        if self.holds >= config.max_segment || old || let_in {
            self.checkpoint();
            let closed = self.first;
            self.open_segment(Name::AuditRotate, Vec::new());
            tracing::debug!(closed, "an audit segment is closed");
            return true;
        }
        let is_due = now.saturating_duration_since(self.checked_at) >= config.checkpoint_every;
        if is_due || self.chain.edge.size() - self.checked >= CHECKPOINT_RECORDS {
            self.checkpoint();
        }
        false
    }

    /// Signs the log as it is, if there is something new, and hands the note to everybody who keeps copies.
    pub(in crate::audit::writer) fn checkpoint(&mut self) {
        self.checked_at = self.settings.clock.instant();
        // only what is written may be signed
        if self.checked == self.chain.edge.size() || self.owes || !self.lines.is_empty() {
            return;
        }
        self.checked = self.chain.edge.size();
        let told = Checkpoint {
            origin: self.settings.origin(),
            size: self.checked,
            root: self.chain.root(),
        };
        // by the former keys too, for as long as the file has them: whoever misses a note believes the new key by the next
        let signed = note::sign(&told.to_string(), &self.parts.signers);
        let kept = self.sinks.note(&signed);
        if let Err(error) = &kept {
            self.telemetry.metrics().audit_checkpoints.count((Checkpointed::Failed,));
            tracing::error!(%error, "an audit checkpoint could not be kept beside its segment");
        }
        if self.settings.config.announce {
            tracing::info!(target: "modgate::audit::checkpoint", note = signed, "checkpoint");
        }
        if kept.is_ok() {
            self.telemetry.metrics().audit_checkpoints.count((Checkpointed::Signed,));
            let since = self.settings.clock.now().duration_since(SystemTime::UNIX_EPOCH);
            let since = since.map_or(0.0, |since| since.as_secs_f64());
            self.telemetry.metrics().audit_checkpoint.set((), since);
            self.parts.teller.checkpoint(&self.chain.edge, &signed, &self.parts.signers);
        }
    }

    /// Records that events were lost.
    pub(in crate::audit::writer) fn gap(&mut self, lost: &Lost) {
        let detail = vec![
            ("why", "nothing could be written".to_owned()),
            ("count", lost.count.to_string()),
            ("from", rfc3339_micros(lost.from)),
            ("to", rfc3339_micros(lost.to)),
        ];
        self.own(Name::AuditGap, Outcome::Failed, detail);
    }

    /// Records that the log ends here.
    pub(in crate::audit::writer) fn stop(&mut self) {
        self.own(Name::AuditStop, Outcome::Allowed, vec![("why", "the gateway stops".to_owned())]);
    }

    /// Holds space back in each directory; well if one can.
    pub(in crate::audit::writer) fn reserve(&mut self) -> io::Result<()> {
        self.sinks.reserve()
    }

    /// Gives held space back; whether there was any.
    pub(in crate::audit::writer) fn give_back(&mut self) -> bool {
        self.sinks.give_back()
    }

    /// Ends with what is written; a directory that lags behind has a while to catch up.
    pub(in crate::audit::writer) fn close(self) {
        self.sinks.close();
    }
}

/// A record is 8 KiB at most, the chain's member included.
const LINE_BYTES: usize = 8 * 1024 - 64;
/// Group names are cut at this.
const GROUP_BYTES: usize = 200;
/// Sets of groups remembered in one boot.
const GROUP_SETS: usize = 65_536;
/// A segment is at least so old before a new one lets in a directory that missed too much.
const LET_IN_AFTER: Duration = Duration::from_mins(1);
/// A checkpoint at least this often, and at the end of the batch.
const CHECKPOINT_RECORDS: u64 = 10_000;
/// A step back of the clock that is worth a record.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
