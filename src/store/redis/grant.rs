//! Who holds the lease: an engine's name and its term. A term is given once, to one engine, and only grows; a write
//! that carries an older one than the lease is refused by Redis itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::memory::random_name;

/// Name of an engine, unique to one run of the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EngineId(Arc<str>);

/// Text that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no engine's name: 1 to 64 ASCII letters, digits, '-', '_' and '.'")]
pub struct BadEngineId(String);

impl EngineId {
    /// The only way in. A name holds no blank: the lease is `<name> <term>`.
    ///
    /// # Errors
    /// `BadEngineId` for an empty or long text, and one with other characters.
    pub fn parse(text: &str) -> Result<Self, BadEngineId> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(BadEngineId(text.chars().take(64).collect()))
        }
    }

    /// A name nobody else has.
    pub fn random() -> Self {
        Self(random_name().into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a time in office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(u64);

impl Term {
    /// The term `n`.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to write: what the lease says, and every write carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who.
    pub engine: EngineId,
    /// Since which take.
    pub term: Term,
}

impl Grant {
    /// What the lease says. None for a text no engine wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (engine, term) = text.split_once(' ')?;
        Some(Self {
            engine: EngineId::parse(engine).ok()?,
            term: Term::new(term.parse().ok()?),
        })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.engine, self.term)
    }
}

/// The highest term this engine has seen, wherever it saw it; clones share it. It keeps terms growing when Redis has
/// lost its counter and the log.
#[derive(Debug, Clone, Default)]
pub struct HighestTerm(Arc<AtomicU64>);

impl HighestTerm {
    /// `term` was seen.
    pub fn saw(&self, term: Term) {
        self.0.fetch_max(term.get(), Ordering::AcqRel);
    }

    /// The highest so far.
    pub fn get(&self) -> Term {
        Term::new(self.0.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_lease_says_is_read_back() {
        let grant = Grant {
            engine: EngineId::parse("host-7.a_1").unwrap(),
            term: Term::new(12),
        };
        assert_eq!(Grant::parse(&grant.to_string()), Some(grant));
        for text in ["", "a", "a b", "a 1 2", " 1", "a -1"] {
            assert_eq!(Grant::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_highest_term_never_falls() {
        let highest = HighestTerm::default();
        let shared = highest.clone();
        shared.saw(Term::new(5));
        highest.saw(Term::new(3));
        assert_eq!((highest.get(), shared.get()), (Term::new(5), Term::new(5)));
    }
}
