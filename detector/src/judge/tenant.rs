//! What is ordered for all: baselines.

use martingale_detector_core::{Applied, StateKey};
use martingale_schemas::{BaselinesId, Control};

use super::Judge;
use crate::{Error, STORE, state};

impl Judge {
    /// What was ordered for all. Where baselines are gone since, those that the detector began with go on, and that is told: they
    /// advise, and a detector that does not start would stop nobody.
    pub(super) async fn restore_tenant(&mut self) -> Result<(), Error> {
        let key = StateKey::Tenant;
        let name = key.to_bytes();
        let stored = self.log.state(STORE, self.partition, &name).await?;
        let entry = state::stored(&key, stored.as_deref());
        let state = entry.and_then(|it| it.map(|it| it.state_of(&key)).transpose());
        self.detector.load(key, state.map_err(|source| self.unreadable(&name, source))?);
        if let Some(id) = self.detector.tenant().baselines()
            && let Some(baselines) = self.fetched.get(&*self.log, id).await?
        {
            self.detector.hold_against(baselines);
        }
        Ok(())
    }

    /// Those that cannot be had change nothing, and the answer says that nobody knows them.
    pub(super) async fn use_baselines(&mut self, control: &Control, id: BaselinesId) -> Result<Applied, Error> {
        let Some(baselines) = self.fetched.get(&*self.log, id).await? else { return Ok(Applied::default()) };
        self.detector.hold_against(baselines);
        Ok(self.detector.apply(control))
    }
}
