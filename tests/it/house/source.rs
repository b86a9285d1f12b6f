//! A source file as the house rules see it: its code without comments and strings, and which lines are test code.
//! Reads Rust only as far as that needs: strings, characters, comments, braces.

use std::ops::Range;

/// One file, with everything that is not code blanked out; lines stay where they were.
pub(super) struct SourceFile {
    /// From the crate's root, with `/`.
    pub(super) path: String,
    /// The file as it stands.
    pub(super) text: String,
    code: String,
    tests: Vec<Range<usize>>,
}

impl SourceFile {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = code_only(text);
        let tests = test_parts(path, &code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            tests,
        }
    }

    /// The room: `src/engine/task.rs` and `src/engine.rs` are `engine`. None outside `src` and for its two roots.
    pub(super) fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next().unwrap_or(inside);
        let room = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(room, "lib" | "main")).then_some(room)
    }

    /// The code that is shipped.
    pub(super) fn production(&self) -> String {
        self.part(false)
    }

    /// The code that only tests run.
    pub(super) fn test_code(&self) -> String {
        self.part(true)
    }

    /// All code.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// How many lines are not test code.
    pub(super) fn production_lines(&self) -> usize {
        let tests: usize = self
            .tests
            .iter()
            .map(|part| self.code[part.clone()].lines().count())
            .sum();
        self.code.lines().count().saturating_sub(tests)
    }

    fn part(&self, tests: bool) -> String {
        let kept = |at: usize| self.tests.iter().any(|part| part.contains(&at)) == tests;
        let blanked = self
            .code
            .char_indices()
            .map(|(at, c)| if c == '\n' || kept(at) { c } else { ' ' });
        blanked.collect()
    }
}

/// Byte ranges of items under `#[cfg(test)]`; the whole file outside `src` and in files of tests.
fn test_parts(path: &str, code: &str) -> Vec<Range<usize>> {
    let file_of_tests =
        !path.starts_with("src/") || path.ends_with("/tests.rs") || path.contains("/tests/");
    if file_of_tests {
        return std::iter::once(0..code.len()).collect();
    }
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (at, mark) in code.match_indices("#[cfg(test)]") {
        if parts.last().is_some_and(|last| last.contains(&at)) {
            continue;
        }
        let rest = at + mark.len();
        let Some(opens) = code[rest..].find(['{', ';']).map(|found| rest + found) else {
            continue;
        };
        let end = match code.as_bytes()[opens] {
            b'{' => closing_brace(code, opens),
            _ => opens,
        };
        parts.push(at..end + 1);
    }
    parts
}

/// Where the brace that opens at `opens` is closed (the end when it is not).
pub(super) fn closing_brace(code: &str, opens: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[opens..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return opens + at;
        }
    }
    code.len() - 1
}

/// The text with comments, strings and characters blanked out, of the same length in bytes.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(text, at, "\n"),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_word(bytes, at) => raw_string_end(text, at).unwrap_or(at),
            b'\'' => character_end(text, at).unwrap_or(at),
            _ => at,
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole characters were blanked")
}

fn find(text: &str, from: usize, what: &str) -> usize {
    text[from..]
        .find(what)
        .map_or(text.len(), |found| from + found)
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    // `br"..."` is raw too; any other letter before the r makes it part of a name
    let before = |back: usize| at.checked_sub(back).map(|at| bytes[at]);
    let word = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    word(before(1)) && (before(1) != Some(b'b') || word(before(2)))
}

fn block_comment_end(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(bytes.len())
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn raw_string_end(text: &str, from: usize) -> Option<usize> {
    let after = &text[from + 1..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') {
        return None; // a raw identifier or a plain name
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = from + 1 + hashes + 1;
    Some((find(text, body, &close) + close.len()).min(text.len()))
}

/// The end of a character literal; none when the quote begins a lifetime.
fn character_end(text: &str, from: usize) -> Option<usize> {
    let mut rest = text[from + 1..].char_indices();
    let (_, first) = rest.next()?;
    if first == '\\' {
        rest.next()?; // the escaped character, which may be a quote
        let (at, _) = rest.find(|(_, c)| *c == '\'')?;
        return Some(from + 1 + at + 1);
    }
    let (at, next) = rest.next()?;
    (next == '\'').then_some(from + 1 + at + 1)
}
