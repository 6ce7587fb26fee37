//! A halt reaches everybody below it, whoever of a run speaks first and however little they say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use martingale_schemas::lineage::{Lineage, Lineages};
use martingale_schemas::{Decision, Limits, Step, Timestamp, wire::StepV1};
use proptest::prelude::*;

use crate::testing::{BEGIN, control};
use crate::{Detector, HALTED_BY_CONTROL, Observed, Rules};

const SESSIONS: usize = 7;

thread_local! {
    static RULES: Arc<Rules> = {
        let rule = "id: p\ntitle: T\nseverity: low\nmode: enforce\nwhen: step.text == \"no\"\nthen: { decision: halt }\n";
        Arc::new(Rules::load(&[("p.yaml", rule)]).unwrap())
    };
}

/// What one of them does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// It sends a step, which tells its parent if it is the first. A rule may halt it for that.
    Speak {
        session: usize,
        tells_root: bool,
        tells_parent: bool,
        offends: bool,
    },
    Halt(usize),
    Resume(usize),
}

/// A door over one log, and a detector for each partition: here one for each run, so that nothing is known by chance.
struct World {
    /// Of each session the one that started it, which comes before it; its own number is a root.
    parents: [usize; SESSIONS],
    told: BTreeMap<String, Lineage>,
    detectors: BTreeMap<String, Detector>,
    orders: Vec<Act>,
    /// Who has spoken, and told its parent where it has one.
    begun: BTreeSet<usize>,
    halted: BTreeSet<usize>,
    now: i64,
    rules: Arc<Rules>,
}

fn name(session: usize) -> String {
    format!("s{session}")
}

impl World {
    fn root_of(&self, session: usize) -> usize {
        let parent = self.parents[session];
        if parent == session { session } else { self.root_of(parent) }
    }

    /// Whether it or somebody above it is halted; `known`: as far up as all have said whose they are.
    fn is_under_a_halt(&self, session: usize, known: bool) -> bool {
        let parent = self.parents[session];
        let has_said = !known || self.begun.contains(&session);
        self.halted.contains(&session) || (parent != session && has_said && self.is_under_a_halt(parent, known))
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Halt(session) => self.order(act, |it| it.insert(session)),
            Act::Resume(session) => self.order(act, |it| it.remove(&session)),
            Act::Speak { session, tells_root, tells_parent, offends } => {
                self.speak(session, tells_root, tells_parent, offends);
            }
        }
    }

    /// Orders of people reach every detector, also of those that begin later.
    fn order(&mut self, act: Act, change: impl FnOnce(&mut BTreeSet<usize>) -> bool) {
        if change(&mut self.halted) {
            self.orders.push(act);
            self.detectors.values_mut().for_each(|it| apply(it, act));
        }
    }

    fn speak(&mut self, session: usize, tells_root: bool, tells_parent: bool, offends: bool) {
        self.now += 1_000_000;
        let (parent, root) = (self.parents[session], self.root_of(session));
        let mut fields =
            format!(r#""session_id":"s{session}","step_id":"{}","kind":"plan","agent":{{"id":"a"}}"#, self.now);
        let is_first = !self.begun.contains(&session);
        if parent != session && (is_first || tells_parent) {
            fields += &format!(r#","parent_session_id":"s{parent}""#);
        }
        if offends {
            fields += r#","text":"no""#;
        }
        if tells_root {
            fields += &format!(r#","root_session_id":"s{root}""#);
        }
        let json = format!("{{{fields}}}");
        let sent = StepV1::parse(json.as_bytes()).unwrap();
        let said = sent.said();
        let mut step = sent.check(Timestamp::from_micros(self.now), &Limits::DEFAULT).unwrap();
        let mut known = Lineages::default();
        while let Some(id) = known.absent(&step, said).map(str::to_owned) {
            let told = self.told.get(&id).cloned();
            known.load(id, told);
        }
        // One that says its root before those above it have said theirs is refused now and then.
        let Ok(news) = known.settle(&mut step, said) else { return };
        if let Some(news) = news {
            self.told.insert(name(session), Lineage::from_log(&news.to_json()).unwrap());
        }
        self.begun.insert(session);

        let logged = step.to_json();
        let step = Step::from_log(&logged).unwrap();
        let detector = self.detectors.entry(step.root_session_id.to_string()).or_insert_with(|| {
            let mut it = Detector::new(Arc::clone(&self.rules));
            self.orders.iter().for_each(|order| apply(&mut it, *order));
            it
        });
        let Observed::Judged(judged) = detector.observe(&step) else { panic!("a duplicate: {json}") };
        let by_rule = judged.findings.iter().any(|it| it.effective() == Decision::Halt && it.rule != HALTED_BY_CONTROL);
        if offends {
            self.halted.insert(session);
        }
        let is_halted = judged.decision == Decision::Halt;
        let step_is = || format!("{json} as {}", String::from_utf8_lossy(&logged));
        assert!(is_halted || !self.is_under_a_halt(session, true), "goes on: {}", step_is());
        assert!(!is_halted || self.is_under_a_halt(session, false), "is stopped: {}", step_is());
        // As the shell does.
        let root = step.root_session_id.to_string();
        if by_rule {
            self.keep(&name(session), Lineage::of(&step));
            self.keep(&root, Lineage::of_root(&step.root_session_id));
        } else if is_halted {
            self.keep(&name(session), Lineage::with_parent(&step));
        }
    }

    fn keep(&mut self, session: &str, lineage: Lineage) {
        if lineage.tightens(self.told.get(session)) {
            self.told.insert(session.to_owned(), lineage);
        }
    }
}

fn apply(detector: &mut Detector, act: Act) {
    let (action, session) = match act {
        Act::Halt(session) => ("halt", session),
        Act::Resume(session) => ("resume", session),
        Act::Speak { .. } => return,
    };
    detector.apply(&control(action, "session", &name(session)));
}

fn act() -> impl Strategy<Value = Act> {
    let speak = (0..SESSIONS, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    let speak = speak.prop_map(|(session, tells_root, tells_parent, offends)| Act::Speak {
        session,
        tells_root,
        tells_parent,
        offends,
    });
    prop_oneof![8 => speak, 2 => (0..SESSIONS).prop_map(Act::Halt), 1 => (0..SESSIONS).prop_map(Act::Resume)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_halt_reaches_everybody_below_it(
        above in prop::array::uniform7(any::<prop::sample::Index>()),
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut parents = [0; SESSIONS];
        for (session, above) in above.iter().enumerate().skip(1) {
            // Its own number now and then.
            parents[session] = above.index(session + 1);
        }
        let world = World {
            parents,
            told: BTreeMap::new(),
            detectors: BTreeMap::new(),
            orders: Vec::new(),
            begun: BTreeSet::new(),
            halted: BTreeSet::new(),
            now: BEGIN,
            rules: RULES.with(Arc::clone),
        };
        acts.into_iter().fold(world, |mut world, act| {
            world.act(act);
            world
        });
    }
}
