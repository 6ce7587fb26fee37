//! Scores as JSON, which has no word for what is not finite: a writer would put `null` in its place, and a verdict that
//! nobody can read back is a decision lost.

/// What is written for a score: the nearest number.
fn finite(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score.clamp(f64::MIN, f64::MAX) }
}

/// One score. `null`, which earlier versions wrote for a sum beyond all numbers, is read as 0.
pub(super) mod one {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(in super::super) fn serialize<S: Serializer>(score: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(super::finite(*score))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(0.0))
    }
}

/// Scores by column, each as [`one`].
pub(super) mod all {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Scores;

    pub(in super::super) fn serialize<S: Serializer>(scores: &Scores, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(scores.iter().map(|(column, score)| (column, super::finite(*score))))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scores, D::Error> {
        let read = BTreeMap::<Cow<'static, str>, Option<f64>>::deserialize(deserializer)?;
        Ok(read.into_iter().map(|(column, score)| (column, score.unwrap_or(0.0))).collect())
    }
}
