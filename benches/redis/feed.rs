//! A reader of the feed: every message with the moment at which it was read.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::figures::now;

pub(crate) struct Feed {
    socket: WebSocketStream<TcpStream>,
}

impl Feed {
    /// Connects as soon as the hub takes readers (it refuses them before it has read the log).
    pub(crate) async fn connect(address: &str, streams: &str) -> anyhow::Result<Self> {
        let url = format!("ws://{address}/stream?streams={streams}");
        let mut again = tokio::time::interval(Duration::from_millis(2));
        for _ in 0..30_000 {
            again.tick().await;
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            if let Ok((socket, _)) = tokio_tungstenite::client_async(&url, socket).await {
                return Ok(Self { socket });
            }
        }
        bail!("{address} takes no readers")
    }

    /// The data of the next message, and when it was read.
    pub(crate) async fn next(&mut self) -> anyhow::Result<(Instant, Value)> {
        loop {
            let message = self.socket.next().await.context("the feed ended")??;
            if let Message::Text(text) = message {
                let at = now();
                let mut wrapped: Value = serde_json::from_str(&text)?;
                return Ok((at, wrapped["data"].take()));
            }
        }
    }

    /// Reads until so many series are live.
    pub(crate) async fn until_live(&mut self, series: u64) -> anyhow::Result<()> {
        let live = async {
            while self.next().await?.1["series"]["live"] != series {}
            anyhow::Ok(())
        };
        let live = tokio::time::timeout(Duration::from_secs(120), live).await;
        live.with_context(|| format!("{series} series were not live within two minutes"))?
    }
}

/// The changes in the data of a message; its other items are left out.
pub(crate) fn changes(data: &Value) -> Vec<&Value> {
    let items = data
        .as_array()
        .map_or(std::slice::from_ref(data), Vec::as_slice);
    let is_change = |item: &&Value| item["type"] == "signal";
    items.iter().filter(is_change).collect()
}
