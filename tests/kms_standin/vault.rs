//! A real Vault, with what it can not be made to do played on the wire to it: throttling with a time to wait, another
//! server's answers, halves of answers, silence.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tikv_security::kms::Kms;
use tikv_security::kms::vault::{Auth, Settings, VaultTransit};

use super::tape::Tape;
use super::{Asked, Said, Standin, Weather, html, serve};

#[allow(dead_code)]
#[path = "../openbao/mod.rs"]
mod openbao;

use openbao::{AUDIENCE, NOTHING, OpenBao, settings};

pub struct Vault {
    url: String,
    tape: Tape,
    weather: Arc<Mutex<Weather>>,
    server: Arc<OpenBao>,
}

impl Vault {
    /// `None` without OpenBao, unless it is required.
    pub async fn start() -> Option<Self> {
        let server = Arc::new(OpenBao::start()?);
        let weather = Arc::new(Mutex::new(Weather::Fair));
        let tape = Tape::default();
        let (looks, says, works) = (weather.clone(), weather.clone(), server.clone());
        let looks = move || *looks.lock().unwrap();
        let url = serve(tape.clone(), looks, move |asked| {
            let weather = *says.lock().unwrap();
            answer(&works, weather, &asked)
        })
        .await;
        Some(Self {
            url,
            tape,
            weather,
            server,
        })
    }

    /// A key for a pod whose clock is right or not.
    pub fn key(&self, key: &str) -> VaultTransit {
        let hour = 3600;
        let from = match *self.weather.lock().unwrap() {
            Weather::ClockSkew => hour,
            _ => 0,
        };
        let jwt = self.server.jwt("tikv:default", AUDIENCE, from);
        let auth: Auth = OpenBao::by_jwt("wide", &jwt);
        VaultTransit::new(Settings {
            address: self.url.clone(),
            ..settings(key, auth)
        })
    }
}

impl Standin for Vault {
    fn kms(&self, key: &str) -> Box<dyn Kms> {
        Box::new(self.key(key))
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }

    /// What the server can do it does itself.
    fn set(&self, weather: Weather) {
        let before = std::mem::replace(&mut *self.weather.lock().unwrap(), weather);
        let server = &self.server;
        let soft_delete = "transit/keys/one/soft-delete";
        match before {
            Weather::Down => server.unseal(),
            Weather::Disabled => {
                server.root("POST", &format!("{soft_delete}-restore"), &json!({}));
            }
            Weather::Forbidden | Weather::Expired => server.allow_all(),
            _ => {}
        }
        match weather {
            Weather::Down => server.seal(),
            Weather::Disabled => {
                server.root("DELETE", soft_delete, &json!({}));
            }
            Weather::Forbidden => server.policy("wide", NOTHING),
            Weather::Expired => {
                server.root("DELETE", "auth/jwt/role/wide", &json!({}));
                server.revoke_all();
            }
            _ => {}
        }
    }

    fn rotate(&self, key: &str) {
        let path = format!("transit/keys/{key}/rotate");
        self.server.root("POST", &path, &json!({}));
    }

    fn deletes_later(&self) -> bool {
        false
    }
}

fn answer(server: &OpenBao, weather: Weather, asked: &Asked) -> Said {
    assert_eq!(asked.header("x-vault-request"), "true");
    match weather {
        Weather::Throttled => {
            let words = "request path \"transit\": rate limit quota exceeded";
            let mut said = Said::json(429, &json!({"errors": [words]}));
            said.after = Some(2);
            return said;
        }
        Weather::Proxy => return html(502),
        Weather::Nonsense => return Said::json(200, &json!({"hello": "world"})),
        _ => {}
    }
    let headers = ["authorization", "x-vault-request", "x-vault-namespace"];
    let headers = headers.map(|name| (name, asked.header(name)));
    let headers: Vec<_> = headers
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let (status, body) = server.exchange(&asked.method, &asked.path, &headers, &asked.body);
    Said {
        status,
        body,
        after: None,
    }
}
