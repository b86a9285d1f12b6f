//! The house rules a machine can check: who knows whom, what pure means, where tasks and queues are born, how tests
//! wait, names, sizes. Each check is shown to fail on a made-up input below. An exception has its reason beside it, and
//! one that is no longer needed fails too.

mod source;

use std::fs;
use std::path::Path;

use source::{SourceFile, closing_brace};

/// Rooms and whom they may name. `market` is everybody's, and who knows `signal` knows the words of `indicator` in its
/// fields; the pure rooms name nothing but what stands here.
const KNOWS: [(&str, &[&str]); 17] = [
    ("market", &[]),
    ("indicator", &["market"]),
    ("signal", &["market", "indicator"]),
    ("exchange", &["market"]),
    ("store", &["market", "indicator", "signal"]),
    (
        "engine",
        &["market", "indicator", "signal", "exchange", "store"],
    ),
    ("hub", &["market", "indicator", "signal", "store"]),
    (
        "http",
        &["market", "indicator", "signal", "store", "engine", "hub"],
    ),
    ("simulator", &["market"]),
    ("config", &["market"]),
    ("cli", &["app", "config", "market", "indicator", "signal"]),
    ("app", ROOMS),
    ("tasks", &["market"]),
    ("backoff", &["market"]),
    ("clock", &["market"]),
    ("lib", ROOMS),
    ("main", &["cli"]),
];
const ROOMS: &[&str] = &[
    "market",
    "indicator",
    "signal",
    "exchange",
    "store",
    "engine",
    "hub",
    "http",
    "simulator",
    "config",
];
const PURE: [&str; 3] = ["market", "indicator", "signal"];
const FOR_ALL_BUT_THE_PURE: [&str; 3] = ["tasks", "backoff", "clock"];
/// Words that make a room impure: asynchronous, logging, a clock, input or output.
const IMPURE: [&str; 12] = [
    "async",
    "await",
    "tokio",
    "tracing",
    "Instant",
    "SystemTime",
    "fs",
    "net",
    "io",
    "println",
    "eprintln",
    "env",
];
const NOT_A_NAME: [&str; 5] = ["utils", "helpers", "common", "manager", "misc"];
const FILE_WALL: usize = 600;
const FUNCTION_WALL: usize = 70;

/// Findings that stand, each with its reason: path, rule, word, reason.
const EXCEPTIONS: [(&str, Rule, &str, &str); 0] = [];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    NoIntroduction,
    UnknownRoom,
    Impure,
    SpawnedOutside,
    Unbounded,
    Sleeps,
    ForbiddenName,
    TooLong,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: Rule,
    what: String,
}

fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.text.starts_with("//!") {
        findings.push(finding(file, 1, Rule::NoIntroduction, "no //! at the top"));
    }
    names(file, &mut findings);
    if let Some(room) = file.room() {
        edges(file, room, &mut findings);
        if PURE.contains(&room) {
            forbid(
                file,
                &file.production(),
                &IMPURE,
                Rule::Impure,
                &mut findings,
            );
        }
    }
    if file.path != "src/tasks.rs" {
        // `spawn_blocking` is not here: it answers with a value that its caller waits for
        let spawns = ["tokio::spawn", "task::spawn"];
        forbid(
            file,
            file.code(),
            &spawns,
            Rule::SpawnedOutside,
            &mut findings,
        );
        let threads = ["thread::spawn"]; // a test may feed a pipe from one and join it
        let production = file.production();
        forbid(
            file,
            &production,
            &threads,
            Rule::SpawnedOutside,
            &mut findings,
        );
    }
    let unbounded = ["unbounded_channel", "mpsc::unbounded", "mpsc::channel()"];
    forbid(
        file,
        file.code(),
        &unbounded,
        Rule::Unbounded,
        &mut findings,
    );
    let sleeps = ["sleep(", "sleep_until("];
    forbid(
        file,
        &file.test_code(),
        &sleeps,
        Rule::Sleeps,
        &mut findings,
    );
    walls(file, &mut findings);
    findings
}

fn finding(file: &SourceFile, line: usize, rule: Rule, what: &str) -> Finding {
    Finding {
        path: file.path.clone(),
        line,
        rule,
        what: what.to_owned(),
    }
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Places where `word` stands by itself, not as a part of a longer name.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let ends = !word.ends_with(is_name_part) || !after.is_some_and(is_name_part);
        (ends && !before.is_some_and(is_name_part)).then_some(at)
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn forbid(file: &SourceFile, code: &str, words: &[&str], rule: Rule, findings: &mut Vec<Finding>) {
    for word in words {
        for at in places(code, word) {
            findings.push(finding(file, line_of(code, at), rule, word));
        }
    }
}

/// A path `crate::room` (or `crate::{room, ..}`) names a room.
fn edges(file: &SourceFile, room: &str, findings: &mut Vec<Finding>) {
    let code = file.production();
    let known = KNOWS.iter().find(|(known, _)| *known == room);
    let pure = PURE.contains(&room);
    for at in places(&code, "crate::") {
        let path = &code[at + "crate::".len()..];
        for named in first_names(path) {
            let allowed = named == room
                || known.is_some_and(|(_, rooms)| rooms.contains(&named))
                || (!pure && FOR_ALL_BUT_THE_PURE.contains(&named));
            if !allowed {
                findings.push(finding(file, line_of(&code, at), Rule::UnknownRoom, named));
            }
        }
    }
}

/// `a::b` gives a; `{a::{x, y}, b}` gives a and b.
fn first_names(path: &str) -> Vec<&str> {
    let word = |text: &'_ str| text.find(|c| !is_name_part(c)).unwrap_or(text.len());
    let Some(group) = path.strip_prefix('{') else {
        return vec![&path[..word(path)]];
    };
    let group = &group[..closing_brace(path, 0) - 1];
    let (mut names, mut depth, mut from) = (Vec::new(), 0_i32, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = group[from..at].trim();
                names.push(&part[..word(part)]);
                from = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn names(file: &SourceFile, findings: &mut Vec<Finding>) {
    let parts = file.path.trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| NOT_A_NAME.contains(part)) {
        findings.push(finding(file, 1, Rule::ForbiddenName, part));
    }
    for name in NOT_A_NAME {
        for at in places(file.code(), name) {
            if file.code()[..at].ends_with("mod ") {
                let line = line_of(file.code(), at);
                findings.push(finding(file, line, Rule::ForbiddenName, name));
            }
        }
    }
}

fn walls(file: &SourceFile, findings: &mut Vec<Finding>) {
    let lines = file.production_lines();
    if lines > FILE_WALL {
        let what = format!("{lines} production lines");
        findings.push(finding(file, 1, Rule::TooLong, &what));
    }
    let code = file.production();
    for at in places(&code, "fn") {
        let Some(opens) = code[at..].find(['{', ';']).map(|found| at + found) else {
            continue;
        };
        if code.as_bytes()[opens] == b';' {
            continue; // a declaration
        }
        let lines = code[at..=closing_brace(&code, opens)].lines().count();
        if lines > FUNCTION_WALL {
            let name = first_names(code[at + 2..].trim_start())[0].to_owned();
            let what = format!("{name}: {lines} lines");
            findings.push(finding(file, line_of(&code, at), Rule::TooLong, &what));
        }
    }
}

fn read_all(folder: &Path, files: &mut Vec<SourceFile>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return; // benches and examples may not be there
    };
    for entry in entries.map(|entry| entry.expect("a folder's entry").path()) {
        if entry.is_dir() {
            read_all(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let path = entry
                .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                .expect("inside the crate");
            let text = fs::read_to_string(&entry).expect("a source file");
            files.push(SourceFile::new(&path.to_string_lossy(), &text));
        }
    }
}

#[test]
fn every_file_keeps_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        read_all(&root.join(folder), &mut files);
    }
    assert!(files.len() > 20, "only {} files were found", files.len());
    let findings: Vec<_> = files.iter().flat_map(check).collect();
    let excepted = |finding: &&Finding| {
        !EXCEPTIONS.iter().any(|(path, rule, what, _)| {
            (*path, *rule, *what) == (finding.path.as_str(), finding.rule, finding.what.as_str())
        })
    };
    let left: Vec<_> = findings
        .iter()
        .filter(excepted)
        .map(|finding| {
            let Finding {
                path,
                line,
                rule,
                what,
            } = finding;
            format!("{path}:{line}: {rule:?}: {what}")
        })
        .collect();
    assert!(left.is_empty(), "\n{}", left.join("\n"));
    for (path, rule, what, _) in EXCEPTIONS {
        let needed = findings.iter().any(|finding| {
            (path, rule, what) == (finding.path.as_str(), finding.rule, finding.what.as_str())
        });
        assert!(
            needed,
            "the exception for {path} ({rule:?}: {what}) is no longer needed"
        );
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(Rule, usize, String)> {
        let findings = check(&SourceFile::new(path, &format!("//! A room.\n{text}")));
        let tell = |finding: Finding| (finding.rule, finding.line, finding.what);
        findings.into_iter().map(tell).collect()
    }

    fn one(path: &str, text: &str, rule: Rule, line: usize, what: &str) {
        assert_eq!(found(path, text), [(rule, line, what.to_owned())], "{text}");
    }

    #[test]
    fn a_file_without_introduction_is_seen() {
        let findings = check(&SourceFile::new("src/app.rs", "use std::fmt;\n"));
        assert_eq!(findings[0].rule, Rule::NoIntroduction);
    }

    #[test]
    fn a_room_that_names_one_it_may_not_know_is_seen() {
        let hub = "src/hub/session.rs";
        one(
            hub,
            "use crate::engine::Engine;",
            Rule::UnknownRoom,
            2,
            "engine",
        );
        one(
            hub,
            "use crate::{\n  market::{Symbol, TimeMs},\n  http,\n};",
            Rule::UnknownRoom,
            2,
            "http",
        );
        one(
            "src/market/candle.rs",
            "fn f() { crate::clock::wall(); }",
            Rule::UnknownRoom,
            2,
            "clock",
        );
        one(
            "src/simulator/mod.rs",
            "use crate::exchange::Wire;",
            Rule::UnknownRoom,
            2,
            "exchange",
        );
        one(
            "src/http/mod.rs",
            "use crate::config::Config;",
            Rule::UnknownRoom,
            2,
            "config",
        );
        one(
            "src/newroom.rs",
            "use crate::market::Symbol;",
            Rule::UnknownRoom,
            2,
            "market",
        );
        let fine =
            "use crate::clock::Mono;\nuse crate::hub::x;\nuse crate::{market, tasks::Tasks};";
        assert_eq!(found(hub, fine), []);
        let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n}";
        assert_eq!(found(hub, in_tests), []);
        assert_eq!(
            found(
                hub,
                "// use crate::engine\nconst A: &str = \"crate::engine\";"
            ),
            []
        );
    }

    #[test]
    fn async_logging_and_clocks_in_a_pure_room_are_seen() {
        let signal = "src/signal/change.rs";
        one(signal, "async fn f() {}", Rule::Impure, 2, "async");
        one(signal, "use tokio::sync::Notify;", Rule::Impure, 2, "tokio");
        one(
            signal,
            "\nfn f() { tracing::info!(\"x\"); }",
            Rule::Impure,
            3,
            "tracing",
        );
        one(
            signal,
            "use std::time::Instant;",
            Rule::Impure,
            2,
            "Instant",
        );
        let fine = "fn f() { asynchronous(); }\n#[cfg(test)]\nmod tests { async fn f() {} }";
        assert_eq!(found(signal, fine), []);
        assert_eq!(found("src/hub/mod.rs", "async fn f() {}"), []);
    }

    #[test]
    fn a_task_without_owner_is_seen_in_tests_too() {
        let spawn = "fn f() { tokio::spawn(async {}); }";
        one(
            "src/hub/mod.rs",
            spawn,
            Rule::SpawnedOutside,
            2,
            "tokio::spawn",
        );
        one(
            "tests/it/resume.rs",
            spawn,
            Rule::SpawnedOutside,
            2,
            "tokio::spawn",
        );
        assert_eq!(found("src/tasks.rs", spawn), []);
        let thread = "fn f() { std::thread::spawn(g); }";
        one(
            "src/hub/mod.rs",
            thread,
            Rule::SpawnedOutside,
            2,
            "thread::spawn",
        );
        assert_eq!(found("tests/it/resume.rs", thread), []);
        let waited_for = "async fn f() { tokio::task::spawn_blocking(g).await; }";
        assert_eq!(found("src/hub/mod.rs", waited_for), []);
    }

    #[test]
    fn a_queue_without_bound_is_seen() {
        let hub = "src/hub/mod.rs";
        one(
            hub,
            "fn f() { mpsc::unbounded_channel(); }",
            Rule::Unbounded,
            2,
            "unbounded_channel",
        );
        one(
            hub,
            "fn f() { std::sync::mpsc::channel(); }",
            Rule::Unbounded,
            2,
            "mpsc::channel()",
        );
        assert_eq!(found(hub, "fn f() { mpsc::channel(8); }"), []);
    }

    #[test]
    fn a_sleep_in_a_test_is_seen_and_one_in_the_program_is_not() {
        let sleep = "fn f() { tokio::time::sleep(MS); }";
        one("tests/it/resume.rs", sleep, Rule::Sleeps, 2, "sleep(");
        one("src/hub/tests.rs", sleep, Rule::Sleeps, 2, "sleep(");
        let inline = format!("#[cfg(test)]\nmod tests {{\n    {sleep}\n}}");
        one("src/hub/mod.rs", &inline, Rule::Sleeps, 4, "sleep(");
        assert_eq!(found("src/hub/mod.rs", sleep), []);
    }

    #[test]
    fn a_name_that_says_nothing_is_seen() {
        one("src/hub/utils.rs", "", Rule::ForbiddenName, 1, "utils");
        one("src/hub/misc/a.rs", "", Rule::ForbiddenName, 1, "misc");
        one(
            "src/hub/mod.rs",
            "mod helpers {}",
            Rule::ForbiddenName,
            2,
            "helpers",
        );
        assert_eq!(found("src/hub/mod.rs", "fn common() {}"), []);
    }

    #[test]
    fn the_walls_are_seen_and_tests_do_not_count() {
        let lines = |count: usize| "    f();\n".repeat(count);
        let long = format!("fn long() {{\n{}}}", lines(69));
        one("src/hub/mod.rs", &long, Rule::TooLong, 2, "long: 71 lines");
        assert_eq!(
            found("src/hub/mod.rs", &format!("fn fits() {{\n{}}}", lines(68))),
            []
        );
        let tall = "const A: u8 = 0;\n".repeat(600);
        one(
            "src/hub/mod.rs",
            &tall,
            Rule::TooLong,
            1,
            "601 production lines",
        );
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\nfn f() {{\n{}}}\n}}",
            lines(700)
        );
        assert_eq!(found("src/hub/mod.rs", &tests), []);
    }

    #[test]
    fn text_is_not_code() {
        let text = r##"
            const A: &str = "tokio::spawn \" {"; /* tokio::spawn /* nested */ { */
            const B: &str = r#"tokio::spawn "{"#; const C: char = '{'; const D: char = '\'';
            fn f<'a>(x: &'a str) -> &'a str { x } // tokio::spawn
            fn g() { tokio::spawn(async {}); }"##;
        one(
            "src/hub/mod.rs",
            text,
            Rule::SpawnedOutside,
            6,
            "tokio::spawn",
        );
    }
}
