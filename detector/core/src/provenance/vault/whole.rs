//! Whether an argument is a secret as it was read, from end to end.

use martingale_schemas::ValueMatch;

use super::{LEAKS_MAX, Leak, Search, prints_of, with_lead};
use crate::secret;

impl Search<'_> {
    /// Marks the leaks of an argument, those after so many: what would be learnt from it, under its name, is known, each window of it.
    pub(super) fn mark_whole(&mut self, before: usize, name: &str, plain: &[u8]) {
        let Some(leaks) = self.leaks.get_mut(before..).filter(|it| !it.is_empty()) else { return };
        let vault = self.vault;
        let found = secret::find(name, plain);
        let is_known = found.iter().all(|it| {
            let value = &plain[with_lead(plain, it.whole.start, it.at.start)..it.at.end];
            let known = |hash, raw| vault.prints.find(hash).is_some_and(|it| it.raw == raw);
            prints_of(value, it.kind, vault.key, 0).iter().all(|it| known(it.hash, it.raw))
        });
        let is_whole = is_known && !found.is_empty();
        leaks.iter_mut().for_each(|it| it.whole = is_whole && it.matched == ValueMatch::Exact);
    }

    /// What was found. Of more than are told, one that is not may stand anywhere: then none goes back as it came.
    pub(in super::super) fn done(mut self) -> Vec<Leak> {
        let is_full = self.leaks.len() >= LEAKS_MAX;
        self.leaks.iter_mut().for_each(|it| it.whole &= !is_full);
        self.leaks
    }
}
