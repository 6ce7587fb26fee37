//! Secrets in a call that reaches out, and what speaks for it that they may go there.

use std::borrow::Cow;

use martingale_schemas::step::Cut;
use martingale_schemas::{Calibration, Column, Decision, Finding, Mode, Severity, Step, StepId, ValueMatch};

use super::{backing, stated};
use crate::policy::CoreRule;
use crate::provenance::{Index, Integrity, Leak, Secret, is_credential, same_name, sent};
use crate::quote::quoted;
use crate::rules::Rules;
use crate::secret::SecretKind;
use crate::tools::{Flags, Tool};

/// Names of what a server gives to have it back. Not `password` or `api_key`: who shows files shows those, and wants none back.
const OF_SESSIONS: [&str; 14] = [
    "accesstoken",
    "authenticitytoken",
    "authtoken",
    "bearertoken",
    "csrftoken",
    "idtoken",
    "jwt",
    "refreshtoken",
    "sessiontoken",
    "sessionid",
    "sessionkey",
    "sessionsecret",
    "token",
    "xsrftoken",
];

fn is_of_session(name: &str) -> bool {
    let letters = || name.bytes().filter(u8::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase());
    OF_SESSIONS.iter().any(|it| letters().eq(it.bytes()))
}

/// What speaks for it that a secret may go where a call sends it.
pub(super) struct Excuse<'i> {
    pub(super) step: &'i Step<'i>,
    pub(super) index: Option<&'i Index>,
    /// Whether the call goes nowhere that anybody else than an author named.
    pub(super) stays: bool,
    /// Whether all that the call may go to was named by an author, and the step that did where it is remembered.
    pub(super) authorised: bool,
    pub(super) named: Option<StepId<'static>>,
    /// A place that a stranger named and no author did, and the step that read it.
    pub(super) lure: Option<(String, StepId<'static>)>,
}

impl Excuse<'_> {
    /// Its author gave it and nobody else said where to, or it is used as what it is: at an address of theirs, or by who gave it.
    fn covers(&self, leak: &Leak, secret: &Secret) -> bool {
        secret.authored && self.lure.is_none()
            || self.authorised && is_credential(&leak.path)
            || self.giver(leak, secret).is_some()
    }

    /// The step that gave a token which goes as a whole, as it was, under the name that it had, and nowhere that anybody named. As an
    /// argument of its own: within another, such as a document, it would be shown to whoever reads that.
    fn gave(&self, leak: &Leak, secret: &Secret) -> Option<StepId<'static>> {
        let is_argument = !leak.path.contains(['.', '[']) && is_of_session(&leak.path);
        let is_same = leak.whole && is_argument && same_name(&leak.path, &secret.path);
        own_step(secret, self.step).filter(|_| self.stays && is_same)
    }

    /// Who has one back that it gave.
    fn giver(&self, leak: &Leak, secret: &Secret) -> Option<&'static str> {
        self.index?.giver(&self.gave(leak, secret)?, self.step.tool.as_deref()?)
    }

    /// Whether it may have it back: who gave it is forgotten.
    fn may_give_back(&self, leak: &Leak, secret: &Secret) -> bool {
        self.gave(leak, secret).is_some_and(|it| self.index.is_some_and(|index| !index.knows(&it)))
    }

    /// That in a sentence, with the steps that show it beside the one that read the secret.
    fn said(&self, leak: &Leak, secret: &Secret) -> (String, Option<StepId<'static>>) {
        let who = |step: Option<&StepId<'_>>| match step.and_then(|it| self.index?.author(it)) {
            Some(Integrity::User) => "the user",
            Some(_) => "the operator",
            None => "its author",
        };
        match &self.lure {
            Some((place, read)) if secret.authored => {
                let said = format!(
                    " Its author gave it, but did not name `{}`, which stands in what step {} read and anybody could have written.",
                    quoted(place, 60),
                    quoted(read.as_str(), 60),
                );
                (said, Some(read.clone()))
            }
            _ if secret.authored => {
                (format!(" Against it: {} gave it in that step.", who(own_step(secret, self.step).as_ref())), None)
            }
            _ if let Some(giver) = self.giver(leak, secret) => {
                let step = quoted(secret.step.as_str(), 60);
                (format!(" Against it: the same {giver} gave it under that name in step {step}."), None)
            }
            _ if self.covers(leak, secret) => {
                let by = self.named.as_ref().map_or_else(
                    || "its author named the address".to_owned(),
                    |it| format!("{} named the address in step {}", who(Some(it)), quoted(it.as_str(), 60)),
                );
                (format!(" Against it: {by}, and that argument is for a credential."), self.named.clone())
            }
            _ if self.may_give_back(leak, secret) => {
                (" Whether it goes back to who gave it, under that name, is too long ago to tell.".to_owned(), None)
            }
            _ => (String::new(), None),
        }
    }
}

pub(super) fn leakage(
    step: &Step<'_>,
    tool: &Tool,
    guessed: Option<&str>,
    secrets: &[(&Leak, &Secret)],
    excuse: &Excuse<'_>,
    rules: &Rules,
) -> Option<Finding> {
    // One that nothing excuses is not excused by others, nor asked about for them.
    let asks = |leak: &Leak, secret: &Secret| secret.authored || excuse.may_give_back(leak, secret);
    let open = || secrets.iter().filter(|(leak, secret)| !excuse.covers(leak, secret));
    let worst = open().find(|(leak, secret)| !asks(leak, secret)).or_else(|| open().next());
    let worst = worst.or_else(|| secrets.iter().find(|(_, secret)| !secret.authored));
    let (leak, secret) = worst.or_else(|| secrets.first())?;
    let given = excuse.covers(leak, secret);
    let mut numbers: Vec<usize> = secrets.iter().map(|it| it.0.secret).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let rule = if given { CoreRule::SecretGiven } else { CoreRule::SecretLeak };
    let this = step.step_id.to_static();
    let (said, steps) = excuse.said(leak, secret);
    let mut evidence: Vec<_> = own_step(secret, step).into_iter().chain(steps).chain([this.clone()]).collect();
    evidence.dedup();
    let others = match numbers.len() {
        1 => String::new(),
        n => format!(" So would {} more.", n - 1),
    };
    let by = guessed.map_or_else(|| stated(tool), |it| format!(", which reaches out by {it}"));
    // Why an enforced rule only watches here.
    let held_back = guessed.filter(|_| rules.modes.of(rule) == Mode::Enforce).map_or(String::new(), |it| {
        format!(
            " It is only watched, since nothing but {it} says that the tool reaches out: describe it as `open_world`."
        )
    });
    let message = format!(
        "{} would leave through {}{by}: {}, {}.{others}{said}{held_back}",
        capital(&origin(secret, step)),
        quoted(step.tool.as_deref().unwrap_or("a tool"), 60),
        place(&leak.path, step),
        if secret.kind == SecretKind::Hidden { "in whatever form it was sent" } else { how(leak.matched) },
    );
    let finding = Finding {
        column: Column::Leakage,
        rule: Cow::Borrowed(rule.id()),
        severity: rule.severity(),
        mode: rule.default_mode(),
        // Whose secret it is may say that it is meant: a manual that was read names the right address as well.
        decision: if asks(leak, secret) { Decision::StepUp } else { rule.decision() },
        score: f64::from(u32::try_from(numbers.len()).unwrap_or(u32::MAX)),
        calibration: backing(guessed),
        bound: None,
        began_at: evidence.first().cloned().unwrap_or(this),
        evidence,
        message,
        notify: Vec::new(),
    };
    rules.in_mode(rule, guessed.is_none(), finding)
}

/// A call of which a part was not read, in a run that has read a secret which its author did not give: that may be in it.
pub(super) fn unread(step: &Step<'_>, tool: &Tool, cut: &Cut, secret: &Secret) -> Finding {
    let this = step.step_id.to_static();
    let evidence: Vec<_> = own_step(secret, step).into_iter().chain([this.clone()]).collect();
    let read = step
        .input
        .as_ref()
        .map_or(0, |it| serde_json::from_str(it.get()).map_or_else(|_| it.get().len(), |it: String| it.len()));
    let bytes = match cut.bytes.saturating_sub(read as u64) {
        0 => "a part was".to_owned(),
        bytes => format!("{bytes} bytes were"),
    };
    let reaches = if tool.described.has(Flags::OPEN_WORLD) { stated(tool) } else { ", whose code sends".to_owned() };
    let message = format!(
        "Of this call of {}{reaches}, {bytes} cut off and not read, and the run has read {}. Whether that would leave is not known: send less in one call.",
        quoted(step.tool.as_deref().unwrap_or("a tool"), 60),
        origin(secret, step),
    );
    Finding {
        column: Column::Leakage,
        rule: Cow::Borrowed(CoreRule::SecretLeak.id()),
        severity: Severity::High,
        mode: CoreRule::SecretLeak.default_mode(),
        decision: Decision::Deny,
        score: 1.0,
        calibration: Calibration::Uncalibrated,
        bound: None,
        began_at: evidence.first().cloned().unwrap_or(this),
        evidence,
        message,
        notify: Vec::new(),
    }
}

/// The step that read a secret, if that is of the same session.
fn own_step(secret: &Secret, step: &Step<'_>) -> Option<StepId<'static>> {
    (secret.session.as_str() == step.session_id.as_str()).then(|| secret.step.clone())
}

/// A secret in a sentence, with where it was read.
fn origin(secret: &Secret, step: &Step<'_>) -> String {
    let session = match own_step(secret, step) {
        Some(_) => String::new(),
        None => format!(" of session {}", quoted(secret.session.as_str(), 60)),
    };
    let place = if secret.path.is_empty() { String::new() } else { format!(", at `{}`", quoted(&secret.path, 60)) };
    format!("{} from step {}{session}{place}", secret.kind.as_str(), quoted(secret.step.as_str(), 60))
}

/// Where in a call a secret stands. Each value of an object has a path, its own names have none.
fn place(path: &str, step: &Step<'_>) -> String {
    let is_object = step.input.as_ref().is_some_and(|it| it.get().starts_with('{'));
    match path {
        "" if is_object => "a member's name".to_owned(),
        "" => sent::argument(path, step),
        path => format!("argument `{}`", quoted(path, 60)),
    }
}

const fn how(matched: ValueMatch) -> &'static str {
    match matched {
        ValueMatch::Exact => "as it was read",
        ValueMatch::Case => "in other case",
        ValueMatch::Url => "percent-encoded",
        ValueMatch::Hex => "in hexadecimal",
        ValueMatch::Base64 => "in base64",
        ValueMatch::Nested => "encoded more than once",
        _ => "with other separators, or in pieces",
    }
}

fn capital(text: &str) -> String {
    let mut out = text.to_owned();
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    out
}
