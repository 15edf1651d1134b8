//! DNS-01 by dynamic updates (RFC 2136), signed with TSIG (RFC 8945), over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hickory_net::NetError;
use hickory_net::client::{Client, ClientHandle as _};
use hickory_net::proto::op::ResponseCode;
use hickory_net::proto::rr::rdata::TXT;
use hickory_net::proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_net::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType, TSigner};
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::xfer::DnsMultiplexer;
use instant_acme::ChallengeType;

use super::solver::{Proof, Solver};
use crate::crypto::secret::SecretBytes;
use crate::issuer::{IssuerClass, IssuerError};

/// One connection, one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks may differ by so much (RFC 8945 §10).
const FUDGE: u16 = 300;
/// Nobody keeps what is there for a moment.
const TTL: u32 = 0;

const WAY: &str = "Check that the name server runs, and the way from the operator to it by TCP: network policy (networkPolicy.extraEgress), DNS. It is tried again by itself.";
const KEY: &str = "Check name, algorithm and content of the TSIG key, that the server lets this key update TXT records of the zone, and both clocks.";
const ZONE: &str = "Let the server be the primary one of a zone that has the name, or correct tls.issuer.acme.solver.dns01.rfc2136.server.";

/// A name server and our key there.
pub struct Rfc2136Settings {
    /// `host:port`.
    pub server: String,
    /// Name of the key.
    pub key_name: String,
    /// Algorithm of the key.
    pub algorithm: TsigAlgorithm,
    /// The key.
    pub key: SecretBytes,
}

/// Writes TXT records.
pub struct Rfc2136 {
    issuer: String,
    server: String,
    signer: TSigner,
}

/// What happens to a record.
#[derive(Clone, Copy)]
enum Change {
    Append,
    Delete,
}

impl Rfc2136 {
    /// Nothing is asked yet. `issuer` is for people.
    ///
    /// # Errors
    /// The name of the key is no name.
    pub fn new(issuer: impl Into<String>, settings: &Rfc2136Settings) -> Result<Self, IssuerError> {
        let issuer = issuer.into();
        let malformed = |message: String| IssuerError {
            issuer: issuer.clone(),
            class: IssuerClass::Malformed,
            message,
            remedy: KEY,
        };
        let name = Name::from_ascii(&settings.key_name)
            .map_err(|error| malformed(format!("{}: {error}", settings.key_name)))?;
        let key = settings.key.expose().to_vec();
        let signer = TSigner::new(key, settings.algorithm.clone(), name, FUDGE)
            .map_err(|error| malformed(format!("TSIG key: {error}")))?;
        Ok(Self {
            server: settings.server.clone(),
            issuer,
            signer,
        })
    }

    fn error(&self, class: IssuerClass, message: &str, remedy: &'static str) -> IssuerError {
        IssuerError {
            issuer: self.issuer.clone(),
            class,
            message: format!("name server {}: {message}", self.server),
            remedy,
        }
    }

    fn silent(&self, error: &dyn std::fmt::Display) -> IssuerError {
        self.error(IssuerClass::Unavailable, &error.to_string(), WAY)
    }

    async fn connect(&self) -> Result<Client<TokioRuntimeProvider>, IssuerError> {
        let mut addresses = tokio::net::lookup_host(&self.server)
            .await
            .map_err(|error| self.silent(&error))?;
        let address: SocketAddr = addresses
            .next()
            .ok_or_else(|| self.silent(&"it has no address"))?;
        let provider = TokioRuntimeProvider::default();
        let (stream, sender) = TcpClientStream::new(address, None, Some(PATIENCE), provider);
        let stream = stream.await.map_err(|error| self.silent(&error))?;
        let multiplexer = DnsMultiplexer::new(stream, sender)
            .with_timeout(PATIENCE)
            .with_signer(self.signer.clone());
        let (client, background) = Client::from_sender(multiplexer);
        // It ends with the client.
        tokio::spawn(background);
        Ok(client)
    }

    /// The zone that has the name: the server tells by its SOA record.
    async fn zone(
        &self,
        client: &mut Client<TokioRuntimeProvider>,
        name: &Name,
    ) -> Result<Name, IssuerError> {
        let asked = client.query(name.clone(), DNSClass::IN, RecordType::SOA);
        let answer = asked.await.map_err(|error| self.silent(&error))?;
        let records = answer.answers.iter().chain(&answer.authorities);
        let mut zones = records.filter(|record| record.record_type() == RecordType::SOA);
        let zone = zones.next().map(|record| record.name.clone());
        zone.filter(|zone| zone.zone_of(name)).ok_or_else(|| {
            let code = answer.response_code;
            self.error(
                IssuerClass::Refused,
                &format!("it has no zone for {name} ({code})"),
                ZONE,
            )
        })
    }

    async fn change(&self, proofs: &[Proof], change: Change) -> Result<(), IssuerError> {
        let mut client = self.connect().await?;
        for proof in proofs {
            let name = format!("_acme-challenge.{}.", proof.name);
            let name = Name::from_ascii(&name)
                .map_err(|error| self.error(IssuerClass::Refused, &error.to_string(), ZONE))?;
            let zone = self.zone(&mut client, &name).await?;
            let data = RData::TXT(TXT::new(vec![proof.record.clone()]));
            let record = RecordSet::from(Record::from_rdata(name.clone(), TTL, data));
            let answer = match change {
                Change::Append => client.append(record, zone, false).await,
                Change::Delete => client.delete_by_rdata(record, zone).await,
            };
            let answer = answer.map_err(|error| match error {
                // Who does not know the key can not sign the answer.
                NetError::Proto(_) => self.error(
                    IssuerClass::Denied,
                    &format!("{name}: its answer is not signed with our key"),
                    KEY,
                ),
                error => self.silent(&error),
            })?;
            match answer.response_code {
                ResponseCode::NoError => {}
                ResponseCode::ServFail => return Err(self.silent(&answer.response_code)),
                code @ (ResponseCode::NotZone | ResponseCode::NXDomain) => {
                    return Err(self.error(IssuerClass::Refused, &format!("{name}: {code}"), ZONE));
                }
                // REFUSED, NOTAUTH, BADSIG, BADKEY, BADTIME.
                code => {
                    return Err(self.error(IssuerClass::Denied, &format!("{name}: {code}"), KEY));
                }
            }
        }
        Ok(())
    }
}

impl Solver for Rfc2136 {
    fn kind(&self) -> ChallengeType {
        ChallengeType::Dns01
    }

    fn show<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>> {
        self.change(proofs, Change::Append).boxed()
    }

    fn take_back<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>> {
        self.change(proofs, Change::Delete).boxed()
    }
}
