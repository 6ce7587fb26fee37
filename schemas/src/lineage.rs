//! Which run a session belongs to, and who started it, as it was told: remembered, so that a step that leaves it away stays
//! in its run, under the halts and budgets of that.
//!
//! Pure: who keeps what was told, and asks for it again, is the door that the step came through.

use serde::{Deserialize, Serialize};

use crate::rejection::shown;
use crate::{Reason, Rejection, SessionId, Step};

/// What was told of a session: a record of [`crate::topics::LINEAGES`]. Of one that never told anything there is none: it
/// is the root of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    pub root_session_id: SessionId<'static>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_session_id: Option<SessionId<'static>>,
    /// No producer told it: it is what telemetry showed. It stands until something is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
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
    pub const NOTHING: Self = Self::Told { root: false, parent: false };

    /// Whose lineage says the root, where the step and what is `known` of its session do not.
    #[must_use]
    pub fn asks<'s>(self, step: &'s Step<'_>, known: Option<&Lineage>) -> Option<&'s SessionId<'s>> {
        let parent = step.parent_session_id.as_ref()?;
        let names_parent = matches!(self, Self::Shown | Self::Told { root: false, parent: true });
        let is_known = known.is_some_and(|it| !it.inferred || it.is_child_of(parent));
        (names_parent && !is_known).then_some(parent)
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

    /// Puts a step into its run, by what it says, what is `known` of its session, and what is known of the session `above`
    /// it ([`Said::asks`]). Answers what is to be remembered from now on, if that is new.
    ///
    /// What was told first stands: it fills in what a step leaves away, and a step that tells another root or parent is
    /// refused. Whoever tells a parent alone tells the root of that as well: if it could tell another one later, it could
    /// leave a run that was halted. What was inferred gives way to what is told.
    ///
    /// # Errors
    /// [`Reason::Contradiction`].
    pub fn settle(
        step: &mut Step<'_>,
        said: Said,
        known: Option<&Self>,
        above: Option<&Self>,
    ) -> Result<Option<Self>, Rejection> {
        match (said, known) {
            (Said::NOTHING, None) => Ok(None),
            (Said::NOTHING | Said::Shown, Some(known)) => {
                known.put_on(step);
                Ok(None)
            }
            (Said::Told { root, parent }, Some(known)) if !known.inferred => known.agree(step, root, parent),
            // The parent that telemetry showed: now it is told.
            (Said::Told { root: false, .. }, Some(known))
                if step.parent_session_id.as_ref().is_some_and(|it| known.is_child_of(it)) =>
            {
                known.put_on(step);
                Ok(Some(Self { inferred: false, ..known.clone() }))
            }
            (Said::Told { root: true, parent }, known) => {
                let is_root = step.root_session_id.as_str() == step.session_id.as_str();
                if let Some(known) = known.filter(|_| !parent && !is_root) {
                    step.parent_session_id.clone_from(&known.parent_session_id);
                }
                Ok(Some(Self::of(step, false)))
            }
            (Said::Shown | Said::Told { .. }, _) => {
                if let Some(above) = above {
                    step.root_session_id = above.root_session_id.clone();
                }
                Ok(Some(Self::of(step, said == Said::Shown)))
            }
        }
    }

    fn of(step: &Step<'_>, inferred: bool) -> Self {
        Self {
            root_session_id: step.root_session_id.to_static(),
            parent_session_id: step.parent_session_id.as_ref().map(SessionId::to_static),
            inferred,
        }
    }

    fn is_child_of(&self, parent: &SessionId<'_>) -> bool {
        self.parent_session_id.as_ref().is_some_and(|it| it.as_str() == parent.as_str())
    }

    fn put_on(&self, step: &mut Step<'_>) {
        step.root_session_id = self.root_session_id.clone();
        step.parent_session_id.clone_from(&self.parent_session_id);
    }

    /// A step that tells something of what was told before. A parent that was not told yet is news.
    fn agree(&self, step: &mut Step<'_>, root: bool, parent: bool) -> Result<Option<Self>, Rejection> {
        let session = step.session_id.as_str();
        let differs = |field, before: &SessionId<'_>, now: &SessionId<'_>| {
            let message = format!(
                "`{field}` is \"{}\", and session \"{}\" has told \"{}\" before: send what it told first, or nothing; \
                 what runs elsewhere is another session",
                shown(now.as_str()),
                shown(session),
                shown(before.as_str())
            );
            Rejection::field(Reason::Contradiction, field, message)
        };
        if root && step.root_session_id.as_str() != self.root_session_id.as_str() {
            return Err(differs("root_session_id", &self.root_session_id, &step.root_session_id));
        }
        let told = step.parent_session_id.as_ref().filter(|_| parent);
        match (told, &self.parent_session_id) {
            (Some(now), Some(before)) if now.as_str() != before.as_str() => {
                Err(differs("parent_session_id", before, now))
            }
            (Some(now), None) => {
                let parent_session_id = Some(now.to_static());
                step.root_session_id = self.root_session_id.clone();
                Ok(Some(Self { parent_session_id, ..self.clone() }))
            }
            _ => {
                self.put_on(step);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Lineage, Said};
    use crate::wire::StepV1;
    use crate::{Limits, Timestamp};

    /// Each step in order, as `session [root=…] [parent=…] [shown]`, and where it ends: root and parent, or the field it is
    /// refused for.
    fn check(script: &[(&str, &str)]) {
        let mut told: HashMap<String, Lineage> = HashMap::new();
        for (line, expected) in script {
            let mut words = line.split(' ');
            let session = words.next().expect("a session");
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
            let mut step = sent.check(Timestamp::from_micros(0), &Limits::DEFAULT).expect(line);
            let known = told.get(session);
            let above = said.asks(&step, known).and_then(|it| told.get(it.as_str())).cloned();
            let found = match Lineage::settle(&mut step, said, known, above.as_ref()) {
                Ok(news) => {
                    if let Some(news) = news {
                        assert_eq!(Lineage::from_log(&news.to_json()), Some(news.clone()), "{line}");
                        told.insert(session.to_owned(), news);
                    }
                    let parent = step.parent_session_id.as_ref().map_or("-", |it| it.as_str());
                    format!("{} {parent}", step.root_session_id)
                }
                Err(rejection) => {
                    assert_eq!(rejection.reason.as_str(), "contradiction", "{line}");
                    rejection.field.expect("a field").into_owned()
                }
            };
            assert_eq!(found, *expected, "{line} in {script:?}");
        }
    }

    #[test]
    fn what_was_told_fills_in_what_is_left_away() {
        check(&[
            ("kid", "kid -"),
            ("kid root=r parent=p", "r p"),
            ("kid", "r p"),
            ("kid parent=p", "r p"),
            ("kid root=r", "r p"),
            ("other", "other -"),
        ]);
        // One that says that it is a root has told something.
        check(&[("r root=r", "r -"), ("r", "r -"), ("r root=q", "root_session_id"), ("r", "r -")]);
        // The parent may come later.
        check(&[("kid root=r", "r -"), ("kid", "r -"), ("kid root=r parent=p", "r p"), ("kid", "r p")]);
    }

    #[test]
    fn what_was_told_is_not_told_otherwise() {
        check(&[
            ("kid root=r parent=p", "r p"),
            ("kid root=kid", "root_session_id"),
            ("kid root=q parent=p", "root_session_id"),
            ("kid root=r parent=q", "parent_session_id"),
            ("kid parent=q", "parent_session_id"),
            ("kid", "r p"),
        ]);
    }

    #[test]
    fn a_child_that_names_its_parent_alone_is_in_the_run_of_that() {
        check(&[
            ("kid root=r parent=r", "r r"),
            ("grandkid parent=kid", "r kid"),
            ("grandkid", "r kid"),
            ("great parent=grandkid", "r grandkid"),
            // Where the parent has told nothing it is the root, also when it tells another one later.
            ("late parent=unknown", "unknown unknown"),
            ("unknown root=r parent=r", "r r"),
            ("late", "unknown unknown"),
            ("late parent=unknown", "unknown unknown"),
            ("late root=unknown parent=unknown", "unknown unknown"),
            // Nobody leaves a run by telling another root or parent, nor by calling itself one.
            ("late root=r", "root_session_id"),
            ("late root=late", "root_session_id"),
            ("late parent=elsewhere", "parent_session_id"),
            ("late", "unknown unknown"),
        ]);
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
        ]);
    }

    #[test]
    fn records_of_v1_are_read_as_ever() {
        for line in include_str!("../fixtures/lineage/v1.jsonl").lines() {
            let read = Lineage::from_log(line.as_bytes()).map(|it| it.to_json());
            assert_eq!(read.as_deref(), Some(line.as_bytes()), "{line}");
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
