//! What a Redis must be like before a node keeps anything in it.

use redis::Value;
use thiserror::Error;

use super::{Client, Purpose, answer, topology::SettingsError};
use crate::store::StoreError;

/// The oldest version whose commands suffice.
const OLDEST: (u64, u64) = (6, 2);

/// Why a Redis can't be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A setting, or a file that one names.
    #[error("store.redis: {0}")]
    Settings(#[from] SettingsError),
    /// It does not answer, or refuses the user.
    #[error("{}", .0.reason())]
    Store(#[from] StoreError),
    /// It would throw records away when its memory is full.
    #[error(
        "a Redis server has maxmemory-policy {policy}: it would evict devices' records when its memory is full; \
         set it to noeviction"
    )]
    Evicts {
        /// What it would evict.
        policy: String,
    },
    /// It lacks commands.
    #[error("a Redis server has version {version}; 6.2 is needed")]
    TooOld {
        /// What it says of itself.
        version: String,
    },
}

/// Asks every master what it is like, and for the time, Unix milliseconds.
pub(super) async fn check(client: &Client) -> Result<u64, OpenError> {
    let answers = client.run(Purpose::Requests, |link| async move {
        let mut info = redis::Cmd::new();
        info.arg("INFO");
        link.send_to_all(info).await
    });
    for answer in answers.await? {
        let text = match answer {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::VerbatimString { text, .. } => text,
            _ => continue,
        };
        judge(&text)?;
    }
    let time = client.run(Purpose::Requests, |link| async move {
        let mut time = redis::Cmd::new();
        time.arg("TIME");
        answer::list(link.send(time).await?)
    });
    let parts = time.await?;
    let number = |at: usize| {
        let text = parts.get(at).and_then(|part| std::str::from_utf8(part).ok());
        text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(number(0) * 1_000 + number(1) / 1_000)
}

/// Judges what one server says. A field that a managed Redis leaves out is taken to be as it should.
fn judge(info: &str) -> Result<(), OpenError> {
    let field = |name: &str| {
        info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
    };
    if let Some(version) = field("redis_version") {
        let mut parts = version.split('.').map(str::parse::<u64>);
        if let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next())
            && (major, minor) < OLDEST
        {
            return Err(OpenError::TooOld { version });
        }
    }
    if let Some(policy) = field("maxmemory_policy").filter(|policy| policy != "noeviction") {
        return Err(OpenError::Evicts { policy });
    }
    let is = |name: &str, value: &str| field(name).is_some_and(|it| it == value);
    if is("aof_enabled", "0") && is("connected_slaves", "0") {
        tracing::warn!(
            "a Redis server keeps no append-only file and has no replica: what it was given since its last snapshot is \
             lost with it (appendonly yes, or a replica)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_may_evict_or_is_too_old_is_refused() {
        let info = |version: &str, policy: &str| {
            format!("# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert!(judge(&info("7.0.15", "noeviction")).is_ok());
        assert!(judge("# nothing known\r\n").is_ok());
        let error = judge(&info("7.0.15", "volatile-lru")).unwrap_err();
        assert!(matches!(&error, OpenError::Evicts { policy } if policy == "volatile-lru"), "{error}");
        assert!(matches!(judge(&info("6.0.16", "noeviction")), Err(OpenError::TooOld { .. })));
        assert!(judge(&info("6.2.0", "noeviction")).is_ok());
    }
}
