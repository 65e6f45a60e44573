//! The bucket ladders of the histograms, each with its reason.

/// Seconds of serving: 0.1, 0.25 and 10 are objectives and therefore bounds; 30 is the longest a person waits.
pub const SERVE: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Seconds of deciding or appending: a decision takes microseconds, a durable append milliseconds.
pub const DECIDE: &[f64] =
    &[0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05];

/// Seconds of waiting for the audit: as long as an append takes, or a quarter of a second, after which nobody waits.
pub const APPEND: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05,
    0.25,
];

/// Bytes of a body: 500 MiB is the go command's limit for a module zip.
pub const SIZE: &[f64] = &[
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    524_288_000.0,
];
