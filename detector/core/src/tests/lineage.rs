//! A halt reaches everybody below it, whoever of a run speaks first and however little they say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use martingale_schemas::lineage::{Lineage, Lineages, News};
use martingale_schemas::{Decision, Limits, Step, Timestamp, wire::StepV1};
use proptest::prelude::*;

use crate::testing::{BEGIN, control};
use crate::{Detector, Observed, Rules};

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
        root: Claim,
        tells_parent: bool,
        offends: bool,
        /// The door takes more in before it is judged, as of one request.
        waits: bool,
    },
    /// It asks again about its last step.
    Again(usize),
    Halt(usize),
    Resume(usize),
    /// Of a run that may be none, which somebody takes for one.
    HaltRun(usize),
    ResumeRun(usize),
}

/// What it tells of its root.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Nothing,
    Truth,
    Any(usize),
}

/// A door over one log, and a detector for each partition: of one run, so that nothing is known by chance, or of several, so that
/// one session stands in more than one.
struct World {
    partitions: usize,
    /// Of each session the one that started it, which comes before it; its own number is a root.
    parents: [usize; SESSIONS],
    told: BTreeMap<String, Lineage>,
    detectors: BTreeMap<usize, Detector>,
    orders: Vec<Act>,
    /// Who has spoken, and told its parent where it has one.
    begun: BTreeSet<usize>,
    halted: BTreeSet<usize>,
    halted_runs: BTreeSet<usize>,
    /// Roots that were told and not refused.
    claims: BTreeSet<(usize, usize)>,
    last: BTreeMap<usize, String>,
    /// Taken in and not judged yet.
    waiting: Vec<Taken>,
    /// Something was made certain by a halt, which may turn out to be no truth where the root of a run was not known.
    is_held: bool,
    /// Who was stopped since anything was resumed.
    stopped: BTreeSet<usize>,
    now: i64,
    rules: Arc<Rules>,
}

#[derive(Clone, Copy, Debug)]
enum Halted {
    Session(usize),
    Run(usize),
}

/// A step on the log, with how things stood when it was taken in.
struct Taken {
    session: usize,
    logged: Vec<u8>,
    offends: bool,
    halts: Vec<Halted>,
    was_stopped: bool,
}

fn name(session: usize) -> String {
    format!("s{session}")
}

impl World {
    fn root_of(&self, session: usize) -> usize {
        let parent = self.parents[session];
        if parent == session { session } else { self.root_of(parent) }
    }

    /// The halts of it and of those above it; `known`: as far up as all have said whose they are.
    fn halts(&self, session: usize, known: bool) -> Vec<Halted> {
        let parent = self.parents[session];
        let has_said = !known || self.begun.contains(&session);
        // Known for a run is only that which has no parent, and who is in it where nobody has told another root.
        let is_run = || parent == session && self.claims.iter().all(|(it, root)| self.root_of(*it) == *root);
        let of_run = (!known || is_run()).then_some(Halted::Run(session));
        let mut halts: Vec<Halted> = of_run.into_iter().chain([Halted::Session(session)]).collect();
        halts.retain(|it| self.stands(*it));
        if parent != session && has_said {
            halts.extend(self.halts(parent, known));
        }
        halts
    }

    fn stands(&self, halt: Halted) -> bool {
        match halt {
            Halted::Session(it) => self.halted.contains(&it),
            Halted::Run(it) => self.halted_runs.contains(&it),
        }
    }

    fn is_under_a_halt(&self, session: usize, known: bool) -> bool {
        !self.halts(session, known).is_empty()
    }

    /// Whether it is said of somebody whom it calls its root, or of one above.
    fn is_said_to_be_under_a_halt(&self, session: usize, seen: &mut BTreeSet<usize>) -> bool {
        if !seen.insert(session) {
            return false;
        }
        let claimed: Vec<usize> = self.claims.iter().filter(|it| it.0 == session).map(|it| it.1).collect();
        self.is_under_a_halt(session, false)
            || claimed.into_iter().chain([self.parents[session]]).any(|it| self.is_said_to_be_under_a_halt(it, seen))
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Halt(session) => drop(self.halted.insert(session)),
            Act::HaltRun(root) => drop(self.halted_runs.insert(root)),
            Act::Resume(session) => drop(self.halted.remove(&session)),
            Act::ResumeRun(root) => drop(self.halted_runs.remove(&root)),
            Act::Speak { session, root, tells_parent, offends, waits } => {
                self.speak(session, root, tells_parent, offends);
                if !waits {
                    self.judge();
                }
                return;
            }
            Act::Again(session) => return self.again(session),
        }
        if matches!(act, Act::Resume(_) | Act::ResumeRun(_)) {
            self.stopped.clear();
        }
        // Orders of people reach every detector, also of those that begin later.
        self.orders.push(act);
        let known: BTreeMap<usize, bool> = self.detectors.iter_mut().map(|(at, it)| (*at, apply(it, act))).collect();
        let (Act::HaltRun(root) | Act::ResumeRun(root)) = act else { return };
        // As the shell of the partition of that root does.
        let known = known.get(&(root % self.partitions)).copied().unwrap_or_default();
        let (root, lineage) = (name(root), Lineage::of_root(&name(root).into()));
        let told = self.told.get(&root);
        if matches!(act, Act::HaltRun(_)) && lineage.tightens(told) {
            self.is_held = true;
            self.told.insert(root, Lineage { unheard_since: (!known).then_some(self.now), ..lineage });
        } else if matches!(act, Act::ResumeRun(_))
            && !known
            && told.is_some_and(|it| it.unheard_since.is_some() && it.basis.is_settled())
        {
            self.told.remove(&root);
        }
    }

    fn speak(&mut self, session: usize, claim: Claim, tells_parent: bool, offends: bool) {
        self.now += 1_000_000;
        let parent = self.parents[session];
        let mut fields =
            format!(r#""session_id":"s{session}","step_id":"{}","kind":"plan","agent":{{"id":"a"}}"#, self.now);
        let is_first = !self.begun.contains(&session);
        if parent != session && (is_first || tells_parent) {
            fields += &format!(r#","parent_session_id":"s{parent}""#);
        }
        if offends {
            fields += r#","text":"no""#;
        }
        let root = match claim {
            Claim::Nothing => None,
            Claim::Truth => Some(self.root_of(session)),
            Claim::Any(root) => Some(root),
        };
        if let Some(root) = root {
            fields += &format!(r#","root_session_id":"s{root}""#);
        }
        let json = format!("{{{fields}}}");
        let settled = self.settle(&json);
        let told = root.map(|it| (session, it));
        let has_lied = self.claims.iter().copied().chain(told).any(|(it, root)| self.root_of(it) != root);
        // What the first step left away is told too late.
        let is_late = told.is_some_and(|it| !is_first && !self.claims.contains(&it));
        let is_honest = !has_lied && !is_late;
        assert!(settled.is_some() || !is_honest || self.is_held, "nobody lied, and it is refused: {json}");
        let Some((logged, news)) = settled else { return };
        for (session, news) in news.into_iter().map(News::into_record) {
            self.told.insert(session, Lineage::from_log(&news).unwrap());
        }
        self.begun.insert(session);
        self.claims.extend(told);
        self.last.insert(session, json);
        let halts = self.halts(session, true);
        let was_stopped = self.stopped.contains(&session);
        self.waiting.push(Taken { session, logged, offends, halts, was_stopped });
    }

    /// Judges what was taken in.
    fn judge(&mut self) {
        for Taken { session, logged, offends, halts, was_stopped } in std::mem::take(&mut self.waiting) {
            let step_is = || String::from_utf8_lossy(&logged);
            let step = Step::from_log(&logged).unwrap();
            let Observed::Judged(judged) = self.detector(&step).observe(&step) else {
                panic!("a duplicate: {}", step_is())
            };
            if offends {
                self.halted.insert(session);
            }
            let is_halted = judged.decision == Decision::Halt;
            let is_under_a_halt = halts.into_iter().any(|it| self.stands(it));
            assert!(is_halted || !(is_under_a_halt || offends), "goes on: {}", step_is());
            let is_said_to_be = self.is_said_to_be_under_a_halt(session, &mut BTreeSet::new());
            assert!(!is_halted || is_said_to_be, "is stopped: {}", step_is());
            let is_stopped = was_stopped && self.stopped.contains(&session);
            assert!(is_halted || !is_stopped, "goes on and nothing was resumed: {}", step_is());
            if is_halted {
                self.stopped.insert(session);
            }
            // As the shell does.
            for (session, lineage) in judged.hold.into_iter().flat_map(|it| Lineage::held(&step, it)) {
                self.is_held = true;
                if lineage.tightens(self.told.get(session.as_str())) {
                    self.told.insert(session.to_string(), lineage);
                }
            }
        }
    }

    /// What the door puts on the log, and what it remembers that is new; nothing where it refuses.
    fn settle(&self, json: &str) -> Option<(Vec<u8>, Vec<News>)> {
        let sent = StepV1::parse(json.as_bytes()).unwrap();
        let said = sent.said();
        let mut step = sent.check(Timestamp::from_micros(self.now), &Limits::DEFAULT).unwrap();
        let mut known = Lineages::default();
        while let Some(id) = known.absent(&step, said).map(str::to_owned) {
            let told = self.told.get(&id).cloned();
            known.load(id, told);
        }
        let news = known.settle(&mut step, said).ok()?;
        Some((step.to_json(), news))
    }

    fn detector(&mut self, step: &Step<'_>) -> &mut Detector {
        let root: usize = step.root_session_id.as_str()[1..].parse().unwrap();
        self.detectors.entry(root % self.partitions).or_insert_with(|| {
            let mut it = Detector::new(Arc::clone(&self.rules));
            for order in &self.orders {
                apply(&mut it, *order);
            }
            it
        })
    }

    fn again(&mut self, session: usize) {
        // Answered by what is judged by then.
        self.judge();
        let Some((logged, _)) = self.last.get(&session).and_then(|json| self.settle(json)) else { return };
        let step = Step::from_log(&logged).unwrap();
        let detector = self.detector(&step);
        detector.place(&step);
        let is_halted = detector.standing(&step).is_some();
        let step_is = || String::from_utf8_lossy(&logged).into_owned();
        assert!(is_halted || !self.is_under_a_halt(session, true), "is told that it may go on: {}", step_is());
    }
}

/// Whether it was for something that is known there.
fn apply(detector: &mut Detector, act: Act) -> bool {
    let (action, scope, session) = match act {
        Act::Halt(session) => ("halt", "session", session),
        Act::Resume(session) => ("resume", "session", session),
        Act::HaltRun(root) => ("halt", "run", root),
        Act::ResumeRun(root) => ("resume", "run", root),
        Act::Speak { .. } | Act::Again(_) => return false,
    };
    detector.apply(&control(action, scope, &name(session))).known
}

fn act() -> impl Strategy<Value = Act> {
    let claim = prop_oneof![
        6 => Just(Claim::Nothing),
        3 => Just(Claim::Truth),
        1 => (0..SESSIONS).prop_map(Claim::Any),
    ];
    let [offends, waits] = [0.1, 0.25].map(prop::bool::weighted);
    let speak = (0..SESSIONS, claim, any::<bool>(), offends, waits).prop_map(
        |(session, root, tells_parent, offends, waits)| Act::Speak { session, root, tells_parent, offends, waits },
    );
    let order = |order: fn(usize) -> Act| (0..SESSIONS).prop_map(order);
    prop_oneof![
        16 => speak,
        2 => order(Act::Again),
        3 => order(Act::Halt),
        2 => order(Act::Resume),
        1 => order(Act::HaltRun),
        1 => order(Act::ResumeRun),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_halt_reaches_everybody_below_it(
        above in prop::array::uniform7(any::<prop::sample::Index>()),
        partitions in prop_oneof![Just(1), Just(2), Just(SESSIONS)],
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut parents = [0; SESSIONS];
        for (session, above) in above.iter().enumerate().skip(1) {
            // Its own number now and then.
            parents[session] = above.index(session + 1);
        }
        let world = World {
            partitions,
            parents,
            claims: BTreeSet::new(),
            last: BTreeMap::new(),
            waiting: Vec::new(),
            is_held: false,
            told: BTreeMap::new(),
            detectors: BTreeMap::new(),
            orders: Vec::new(),
            begun: BTreeSet::new(),
            halted: BTreeSet::new(),
            halted_runs: BTreeSet::new(),
            stopped: BTreeSet::new(),
            now: BEGIN,
            rules: RULES.with(Arc::clone),
        };
        acts.into_iter().fold(world, |mut world, act| {
            world.act(act);
            world
        });
    }
}
