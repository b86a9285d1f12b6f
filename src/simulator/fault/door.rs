//! `/sim/fault`: `POST` tells one fault or an array of them, `GET` lists all with how often each struck, `DELETE` ends
//! them all. Each answers with what is then in force; a refusal has changed nothing.

use axum::body::Body;
use hyper::Method;
use hyper::body::Incoming;

use super::Fault;
use crate::simulator::World;
use crate::simulator::rest::Refusal;

/// Longest timeline over HTTP.
const MOST_BYTES: usize = 1 << 20;

/// The answer's body.
pub(in crate::simulator) async fn answer(
    method: &Method,
    body: Incoming,
    world: &World,
) -> Result<String, Refusal> {
    match *method {
        Method::GET => {}
        Method::POST => tell(body, world).await?,
        Method::DELETE => world.clear_faults(),
        _ => {
            return Err(Refusal {
                status: 405,
                code: -1000,
                message: format!("{method} means nothing here: allowed are GET, POST, DELETE"),
            });
        }
    }
    let report = world.faults_report();
    serde_json::to_string(&report).map_err(|error| Refusal {
        status: 500,
        code: -1001,
        message: error.to_string(),
    })
}

async fn tell(body: Incoming, world: &World) -> Result<(), Refusal> {
    let bad = |message: String| Refusal {
        status: 400,
        code: -1130,
        message,
    };
    let bytes = axum::body::to_bytes(Body::new(body), MOST_BYTES)
        .await
        .map_err(|error| {
            bad(format!(
                "the body cannot be read, 1 MiB is allowed: {error}"
            ))
        })?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| bad(format!("the body is no UTF-8: {error}")))?;
    let faults = Fault::parse_all(text).map_err(|error| bad(error.to_string()))?;
    let told = world.tell(faults);
    told.map_err(|error| bad(error.to_string()))
}
