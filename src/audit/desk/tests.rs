//! What may be asked, and by how many at once.

use std::time::SystemTime;

use super::*;
use crate::audit::report::Question;

fn read(errand: Errand, query: &str) -> Result<Ask, Unanswered> {
    Ask::parse(errand, query, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 31))
}

#[test]
fn a_question_is_read_whole_or_refused_with_what_to_write() {
    let ask = read(
        Errand::Query,
        "question=holders&module=corp.example%2Fa&version=v1.0.0&from=30d&limit=7",
    );
    let ask = ask.unwrap();
    assert_eq!((ask.wanted, ask.limit), (Wanted::Report(Question::Holders), 7));
    let told: Vec<_> = ask.told().into_iter().map(|(name, _)| name).collect();
    assert_eq!(told, ["question", "module", "version", "from", "limit"]);
    for (query, says) in [
        ("", "since when"),
        ("from=soon", "from cannot be read"),
        ("from=1d&colour=red", "no parameter colour: ask with question, list, limit, actor"),
        ("from=1d&format=csv", "no parameter format"),
        ("from=1d&from=2d", "from stands twice"),
        ("from=1d&limit=0", "from 1 to 10000"),
        ("from=1d&limit=10001", "from 1 to 10000"),
        ("from=1d&limit=ten", "from 1 to 10000"),
        ("from=1d&question=why", "records, stats, downloads, denials"),
        ("from=1d&question=leavers", "needs a list"),
        ("from=1d&event=", "it is empty"),
        ("from=1d&question=gaps&question=gaps", "question stands twice"),
    ] {
        let refused = read(Errand::Query, query).unwrap_err();
        assert_eq!(refused.kind(), Kind::Malformed);
        assert!(refused.public().contains(says), "{query}: {}", refused.public());
    }
}

#[test]
fn an_export_has_a_format_and_no_question() {
    let ask = read(Errand::Export, "format=ocsf&from=1d").unwrap();
    assert_eq!((ask.wanted, ask.limit), (Wanted::Records(Format::Ocsf), LIMIT));
    assert_eq!(ask.told()[0], ("question", "ocsf".to_owned()));
    for (query, says) in [
        ("from=1d&format=xml", "write jsonl, csv, ecs, ocsf"),
        ("from=1d&question=gaps", "no parameter question: ask with format, limit, actor"),
        ("format=csv", "since when"),
    ] {
        let refused = read(Errand::Export, query).unwrap_err();
        assert!(refused.public().contains(says), "{query}: {}", refused.public());
    }
}

#[test]
fn one_question_is_answered_at_a_time() {
    let desk = Desk::new(Vec::new(), "gw".to_owned());
    let turn = desk.turn().unwrap();
    assert!(matches!(desk.turn(), Err(Unanswered::Busy)));
    drop(turn);
    assert!(desk.turn().is_ok());
}
