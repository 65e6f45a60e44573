//! What a run of the expectations came to, for people (TAP), for CI servers (`JUnit`) and for programs (JSON).

use std::fmt;
use std::fmt::Write as _;

use serde_json::json;

use crate::policy::suite::Held;
use crate::policy::suite::Outcome;

impl Outcome {
    /// How many expectations there are.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether there is none: such a policy cannot be checked.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// How many expectations do not hold.
    pub fn failures(&self) -> usize {
        self.results.iter().filter(|held| held.failed.is_some()).count()
    }

    /// Those that do not hold, and what was found instead.
    pub fn failed(&self) -> impl Iterator<Item = String> {
        let told = |held: &Held| {
            let found = held.failed.as_ref()?;
            Some(format!("{}: {}: {found}", held.suite, held.name))
        };
        self.results.iter().filter_map(told)
    }

    /// The XML of `JUnit`, one test suite for each file.
    pub fn junit(&self) -> String {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        let (all, bad) = (self.len(), self.failures());
        // writing to a string cannot fail
        let _written = writeln!(text, "<testsuites tests=\"{all}\" failures=\"{bad}\">");
        for suite in self.results.chunk_by(|a, b| a.suite == b.suite) {
            let name = suite.first().map(|held| escaped(&held.suite)).unwrap_or_default();
            let bad = suite.iter().filter(|held| held.failed.is_some()).count();
            let _written = writeln!(
                text,
                "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{bad}\">",
                suite.len()
            );
            for held in suite {
                let case = escaped(&held.name);
                let _written = match &held.failed {
                    None => writeln!(text, "    <testcase classname=\"{name}\" name=\"{case}\"/>"),
                    Some(found) => writeln!(
                        text,
                        "    <testcase classname=\"{name}\" name=\"{case}\"><failure message=\"{}\"/></testcase>",
                        escaped(found)
                    ),
                };
            }
            text.push_str("  </testsuite>\n");
        }
        text.push_str("</testsuites>\n");
        text
    }

    /// The same as one JSON object.
    pub fn json(&self) -> serde_json::Value {
        let result = |held: &Held| json!({ "suite": held.suite, "name": held.name, "ok": held.failed.is_none(), "found": held.failed });
        json!({
            "expectations": self.len(),
            "failures": self.failures(),
            "results": self.results.iter().map(result).collect::<Vec<_>>(),
            "unexercised": self.unexercised,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "TAP version 14\n1..{}", self.len())?;
        for (number, held) in self.results.iter().enumerate().map(|(at, held)| (at + 1, held)) {
            match &held.failed {
                None => writeln!(out, "ok {number} - {}", held.name)?,
                Some(found) => writeln!(out, "not ok {number} - {}: {found}", held.name)?,
            }
        }
        if !self.unexercised.is_empty() {
            writeln!(out, "# no expectation exercises: {}", self.unexercised.join(", "))?;
        }
        let (all, bad) = (self.len(), self.failures());
        write!(out, "# {} of {all} expectations hold", all - bad)
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push('?'),
            plain => escaped.push(plain),
        }
    }
    escaped
}
