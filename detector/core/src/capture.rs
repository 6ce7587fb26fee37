//! How much of the content of steps is kept: all of it, all but its secrets, or none of its words but names.
//!
//! Pseudonyms are keyed and equal for equal values, so that what follows values, counts calls and learns what is ordinary
//! works on them as on the values. What a text means is gone with its words: conditions on content, and the part of the hijack
//! score that reads sentences, see nothing.
//!
//! Hidden is what this step shows to be a secret, or what a step of the same run did that came through the same door before.
//! Misses a secret that nothing marks as one where it is first seen, and one in an encoding that is not known. A run that shows
//! more than is remembered of one is kept as a fingerprint from then on.

mod known;
mod pseudonym;
mod rewrite;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use martingale_schemas::step::{Alternative, Cut, ErrorInfo};
use martingale_schemas::{Capture, Redact, Step};
use serde_json::value::RawValue;

use crate::glob::Glob;
use crate::provenance::{decode, fold};
use crate::secret::{self, Named, REDACTED, SecretKind};
use crate::tools::defined;
use known::{BESIDE, CODINGS_MAX, Hidden, Known, Values};
use pseudonym::{MASKED, Pseudonyms};
use rewrite::{Leaf, Under, quoted, rewrite};

/// Shortest text that a key is made of, in bytes.
const KEY_MIN: usize = 32;
/// Secrets of one text that are told apart. More: the step is kept as a fingerprint.
const SECRETS_MAX: usize = 256;
/// Values that one step may show to be hidden, and their bytes. More, or a longer secret: it is kept as a fingerprint.
const VALUES_MAX: usize = 256;
const VALUES_BYTES_MAX: usize = 16 * 1024;
/// Longest value that is looked for in what else the run says.
const VALUE_MAX: usize = 4_096;
/// Bytes that a text may grow by, beside its own length.
const GROWTH_MAX: usize = 1_024;
/// How often JSON may lie in a text of JSON.
const NESTED_MAX: u8 = 2;
/// Attributes whose values are words and ids of a convention, which who reads them goes by, and those that describe tools.
const CONVENTIONS: [&str; 14] = [
    defined::DEFINITIONS,
    defined::METHOD,
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.system",
    "gen_ai.tool.call.id",
    "gen_ai.tool.type",
    "mcp.tool.annotations",
    "otel.dropped_attributes_count",
    "span_id",
    "tool.annotations",
    "trace_id",
];

/// Longest exponent of a number that stays, with its sign.
const EXPONENT_MAX: usize = 5;

/// Why a redactor cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// So many bytes.
    ShortKey(usize),
}

impl std::fmt::Display for CaptureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::ShortKey(bytes) = self;
        write!(f, "the key has {bytes} bytes: use at least {KEY_MIN}, e.g. from `openssl rand -hex 32`")
    }
}

impl std::error::Error for CaptureError {}

/// Takes the content of steps as the operator wants it kept.
pub struct Redactor {
    pseudonyms: Pseudonyms,
    otherwise: Capture,
    /// The first that matches counts.
    agents: Vec<(Glob, Capture)>,
    /// Names of members whose values are hidden.
    fields: Vec<Glob>,
    content_bytes_max: usize,
    known: Known,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor")
            .field("otherwise", &self.otherwise)
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

impl Redactor {
    /// `key`: at least 32 bytes that nobody can guess, the same at every door. `agents`: patterns of agents' ids, the first that
    /// matches counts, and `otherwise` where none does. `fields`: patterns of names of members, in any case, whose values are
    /// hidden where the mode is not [`Capture::Full`].
    ///
    /// # Errors
    /// A key that is too short.
    pub fn new(
        key: &[u8],
        otherwise: Capture,
        agents: &[(String, Capture)],
        fields: &[String],
        content_bytes_max: usize,
    ) -> Result<Self, CaptureError> {
        if key.len() < KEY_MIN {
            return Err(CaptureError::ShortKey(key.len()));
        }
        Ok(Self {
            pseudonyms: Pseudonyms::new(blake3::derive_key("martingale capture v1", key)),
            otherwise,
            agents: agents.iter().map(|(agent, mode)| (Glob::new(agent), *mode)).collect(),
            fields: fields.iter().map(|it| Glob::new(&it.to_ascii_lowercase())).collect(),
            content_bytes_max,
            known: Known::default(),
        })
    }

    /// How many values that were hidden are no longer remembered, since this was asked before: newer ones took their place.
    #[must_use]
    pub fn take_forgotten(&self) -> u64 {
        self.known.take_forgotten()
    }

    fn mode_of(&self, agent: &str) -> Capture {
        self.agents.iter().find(|(it, _)| it.matches(agent)).map_or(self.otherwise, |(_, mode)| *mode)
    }

    fn masks(&self, name: &str) -> bool {
        !self.fields.is_empty() && {
            // Attributes are named with what they belong to: `customer.ssn`.
            let name = name.to_ascii_lowercase();
            let last = name.rsplit('.').next().unwrap_or(&name);
            self.fields.iter().any(|it| it.matches(&name) || it.matches(last))
        }
    }
}

impl Redact for Redactor {
    fn redact<'a>(&self, step: Step<'a>) -> Step<'a> {
        let mode = self.mode_of(step.agent.id.as_str());
        if mode == Capture::Full {
            return step;
        }
        let mut found = Found { redactor: self, all: Vec::new(), bytes: 0, is_too_much: false };
        found.step(&step);
        let run = self.known.learn(step.root_session_id.as_str(), &found.all, found.is_too_much);
        let mode = if run.is_full { Capture::Fingerprint } else { mode };
        Hiding { redactor: self, mode, values: &run.values }.step(step)
    }

    fn keeps_rejected(&self) -> bool {
        self.otherwise == Capture::Full && self.agents.iter().all(|(_, mode)| *mode == Capture::Full)
    }
}

/// What a step shows that has to be hidden.
struct Found<'r> {
    redactor: &'r Redactor,
    all: Vec<Hidden>,
    bytes: usize,
    is_too_much: bool,
}

impl Found<'_> {
    fn step(&mut self, step: &Step<'_>) {
        let content = step.input.iter().chain(&step.output).map(|it| ("", it));
        for (name, json) in content.chain(step.attributes.iter().map(|(name, it)| (&**name, it))) {
            self.text("", name, NESTED_MAX);
            self.json(name, json.get(), 0);
        }
        let error = step.error.iter().flat_map(|it| [it.kind.as_deref(), it.message.as_deref()]).flatten();
        let weighed = step.alternatives.iter().flat_map(|it| [Some(&*it.action), it.reason.as_deref()]).flatten();
        for text in step.text.as_deref().into_iter().chain(error).chain(weighed) {
            self.text("", text, 0);
        }
    }

    fn json(&mut self, name: &str, json: &str, nested: u8) {
        let redactor = self.redactor;
        let is_masked = redactor.masks(name);
        let mut named = Named::default();
        rewrite(json, name, &|name| redactor.masks(name), |leaf, under| {
            let under = Under { masked: under.masked || is_masked, ..under };
            match leaf {
                Leaf::Text(text) | Leaf::Number(text) if under.masked => self.push(MASKED, text),
                Leaf::Text(text) => self.text(named.of(under.name, text), text, nested),
                Leaf::Name(text) => self.text("", text, NESTED_MAX),
                Leaf::Number(_) | Leaf::Truth(_) => {}
            }
            None
        });
    }

    fn text(&mut self, name: &str, text: &str, nested: u8) {
        if nested < NESTED_MAX && is_json(text) {
            return self.json(name, text, nested + 1);
        }
        self.secrets(name, text, 0);
    }

    /// `codings`: how many the text was decoded from. What is found in one is known from then on, and hidden in it as in any other.
    fn secrets(&mut self, name: &str, text: &str, codings: u8) {
        let (values, is_more) = values(name, text);
        self.is_too_much |= is_more;
        values.into_iter().for_each(|it| self.push(REDACTED, &it));
        if codings < CODINGS_MAX {
            let spelled = decode::percent_text(text, b'+').map(|it| it.0);
            let joined = decode::joined(text).map(|it| decode::each(it.0.as_bytes())).unwrap_or_default();
            let decoded = decode::each(text.as_bytes()).into_iter().chain(joined).map(|it| it.1).chain(spelled);
            for decoded in decoded {
                self.secrets("", &decoded, codings + 1);
            }
        }
    }

    fn push(&mut self, prefix: &str, value: &str) {
        if value.len() > VALUE_MAX {
            // A field goes as a whole wherever it stands; a secret stands in a text.
            self.is_too_much |= prefix == REDACTED;
            return;
        }
        if self.all.iter().any(|it| *it.value == *value && it.pseudonym.starts_with(prefix)) {
            return;
        }
        if self.all.len() >= VALUES_MAX || self.bytes + value.len() > VALUES_BYTES_MAX {
            self.is_too_much = true;
            return;
        }
        self.bytes += value.len();
        let pseudonym = self.redactor.pseudonyms.whole(prefix, value).into();
        self.all.push(Hidden { value: value.into(), pseudonym });
    }
}

/// Hides it.
#[derive(Clone, Copy)]
struct Hiding<'r> {
    redactor: &'r Redactor,
    mode: Capture,
    values: &'r Values,
}

impl Hiding<'_> {
    fn step<'a>(&self, step: Step<'a>) -> Step<'a> {
        let text = |it: Cow<'a, str>| self.bounded_text(it);
        // What tools are judged by: the words of their servers.
        let of_output = if defined::is_list_of_tools(&step) { self.redacting() } else { *self };
        Step {
            capture: self.mode,
            text: step.text.map(text),
            input: step.input.map(|it| self.value(it)),
            output: step.output.map(|it| of_output.value(it)),
            text_cut: step.text_cut.map(|it| self.cut(it)),
            input_cut: step.input_cut.map(|it| self.cut(it)),
            output_cut: step.output_cut.map(|it| self.cut(it)),
            error: step
                .error
                .map(|it| ErrorInfo { kind: it.kind.map(|it| self.named(it)), message: it.message.map(text) }),
            alternatives: step
                .alternatives
                .into_iter()
                .map(|it| Alternative { action: text(it.action), reason: it.reason.map(text), ..it })
                .collect(),
            attributes: step.attributes.into_iter().map(|it| self.attribute(it)).collect(),
            ..step
        }
    }

    /// The same for what keeps its words but for secrets.
    fn redacting(&self) -> Self {
        Self { mode: Capture::Redacted, ..*self }
    }

    fn attribute<'a>(&self, (name, value): (Cow<'a, str>, Cow<'a, RawValue>)) -> (Cow<'a, str>, Cow<'a, RawValue>) {
        let it = if CONVENTIONS.contains(&name.as_ref()) { self.redacting() } else { *self };
        let value = if self.redactor.masks(&name) { it.whole(&value) } else { it.value(value) };
        (self.named(name), value)
    }

    fn cut(&self, cut: Cut) -> Cut {
        Cut { fingerprint: cut.fingerprint.map(|it| self.redactor.pseudonyms.digest(&it)), ..cut }
    }

    fn value<'a>(&self, value: Cow<'a, RawValue>) -> Cow<'a, RawValue> {
        match self.json(value.get(), 0) {
            None => value,
            // Pseudonyms are longer than short secrets: what outgrows a step is one.
            Some(json) if json.len() > self.redactor.content_bytes_max => self.whole(&value),
            Some(json) => RawValue::from_string(json).map_or_else(|_| self.whole(&value), Cow::Owned),
        }
    }

    fn whole<'a>(&self, value: &RawValue) -> Cow<'a, RawValue> {
        let json = quoted(&self.whole_text(value.get()));
        RawValue::from_string(json).map_or_else(|_| Cow::Owned(RawValue::NULL.to_owned()), Cow::Owned)
    }

    /// With what stands for known values within it: they are followed there too.
    fn whole_text(&self, text: &str) -> String {
        let own = self.redactor.pseudonyms.whole(MASKED, text);
        let within = self.values.within(text).into_iter().filter(|it| *it != own);
        std::iter::once(&*own).chain(within).collect::<Vec<_>>().join(BESIDE)
    }

    /// Pseudonyms are longer than short secrets: a text that would grow by much is one.
    fn bounded_text<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        match self.text(&text, 0) {
            None => text,
            Some(hidden) if hidden.len() > (2 * text.len() + GROWTH_MAX).min(self.redactor.content_bytes_max) => {
                Cow::Owned(self.whole_text(&text))
            }
            Some(hidden) => Cow::Owned(hidden),
        }
    }

    /// A word that names something: of an error, an attribute, a member.
    fn named<'a>(&self, name: Cow<'a, str>) -> Cow<'a, str> {
        let hidden = self.values.hide(&name).map_or(name, Cow::Owned);
        let is_fingerprint = self.mode == Capture::Fingerprint;
        let other = if is_fingerprint { self.redactor.pseudonyms.name(&hidden) } else { None };
        other.map_or(hidden, Cow::Owned)
    }

    fn json(&self, json: &str, nested: u8) -> Option<String> {
        let pseudonyms = &self.redactor.pseudonyms;
        let is_fingerprint = self.mode == Capture::Fingerprint;
        rewrite(json, "", &|name| self.redactor.masks(name), |leaf, Under { masked, .. }| match leaf {
            Leaf::Text(text) | Leaf::Number(text) | Leaf::Truth(text) if masked => Some(quoted(&self.whole_text(text))),
            Leaf::Text(text) => self.text(text, nested).map(|it| quoted(&it)),
            Leaf::Name(text) => {
                let named = self.named(Cow::Borrowed(text));
                let other = if masked { pseudonyms.name(&named) } else { None };
                let name = other.unwrap_or_else(|| named.into_owned());
                (name != text).then(|| quoted(&name))
            }
            Leaf::Number(text) => match self.values.hide(text) {
                Some(hidden) => Some(quoted(&hidden)),
                None => is_fingerprint.then(|| self.number(text)),
            },
            Leaf::Truth(_) => None,
        })
    }

    /// Digits before the exponent: what comes behind it says how large the number is, and no more than its length does.
    fn number(&self, text: &str) -> String {
        let end = text.find(['e', 'E']).unwrap_or(text.len());
        let mut out = String::with_capacity(text.len());
        let (whole, fraction) = text[..end].split_once('.').unwrap_or((&text[..end], ""));
        self.redactor.pseudonyms.digits(whole.as_bytes(), &mut out);
        if !fraction.is_empty() {
            out.push('.');
            self.redactor.pseudonyms.digits(fraction.as_bytes(), &mut out);
        }
        // Longer ones are none that a number needs, and could hold anything.
        out.push_str(if text.len() - end <= EXPONENT_MAX { &text[end..] } else { "e9" });
        out
    }

    fn text(&self, text: &str, nested: u8) -> Option<String> {
        if nested < NESTED_MAX && is_json(text) {
            return self.json(text, nested + 1);
        }
        let hidden = self.values.hide(text);
        // JSON that was cut, or lies too deep, may hold fields that nobody finds.
        let is_unread = !self.redactor.fields.is_empty() && text.trim_start().starts_with(['{', '[']);
        let mode = if is_unread { Capture::Fingerprint } else { self.mode };
        match mode {
            Capture::Full | Capture::Redacted => hidden,
            Capture::Fingerprint => Some(self.redactor.pseudonyms.text(hidden.as_deref().unwrap_or(text))),
        }
    }
}

/// The secrets of a text that stands under a name, as they are hidden, and whether there are more. They are looked for where who follows
/// them looks, in the plain form, and hidden as they stand; a sign at the end may be of a secret or of its sentence.
fn values(name: &str, text: &str) -> (Vec<String>, bool) {
    let (plain, places) = (fold::plain(text), if text.is_ascii() { Vec::new() } else { fold::places(text) });
    let found = secret::find_up_to(SECRETS_MAX, name, &plain);
    let is_more = found.len() >= SECRETS_MAX;
    let mut values: Vec<String> = Vec::new();
    let mut push = |it: &str| {
        let (it, bare) = (it.trim(), it.trim().trim_end_matches(['!', '?']));
        let new = [it, bare].into_iter().filter(|it| pseudonym::stands_here(it.as_bytes()).is_none());
        values.extend(new.take(if it == bare { 1 } else { 2 }).map(str::to_owned));
    };
    for it in found {
        let at = match places.get(it.whole.start..it.whole.end) {
            Some([first, .., last]) => first.start..last.end,
            _ => it.whole.clone(),
        };
        // Of a long key its beginning is followed, and all of it is hidden.
        let rest = if it.kind == SecretKind::PrivateKey { text.get(at.end..) } else { None };
        let end = rest.map_or(at.end, |rest| at.end + rest.find("-----END").unwrap_or(rest.len()));
        push(text.get(at.start..end).unwrap_or_default());
        if !places.is_empty() {
            push(&String::from_utf8_lossy(&plain[it.whole]));
        }
    }
    (values, is_more)
}

/// Whether a text is an object or a list of JSON, as many tools answer.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
