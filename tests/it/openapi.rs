//! The committed API document is the one the code makes.

use std::path::Path;

#[test]
fn the_committed_document_is_the_codes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let made = hamacast::http::openapi_json();
    #[expect(clippy::disallowed_methods, reason = "how a test is told to write")]
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    if update {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/openapi.json is not what the code makes; write it anew with\n  UPDATE_DOCS=1 cargo test --test it openapi\nand commit it"
    );
}

#[test]
fn an_item_of_the_log_is_described_field_by_field() {
    use crate::support::http_room::{Room, change, correction};
    use hamacast::market::Interval;
    use hamacast::signal::Recommendation;
    use hamacast::store::{Item, MemoryStore, Write};

    let document: serde_json::Value =
        serde_json::from_str(&hamacast::http::openapi_json()).unwrap();
    let bodies = [
        (
            "SignalItem",
            change("BTCUSDT", Interval::M15, 0, Recommendation::Buy),
        ),
        ("CorrectionItem", correction("BTCUSDT", Interval::M15, 0)),
    ];
    for (schema, body) in bodies {
        let batch = MemoryStore::new(5).write(vec![Write::Change(body)]);
        let Some(Item::Change(item)) = batch.items.first() else {
            panic!("no change in {batch:?}");
        };
        let sent = serde_json::to_value(item.as_ref()).unwrap();
        let described = &document["components"]["schemas"][schema]["properties"];
        assert_eq!(Room::fields(&sent), Room::fields(described), "{schema}");
    }
}
