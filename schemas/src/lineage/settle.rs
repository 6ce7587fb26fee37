//! Where a step belongs, by what its session and those above it told.

use std::collections::HashMap;
use std::iter::successors;

use super::{ABOVE_MAX, Basis, Lineage, Said, refusal};
use crate::{Rejection, SessionId, Step};

/// What is known of the sessions that steps lead to, for as long as nobody else may hear of one: a request, or a recording.
/// What is not loaded counts as never seen.
#[derive(Debug, Default)]
pub struct Lineages(HashMap<String, Option<Lineage>>);

/// What is to be remembered of a session from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub session_id: SessionId<'static>,
    pub lineage: Lineage,
}

/// What a session means for those that it started.
#[derive(Clone, Copy, Debug)]
struct Above<'k> {
    root: &'k SessionId<'static>,
    /// How certain it is of them, where they are told: [`Basis::Implied`] as long as the root may become another one.
    basis: Basis,
    /// Whether one further up is in another run than its parent, as it turned out: it is refused, and so is who is below it.
    is_torn: bool,
}

impl News {
    /// Key and value of its record on [`crate::topics::LINEAGES`].
    #[must_use]
    pub fn into_record(self) -> (String, Vec<u8>) {
        (self.session_id.as_str().to_owned(), self.lineage.to_json())
    }
}

impl Lineages {
    /// The next session to [`Self::load`] before [`Self::settle`] knows all that it asks for.
    #[must_use]
    pub fn absent<'s>(&'s self, step: &'s Step<'_>, said: Said) -> Option<&'s str> {
        let own = self.of(step.session_id.as_str());
        let line = self.asked(step, said).into_iter().flat_map(|it| self.line(it));
        let above = line.flat_map(|it| std::iter::once(it).chain(root_asked(self.of(it))));
        let told =
            Some(step.root_session_id.as_str()).filter(|_| own.is_none_or(|it| !it.basis.is_settled()) && said.root());
        let ids = std::iter::once(step.session_id.as_str()).chain(told).chain(root_asked(own)).chain(above);
        ids.into_iter().find(|it| !self.0.contains_key(*it))
    }

    /// Takes in what is remembered of a session, if anything is.
    pub fn load(&mut self, session: String, remembered: Option<Lineage>) {
        self.0.insert(session, remembered);
    }

    /// Puts a step into its run, by what it says, what is known of its session, and of those above it. Answers what is to be
    /// remembered from now on, where that is new: of its session, and of those above it of which nobody had been heard.
    ///
    /// The first step decides: one that names neither root nor parent begins a run of its own. It fills in what a later step
    /// leaves away, and a step that tells another root or parent is refused: otherwise a session could leave a run that is
    /// halted. Whoever tells a parent alone is in the run of that, and whoever tells both must tell the root that the parent
    /// has; where the parent has not begun yet, that is looked at as soon as it has. What was inferred gives way to what is
    /// told.
    ///
    /// # Errors
    /// [`crate::Reason::Contradiction`].
    pub fn settle(&mut self, step: &mut Step<'_>, said: Said) -> Result<Vec<News>, Rejection> {
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
        let unheard = || self.of(step.session_id.as_str()).filter(|it| it.unheard_since.is_some());
        let Some(mut news) = news.or_else(|| unheard().cloned()) else { return Ok(Vec::new()) };
        news.unheard_since = None;
        if let (Said::Told { .. }, Some(above)) = (said, news.asks()) {
            let root = &news.root_session_id;
            let is_own = root.as_str() == step.session_id.as_str();
            if news.basis == Basis::Unchecked && (is_own || !self.is_root(root)) {
                return Err(refusal::no_root(step, root));
            }
            if self.line(above).any(|it| it == step.session_id.as_str()) {
                return Err(refusal::circle(step, above));
            }
            if self.above(above).is_some_and(|it| it.is_torn) {
                return Err(refusal::torn(step, above, root));
            }
        }
        news.ancestors = self.between(&news, &step.session_id);
        news.put_on(step);
        let mut all = self.heard(&news, step.session_id.as_str());
        if self.of(step.session_id.as_str()) != Some(&news) {
            all.push(News { session_id: step.session_id.to_static(), lineage: news });
        }
        for News { session_id, lineage } in &all {
            self.0.insert(session_id.as_str().to_owned(), Some(lineage.clone()));
        }
        Ok(all)
    }

    /// Those above a session of which nobody had been heard, and now somebody is: whom it names, also where nothing of that is open
    /// any more, and whoever is asked for it.
    fn heard(&self, of: &Lineage, session: &str) -> Vec<News> {
        let named = of.parent_session_id.iter().chain([&of.root_session_id]).map(SessionId::as_str);
        let asked = of.asks().into_iter().flat_map(|it| self.line(it).skip(1));
        let above = named.chain(asked).filter(|it| *it != session);
        let unheard = above.filter_map(|it| Some((it, self.of(it).filter(|it| it.unheard_since.is_some())?)));
        unheard
            .map(|(id, it)| News {
                session_id: SessionId::from(id.to_owned()),
                lineage: Lineage { unheard_since: None, ..it.clone() },
            })
            .fold(Vec::new(), |mut all: Vec<News>, it| {
                if !all.contains(&it) {
                    all.push(it);
                }
                all
            })
    }

    /// Whether nobody has started a session, as far as is known and told.
    fn is_root(&self, session: &SessionId<'_>) -> bool {
        self.of(session.as_str()).is_none_or(|it| {
            it.basis == Basis::Inferred
                || (it.parent_session_id.is_none() && it.root_session_id.as_str() == session.as_str())
        })
    }

    pub(super) fn of(&self, session: &str) -> Option<&Lineage> {
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
                return Err(refusal::differs(step, "parent_session_id", now, Some(before)));
            }
            (Some(now), None) if is_root => return Err(refusal::differs(step, "parent_session_id", now, None)),
            _ => {}
        }
        let current = match known.basis {
            Basis::Implied => known.asks().and_then(|it| self.above(it)).map_or(&known.root_session_id, |it| it.root),
            _ => &known.root_session_id,
        };
        if root && step.root_session_id.as_str() != current.as_str() {
            return Err(refusal::differs(step, "root_session_id", &step.root_session_id, Some(current)));
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
                unheard_since: None,
            }));
        }
        self.stay(known, step)
    }
}

fn root_asked(known: Option<&Lineage>) -> Option<&str> {
    known?.asks_root().map(SessionId::as_str)
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
        Some(above) => Err(refusal::other_run(step, parent, root, above.root)),
    }
}
