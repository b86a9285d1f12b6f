//! What stands twice, in code and in a document, says the same in both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hamacast::config;

/// The hazards of candles between an exchange and a program.
const HAZARDS: std::ops::RangeInclusive<u32> = 1..=34;

#[test]
fn the_readmes_settings_are_the_programs() {
    let readme = include_str!("../../README.md");
    let (_, after) = readme
        .split_once("<!-- settings -->\n")
        .expect("the mark before the table");
    let (table, _) = after
        .split_once("<!-- /settings -->")
        .expect("the mark behind the table");
    let expected = config::markdown_table();
    assert!(
        table.trim() == expected.trim(),
        "README.md: put this between the marks:\n{expected}"
    );
}

/// A row of the tables of hazards.
struct Row<'a> {
    hazard: u32,
    tests: Vec<&'a str>,
    seen_failing_when: &'a str,
}

/// The lines of the tables of hazards, without their headings; other tables say other things.
fn hazard_lines(document: &str) -> impl Iterator<Item = &str> {
    let mut of_hazards = false;
    document.lines().filter(move |line| {
        let heading = line.starts_with("| hazard |");
        of_hazards = heading || (of_hazards && line.starts_with('|'));
        of_hazards && !heading && !line.starts_with("|--")
    })
}

/// The rows, and what is wrong with those that are none.
fn rows(document: &str) -> (Vec<Row<'_>>, Vec<String>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for line in hazard_lines(document) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
        let number = line[2..].split(' ').next().unwrap_or_default().parse();
        match (number, cells.as_slice()) {
            (Ok(hazard), [_, _, tests, seen_failing_when]) => rows.push(Row {
                hazard,
                tests: tests.split('`').skip(1).step_by(2).collect(),
                seen_failing_when: seen_failing_when.trim(),
            }),
            _ => wrong.push(format!("no row of number, rule, test and proof: {line}")),
        }
    }
    (rows, wrong)
}

/// The hazards a test's name begins with: of `h24_h25_one` 24 and 25.
fn hazards_of(test: &str) -> impl Iterator<Item = u32> {
    let numbers = test.split('_').map_while(|part| {
        let digits = part.strip_prefix('h').filter(|digits| digits.len() == 2);
        digits.and_then(|digits| digits.parse().ok())
    });
    numbers.fuse()
}

/// The tests of a source text.
fn tests_in(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let signature = line.strip_prefix("async ").unwrap_or(line);
        if let Some(function) = signature.strip_prefix("fn ") {
            let name = function.split('(').next().unwrap_or_default();
            names.extend(Some(name).filter(|_| marked));
            marked = false;
        }
    }
    names
}

/// The names of all tests below `folder`, with the file each stands in.
fn all_tests(folder: &Path, tests: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all_tests(&path, tests);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let named = tests_in(&text).into_iter();
            tests.extend(named.map(|name| (name.to_owned(), path.display().to_string())));
        }
    }
}

/// What of the document does not agree with the tests.
fn disagreements(document: &str, tests: &BTreeMap<String, String>) -> Vec<String> {
    let (rows, mut wrong) = rows(document);
    for row in &rows {
        let hazard = row.hazard;
        let own = |test: &&str| hazards_of(test).any(|number| number == hazard);
        if !row.tests.iter().any(own) {
            wrong.push(format!(
                "hazard {hazard}: no test that begins with h{hazard:02}_"
            ));
        }
        for test in row.tests.iter().filter(|test| !tests.contains_key(**test)) {
            wrong.push(format!("hazard {hazard}: there is no test {test}"));
        }
        if row.seen_failing_when.len() < 2 {
            wrong.push(format!(
                "hazard {hazard}: with which rule off did its test fail?"
            ));
        }
    }
    let told: BTreeSet<_> = rows.iter().map(|row| row.hazard).collect();
    let missing = HAZARDS.filter(|hazard| !told.contains(hazard));
    wrong.extend(missing.map(|hazard| format!("hazard {hazard}: no row")));
    for (test, file) in tests {
        let unknown = hazards_of(test).filter(|hazard| !told.contains(hazard));
        wrong.extend(unknown.map(|hazard| format!("hazard {hazard} of {test} ({file}): no row")));
    }
    wrong
}

#[test]
fn every_hazard_has_its_row_and_every_row_its_tests() {
    let mut tests = BTreeMap::new();
    for folder in ["src", "tests"] {
        all_tests(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut tests,
        );
    }
    let wrong = disagreements(include_str!("../../docs/feed.md"), &tests);
    assert!(wrong.is_empty(), "docs/feed.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_row_that_is_missing_or_names_no_test_is_seen() {
    let text = "#[test]\nfn h01_a() {}\n#[tokio::test]\nasync fn h02_h35_b() {}\nfn h03_c() {}";
    let named = tests_in(text).into_iter();
    let tests = named
        .map(|name| (name.to_owned(), "x.rs".to_owned()))
        .collect();
    let full: String = HAZARDS
        .filter(|hazard| *hazard > 3)
        .map(|hazard| format!("| {hazard} it | we do | `h01_a`, `h{hazard:02}_d` | off |\n"))
        .collect();
    let document = format!(
        "| hazard | a | b | c |\n|---|---|---|---|\n| 1 it | we do | `h01_a` | - |\n| 2 it | we do | `h02_h35_...` | off |\n| it | we\n{full}\n\
         | scene | what came out |\n|---|---|\n| 24 hours | all well |\n"
    );
    let seen = disagreements(&document, &tests);
    let expected = [
        "no row of number, rule, test and proof: | it | we",
        "hazard 1: with which rule off did its test fail?",
        "hazard 2: there is no test h02_h35_...",
        "hazard 4: there is no test h04_d",
        "hazard 3: no row",
        "hazard 35 of h02_h35_b (x.rs): no row",
    ];
    for line in expected {
        assert!(seen.iter().any(|seen| seen == line), "{line}: {seen:#?}");
    }
    assert_eq!(seen.len(), expected.len() + 30, "and 5 to 34 as 4");
}
