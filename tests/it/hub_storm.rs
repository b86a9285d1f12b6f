//! Many connections that come, change their minds and go in every way leave nothing behind.

use tokio_tungstenite::tungstenite::Message;

use crate::support::hub::{TestHub, change, price, settings};

const NAMES: [&str; 8] = [
    "btcusdt@signal_15m",
    "ethusdt@signal_15m",
    "btcusdt@hama_15m",
    "ethusdt@hama_1h",
    "!signal_15m@arr",
    "!hama_15m@arr",
    "!signal_1h@arr",
    "!status",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_leaves_every_table_empty() {
    let hub = TestHub::with(&["BTCUSDT", "ETHUSDT"], settings()).await;
    let writes = hub.writes.clone().unwrap();
    let tasks = hub.tasks.clone();
    let (quiet, stormy) = tokio::sync::oneshot::channel::<()>();
    tasks.spawn_short("hammer", async move {
        let mut n = 0;
        while !quiet.is_closed() {
            n += 1;
            let symbol = ["BTCUSDT", "ETHUSDT"][(n % 2) as usize];
            let burst = vec![change(symbol, n), price(symbol, n as f64)];
            writes.send(burst).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut rng = fastrand::Rng::with_seed(99);
    for _ in 0..12 {
        let many: Vec<_> = (0..25)
            .map(|_| one(&hub, fastrand::Rng::with_seed(rng.u64(..))))
            .collect();
        futures::future::join_all(many).await;
    }
    drop(stormy);
    hub.emptied().await;
    let mut healthy = hub.client("/ws/btcusdt@signal_15m").await;
    assert!(healthy.ask("PING", "[]").await["result"].is_object());
}

async fn one(hub: &TestHub, mut rng: fastrand::Rng) {
    let path = [
        "/ws",
        "/stream",
        "/ws/!signal_15m@arr",
        "/stream?streams=nonsense",
    ];
    let mut client = hub.client(rng.choice(path).unwrap()).await;
    let epoch = hub.store.published().epoch.to_string();
    for id in 0..rng.u32(1..12) {
        let names: Vec<&str> = (0..rng.usize(1..4))
            .map(|_| *rng.choice(&NAMES).unwrap())
            .collect();
        let params = format!("{names:?}");
        let text = match rng.u8(..5) {
            0 | 1 => format!(r#"{{"method":"SUBSCRIBE","params":{params},"id":{id}}}"#),
            2 => format!(r#"{{"method":"UNSUBSCRIBE","params":{params},"id":{id}}}"#),
            3 => format!(
                r#"{{"method":"SUBSCRIBE","params":{params},"since":{{"epoch":"{epoch}","seq":{}}},"id":{id}}}"#,
                rng.u64(..50)
            ),
            _ => format!(
                r#"{{"method":"SET_PROPERTY","params":["combined",{}],"id":{id}}}"#,
                rng.bool()
            ),
        };
        if client.send_message(Message::text(text)).await.is_err() {
            break;
        }
        if rng.bool()
            && client
                .message()
                .await
                .is_none_or(|message| message.is_err())
        {
            break;
        }
    }
    match rng.u8(..3) {
        0 => client.leave().await,
        1 => {
            // As a crash: unread bytes make this a reset.
            let linger =
                socket2::SockRef::from(client.tcp()).set_linger(Some(std::time::Duration::ZERO));
            linger.unwrap();
        }
        _ => drop(client),
    }
}
