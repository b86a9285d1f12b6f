//! The rates of the way through Redis, each beside the way through memory where there is one: an exchange's event to a
//! reader's socket, a candle close of 600 series, cached analyses over REST, a hub's start over a full log.
//! Real processes (this crate's binary, a redis-server of its own); this process plays exchange relay, reader and, where
//! the real one cannot be made to change every series at once, the engine.
//! `cargo bench --bench redis [-- events|burst|rest|start ...]`

mod burst;
mod events;
mod feed;
mod figures;
mod process;
mod relay;
mod rest;
mod stand_in;
mod start;

fn main() -> anyhow::Result<()> {
    process::redis_is_installed()?;
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let asked: Vec<&str> = asked
        .iter()
        .map(String::as_str)
        .filter(|name| !name.starts_with("--")) // cargo's own
        .collect();
    let is_asked = |name: &str| asked.is_empty() || asked.contains(&name);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut lines = Vec::new();
        if is_asked("events") {
            lines.extend(events::measure().await?);
        }
        if is_asked("burst") {
            lines.extend(burst::measure().await?);
        }
        if is_asked("rest") {
            lines.extend(rest::measure().await?);
        }
        if is_asked("start") {
            lines.extend(start::measure().await?);
        }
        println!();
        for line in lines {
            println!("{line}");
        }
        Ok(())
    })
}
