//! What stands before an exchange and may refuse: it reads each request's head, answers 451 or passes the connection on, and
//! notes when it was asked for what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hamacast::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// Who is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refuses {
    Nobody,
    Streams,
    Everybody,
}

/// One request, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) path: String,
    pub(super) refused: bool,
}

pub(super) struct Front {
    pub(super) address: SocketAddr,
    refuses: watch::Sender<Refuses>,
    asked: Arc<watch::Sender<Vec<Asked>>>,
    _tasks: Tasks,
}

impl Front {
    pub(super) async fn before(exchange: SocketAddr, refuses: Refuses) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refuses = watch::channel(refuses).0;
        let asked = Arc::new(watch::channel(Vec::new()).0);
        let tasks = Tasks::new();
        let open = tasks.clone();
        let (told, notes) = (refuses.subscribe(), Arc::clone(&asked));
        tasks.spawn("front", async move {
            let notes = Mutex::new(notes);
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let notes = Arc::clone(&notes.lock().unwrap());
                open.spawn_short(
                    "front connection",
                    serve(client, exchange, told.clone(), notes),
                );
            }
        });
        Self {
            address,
            refuses,
            asked,
            _tasks: tasks,
        }
    }

    /// From now on; a change cuts what is open.
    pub(super) fn refuse(&self, refuses: Refuses) {
        self.refuses.send_replace(refuses);
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Everything asked for, as soon as it is as wanted.
    pub(super) async fn until(&self, wanted: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        let mut asked = self.asked.subscribe();
        let reached = asked.wait_for(|asked| wanted(asked));
        let reached = tokio::time::timeout(super::PATIENCE, reached).await;
        match reached {
            Ok(asked) => asked.unwrap().clone(),
            Err(_) => panic!("still {:?}", self.asked()),
        }
    }
}

/// One request a connection while it refuses; else the head decides and the rest is passed on as it comes.
async fn serve(
    mut client: TcpStream,
    exchange: SocketAddr,
    mut refuses: watch::Receiver<Refuses>,
    asked: Arc<watch::Sender<Vec<Asked>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap().to_owned();
    let refused = match *refuses.borrow_and_update() {
        Refuses::Nobody => false,
        Refuses::Streams => path.starts_with("/market"),
        Refuses::Everybody => true,
    };
    let at = Instant::now();
    asked.send_modify(|asked| asked.push(Asked { at, path, refused }));
    if refused {
        let body = r#"{"code":0,"msg":"Service unavailable from a restricted location"}"#;
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 451 X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _client_may_be_gone = client.write_all(answer.as_bytes()).await;
        return;
    }
    let mut server = TcpStream::connect(exchange).await.unwrap();
    server.write_all(&head).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = refuses.changed() => {}
    }
}
