//! Which run a session belongs to, and who started it: remembered from its first step on, so that a later one stays in its run,
//! under the halts and budgets of that, whatever it says or leaves away.
//!
//! Pure: who keeps what was told, and asks for it again, is the door that the step came through.

use std::collections::HashMap;
use std::iter::successors;

use serde::{Deserialize, Serialize};

use crate::rejection::shown;
use crate::{Reason, Rejection, SessionId, Step};

/// How many sessions above one are looked at, where not all is known of them.
pub(crate) const ABOVE_MAX: usize = 16;

/// What is remembered of a session: a record of [`crate::topics::LINEAGES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Lineage {
    pub root_session_id: SessionId<'static>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_session_id: Option<SessionId<'static>>,
    /// [`Step::ancestors`].
    #[serde(rename = "ancestor_session_ids", skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<SessionId<'static>>,
    #[serde(skip_serializing_if = "Basis::is_settled")]
    pub basis: Basis,
}

/// How certain it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Its first step said so, or said nothing, and its parent is settled in the same run: it stays.
    #[default]
    Settled,
    /// The root was told and stays. Whether it is one, or who is between it and the session, is not all known: that is looked at
    /// again with each step.
    Unchecked,
    /// The parent was told and no root, and the run of the parent is not known: the root is that of the parent, whatever that
    /// will be.
    Implied,
    /// No producer told it: it is what telemetry showed. It stands until something is told, or a parent is shown.
    Inferred,
}

/// What was ever written: releases before `basis` wrote `inferred`.
#[derive(Deserialize)]
struct Stored {
    root_session_id: SessionId<'static>,
    #[serde(default)]
    parent_session_id: Option<SessionId<'static>>,
    #[serde(default, rename = "ancestor_session_ids")]
    ancestors: Vec<SessionId<'static>>,
    #[serde(default)]
    basis: Basis,
    #[serde(default)]
    inferred: bool,
}

impl From<Stored> for Lineage {
    fn from(it: Stored) -> Self {
        let basis = if it.inferred { Basis::Inferred } else { it.basis };
        let Stored { root_session_id, parent_session_id, ancestors, .. } = it;
        Self { root_session_id, parent_session_id, ancestors, basis }
    }
}

/// What has to stay as it is where a halt stands against a step, so that the halt stays over whoever it reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The parent: the halt is the order of a person for a session, which every run knows, and goes where that goes.
    Parent,
    /// The run: the halt is that of a rule, or of a run, and known in this one alone.
    Run,
}

/// What a step says of its lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// What telemetry shows: the spans that happen to come in one request. It is a guess, and never contradicts.
    Shown,
    /// What a producer wrote.
    Told { root: bool, parent: bool },
}

impl Said {
    const fn tells(self) -> bool {
        matches!(self, Self::Told { root: true, .. } | Self::Told { parent: true, .. })
    }

    const fn root(self) -> bool {
        matches!(self, Self::Told { root: true, .. })
    }

    /// The session above: the parent, or the root where that alone is told.
    fn above<'s>(self, step: &'s Step<'_>) -> Option<&'s SessionId<'s>> {
        let root = || Some(&step.root_session_id).filter(|it| self.root() && it.as_str() != step.session_id.as_str());
        self.parent(step).or_else(root)
    }

    fn parent<'s>(self, step: &'s Step<'_>) -> Option<&'s SessionId<'s>> {
        step.parent_session_id.as_ref().filter(|_| !matches!(self, Self::Told { parent: false, .. }))
    }
}

impl Basis {
    const fn is_settled(&self) -> bool {
        matches!(self, Self::Settled)
    }
}

impl Lineage {
    /// What a record says; nothing when it was removed, or is of a form that is not known.
    #[must_use]
    pub fn from_log(record: &[u8]) -> Option<Self> {
        serde_json::from_slice(record).ok()
    }

    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Cannot fail: the writer is memory and every key is a string.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What is to be remembered, and of whom, where a halt stands against a step: as far as it [`Self::tightens`] what is.
    #[must_use]
    pub fn held(step: &Step<'_>, hold: Hold) -> Vec<(SessionId<'static>, Self)> {
        let own = Self::of(step);
        let (session, root) = (step.session_id.to_static(), own.root_session_id.clone());
        match hold {
            Hold::Parent if own.parent_session_id.is_some() => vec![(session, Self { basis: Basis::Implied, ..own })],
            // Not settled: where the root turns out to be none by then, what the session proposes is refused.
            Hold::Run if root != session => {
                vec![(session, Self { basis: Basis::Unchecked, ..own }), (root.clone(), Self::of_root(&root))]
            }
            Hold::Parent | Hold::Run => vec![(session, own)],
        }
    }

    /// The root of a run, settled.
    #[must_use]
    pub fn of_root(root: &SessionId<'_>) -> Self {
        Self {
            root_session_id: root.to_static(),
            parent_session_id: None,
            ancestors: Vec::new(),
            basis: Basis::Settled,
        }
    }

    /// What the step says, settled.
    #[must_use]
    pub fn of(step: &Step<'_>) -> Self {
        Self {
            root_session_id: step.root_session_id.to_static(),
            parent_session_id: step.parent_session_id.as_ref().map(SessionId::to_static),
            ancestors: step.ancestors.iter().map(SessionId::to_static).collect(),
            basis: Basis::Settled,
        }
    }

    /// Whether it leaves a session less freedom to tell another root than what was `told`. What holds a session in its run does
    /// so too where it has moved since the step that it was halted for: whoever sends both at once is refused then, in any run.
    #[must_use]
    pub fn tightens(&self, told: Option<&Self>) -> bool {
        told.is_none_or(|it| {
            let is_looser = it.basis == Basis::Inferred || (it.basis == Basis::Implied && self.basis != Basis::Implied);
            if it.root_session_id == self.root_session_id { is_looser } else { self.basis == Basis::Unchecked }
        })
    }

    /// Who is above it, where that is to be looked at again: its parent, else the root.
    fn asks(&self) -> Option<&SessionId<'static>> {
        match (self.basis, &self.parent_session_id) {
            (Basis::Settled, _) => None,
            (Basis::Unchecked, None) => Some(&self.root_session_id),
            (_, parent) => parent.as_ref(),
        }
    }

    /// The root, where it was told and it is to be looked at again whether it is one.
    fn asks_root(&self) -> Option<&SessionId<'static>> {
        (self.basis == Basis::Unchecked).then_some(&self.root_session_id)
    }

    /// Copies nothing where the step says the same, as nearly every step does.
    fn put_on(&self, step: &mut Step<'_>) {
        if step.root_session_id.as_str() != self.root_session_id.as_str() {
            step.root_session_id = self.root_session_id.clone();
        }
        let parent = self.parent_session_id.as_ref();
        if step.parent_session_id.as_ref().map(SessionId::as_str) != parent.map(SessionId::as_str) {
            step.parent_session_id.clone_from(&self.parent_session_id);
        }
        step.ancestors.clone_from(&self.ancestors);
    }
}

/// What is known of the sessions that steps lead to, for as long as nobody else may hear of one: a request, or a recording.
/// What is not loaded counts as never seen.
#[derive(Debug, Default)]
pub struct Lineages(HashMap<String, Option<Lineage>>);

/// What a session means for those that it started.
#[derive(Clone, Copy, Debug)]
struct Above<'k> {
    root: &'k SessionId<'static>,
    /// How certain it is of them, where they are told: [`Basis::Implied`] as long as the root may become another one.
    basis: Basis,
    /// Whether one further up is in another run than its parent, as it turned out: it is refused, and so is who is below it.
    is_torn: bool,
}

impl Lineages {
    /// The next session to [`Self::load`] before [`Self::settle`] knows all that it asks for.
    #[must_use]
    pub fn absent<'s>(&'s self, step: &'s Step<'_>, said: Said) -> Option<&'s str> {
        let own = self.of(step.session_id.as_str());
        let line = self.asked(step, said).into_iter().flat_map(|it| self.line(it));
        let above = line.flat_map(|it| std::iter::once(it).chain(self.root_asked(self.of(it))));
        let told =
            Some(step.root_session_id.as_str()).filter(|_| own.is_none_or(|it| !it.basis.is_settled()) && said.root());
        let ids = std::iter::once(step.session_id.as_str()).chain(told).chain(self.root_asked(own)).chain(above);
        ids.into_iter().find(|it| !self.0.contains_key(*it))
    }

    /// Takes in what is remembered of a session, if anything is.
    pub fn load(&mut self, session: String, remembered: Option<Lineage>) {
        self.0.insert(session, remembered);
    }

    /// Puts a step into its run, by what it says, what is known of its session, and of those above it. Answers what is to be
    /// remembered of its session from now on, if that is new.
    ///
    /// The first step decides: one that names neither root nor parent begins a run of its own. It fills in what a later step
    /// leaves away, and a step that tells another root or parent is refused: otherwise a session could leave a run that is
    /// halted. Whoever tells a parent alone is in the run of that, and whoever tells both must tell the root that the parent
    /// has; where the parent has not begun yet, that is looked at as soon as it has. What was inferred gives way to what is
    /// told.
    ///
    /// # Errors
    /// [`Reason::Contradiction`].
    pub fn settle(&mut self, step: &mut Step<'_>, said: Said) -> Result<Option<&Lineage>, Rejection> {
        let news = match self.of(step.session_id.as_str()) {
            None => Some(self.begin(None, step, said)?),
            Some(known) if known.basis == Basis::Inferred => match (said, &known.parent_session_id) {
                (Said::Shown, None) if step.parent_session_id.is_some() => Some(self.begin(None, step, said)?),
                _ if said.tells() => Some(self.begin(Some(known), step, said)?),
                _ => self.stay(known, step)?,
            },
            Some(known) => match said {
                Said::Told { root, parent } if said.tells() => self.agree(known, step, root, parent)?,
                _ => self.stay(known, step)?,
            },
        };
        let Some(mut news) = news else { return Ok(None) };
        if let (Said::Told { .. }, Some(above)) = (said, news.asks()) {
            let root = &news.root_session_id;
            let is_own = root.as_str() == step.session_id.as_str();
            if news.basis == Basis::Unchecked && (is_own || !self.is_root(root)) {
                return Err(no_root(step, root));
            }
            if self.line(above).any(|it| it == step.session_id.as_str()) {
                return Err(circle(step, above));
            }
            if self.above(above).is_some_and(|it| it.is_torn) {
                return Err(torn(step, above, root));
            }
        }
        news.ancestors = self.between(&news, &step.session_id);
        news.put_on(step);
        if self.of(step.session_id.as_str()) == Some(&news) {
            return Ok(None);
        }
        Ok(self.0.entry(step.session_id.as_str().to_owned()).insert_entry(Some(news)).into_mut().as_ref())
    }

    fn root_asked<'k>(&'k self, known: Option<&'k Lineage>) -> Option<&'k str> {
        known?.asks_root().map(SessionId::as_str)
    }

    /// Whether nobody has started a session, as far as is known and told.
    fn is_root(&self, session: &SessionId<'_>) -> bool {
        self.of(session.as_str()).is_none_or(|it| {
            it.basis == Basis::Inferred
                || (it.parent_session_id.is_none() && it.root_session_id.as_str() == session.as_str())
        })
    }

    fn of(&self, session: &str) -> Option<&Lineage> {
        self.0.get(session)?.as_ref()
    }

    /// The session above whose run is asked for.
    fn asked<'s>(&'s self, step: &'s Step<'_>, said: Said) -> Option<&'s SessionId<'s>> {
        match self.of(step.session_id.as_str()) {
            None => said.above(step),
            Some(known) if known.basis == Basis::Inferred || known.parent_session_id.is_none() => {
                said.above(step).or_else(|| known.asks())
            }
            Some(known) => known.asks(),
        }
    }

    /// A session, and those above it for as long as not all is known of one.
    fn line<'k>(&'k self, first: &'k SessionId<'k>) -> impl Iterator<Item = &'k str> {
        let above = |it: &&str| self.of(it)?.asks().map(SessionId::as_str);
        successors(Some(first.as_str()), above).take(ABOVE_MAX)
    }

    /// Those between the parent of a session and its root, the nearest first. The tree of the run may know less: of one whose own
    /// steps never said in this run whose it is, and of one for which there was no place.
    fn between(&self, of: &Lineage, session: &SessionId<'_>) -> Vec<SessionId<'static>> {
        let mut out: Vec<SessionId<'static>> = Vec::new();
        let Some(parent) = &of.parent_session_id else { return out };
        let line = || self.line(parent);
        let top = line().last().and_then(|it| self.of(it)).filter(|it| it.basis.is_settled());
        let known =
            top.into_iter().flat_map(|it| it.parent_session_id.iter().chain(&it.ancestors)).map(SessionId::as_str);
        for above in line().skip(1).chain(known).take(ABOVE_MAX - 1) {
            let ends = [session.as_str(), parent.as_str(), of.root_session_id.as_str()];
            if ends.contains(&above) || out.iter().any(|it| it.as_str() == above) {
                break;
            }
            out.push(SessionId::from(above.to_owned()));
        }
        out
    }

    /// Nothing where the session has not begun. Found from the top down.
    fn above(&self, session: &SessionId<'_>) -> Option<Above<'_>> {
        let line: Vec<&Lineage> = self.line(session).map_while(|it| self.of(it)).collect();
        line.into_iter().rev().fold(None, |above: Option<Above<'_>>, known| {
            let (root, is_torn) = (&known.root_session_id, above.is_some_and(|it| it.is_torn));
            let certain = above.filter(|it| it.basis != Basis::Implied);
            Some(match known.basis {
                Basis::Settled => Above { root, basis: Basis::Settled, is_torn },
                Basis::Unchecked => {
                    let is_torn = is_torn || certain.is_some_and(|it| it.root != root) || !self.is_root(root);
                    Above { root, basis: Basis::Unchecked, is_torn }
                }
                Basis::Implied if certain.is_some() => Above { basis: Basis::Unchecked, ..above? },
                Basis::Implied | Basis::Inferred => {
                    Above { root: above.map_or(root, |it| it.root), basis: Basis::Implied, is_torn }
                }
            })
        })
    }

    /// A step of a session of which nothing is known, or nothing but what telemetry showed.
    fn begin(&self, inferred: Option<&Lineage>, step: &Step<'_>, said: Said) -> Result<Lineage, Rejection> {
        let said_all = Lineage::of(step);
        let Some(next) = said.above(step) else {
            let is_root = step.root_session_id.as_str() == step.session_id.as_str();
            let parent_session_id = inferred.filter(|_| !is_root).and_then(|it| it.parent_session_id.clone());
            let basis = if said == Said::Shown { Basis::Inferred } else { Basis::Settled };
            return Ok(Lineage { parent_session_id, basis, ..said_all });
        };
        let above = self.above(next);
        if said.root() {
            let basis = in_run_of(above, step, next, &step.root_session_id)?;
            // What was shown of its parent is all that is known of that.
            let shown = inferred.and_then(|it| it.parent_session_id.clone());
            let parent_session_id =
                said_all.parent_session_id.clone().filter(|_| said.parent(step).is_some()).or(shown);
            return Ok(Lineage { parent_session_id, basis, ..said_all });
        }
        let shown = inferred.filter(|it| it.parent_session_id == said_all.parent_session_id);
        let root = above.map(|it| it.root).or_else(|| shown.map(|it| &it.root_session_id));
        let basis = match said {
            Said::Shown => Basis::Inferred,
            Said::Told { .. } => above.map_or(Basis::Implied, |it| it.basis),
        };
        Ok(Lineage { root_session_id: root.cloned().unwrap_or(said_all.root_session_id), basis, ..said_all })
    }

    /// A step that tells nothing, or shows a guess, of a session that is known.
    fn stay(&self, known: &Lineage, step: &mut Step<'_>) -> Result<Option<Lineage>, Rejection> {
        known.put_on(step);
        let Some(parent) = known.asks() else { return Ok(None) };
        let above = self.above(parent);
        Ok(Some(match (known.basis, above) {
            (Basis::Unchecked, above) => {
                Lineage { basis: in_run_of(above, step, parent, &known.root_session_id)?, ..known.clone() }
            }
            (_, None) => return Ok(None),
            (basis, Some(above)) => {
                let basis = if basis == Basis::Inferred { basis } else { above.basis };
                Lineage { root_session_id: above.root.clone(), basis, ..known.clone() }
            }
        }))
    }

    /// A step that tells something of what is known.
    fn agree(
        &self,
        known: &Lineage,
        step: &mut Step<'_>,
        root: bool,
        parent: bool,
    ) -> Result<Option<Lineage>, Rejection> {
        let told_parent = step.parent_session_id.as_ref().filter(|_| parent);
        let is_root = known.root_session_id.as_str() == step.session_id.as_str();
        match (told_parent, &known.parent_session_id) {
            (Some(now), Some(before)) if now.as_str() != before.as_str() => {
                return Err(differs(step, "parent_session_id", now, &format!("\"{}\"", shown(before.as_str()))));
            }
            (Some(now), None) if is_root => return Err(differs(step, "parent_session_id", now, "none")),
            _ => {}
        }
        let current = match known.basis {
            Basis::Implied => known.asks().and_then(|it| self.above(it)).map_or(&known.root_session_id, |it| it.root),
            _ => &known.root_session_id,
        };
        if root && step.root_session_id.as_str() != current.as_str() {
            let before = format!("\"{}\"", shown(current.as_str()));
            return Err(differs(step, "root_session_id", &step.root_session_id, &before));
        }
        let is_new = known.parent_session_id.is_none() || (root && known.basis == Basis::Implied);
        if let Some(parent) = told_parent.or(known.parent_session_id.as_ref()).filter(|_| is_new) {
            let basis = in_run_of(self.above(parent), step, parent, current)?;
            let parent_session_id = Some(parent.to_static());
            return Ok(Some(Lineage {
                root_session_id: current.clone(),
                parent_session_id,
                basis,
                ancestors: Vec::new(),
            }));
        }
        self.stay(known, step)
    }
}

/// Refuses a root that is not that of the parent, as far as that is known.
fn in_run_of(
    above: Option<Above<'_>>,
    step: &Step<'_>,
    parent: &SessionId<'_>,
    root: &SessionId<'_>,
) -> Result<Basis, Rejection> {
    match above.filter(|it| it.basis != Basis::Implied) {
        None => Ok(Basis::Unchecked),
        Some(above) if above.root.as_str() == root.as_str() => Ok(above.basis),
        Some(above) => {
            let (run, above) = (shown(root.as_str()), shown(above.root.as_str()));
            let message = format!(
                "session \"{}\" cannot be in run \"{run}\", since \"{}\", which is above it, is in run \"{above}\": send that root or \
                 the parent alone, or name a parent of run \"{run}\"",
                shown(step.session_id.as_str()),
                shown(parent.as_str()),
            );
            Err(Rejection::field(Reason::Contradiction, "root_session_id", message))
        }
    }
}

fn no_root(step: &Step<'_>, root: &SessionId<'_>) -> Rejection {
    let message = format!(
        "session \"{}\" cannot be in run \"{root}\": another session started session \"{root}\", as that says, so it is the root of no \
         run; send the root of its run, or the parent alone",
        shown(step.session_id.as_str()),
        root = shown(root.as_str()),
    );
    Rejection::field(Reason::Contradiction, "root_session_id", message)
}

fn circle(step: &Step<'_>, above: &SessionId<'_>) -> Rejection {
    let message = format!(
        "session \"{}\" cannot be below \"{}\", which is below it, as those between them say; name the session that started it",
        shown(step.session_id.as_str()),
        shown(above.as_str()),
    );
    Rejection::field(Reason::Contradiction, "parent_session_id", message)
}

fn torn(step: &Step<'_>, parent: &SessionId<'_>, root: &SessionId<'_>) -> Rejection {
    let message = format!(
        "session \"{}\" cannot go on in run \"{}\": a session above it is in another run than its own parent, and is refused, \
         so that a halt there reaches whoever is below it; start another session under one that goes on, in place of \"{}\"",
        shown(step.session_id.as_str()),
        shown(root.as_str()),
        shown(parent.as_str()),
    );
    Rejection::field(Reason::Contradiction, "parent_session_id", message)
}

fn differs(step: &Step<'_>, field: &'static str, now: &SessionId<'_>, before: &str) -> Rejection {
    let message = format!(
        "`{field}` is \"{}\", and that of session \"{}\" is {before} since its first step, or since a halt in its run: send that, or nothing, and tell root \
         and parent on the first step; what runs elsewhere is another session",
        shown(now.as_str()),
        shown(step.session_id.as_str()),
    );
    Rejection::field(Reason::Contradiction, field, message)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Basis, Lineage, Lineages, Said};
    use crate::wire::StepV1;
    use crate::{Limits, Timestamp};

    /// Each step in order, as `session [root=…] [parent=…] [shown]`, and where it ends: root, parent and those above that, or
    /// the field it is refused for.
    fn check(script: &[(&str, &str)]) {
        // What the log would hold, and what one request that goes on for ever would know.
        let (mut told, mut kept) = (HashMap::<String, Lineage>::new(), Lineages::default());
        for (line, expected) in script {
            let mut words = line.split(' ');
            let session = words.next().expect("a session");
            if words.clone().next() == Some("halted") {
                let settled = |it: &Lineage| Lineage { basis: Basis::Settled, ..it.clone() };
                let lineage = told.get(session).map_or_else(|| Lineage::of_root(&session.into()), settled);
                kept.load(session.to_owned(), Some(lineage.clone()));
                told.insert(session.to_owned(), lineage);
                continue;
            }
            let mut fields = format!(r#""session_id":"{session}","kind":"plan","agent":{{"id":"a"}}"#);
            let mut shown = false;
            for word in words {
                match word.split_once('=') {
                    Some((name, id)) => fields += &format!(r#","{name}_session_id":"{id}""#),
                    None => shown = true,
                }
            }
            let json = format!("{{{fields}}}");
            let sent = StepV1::parse(json.as_bytes()).expect(line);
            let said = if shown { Said::Shown } else { sent.said() };
            let mut fresh = Lineages::default();
            for known in [&mut fresh, &mut kept] {
                let mut step = StepV1::parse(json.as_bytes())
                    .expect(line)
                    .check(Timestamp::from_micros(0), &Limits::DEFAULT)
                    .expect(line);
                while let Some(id) = known.absent(&step, said).map(str::to_owned) {
                    let remembered = told.get(&id).cloned();
                    known.load(id, remembered);
                }
                let found = match known.settle(&mut step, said) {
                    Ok(_) => {
                        let parent = step.parent_session_id.as_ref().map_or("-", |it| it.as_str());
                        let above = step.ancestors.iter().map(|it| format!(" {it}")).collect::<String>();
                        format!("{} {parent}{above}", step.root_session_id)
                    }
                    Err(rejection) => {
                        assert_eq!(rejection.reason.as_str(), "contradiction", "{line}");
                        rejection.field.expect("a field").into_owned()
                    }
                };
                assert_eq!(found, *expected, "{line} in {script:?}");
            }
            if let Some(news) = fresh.of(session) {
                assert_eq!(Lineage::from_log(&news.to_json()).as_ref(), Some(news), "{line}");
                told.insert(session.to_owned(), news.clone());
            }
        }
    }

    #[test]
    fn what_the_first_step_says_fills_in_what_is_left_away() {
        check(&[
            ("kid root=r parent=p", "r p"),
            ("kid", "r p"),
            ("kid parent=p", "r p"),
            ("kid root=r", "r p"),
            ("other", "other -"),
        ]);
        check(&[("r root=r", "r -"), ("r", "r -"), ("r root=q", "root_session_id"), ("r", "r -")]);
        // The parent may come later, where there is one in the run.
        check(&[("kid root=r", "r -"), ("kid", "r -"), ("kid root=r parent=p", "r p"), ("kid", "r p")]);
    }

    #[test]
    fn nothing_else_is_told_later() {
        check(&[
            ("kid root=r parent=p", "r p"),
            ("kid root=kid", "root_session_id"),
            ("kid root=q parent=p", "root_session_id"),
            ("kid root=r parent=q", "parent_session_id"),
            ("kid parent=q", "parent_session_id"),
            ("kid", "r p"),
        ]);
        // Who has begun without either is the root of its run.
        check(&[
            ("s", "s -"),
            ("s root=r", "root_session_id"),
            ("s root=r parent=p", "parent_session_id"),
            ("s parent=p", "parent_session_id"),
            ("s root=r parent=r shown", "s -"),
            ("s root=s", "s -"),
            ("kid parent=s root=q", "root_session_id"),
            ("kid parent=s", "s s"),
        ]);
    }

    #[test]
    fn a_child_that_names_its_parent_alone_is_in_the_run_of_that() {
        check(&[
            ("kid root=r parent=r", "r r"),
            ("grandkid parent=kid", "r kid"),
            ("grandkid", "r kid"),
            ("great parent=grandkid", "r grandkid kid"),
            ("great root=great", "root_session_id"),
        ]);
        // Where the parent has not begun it is the root, until it begins elsewhere: its children go with it.
        check(&[
            ("late parent=mother", "mother mother"),
            ("later parent=late", "mother late"),
            // Nobody leaves a run by telling another root or parent, nor by calling itself one.
            ("late root=r", "root_session_id"),
            ("late root=late", "root_session_id"),
            ("late parent=elsewhere", "parent_session_id"),
            ("mother root=r parent=r", "r r"),
            // Where `late` stands in that run, nobody has said there yet.
            ("later", "r late mother"),
            ("late", "r mother"),
            ("late root=mother parent=mother", "root_session_id"),
            ("late root=r parent=mother", "r mother"),
            ("later root=mother", "root_session_id"),
            ("later root=r", "r late mother"),
        ]);
        check(&[
            ("late parent=mother", "mother mother"),
            ("mother", "mother -"),
            ("late", "mother mother"),
            ("mother root=r", "root_session_id"),
        ]);
    }

    #[test]
    fn a_session_is_in_the_run_of_its_parent() {
        check(&[
            ("kid root=r parent=p", "r p"),
            ("grandkid root=q parent=kid", "root_session_id"),
            ("grandkid root=r parent=kid", "r kid p"),
            ("other root=q", "q -"),
            ("other parent=kid", "root_session_id"),
            ("other parent=unknown", "q unknown"),
            ("shown root=s parent=s shown", "s s"),
            ("below root=r parent=shown", "r shown s"),
            ("below", "r shown s"),
        ]);
        // A parent that has not begun refuses nobody, until it begins.
        check(&[
            ("early root=r parent=mother", "r mother"),
            ("early", "r mother"),
            ("mother", "mother -"),
            ("early", "root_session_id"),
            ("early root=r parent=mother", "root_session_id"),
            ("early root=mother", "root_session_id"),
        ]);
        check(&[("early root=r parent=mother", "r mother"), ("mother root=r", "r -"), ("early", "r mother")]);
        // Nor is anybody below itself.
        check(&[
            ("a parent=b", "b b"),
            ("b parent=c", "c c"),
            ("c parent=a", "parent_session_id"),
            ("c", "c -"),
            ("a", "c b"),
            ("x root=y", "y -"),
            ("y root=x", "root_session_id"),
            ("y parent=x", "root_session_id"),
        ]);
        // Nobody is the root of a run whom another one started.
        check(&[
            ("kid root=kid parent=mother", "root_session_id"),
            ("kid parent=mother", "mother mother"),
            ("grandkid root=kid parent=kid", "root_session_id"),
            ("other root=kid parent=unknown", "root_session_id"),
            ("early root=mother", "mother -"),
            ("early root=mother parent=late", "mother late"),
            ("below parent=early", "mother early late"),
            ("mother parent=r", "r r"),
            ("early", "root_session_id"),
            ("below", "root_session_id"),
        ]);
        // Nor does one go on below a session that is refused.
        check(&[
            ("early root=r parent=mother", "r mother"),
            ("kid parent=early", "r early mother"),
            ("mother root=q", "q -"),
            ("kid", "parent_session_id"),
            ("new parent=early", "parent_session_id"),
            ("new root=r parent=kid", "parent_session_id"),
            ("early", "root_session_id"),
            ("seen root=r parent=early shown", "r early mother q"),
        ]);
        // Told before its own root was certain, which then stays.
        check(&[
            ("late parent=mother", "mother mother"),
            ("late root=mother", "mother mother"),
            ("mother root=r", "r -"),
            ("late", "root_session_id"),
        ]);
    }

    #[test]
    fn a_session_that_was_halted_stays_where_that_was() {
        check(&[
            ("kid parent=s", "s s"),
            ("shown root=s parent=s shown", "s s"),
            ("kid halted", ""),
            ("shown halted", ""),
            ("shown root=q", "root_session_id"),
            ("kid root=q", "root_session_id"),
            ("grandkid parent=kid root=q", "root_session_id"),
            ("grandkid parent=kid", "s kid"),
        ]);
        // Of which no step was seen.
        check(&[("s halted", ""), ("s root=r", "root_session_id"), ("s", "s -")]);
    }

    #[test]
    fn what_telemetry_shows_gives_way_and_never_contradicts() {
        check(&[
            ("shown root=p parent=p shown", "p p"),
            ("shown parent=p", "p p"),
            ("shown parent=q", "parent_session_id"),
            ("kid root=p parent=p shown", "p p"),
            ("kid", "p p"),
            ("kid root=q parent=q shown", "p p"),
            ("kid root=r parent=p", "r p"),
            ("kid root=p parent=p shown", "r p"),
            ("kid", "r p"),
            ("root root=q parent=q shown", "q q"),
            ("root root=root", "root -"),
            ("root", "root -"),
            // Of a session further up than the parent.
            ("deep root=top parent=mid shown", "top mid"),
            ("deep", "top mid"),
            ("deep parent=mid", "top mid"),
            ("low root=top parent=mid shown", "top mid"),
            ("mid root=r", "r -"),
            ("low", "r mid"),
            ("deep", "r mid"),
        ]);
        // Spans of a child may come before those of its parent.
        check(&[
            ("kid shown", "kid -"),
            ("kid shown", "kid -"),
            ("kid root=p parent=p shown", "p p"),
            ("kid shown", "p p"),
            ("other shown", "other -"),
            ("other root=r", "r -"),
            ("other root=p parent=p shown", "r -"),
        ]);
    }

    #[test]
    fn a_line_of_sessions_that_tell_their_parents_alone_ends() {
        let above = |parent: u32| {
            let between = (1..parent).rev().take(super::ABOVE_MAX - 1).map(|it| format!(" s{it}"));
            format!("s0 s{parent}{}", between.collect::<String>())
        };
        let mut script: Vec<_> = (1..40).map(|n| (format!("s{n} parent=s{}", n - 1), above(n - 1))).collect();
        script[0].1 = "s0 s0".to_owned();
        script.push(("s0 parent=s39".to_owned(), above(39)));
        script.push(("s39".to_owned(), above(38)));
        check(&script.iter().map(|(line, expected)| (line.as_str(), expected.as_str())).collect::<Vec<_>>());
    }

    #[test]
    fn records_are_read_as_ever() {
        let read = |line: &str| Lineage::from_log(line.as_bytes()).expect("a record");
        let v1 = include_str!("../fixtures/lineage/v1.jsonl").lines().map(|it| read(it).basis);
        assert_eq!(v1.collect::<Vec<_>>(), [Basis::Settled, Basis::Settled, Basis::Inferred]);
        let [v2, v3] = [include_str!("../fixtures/lineage/v2.jsonl"), include_str!("../fixtures/lineage/v3.jsonl")];
        for line in v2.lines().chain(v3.lines()) {
            assert_eq!(String::from_utf8_lossy(&read(line).to_json()), line);
        }
    }

    #[test]
    fn a_record_that_says_nothing_is_none() {
        for record in [&b""[..], b"{}", b"null", b"\xff"] {
            assert_eq!(Lineage::from_log(record), None);
        }
        let newer = br#"{"root_session_id":"r","parent_session_id":"p","more":1}"#;
        assert_eq!(Lineage::from_log(newer).map(|it| it.root_session_id.to_string()), Some("r".to_owned()));
    }
}
