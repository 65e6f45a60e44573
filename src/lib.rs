//! # modgate: the architecture
//!
//! The gateway that decides who in an enterprise may fetch which Go module, serves it fast, and proves it. Read this
//! page, then [`gateway`] (the journey), then the station you came for.
//!
//! ```text
//!   go command ══ TLS ══▶ server ══ Head ══▶ gateway::serve ══ Admitted ══▶ server ══▶ bytes out
//!
//!          identify           parse            authorize               fetch              verify            respond
//!   Head ───────────▶ Caller ────────▶ Request ─────────▶ Permit ──────────────▶ Content ────────▶ Verified ───────▶ Reply
//!          identity           goproxy          policy            cache, upstream            sumdb            gateway
//!
//!   each proof notes itself on the Record, which closes with the last byte, a body error, or the caller hanging up:
//!   audit event ─ metrics ─ trace (if sampled) ─ one log line
//! ```
//!
//! ## Layers: each names only what stands below it
//!
//! | layer | modules | what they are |
//! |---|---|---|
//! | 10 | [`cli`], `main.rs` | the command line |
//! | 9 | [`app`], [`lifecycle`] | assembly: the only place that names concrete parts |
//! | 8 | [`server`] | transport: the only place with HTTP types |
//! | 6 | [`gateway`] | the journey |
//! | 5 | [`identity`], [`policy`], [`sumdb`], [`upstream`], [`cache`], [`audit`], [`cluster`] | stations, blind to each other |
//! | 4 | [`egress`], [`link`], [`tasks`], [`breaker`] | the only way out, the only way to Redis, the only place that spawns, whom to leave alone |
//! | 3 | [`telemetry`] | what can be observed, declared once |
//! | 2 | [`config`] | settings, and every problem with them |
//! | 1 | [`goproxy`], [`tlog`] | the protocol and transparency logs: formats and words, pure |
//! | 0 | [`clock`], [`fault`], [`content`], [`head`], [`kept`] | what everybody speaks of |
//!
//! Two stations take another's proof, and only these: `policy` an identity's `Caller`, `cache` a `Verified`. The test
//! binary `contracts` holds the sources to this table, and each dependency to its one door.
//!
//! ## Proofs
//!
//! A stage hands on a value that only it can make, and the next demands it by type: skipping a stage does not
//! compile. [`head::Head`] is what was asked, [`identity::caller::Caller`] who, [`goproxy::request::Request`] what it
//! means, [`policy::decision::Permit`] that they may, [`content::Content`] bytes nobody trusts yet,
//! [`sumdb::Verified`] bytes that passed their checks, [`gateway::account::Admitted`] an answer that has its place
//! in the audit.
//!
//! ## Shapes that were chosen, and why
//!
//! * **The server builds its connections itself**, below the web framework, because a head that the HTTP parser refuses
//!   would otherwise be answered without a trace of it anywhere. [`server::connection`] sees the bytes that never
//!   became a request, and cuts peers that read too slowly, which the framework has no time-out for.
//! * **Two runtimes.** Listeners run on one event loop per worker; fills, hashing and inflating run on a multi-threaded
//!   runtime of their own, behind [`tasks`]. A fill may block there without delaying an answer from memory.
//! * **A place in the audit is reserved before an answer begins** and filled when it has ended, so that one record tells
//!   what was really sent. The body of a private module waits for more: the record of its decision is written first.
//! * **A policy is one immutable snapshot**, with everything it remembers: a new one is built and tried apart, then
//!   swapped, so no decision of an old policy can answer for it. Conditions are looked at outside of what is remembered.
//! * **One breaker for all peers** ([`breaker`]), below the stations that are blind to each other: a directory server and
//!   an upstream differ in numbers only, and how somebody who comes and goes is left alone is worth getting right once.
//! * **Listeners answer from the journey, never from a framework's router**: there is one parser of paths, ours, on the
//!   raw path.
//!
//! ## Where to add
//!
//! * a **way of proving identity**: implement [`identity::authenticator::Authenticator`], name it in [`app`];
//! * a **tier**: implement [`cache::tier::Tier`], name it in [`app`];
//! * a **source of modules**: a variant of [`upstream::source::Source`];
//! * a **metric**: one entry of the catalogue in [`telemetry::metrics`]; its labels in [`telemetry::labels`];
//! * a **setting**: its section in [`config`], and the example file.

pub mod app;
pub mod audit;
pub mod breaker;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod content;
pub mod egress;
pub mod fault;
pub mod gateway;
pub mod goproxy;
pub mod head;
pub mod identity;
pub mod kept;
pub mod lifecycle;
pub mod link;
pub mod policy;
pub mod server;
pub mod sumdb;
pub mod tasks;
pub mod telemetry;
pub mod tlog;
pub mod upstream;
