//! Faults of the simulated exchange: what goes wrong, for whom, when. A timeline file, `POST /sim/fault` and tests
//! share one shape: a flat JSON object whose `kind` is `group.name`, the parameters of that kind and the scope.
//! What is not understood is refused as a whole, with what is allowed. `schedule.rs` decides what strikes; the places
//! where faults do their harm ask it. The groups stand in files of their own.

pub(super) mod door;
mod market;
mod rest;
mod schedule;
mod scope;
mod stream;
mod subscription;
mod transport;
mod tunnel;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use market::{BrokenRow, CandleFault, ClockFault, ExtremeDigits, Margin, UniverseFault};
pub use rest::{Phase, RestFault, Wrapping};
pub use schedule::{FaultReport, FaultState, FaultsReport};
pub(super) use schedule::{Faults, Opened, Place, Strike};
pub use scope::{Connections, Scope};
pub use stream::{RightClose, StreamFault};
pub use subscription::SubscriptionFault;
pub use transport::{Refusing, TransportFault};
pub use tunnel::TunnelFault;

use super::settings::SimulatorError;

/// Faults of one list: more are a mistake.
const MOST_FAULTS: usize = 10_000;

/// One fault: what, and for whom and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For whom and when.
    pub scope: Scope,
}

/// What goes wrong, by where it does.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// Connections: refused, cut, silent, slow.
    Transport(TransportFault),
    /// Answers to `SUBSCRIBE`, and what comes of them.
    Subscription(SubscriptionFault),
    /// Candle events; the truth stays as it is.
    Stream(StreamFault),
    /// REST answers.
    Rest(RestFault),
    /// The candles themselves, and with them the truth.
    Candle(CandleFault),
    /// What is listed.
    Universe(UniverseFault),
    /// What the exchange tells of its time.
    Clock(ClockFault),
    /// The exchange's own proxies.
    Proxy(TunnelFault),
}

/// Why a fault is refused.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The text is no JSON, or neither an object nor an array of objects.
    #[error("a fault is a JSON object, a timeline an array of them: {0}")]
    NotFaults(String),
    /// No such group of kinds, or no kind at all.
    #[error("`kind` is {0}: allowed are the groups {groups}, as in \"transport.reset\"", groups = GROUPS.join(", "))]
    UnknownGroup(String),
    /// The kind or one of its parameters is wrong.
    #[error("{kind}: {reason} (beside the parameters of its kind a fault has: {})", Scope::FIELDS.join(", "))]
    Parameters {
        /// The kind as given.
        kind: String,
        /// What is wrong, with what is allowed.
        reason: String,
    },
    /// The exchange is not so that this can happen to it.
    #[error("{kind}: {reason}")]
    Impossible {
        /// The kind.
        kind: String,
        /// Why not.
        reason: String,
    },
    /// One of several faults is wrong.
    #[error("fault {number} of {of}: {source}")]
    InList {
        /// Its position, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What is wrong with it.
        #[source]
        source: Box<FaultError>,
    },
}

/// Names of the groups, as `kind` begins.
const GROUPS: [&str; 8] = [
    "transport",
    "subscription",
    "stream",
    "rest",
    "candle",
    "universe",
    "clock",
    "proxy",
];

impl FaultKind {
    /// Reads `group.name` and the parameters.
    fn read(kind: &str, parameters: Map<String, Value>) -> Result<Self, FaultError> {
        let (group, name) = kind.split_once('.').unwrap_or((kind, ""));
        Ok(match group {
            "transport" => Self::Transport(member(kind, name, parameters)?),
            "subscription" => Self::Subscription(member(kind, name, parameters)?),
            "stream" => Self::Stream(member(kind, name, parameters)?),
            "rest" => Self::Rest(member(kind, name, parameters)?),
            "candle" => Self::Candle(member(kind, name, parameters)?),
            "universe" => Self::Universe(member(kind, name, parameters)?),
            "clock" => Self::Clock(member(kind, name, parameters)?),
            "proxy" => Self::Proxy(member(kind, name, parameters)?),
            _ => return Err(FaultError::UnknownGroup(format!("\"{kind}\""))),
        })
    }

    /// A fault of transport.
    pub(super) fn transport(&self) -> Option<&TransportFault> {
        if let Self::Transport(fault) = self {
            Some(fault)
        } else {
            None
        }
    }

    /// A fault of subscriptions.
    pub(super) fn subscription(&self) -> Option<&SubscriptionFault> {
        if let Self::Subscription(fault) = self {
            Some(fault)
        } else {
            None
        }
    }

    /// A fault of candle events.
    pub(super) fn stream(&self) -> Option<&StreamFault> {
        if let Self::Stream(fault) = self {
            Some(fault)
        } else {
            None
        }
    }

    /// A fault of REST.
    pub(super) fn rest(&self) -> Option<&RestFault> {
        if let Self::Rest(fault) = self {
            Some(fault)
        } else {
            None
        }
    }

    /// A fault of the proxies.
    pub(super) fn tunnel(&self) -> Option<&TunnelFault> {
        if let Self::Proxy(fault) = self {
            Some(fault)
        } else {
            None
        }
    }

    /// Its group and, tagged with its name, its parameters.
    fn write(&self) -> (&'static str, serde_json::Result<Value>) {
        match self {
            Self::Transport(fault) => (GROUPS[0], serde_json::to_value(fault)),
            Self::Subscription(fault) => (GROUPS[1], serde_json::to_value(fault)),
            Self::Stream(fault) => (GROUPS[2], serde_json::to_value(fault)),
            Self::Rest(fault) => (GROUPS[3], serde_json::to_value(fault)),
            Self::Candle(fault) => (GROUPS[4], serde_json::to_value(fault)),
            Self::Universe(fault) => (GROUPS[5], serde_json::to_value(fault)),
            Self::Clock(fault) => (GROUPS[6], serde_json::to_value(fault)),
            Self::Proxy(fault) => (GROUPS[7], serde_json::to_value(fault)),
        }
    }

    /// A parameter out of its range, or a scope that means nothing for it.
    fn check(&self, scope: &Scope) -> Result<(), String> {
        match self {
            Self::Transport(fault) => fault.check(),
            Self::Subscription(fault) => fault.check(),
            Self::Stream(fault) => fault.check(),
            Self::Rest(fault) => fault.check(),
            Self::Candle(fault) => fault.check(scope),
            Self::Universe(fault) => fault.check(scope),
            Self::Clock(fault) => fault.check(scope),
            Self::Proxy(fault) => fault.check(),
        }
    }

    /// Of `path`, `connection`, `symbol`, `interval` those that mean something where it strikes.
    fn scope_fields(&self) -> &'static [&'static str] {
        match self {
            Self::Transport(fault) => fault.scope_fields(),
            Self::Subscription(_) | Self::Stream(_) => &scope::ALL,
            Self::Rest(_) => &["path", "symbol", "interval"],
            Self::Candle(_) | Self::Universe(_) => &["symbol", "interval"],
            Self::Clock(_) => &["path"],
            Self::Proxy(_) => &[],
        }
    }
}

/// One kind of a group: the group's enum is tagged with `kind`, here by the name without the group.
fn member<T: DeserializeOwned>(
    kind: &str,
    name: &str,
    mut parameters: Map<String, Value>,
) -> Result<T, FaultError> {
    parameters.insert("kind".to_owned(), Value::from(name));
    serde_json::from_value(Value::Object(parameters)).map_err(|error| FaultError::Parameters {
        kind: kind.to_owned(),
        reason: error.to_string(),
    })
}

impl Fault {
    /// A fault for everybody, from now on.
    pub fn of(kind: impl Into<FaultKind>) -> Self {
        Self {
            kind: kind.into(),
            scope: Scope::default(),
        }
    }

    /// The same for `scope`.
    #[must_use]
    pub fn on(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Reads one fault or an array of them.
    ///
    /// # Errors
    /// What is wrong with the first that is, and what is allowed.
    pub fn parse_all(json: &str) -> Result<Vec<Self>, FaultError> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| FaultError::NotFaults(error.to_string()))?;
        let Value::Array(items) = value else {
            return Ok(vec![Self::read(value)?]);
        };
        let of = items.len();
        if of > MOST_FAULTS {
            let reason = format!("{of} faults, at most {MOST_FAULTS} allowed");
            return Err(FaultError::NotFaults(reason));
        }
        let read = |(at, item)| {
            Self::read(item).map_err(|source| FaultError::InList {
                number: at + 1,
                of,
                source: Box::new(source),
            })
        };
        items.into_iter().enumerate().map(read).collect()
    }

    /// Reads a timeline file.
    ///
    /// # Errors
    /// A file that cannot be read, or as `parse_all`.
    pub fn read_timeline(path: &Path) -> Result<Vec<Self>, SimulatorError> {
        let text = std::fs::read_to_string(path).map_err(|source| SimulatorError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse_all(&text).map_err(|error| SimulatorError::BadFile {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    fn read(value: Value) -> Result<Self, FaultError> {
        let Value::Object(mut parameters) = value else {
            return Err(FaultError::NotFaults(format!("this is neither: {value}")));
        };
        let kind = match parameters.remove("kind") {
            Some(Value::String(kind)) => kind,
            Some(other) => return Err(FaultError::UnknownGroup(other.to_string())),
            None => return Err(FaultError::UnknownGroup("missing".to_owned())),
        };
        let mut scope = Map::new();
        for field in Scope::FIELDS {
            if let Some(value) = parameters.remove(field) {
                scope.insert(field.to_owned(), value);
            }
        }
        let wrong = |reason: String| FaultError::Parameters {
            kind: kind.clone(),
            reason,
        };
        let scope: Scope = serde_json::from_value(Value::Object(scope))
            .map_err(|error| wrong(error.to_string()))?;
        let fault = Self {
            kind: FaultKind::read(&kind, parameters)?,
            scope,
        };
        fault.check()?;
        Ok(fault)
    }

    /// What is out of its range, or has no meaning for its kind.
    pub(super) fn check(&self) -> Result<(), FaultError> {
        let fields = self.kind.scope_fields();
        let checked = self
            .kind
            .check(&self.scope)
            .and_then(|()| self.scope.check())
            .and_then(
                |()| match self.scope.place_fields().find(|f| !fields.contains(f)) {
                    Some(field) if fields.is_empty() => Err(format!(
                        "`{field}` means nothing here: it strikes before anything is asked"
                    )),
                    Some(field) => Err(format!(
                        "`{field}` means nothing here: its scope is {}",
                        fields.join(", ")
                    )),
                    None => Ok(()),
                },
            );
        checked.map_err(|reason| FaultError::Parameters {
            kind: self.name(),
            reason,
        })
    }

    /// `group.name`.
    pub fn name(&self) -> String {
        let (group, member) = self.kind.write();
        let name = member
            .ok()
            .and_then(|value| Some(value.get("kind")?.as_str()?.to_owned()));
        format!("{group}.{}", name.unwrap_or_default())
    }

    /// The flat object it is read from.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let (_, member) = self.kind.write();
        for part in [member, serde_json::to_value(&self.scope)] {
            if let Ok(Value::Object(fields)) = part {
                all.extend(fields);
            }
        }
        all.insert("kind".to_owned(), Value::from(self.name()));
        all
    }
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
