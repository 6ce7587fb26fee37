//! The stored form of a run's secrets: how many there are, and pages of four with their fingerprints.

use martingale_schemas::{SessionId, StepId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::pages::{Page, PageRef, Paged, Pages};
use super::super::sip::Key;
use super::{PAGE, PRINTS_MAX, Print, SECRETS_MAX, Secret, Vault};
use crate::secret::SecretKind;

/// Bytes of a fingerprint in the stored form.
const STORED: usize = 13;

impl Print {
    fn stored(&self) -> [u8; STORED] {
        let mut out = [0; STORED];
        out[..8].copy_from_slice(&self.hash.to_le_bytes());
        out[8] = self.secret;
        out[9..11].copy_from_slice(&self.raw.to_le_bytes());
        out[11..].copy_from_slice(&self.lower.to_le_bytes());
        out
    }

    fn read(it: &[u8; STORED]) -> Self {
        let mut hash = [0; 8];
        hash.copy_from_slice(&it[..8]);
        Self {
            hash: u64::from_le_bytes(hash),
            secret: it[8],
            raw: u16::from_le_bytes([it[9], it[10]]),
            lower: u16::from_le_bytes([it[11], it[12]]),
        }
    }
}

impl Paged for Vault {
    fn pages(&self) -> &Pages {
        &self.pages
    }

    fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    fn held(&self) -> u64 {
        (1 << self.secrets.len().div_ceil(PAGE)) - 1
    }

    fn page(&self, place: usize) -> PageRef<'_> {
        let secrets = self.secrets.iter().skip(place * PAGE).take(PAGE).collect();
        let prints = self.prints.0.iter().filter(|it| usize::from(it.secret) / PAGE == place);
        PageRef::Secrets(secrets, prints.flat_map(Print::stored).collect())
    }

    fn put_back(&mut self, place: usize, page: Page) {
        let Page::Secrets(secrets, prints) = page else { return };
        let own = self.secrets.iter_mut().skip(place * PAGE).take(PAGE);
        own.zip(secrets).filter(|(it, _)| it.step.as_str().is_empty()).for_each(|(it, secret)| *it = secret);
        let (prints, _) = prints.as_chunks::<STORED>();
        let prints = prints.iter().map(Print::read).filter(|it| usize::from(it.secret) / PAGE == place);
        let room = PRINTS_MAX.saturating_sub(self.prints.0.len());
        prints.take(room).for_each(|it| self.prints.put(it));
    }
}

impl Serialize for Vault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.key, self.secrets.len(), self.full).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Vault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, count, full): (Key, usize, bool) = Deserialize::deserialize(deserializer)?;
        if count > SECRETS_MAX {
            return Err(serde::de::Error::custom("more secrets than are kept"));
        }
        let mut vault = Self { key, full, secrets: vec![Secret::unread(); count], ..Self::default() };
        vault.pages = Pages::stored(vault.held());
        Ok(vault)
    }
}

impl Secret {
    /// Stands for one whose page was not read: it has no fingerprints, and so is never found.
    fn unread() -> Self {
        let (session, step) = (SessionId::from(String::new()), StepId::from(String::new()));
        Self { kind: SecretKind::Labelled, session, step, path: Box::default(), authored: false }
    }
}
