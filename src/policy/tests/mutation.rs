//! One byte of a valid policy changes: no decision may change without a word. A word is a load error, an expectation that
//! does not hold, or a row that the activation names.

use super::*;
use crate::policy::files::Files;
use crate::policy::rule::Action;
use crate::policy::rule::Question;
use crate::policy::snapshot::Asker;
use crate::policy::tests::dice::Dice;
use crate::policy::tests::dice::cases;

/// Bytes that have meant something else to some reader of such files.
const ODD: &[u8] = b",\n\r\t #\"'*?=<>@/.:-_vpgaAZ09 \x00\x7f\xc3\xef";

fn mutated(text: &str, dice: &mut Dice) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = dice.below(bytes.len());
    match dice.below(6) {
        0 => {
            bytes.remove(at);
        }
        1 => bytes.insert(at, *dice.pick(ODD)),
        2 => bytes.swap(at, (at + 1) % text.len()),
        3 => bytes[at] ^= 1 << dice.below(8),
        4 => bytes[at] ^= b' ',
        _ => bytes[at] = *dice.pick(ODD),
    }
    // what is no text is refused before it gets here
    String::from_utf8(bytes).ok()
}

/// What the base policy can be asked, as far as its rows tell things apart.
fn answers(snapshot: &Snapshot) -> Vec<bool> {
    let paths = [
        "example.com/lib",
        "example.com/banned/x",
        "example.com/Banned/x",
        "example.com/vulnerable",
        "corp.example/payments/ledger",
        "corp.example/other",
    ];
    let callers = [
        Caller::imagined("any:anonymous", Vec::new()),
        Caller::imagined("user:token:dev", vec!["group:token:developers".to_owned()]),
        Caller::imagined("user:token:pay", vec!["group:token:payments".to_owned()]),
        Caller::imagined("user:token:sec", vec!["group:token:security".to_owned()]),
    ];
    let of_modules = paths.iter().flat_map(|name| {
        let versions = ["v1.4.1", "v1.4.2"].map(|version| (version, Action::Download));
        let asked = [("", Action::List), ("v1.4.1", Action::Admit)].into_iter().chain(versions);
        asked.map(move |(version, action)| Question { name, version, action })
    });
    let operators =
        Action::OF_OPERATORS.map(|action| Question { name: "@gateway", version: "", action });
    let sums = Question { name: "@sumdb", version: "", action: Action::Sumdb };
    let questions: Vec<_> = of_modules.chain(operators).chain([sums]).collect();
    let judged = callers.iter().flat_map(|caller| {
        let subjects = snapshot.subjects(caller);
        let asker = Asker { realm: caller.realm(), circumstances: here() };
        questions
            .iter()
            .map(move |question| snapshot.judge(&subjects, *question, asker).0.is_allowed())
    });
    judged.collect()
}

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure that the documents quote")]
fn no_change_of_a_byte_changes_a_decision_without_a_word() {
    let wanted = cases("MODGATE_POLICY_MUTATIONS", 20_000);
    let private = vec![Prefix::parse("corp.example").unwrap()];
    let sources = Sources { private, ..Sources::of(Source::Embedded) };
    let base = Draft::read(&sources).unwrap();
    let texts: Vec<(String, String)> = base
        .texts()
        .filter(|(name, _)| *name != "model.conf")
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let decides: Vec<usize> =
        (0..texts.len()).filter(|at| !texts[*at].0.starts_with("tests/")).collect();
    let before = answers(&base.snapshot);
    let (mut refused, mut unmet, mut told, mut widened, mut same) = (0, 0, 0, 0, 0);
    let mut dice = Dice::new(11);
    for case in 0..wanted {
        let at = *dice.pick(&decides);
        let Some(text) = mutated(&texts[at].1, &mut dice) else {
            refused += 1;
            continue;
        };
        let mut files = texts.clone();
        files[at].1 = text.clone();
        files.push(("model.conf".to_owned(), loader::MODEL.to_owned()));
        let Ok(draft) = Draft::of(Files::of(files), &sources) else {
            refused += 1;
            continue;
        };
        let changes = diff::changes(&base.snapshot, &draft.snapshot);
        if changes.is_empty() {
            same += 1;
            // words for people changed, mostly: one in eight of them is enough to see that they decide nothing
            if rows(&text).eq(rows(&texts[at].1)) && case % 8 > 0 {
                continue;
            }
            assert_eq!(
                answers(&draft.snapshot),
                before,
                "case {case}: silent: {}:\n{text}",
                texts[at].0
            );
        } else if draft.test().is_ok_and(|outcome| outcome.failures() == 0) {
            told += 1;
            let after = answers(&draft.snapshot);
            let widens = before.iter().zip(&after).any(|(before, after)| !before && *after);
            widened += usize::from(widens);
        } else {
            unmet += 1;
        }
    }
    println!(
        "{wanted} changes of a byte: {refused} refused at load, {unmet} against an expectation, {told} told as changed rows ({widened} of them let somebody have more), {same} without effect, 0 silent"
    );
    assert!(refused > 0 && told > 0 && same > 0 && unmet > 0);
}
