//! What somebody needs who fits the weights of this column; the detector itself uses none of it.

use std::sync::Arc;

use martingale_schemas::Step;

use super::{Meanings, Memory, answer, embed, instruction, rows};
use crate::Rules;
use crate::baseline::{self, Baselines};
use crate::tools::{Defined, Tools};

/// Rows of the calls of one session, as the model sees them, and scores of its final messages.
#[derive(Debug)]
pub struct HijackRows {
    baselines: Arc<Baselines>,
    /// Of its first step.
    agent: Option<u64>,
    memory: Memory,
    meanings: Meanings,
    tools: Tools,
    defined: Defined,
}

impl HijackRows {
    #[must_use]
    pub fn new(baselines: Arc<Baselines>) -> Self {
        let (agent, memory, meanings, tools, defined) = Default::default();
        Self { baselines, agent, memory, meanings, tools, defined }
    }

    /// Takes the next step; answers its rows, of which only calls have some. A final message that repeats what was read has a
    /// row of one number, its score.
    pub fn observe(&mut self, step: &Step<'_>, rules: &Rules) -> Vec<Vec<i32>> {
        self.defined.take_in(step);
        let tool = self.tools.of(step, &rules.catalogue, &self.defined, rules.limits.tools_max);
        let agent = *self.agent.get_or_insert_with(|| baseline::agent(step));
        let rows = rows(step, &tool, (&mut self.memory, &mut self.meanings), self.baselines.of(agent));
        rows.into_iter().map(Vec::from).chain(answer(step, &self.memory).map(|it| vec![it])).collect()
    }
}

/// Vector and form of a text.
#[must_use]
pub fn hijack_text(text: &str) -> Vec<i32> {
    let vector = embed::of(text);
    vector.iter().map(|it| i32::from(*it)).chain(instruction::form(text)).collect()
}
