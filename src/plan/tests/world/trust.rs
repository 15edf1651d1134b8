//! Who trusts whom: what each process has read of its files, and that everybody can still connect (facts, TLS §2, §9.3).

use super::*;
use crate::api::v1alpha1::KeyAlgorithm;
use crate::plan::revocation::record::Record;
use crate::plan::revocation::{Trial, Tried, to_try};

/// What a process has of its certificates.
#[derive(Clone)]
pub struct Process {
    pub pod: String,
    pub part: Part,
    /// In its files now.
    pub leaf: CertificateInfo,
    pub trusts: Vec<CertificateInfo>,
    /// In its files when it started: all that PD ever trusts.
    pub trusts_at_start: Vec<CertificateInfo>,
    /// Signers of the certificates that it had since it started: a channel that was opened then still shows them.
    pub shown: BTreeSet<String>,
}

/// A way from a store to another one: while it is broken it is tried with what was read when it broke.
#[derive(Clone)]
pub struct Channel {
    leaf: CertificateInfo,
    trusts: Vec<CertificateInfo>,
    broken: bool,
}

fn accepts(trusts: &[CertificateInfo], leaf: &CertificateInfo) -> bool {
    trusts.iter().any(|ca| ca.subject == leaf.issuer)
}

impl Process {
    fn server_trusts(&self) -> &[CertificateInfo] {
        match self.part {
            Part::Pd | Part::Tidb | Part::TidbServer => &self.trusts_at_start,
            _ => &self.trusts,
        }
    }

    fn connects(&self, other: &Self) {
        let mutual = accepts(self.server_trusts(), &other.leaf)
            && accepts(other.server_trusts(), &self.leaf);
        assert!(
            mutual,
            "{} {:?} (certificate of {}) can not connect to {} {:?} (certificate of {})",
            self.pod, self.part, self.leaf.issuer, other.pod, other.part, other.leaf.issuer
        );
    }
}

impl World {
    /// As the API server, and as the operator marks what it makes.
    pub(super) fn store(
        &mut self,
        metadata: &ObjectMeta,
        content: SecretContent,
    ) -> Option<SecretFacts> {
        self.serial += 1;
        let mut metadata = metadata.clone();
        let name = metadata.name.clone().unwrap();
        let before = self.seen.secrets.get(&name);
        let uid = before.and_then(|before| before.metadata.uid.clone());
        metadata.uid = uid.or_else(|| Some(format!("s{}", self.serial)));
        metadata.resource_version = Some(self.serial.to_string());
        let made = match &content {
            SecretContent::Authority(ca) => Some(&ca.anchor),
            SecretContent::Leaf { certificate, .. } => Some(certificate),
            _ => None,
        };
        if let Some(made) = made {
            let notes = metadata.annotations.get_or_insert_default();
            notes.insert(ANNOTATION_APPLIED.to_owned(), made.serial.clone());
        }
        let facts = SecretFacts { metadata, content };
        self.seen.secrets.insert(name, facts)
    }

    pub fn certificate(
        &mut self,
        common_name: &str,
        issuer: &str,
        duration: SignedDuration,
    ) -> CertificateInfo {
        self.serial += 1;
        CertificateInfo {
            serial: format!("{:x}", self.serial),
            not_before: self.now,
            not_after: self.now + duration,
            common_name: Some(common_name.into()),
            issuer: issuer.into(),
            subject: common_name.into(),
            dns: [].into(),
            ips: [].into(),
            is_ca: common_name == issuer,
            server_auth: true,
            client_auth: true,
            public_key: self.serial.to_be_bytes().to_vec(),
            key_algorithm: Some(KeyAlgorithm::EcdsaP256),
        }
    }

    fn set_of(&self, part: Part) -> Option<(CertificateInfo, Vec<CertificateInfo>)> {
        match &self.seen.secrets.get(&part.secret("db"))?.content {
            SecretContent::Leaf {
                certificate,
                trusts,
                ..
            } => Some((certificate.clone(), trusts.clone())),
            _ => None,
        }
    }

    /// As kubelet: the files follow the Secrets, but for the pods of which it is said that they do not.
    pub(super) fn kubelet(&mut self) {
        let mut present = BTreeMap::new();
        let seen = &self.seen;
        let pods = seen.tikv.pods.iter().chain(&seen.pd.pods);
        for pod in pods.chain(&seen.tidb.pods) {
            let (name, uid) = (pod.metadata.name.clone(), pod.metadata.uid.clone());
            let (name, uid) = (name.unwrap(), uid.unwrap());
            let spec = pod.spec.as_ref().unwrap();
            let tls = spec.volumes.iter().flatten();
            let tls = tls.into_iter().any(|volume| volume.name == VOLUME_TLS);
            let own = match name.split('-').next() {
                Some("pd") => Part::Pd,
                Some("tidb") => Part::Tidb,
                _ => Part::Tikv,
            };
            let sql = tls && own == Part::Tidb;
            let agent = spec.init_containers.is_some();
            for (part, there) in [(own, tls), (Part::Agent, agent), (Part::TidbServer, sql)] {
                let Some((leaf, trusts)) = self.set_of(part).filter(|_| there) else {
                    continue;
                };
                let key = (uid.clone(), part);
                let mut process = match self.processes.remove(&key) {
                    Some(known) => known,
                    None => Process {
                        pod: name.clone(),
                        part,
                        leaf: leaf.clone(),
                        trusts: trusts.clone(),
                        trusts_at_start: trusts.clone(),
                        shown: BTreeSet::new(),
                    },
                };
                // What comes beside the same certificate is not read before the next one (facts, TLS §2.1).
                let another = process.leaf.serial != leaf.serial;
                // The MySQL port has what it had when it started (facts, TLS §2).
                let once = part == Part::TidbServer && !self.reloads;
                let reads = !once && !self.stuck.contains(&name);
                if another && reads {
                    (process.leaf, process.trusts) = (leaf, trusts);
                }
                process.shown.insert(process.leaf.issuer.clone());
                present.insert(key, process);
            }
        }
        self.processes = present;
        self.everybody_connects();
        self.nobody_is_stranded();
    }

    fn everybody_connects(&self) {
        let all: Vec<&Process> = self.processes.values().collect();
        let operator = self.set_of(Part::Client);
        for one in &all {
            for other in &all {
                let alone = [Part::Agent, Part::TidbServer];
                if !alone.contains(&one.part) && !alone.contains(&other.part) {
                    one.connects(other);
                }
            }
            if let Some((leaf, trusts)) = &operator {
                assert!(
                    accepts(one.server_trusts(), leaf) && accepts(trusts, &one.leaf),
                    "the operator can not connect to {} {:?}",
                    one.pod,
                    one.part
                );
            }
        }
        if self.emergency {
            return;
        }
        let stores = all.iter().filter(|one| one.part == Part::Tikv);
        let callers = all.iter().filter(|one| one.part == Part::Tidb);
        for one in stores.clone().chain(callers) {
            for other in stores
                .clone()
                .chain(all.iter().filter(|one| one.part == Part::Pd))
            {
                let known =
                    |signer: &String| other.server_trusts().iter().any(|ca| ca.subject == *signer);
                assert!(
                    one.shown.iter().all(known),
                    "a channel of {} may still show a certificate of {:?} to {}",
                    one.pod,
                    one.shown,
                    other.pod
                );
            }
        }
    }

    fn is_up(&self, pod: &str) -> bool {
        let PdState::Reachable(facts) = &self.seen.pd_state else {
            return true;
        };
        let there = self.seen.tikv.pods.iter();
        let mut there = there.filter(|one| one.metadata.name.as_deref() == Some(pod));
        let up = |store: &Store| {
            store.address.starts_with(&format!("{pod}.")) && store.state == StoreState::Up
        };
        there.next().is_some() && facts.stores.iter().any(up)
    }

    fn nobody_is_stranded(&mut self) {
        let stores: Vec<(String, Process)> = self
            .processes
            .iter()
            .filter(|((_, part), _)| *part == Part::Tikv)
            .map(|((uid, _), one)| (uid.clone(), one.clone()))
            .collect();
        let uids: Vec<String> = stores.iter().map(|(uid, _)| uid.clone()).collect();
        self.channels.retain(|(uid, _), _| uids.contains(uid));
        let up: Vec<String> = (0..3)
            .map(|n| format!("tikv-{n}"))
            .filter(|pod| self.is_up(pod))
            .collect();
        for (uid, one) in stores.iter().filter(|(_, one)| up.contains(&one.pod)) {
            for peer in (0..3)
                .map(|n| format!("tikv-{n}"))
                .filter(|peer| *peer != one.pod)
            {
                let fresh = Channel {
                    leaf: one.leaf.clone(),
                    trusts: one.trusts.clone(),
                    broken: false,
                };
                let up = up.contains(&peer);
                let other = stores.iter().find(|(_, other)| other.pod == peer);
                let channel = self
                    .channels
                    .entry((uid.clone(), peer.clone()))
                    .or_insert_with(|| fresh.clone());
                match (channel.broken, up, other) {
                    (true, true, Some((_, other))) => {
                        assert!(
                            accepts(&channel.trusts, &other.leaf)
                                && accepts(&other.trusts, &channel.leaf),
                            "{} can not reach {peer}, which was away while trust changed",
                            one.pod
                        );
                        *channel = fresh;
                    }
                    (false, false, _) => {
                        *channel = Channel {
                            broken: true,
                            ..fresh
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// The record and the lists, over what was looked at.
    pub(super) fn publish_crl(&mut self, action: &Action) {
        let Action::PublishCrl {
            version,
            authorities,
            record,
            ..
        } = action
        else {
            panic!("{action:?}");
        };
        if let Stored::Ours {
            version: there,
            record: before,
        } = &self.seen.revoked
        {
            assert_eq!(version.as_ref(), Some(there));
            assert!(before.number < record.number, "its number grows");
        }
        for anchor in authorities {
            assert!(self.seen.secrets.contains_key(&anchor.secret), "{anchor:?}");
        }
        self.keep_record((**record).clone());
    }

    /// The record as it is stored now.
    pub fn keep_record(&mut self, record: Record) {
        self.serial += 1;
        self.seen.revoked = Stored::Ours {
            version: self.serial.to_string(),
            record,
        };
    }

    /// Shows every port what the CA before signed.
    pub(super) fn try_former_ca(&mut self) {
        let Some(former) = &self.former else {
            self.seen.trials.clear();
            return;
        };
        let port = |part: Part| part.ports().first().copied().unwrap_or(20160);
        let tried = self.processes.values();
        let tried = tried.filter(|one| one.part != Part::TidbServer);
        let trials = tried.map(|one| Trial {
            of: Tried::FormerCa,
            pod: one.pod.clone(),
            port: port(one.part),
            refused: Ok(!one.server_trusts().iter().any(|ca| ca.serial == *former)),
        });
        self.seen.trials = trials.collect();
    }

    /// Asks every store something with each name that was taken off the list: by the configuration that its pod has.
    pub(super) fn try_names(&mut self) {
        for name in to_try(&self.seen, self.now) {
            for pod in &self.seen.tikv.pods {
                let volumes = pod.spec.as_ref().unwrap().volumes.as_ref().unwrap();
                let config = volumes.iter().find(|one| one.name == "config").unwrap();
                let map = &config.config_map.as_ref().unwrap().name;
                let text = &self.seen.tikv.config_maps[map].data.as_ref().unwrap()["tikv.toml"];
                self.seen.trials.push(Trial {
                    of: Tried::Name(name.clone()),
                    pod: pod.metadata.name.clone().unwrap(),
                    port: 20160,
                    refused: Ok(!text.contains(&format!("\"{name}\""))),
                });
            }
        }
    }

    /// What the ports serve. A store that is away serves nothing.
    pub(super) fn served(&self) -> Vec<Served> {
        let trusts = self.set_of(Part::Client).map(|(_, trusts)| trusts);
        let all = self.processes.values().map(|one| {
            let leaf = ServedLeaf {
                serial: one.leaf.serial.clone(),
                not_after: one.leaf.not_after,
                trusted: trusts.as_ref().is_none_or(|all| accepts(all, &one.leaf)),
            };
            let store = one.pod.starts_with("tikv");
            let away = store && !self.is_up(&one.pod);
            Served {
                pod: one.pod.clone(),
                port: one.part.ports()[0],
                result: if away {
                    Err("connection refused".into())
                } else {
                    Ok(leaf)
                },
            }
        });
        all.collect()
    }
}
