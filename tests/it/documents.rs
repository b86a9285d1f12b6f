//! What stands twice, in code and in a document, says the same in both.

use hamacast::config;

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
