//! `blame`: where a session went wrong, of recorded steps or of what a server holds.

mod files;
mod history;
mod shown;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use martingale_detector_core::Blame;
use martingale_schemas::Decision;

use super::replay::Results;
use super::replay::line::write;
use super::replay::normal::Normal;
use super::replay::source::Source;
use crate::cli::blame::Blame as Args;
use crate::client::Client;
use crate::output::{note, plain, say, say_json};

/// A session that was followed to its end.
#[derive(Debug)]
struct Session {
    id: String,
    /// The worst that was decided.
    decision: Decision,
    blame: Blame,
}

impl Session {
    fn new(id: String) -> Self {
        Self { id, decision: Decision::Allow, blame: Blame::default() }
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    // Everything that can be refused is refused before the first step is read.
    let read = args.files.iter().chain(&args.baselines);
    let ranked = args.ranked.as_deref().map(|it| Results::open(it, read)).transpose()?;
    let (sessions, rejected) = if args.files.is_empty() {
        let client = Client::new(&args.server)?;
        let mut sessions = Vec::new();
        for id in &args.sessions {
            sessions.push(history::session(&client, id).await?);
        }
        (sessions, 0)
    } else {
        let source = Source::open(&args.files)?;
        let normal = Normal::open(&args.baselines)?;
        let rules = crate::policies::load(args.policies.as_deref(), !args.no_shipped)?.rules;
        let wanted = args.sessions.clone();
        tokio::task::spawn_blocking(move || files::sessions(source, normal, rules, &wanted)).await??
    };
    let missing: Vec<&String> = args.sessions.iter().filter(|id| sessions.iter().all(|it| it.id != **id)).collect();
    if let Some(ranked) = ranked.filter(|_| missing.is_empty() || !sessions.is_empty()) {
        let mut out = ranked.begin()?;
        for it in &sessions {
            write(&mut out, &shown::ranked(it))?;
        }
        out.flush()?;
    }
    let top = args.top as usize;
    let told = &sessions[..sessions.len().min(args.limit as usize)];
    if args.json {
        say_json(&shown::to_json(told, top, sessions.len()))?;
    } else {
        told.iter().try_for_each(|it| say(shown::text(it, top)))?;
        if told.len() < sessions.len() {
            note(format_args!("{} of {} sessions were shown: raise --limit", told.len(), sessions.len()));
        }
    }
    missing.iter().for_each(|it| note(format_args!("error: no step of session {} is there", plain(it, 400))));
    Ok(if missing.is_empty() && rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
