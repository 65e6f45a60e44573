//! Each kind of broken policy file has its one clear error, with file, line and column.

use super::*;

/// The second row of a file, and what is told of it.
const TABLE: &[(&str, &str)] = &[
    (
        "p, one, role:dev, example.com, *, read, allow",
        "2:1: the id one stands at rules/a.csv:1 already",
    ),
    ("p, two, role:dev, **, *, read, allow", "2:1: rules/a.csv:1 says the same: remove one"),
    (
        "p, b1, dev, **, *, read, allow",
        "2:8: dev is no subject: write user:REALM:ID, group:REALM:NAME, role:NAME or any:authenticated",
    ),
    (
        "p, c8, any:body, example.com/b, *, read, allow",
        "2:8: any:body is no subject: write user:REALM:ID, group:REALM:NAME, role:NAME or any:authenticated",
    ),
    (
        "p, b2, role:dev, **, *, write, allow",
        "2:25: write is no action: write list, download, sumdb, read or admit",
    ),
    ("p, b3, role:dev, **, *, *, allow", "2:25: * is for deny rules: write read, or one action"),
    (
        "p, c6, role:dev, @gateway, *, read, allow",
        "2:31: read is no action on @gateway: write purge, policy.read, policy.write, audit.read, audit.export or admin",
    ),
    ("p, c6, role:dev, example.com, *, purge, allow", "2:34: purge is an action on @gateway alone"),
    ("p, b4, role:dev, **, *, read, maybe", "2:31: maybe is no effect: write allow or deny"),
    (
        "p, b5, role:dev, Corp.example, *, read, allow",
        "2:18: the first element is a host and has no upper-case letters",
    ),
    (
        "p, c9, role:dev, example.com/**, *, read, allow",
        "2:18: * and ? stay inside one element; ** means nothing here",
    ),
    (
        "p, b6, role:dev, =example.com/x, *, read, allow",
        "2:18: =PATH is for deny rules: an allow without what lies below breaks go get",
    ),
    (
        "p, b6, role:dev, @other, *, read, allow",
        "2:18: @other is no resource: write @sumdb or @gateway",
    ),
    (
        "p, b7, role:dev, example.com, v1, read, allow",
        "2:31: versions are *, v1.2.3, <v1.4.2, >=v2.0.0 <v2.1.3, pseudo or prerelease",
    ),
    (
        "p, b7, role:dev, example.com, <v1.0.0 >v2.0.0, read, allow",
        "2:31: no version lies in <v1.0.0 >v2.0.0: write a rule for each side",
    ),
    (
        "p, b8, role:dev, example.com, , read, allow",
        "2:31: a field is empty: give a value, or * for any",
    ),
    ("p, b9, role:dev, example.com, *, read", "2:1: a rule has 7 columns, this one 6"),
    ("q, x", "2:1: a row begins with p or g; comments have a line of their own"),
    ("g, group:token:dev, dev", "2:21: dev is no role: write role:NAME"),
    (
        "g, dev, role:dev",
        "2:4: dev is no subject: write user:REALM:ID, group:REALM:NAME, role:NAME or any:authenticated",
    ),
    ("g, group:token:dev", "2:1: a role has 3 columns, this one 2"),
    ("p, c1, role:dev, \"example.com\", *, read, allow", "2:18: a quote: fields are not quoted"),
    ("p,\tc2, role:dev, example.com/t, *, read, allow", "2:3: a tab: use blanks"),
    (
        "p, c3, role:dev, example.com/r, *, read, allow\r",
        "2:47: a carriage return: save the file with LF line ends",
    ),
    (
        "p, c4, role:dev, ex\u{e4}mple.com, *, read, allow",
        "2:20: a byte that is not printable ASCII",
    ),
    (
        "p, c5, role:dev, example.com/c, *, read, allow # why",
        "2:42: allow # why is no effect: write allow or deny",
    ),
    (
        "p, c!, role:dev, example.com/c, *, read, allow",
        "2:4: c! is no id: at most 48 letters, digits, - _ and .",
    ),
    (
        "p, deny-1, role:dev, example.com/c, *, *, deny",
        "2:4: ids that begin with deny- are those of emergency denies",
    ),
    ("# reason: nothing follows", "3:1: a reason stands on the line directly above its rule"),
    ("# owner:", "2:1: an owner or a reason has 1 to 60 bytes here, not 0"),
    (
        "p, c7, role:nobody, example.com/n, *, read, allow",
        "2:1: nobody plays role:nobody: add a g row, or correct the name",
    ),
];

fn found(row: &str) -> Vec<String> {
    let rows = format!("p, one, role:dev, **, *, read, allow\n{row}\n");
    with_rules(&rows).unwrap_err().problems().to_vec()
}

#[test]
fn each_kind_of_broken_row_has_its_one_clear_error() {
    for (row, told) in TABLE {
        assert_eq!(found(row), [format!("rules/a.csv:{told}")], "{row}");
    }
    let (long, deep) = ("a".repeat(1025), format!("example.com{}", "/a".repeat(64)));
    for (modules, told) in
        [(deep, "2:18: a pattern has at most 64 elements"), (long, "2:18: a field is over 1 KiB")]
    {
        let row = format!("p, c7, role:dev, {modules}, *, read, allow");
        assert_eq!(found(&row), [format!("rules/a.csv:{told}")]);
    }
}

#[test]
fn problems_of_all_files_are_told_at_once() {
    let found = with_rules("q\np, b, role:dev, **, *, read, maybe\n").unwrap_err();
    assert_eq!(found.problems().len(), 3, "{found}");
    let told = found.to_string();
    assert!(told.ends_with("3 problem(s); this policy is not in force"), "{told}");
    assert!(told.contains("rules: there is no rule"), "{told}");
}
