//! Tokens by OAuth 2.0: asked for with a form, kept while they are good.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::Class;
use super::rest::{Answer, Failure, Request, excerpt, form, secret, send};

/// A token is not used in its last minutes: the request takes time, and clocks differ.
const MARGIN: Duration = Duration::from_mins(2);
const FORM: &str = "application/x-www-form-urlencoded";

/// A token and how long it is good.
pub(super) type Token = (Zeroizing<String>, Duration);

/// Tokens in use, by what they are for.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (Zeroizing<String>, Instant)>>);

impl Tokens {
    /// The token in use, or a new one.
    pub(super) async fn get(
        &self,
        scope: &str,
        new: impl Future<Output = Result<Token, Failure>>,
    ) -> Result<Zeroizing<String>, Failure> {
        let known = self.0.lock().ok();
        let known = known.and_then(|known| known.get(scope).cloned());
        if let Some((text, until)) = known
            && until > Instant::now() + MARGIN
        {
            return Ok(text);
        }
        let (text, lasts) = new.await?;
        if let Ok(mut known) = self.0.lock() {
            known.insert(scope.to_owned(), (text.clone(), Instant::now() + lasts));
        }
        Ok(text)
    }

    /// Whether one is known, good or not.
    pub(super) fn holds(&self, scope: &str) -> bool {
        self.0.lock().is_ok_and(|known| known.contains_key(scope))
    }

    /// The service does not take them any more.
    pub(super) fn forget(&self) {
        if let Ok(mut known) = self.0.lock() {
            known.clear();
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

/// Sends the form and reads the token.
pub(super) async fn exchange(url: &str, pairs: &[(&str, &str)]) -> Result<Token, Failure> {
    let body = form(pairs);
    granted(url, &send(Request::post(url, FORM, &body)).await?)
}

/// The token that `who` gave, or why it gave none.
pub(super) fn granted(who: &str, answer: &Answer) -> Result<Token, Failure> {
    if answer.status != 200 {
        return Err(refused(who, answer));
    }
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| no_token(who))?;
    Ok((
        granted.access_token,
        Duration::from_secs(granted.expires_in),
    ))
}

pub(super) fn no_token(who: &str) -> Failure {
    let message = format!("{who} answered without a token");
    Failure::new(Class::Malformed, message)
}

/// Seconds since 1970, for claims.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| passed.as_secs())
}

#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "secret")]
    access_token: Zeroizing<String>,
    #[serde(default = "hour")]
    expires_in: u64,
}

const fn hour() -> u64 {
    3600
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

fn refused(who: &str, answer: &Answer) -> Failure {
    let class = match answer.status {
        408 | 429 | 500.. => Class::Unavailable,
        // An identity that is not known, or whose clock is wrong.
        400 | 401 | 403 | 404 => Class::Denied,
        _ => Class::Malformed,
    };
    let said = serde_json::from_slice::<Refusal>(&answer.body);
    let words = said.map_or_else(
        |_| format!("HTTP status {}", answer.status),
        |said| excerpt(&format!("{} {}", said.error, said.error_description)),
    );
    Failure {
        class,
        message: format!("{who} gave no token: {words}"),
        after: answer.after,
    }
}
