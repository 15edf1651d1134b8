//! Random worlds, with everything going wrong for a while: what must hold at each moment, and that it ends well.

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::tidb::named;
use super::world::{World, spec};
use crate::api::v1alpha1::MasterKey;
use crate::plan::observed::{MasterKeyClass, MasterKeyProof, PdState};
use crate::plan::plan;
use crate::tikv::pd::Task;
use crate::tikv::pd::types::StoreState;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A reconcile.
    Look,
    /// A reconcile that dies before its action of this number.
    Cut(usize),
    /// Time passes.
    Wait(i64),
    /// The KMS goes, or comes back.
    Kms(bool),
    /// PD goes, or comes back.
    Pd(bool),
    /// A store is lost, or found.
    Store(usize, bool),
    /// Somebody else takes PD's lock, or gives it back.
    Lock(bool),
    /// The rollout is paused, or goes on.
    Pause(bool),
    /// A rotation of data keys is asked for.
    RotateData(u8),
    /// A renewal of certificates is asked for.
    RotateLeaves(u8),
    /// A rotation of the CA is asked for, or taken back.
    RotateCa(Option<u8>),
    /// The same for a CA that is compromised.
    Emergency(u8),
    /// The kubelet brings no files to a pod, or does again.
    Stuck(usize, bool),
    /// Another master key is asked for.
    Key(u8),
    /// A new key of the KMS's making is asked for.
    RotateEnvelope(u8),
    /// A master key fails, or works again.
    Lost(u8, bool),
    /// A pod dies; Kubernetes makes it anew of the template that is there then.
    Dies(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Look),
        4 => (0..4_usize).prop_map(Event::Cut),
        2 => (1..2000_i64).prop_map(Event::Wait),
        1 => any::<bool>().prop_map(Event::Kms),
        1 => any::<bool>().prop_map(Event::Pd),
        1 => (0..3_usize, any::<bool>()).prop_map(|(n, lost)| Event::Store(n, lost)),
        1 => any::<bool>().prop_map(Event::Lock),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => any::<u8>().prop_map(Event::RotateData),
        1 => any::<u8>().prop_map(Event::RotateLeaves),
        3 => proptest::option::of(0..3_u8).prop_map(Event::RotateCa),
        1 => (0..2_u8).prop_map(Event::Emergency),
        1 => (0..3_usize, any::<bool>()).prop_map(|(n, stuck)| Event::Stuck(n, stuck)),
        2 => (0..3_u8).prop_map(Event::Key),
        1 => any::<u8>().prop_map(Event::RotateEnvelope),
        1 => (0..3_u8, any::<bool>()).prop_map(|(n, lost)| Event::Lost(n, lost)),
        1 => (0..3_usize).prop_map(Event::Dies),
    ]
}

fn asked() -> impl Strategy<Value = Value> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 0..4_u8).prop_map(|(always, fast, sql, parts)| {
        let mut spec = if sql { named(spec()) } else { spec() };
        spec["tls"]["ca"] = json!({"overlap": if fast { "0s" } else { "5m" }});
        if always {
            spec["encryption"]["reencryption"] = json!({"policy": "Always"});
        }
        if fast {
            spec["rollout"]["settle"] = json!("0s");
        }
        match parts {
            0 => drop(spec.as_object_mut().map(|spec| spec.remove("tls"))),
            1 => drop(spec.as_object_mut().map(|spec| spec.remove("encryption"))),
            _ => {}
        }
        spec
    })
}

/// One of three master keys; the first is that of the specification.
fn key(n: u8) -> MasterKey {
    let name = if n == 0 {
        "alias/k".to_owned()
    } else {
        format!("alias/k{n}")
    };
    serde_json::from_value(json!({"awsKms": {
        "keyId": name, "region": "eu-1", "credentialsSecret": {"name": "aws"},
    }}))
    .unwrap()
}

struct Trial {
    world: World,
    /// PD's facts while it is away.
    away: Option<PdState>,
}

impl Trial {
    fn happen(&mut self, event: &Event) {
        let Self { world, away } = self;
        match event {
            Event::Look => self.look(None),
            Event::Cut(n) => self.look(Some(*n)),
            Event::Wait(seconds) => {
                world.now += SignedDuration::from_secs(*seconds);
                if away.is_none() {
                    world.kubernetes();
                }
            }
            Event::Kms(there) => {
                world.seen.master_key = if *there {
                    MasterKeyProof::Usable
                } else {
                    MasterKeyProof::Refused {
                        class: MasterKeyClass::Unavailable,
                        message: "gone".into(),
                        remedy: "wait".into(),
                    }
                };
            }
            Event::Pd(true) => self.pd_back(),
            Event::Pd(false) => {
                let gone = PdState::Unreachable("gone".into());
                if away.is_none() {
                    *away = Some(std::mem::replace(&mut world.seen.pd_state, gone));
                }
            }
            Event::Store(n, lost) if away.is_none() => {
                if let Some(store) = world.pd().stores.get_mut(*n) {
                    store.state = if *lost {
                        StoreState::Disconnected
                    } else {
                        StoreState::Up
                    };
                }
            }
            Event::Lock(true) if away.is_none() && world.pd().maintenance.is_none() => {
                world.pd().maintenance = Some(Task {
                    kind: "tikv".into(),
                    id: "another".into(),
                    description: String::new(),
                });
            }
            Event::Lock(false) if away.is_none() => {
                let theirs = |task: &Task| task.id == "another";
                if world.pd().maintenance.as_ref().is_some_and(theirs) {
                    world.pd().maintenance = None;
                }
            }
            Event::Lock(_) | Event::Store(..) => {}
            Event::Pause(paused) => world.seen.resource.spec.rollout.paused = *paused,
            Event::RotateData(word) => {
                world.seen.resource.spec.rotate.data_key = Some(format!("w{word}"));
            }
            Event::RotateCa(word) => {
                world.seen.resource.spec.rotate.ca = word.map(|word| format!("w{word}"));
            }
            Event::Emergency(word) => {
                world.seen.resource.spec.rotate.ca_emergency = Some(format!("w{word}"));
                world.emergency = true;
            }
            Event::Stuck(n, stuck) => {
                let pod = format!("tikv-{n}");
                world.stuck.remove(&pod);
                if *stuck {
                    world.stuck.insert(pod);
                }
            }
            Event::Key(n) => {
                if let Some(encryption) = &mut world.seen.resource.spec.encryption {
                    encryption.master_key = key(*n);
                }
            }
            Event::RotateEnvelope(word) => {
                world.seen.resource.spec.rotate.master_key = Some(format!("w{word}"));
            }
            Event::Lost(n, true) => drop(world.lost.insert(key(*n).to_string())),
            Event::Lost(n, false) => {
                world.lost.remove(&key(*n).to_string());
                world.seen.master_key = MasterKeyProof::Usable;
            }
            Event::Dies(n) if away.is_none() => {
                let name = format!("tikv-{n}");
                let pods = &mut world.seen.tikv.pods;
                pods.retain(|pod| pod.metadata.name.as_deref() != Some(&name));
                world.kubernetes();
            }
            Event::Dies(_) => {}
            Event::RotateLeaves(word) => {
                world.seen.resource.spec.rotate.certificates = Some(format!("w{word}"));
            }
        }
    }

    fn look(&mut self, cut: Option<usize>) {
        let seen = &self.world.seen;
        let twice = [(); 2].map(|()| format!("{:?}", plan(seen, self.world.now)));
        assert_eq!(twice[0], twice[1], "the same look, another plan");
        self.world.reconcile(cut);
        assert!(
            self.world.most_away <= 1,
            "two stores at once: {:?}",
            self.world.log
        );
    }

    fn pd_back(&mut self) {
        if let Some(state) = self.away.take() {
            self.world.seen.pd_state = state;
            self.world.kubernetes();
        }
    }

    /// Everything is well again, and stays.
    fn end(mut self) {
        self.pd_back();
        self.world.lost.clear();
        self.world.stuck.clear();
        for event in [Event::Kms(true), Event::Lock(false), Event::Pause(false)] {
            self.happen(&event);
        }
        for n in 0..3 {
            self.happen(&Event::Store(n, false));
        }
        // A rotation of the CA that waits for clients is Ready meanwhile.
        self.world.settle();
        self.world.now += SignedDuration::from_hours(1);
        for _ in 0..3 {
            let under_way = |world: &World| world.seen.secrets.contains_key("db-ca-next");
            for _ in 0..1000 {
                if under_way(&self.world) {
                    self.world.reconcile(None);
                }
            }
            assert!(
                !under_way(&self.world),
                "the rotation of the CA does not end"
            );
            self.world.settle();
        }
        let world = &mut self.world;
        if let Some(encryption) = &world.seen.resource.spec.encryption {
            let ring = world.seen.ring().unwrap();
            assert!(ring.in_force.key == encryption.master_key && ring.previous.is_none());
            let wanted = &encryption.master_key.aws_kms.as_ref().unwrap().key_id;
            let right = world.sealed.values().all(|(name, _)| name.key == *wanted);
            assert!(right, "{:?}", world.sealed);
        }
        assert!(world.most_away <= 1, "two stores at once: {:?}", world.log);
        assert!(world.pd().evicting.is_empty());
        assert_eq!(world.pd().maintenance, None);
        assert_eq!(world.pd().max_store_down_time.as_deref(), Some("30m0s"));
        for _ in 0..5 {
            let plan = world.reconcile(None);
            assert!(plan.actions.is_empty(), "{:?}", plan.actions);
            assert!(plan.events.is_empty(), "{:?}", plan.events);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_one_store_at_a_time_and_it_ends_well(
        spec in asked(),
        events in vec(event(), 0..60),
    ) {
        let mut trial = Trial { world: World::new(spec, true), away: None };
        for event in &events {
            trial.happen(event);
        }
        trial.end();
    }
}
