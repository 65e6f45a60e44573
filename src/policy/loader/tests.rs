//! Mistakes of those who write a policy: each is told, and none of them takes a denial away.

use super::*;
use crate::fault::Kind;
use crate::policy::Policy;
use crate::policy::Source;
use crate::policy::Sources;
use crate::policy::tests::ZIP;
use crate::policy::tests::kind;
use crate::policy::tests::read;
use crate::policy::tests::with_rules;
use crate::policy::tests::write;
use std::path::Path;

const READ: &str = "p, read, any:authenticated, **, *, read, allow\n";

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "model.conf", MODEL);
    write(directory.path(), "roles.csv", "g, group:token:dev, role:dev\n");
    write(directory.path(), "rules/a.csv", READ);
    write(directory.path(), "tests/none.toml", "");
    directory
}

fn load(directory: &Path) -> Result<Policy, LoadError> {
    read(&Sources::of(Source::Directory(directory.to_owned())))
}

fn told(directory: &Path) -> String {
    load(directory).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_range_that_no_version_could_lie_in_is_a_load_error() {
    for range in [
        "=<v1.4.2",
        "=v1.4.2",
        "==v1.4.2",
        "<>v1.4.2",
        "><v1.4.2",
        "<=>v1.4.2",
        "<v1.0.0 >v2.0.0",
        ">=v2.0.0 <v2.0.0",
        ">v1.0.0 <=v1.0.0",
        ">=v2.0.0 <=v1.0.0",
        "<v1.0.0 >=v1.0.0",
    ] {
        let row = format!("{READ}p, no, any:authenticated, example.com/lib, {range}, *, deny\n");
        let told = with_rules(&row).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("rules/a.csv:2:44: "), "{range}: {told}");
    }
    for range in [
        "v1.4.2",
        "<v1.4.2",
        ">=v1.0.0 <=v1.0.0",
        ">=v1.0.0 <=v1.2.0",
        "<v2.1.3 >=v2.0.0",
        ">=v1.0.0  <v2.0.0",
        ">v1.0.0 >v1.2.0",
    ] {
        let row = format!("p, no, any:authenticated, example.com/lib, {range}, *, deny\n");
        assert!(with_rules(&row).is_ok(), "{range}");
    }
}

#[test]
fn one_star_for_a_host_never_opens_what_is_private() {
    for pattern in ["*", "?*", "*/payments", "**?"] {
        let row = format!("p, open, any:authenticated, {pattern}, *, read, allow\n");
        assert!(with_rules(&row).is_err(), "{pattern}");
    }
    let deny = format!("{READ}p, no, any:authenticated, */evil, *, *, deny\n");
    let policy = with_rules(&deny).unwrap();
    assert_eq!(kind(&policy, &format!("/example.com/evil/{ZIP}")), Some(Kind::Denied));
}

#[test]
fn a_file_that_nothing_reads_is_a_load_error() {
    for name in [
        "rules/90-security.CSV",
        "rules/90-security.csv.txt",
        "rules/90",
        "rule/90-security.csv",
        "gates.tml",
        "tests/a.tml",
        "rules.csv",
    ] {
        let directory = directory();
        write(directory.path(), name, "p, no, any:authenticated, **, *, *, deny\n");
        let told = told(directory.path());
        let first = name.split('/').next().unwrap_or_default();
        assert!(told.contains(first), "{name}: {told}");
    }
    let directory = directory();
    for name in ["README.md", "rules/README.md", ".gitignore", "rules/.keep"] {
        write(directory.path(), name, "words\n");
    }
    assert_eq!(told(directory.path()), "");
}

#[test]
#[cfg(unix)]
fn a_folder_behind_a_link_is_read_and_a_mounted_config_map_once() {
    use std::os::unix::fs::symlink;
    let directory = directory();
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path(), "no.csv", "p, no, any:authenticated, example.com/bad, *, *, deny\n");
    symlink(elsewhere.path(), directory.path().join("rules/90-security")).unwrap();
    // as the kubelet lays out a volume: files are links into ..data, which is a link to a dated folder
    write(
        directory.path(),
        "rules/..2026_11_24/b.csv",
        "p, b, any:authenticated, example.com/b, *, *, deny\n",
    );
    symlink("..2026_11_24", directory.path().join("rules/..data")).unwrap();
    symlink("..data/b.csv", directory.path().join("rules/b.csv")).unwrap();
    let policy = load(directory.path()).unwrap();
    assert_eq!(policy.rules().0, 3);
    assert_eq!(kind(&policy, &format!("/example.com/bad/{ZIP}")), Some(Kind::Denied));
    symlink(directory.path().join("rules"), directory.path().join("rules/circle")).unwrap();
    assert!(told(directory.path()).contains("deep"), "{}", told(directory.path()));
}

#[test]
fn a_problem_of_roles_is_told_with_its_line() {
    let directory = directory();
    write(
        directory.path(),
        "roles.csv",
        "g, group:token:dev, role:dev\ng, role:a, role:b\ng, group:token:dev, role:dev\ng, role:b, role:a\n",
    );
    let told = told(directory.path());
    assert!(told.contains("roles.csv:3:1: roles.csv:1 says the same"), "{told}");
    assert!(told.contains("roles.csv:2:1: role:a leads back to itself"), "{told}");
}

#[test]
fn a_file_that_is_no_text_is_told_like_any_other_problem() {
    let directory = directory();
    std::fs::write(directory.path().join("rules/b.csv"), b"p, x, \xff\n").unwrap();
    let told = told(directory.path());
    assert!(told.contains("rules/b.csv: "), "{told}");
}

#[test]
#[cfg(unix)]
fn conditions_that_cannot_be_read_are_told_and_no_pipe_is_waited_for() {
    use std::os::unix::fs::symlink;
    let lost = directory();
    symlink("..gone/gates.toml", lost.path().join("gates.toml")).unwrap();
    assert!(told(lost.path()).contains("gates.toml: "), "{}", told(lost.path()));
    let waiting = directory();
    let pipe = waiting.path().join("rules/pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    assert!(told(waiting.path()).contains("rules/pipe.csv: it is no file"));
}

#[test]
#[cfg(unix)]
fn links_that_lead_back_many_times_over_are_a_few_problems() {
    let directory = directory();
    for number in 0..12 {
        let link = directory.path().join(format!("rules/l{number}"));
        std::os::unix::fs::symlink(directory.path().join("rules"), link).unwrap();
    }
    let told = told(directory.path());
    assert!(told.contains("look for a link that leads back"), "{told}");
    assert!(told.lines().count() < 10_000, "{}", told.lines().count());
}

#[test]
fn a_comment_cannot_swallow_the_row_that_another_program_shows_below_it() {
    for end in ["\r", "\u{b}", "\u{85}", "\u{2028}"] {
        let rules =
            format!("{READ}# no evil{end}p, no, any:authenticated, example.com, *, *, deny\n");
        let told = with_rules(&rules).unwrap_err().to_string();
        assert!(told.contains("rules/a.csv:2:10: a control character"), "{told}");
    }
    assert!(with_rules(&format!("# von J\u{fc}rgen\n{READ}")).is_ok());
}
