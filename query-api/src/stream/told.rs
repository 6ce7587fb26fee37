//! What a stream tells of a batch, as the text of server-sent events.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use martingale_platform::log::Partition;

use super::cursor::Cursor;
use super::filter::Filter;
use crate::feed::{Batch, Event, Head};

/// Texts of one batch that are kept, and their bytes. Streams that ask for the same and keep up are at the same place, so
/// there is one for each question that is asked; beyond either a stream renders for itself.
const TEXTS_MAX: usize = 32;
const TEXTS_BYTES_MAX: usize = 512 * 1024;

/// How far a stream has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cursor: Cursor,
    /// Highest step of each partition whose verdict was seen: what a log publishes again is told once.
    pub(super) judged: Vec<Option<u64>>,
}

/// The texts of a batch. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<Text>>);

#[derive(Debug)]
struct Text {
    filter: Filter,
    from: Place,
    to: Place,
    text: Bytes,
}

impl Told {
    /// What a stream with this filter tells of `batch` from `place` on, nothing if it is all held back; `place` moves
    /// behind it. `part` is where the batch belongs in the cursor.
    pub(super) fn tell(
        batch: &Batch,
        part: usize,
        filter: &Filter,
        place: &mut Place,
        home: impl Fn(&[u8]) -> Partition,
    ) -> Bytes {
        if let Some(known) = batch.told.find(part, filter, place) {
            return known;
        }
        // Not under the lock: most who wait for it ask for something else. Two who ask for the same at once both render.
        let from = place.clone();
        let text = render(batch, part, filter, place, home);
        batch.told.keep(Text { filter: filter.clone(), from, to: place.clone(), text: text.clone() });
        text
    }

    fn find(&self, part: usize, filter: &Filter, place: &mut Place) -> Option<Bytes> {
        let texts = self.texts();
        // Of `judged` only the batch's own partition says what is told.
        let same = |it: &&Text| {
            it.from.cursor == place.cursor && it.from.judged[part] == place.judged[part] && it.filter == *filter
        };
        let known = texts.iter().find(same)?;
        place.cursor.clone_from(&known.to.cursor);
        place.judged[part] = known.to.judged[part];
        Some(known.text.clone())
    }

    fn keep(&self, text: Text) {
        let mut texts = self.texts();
        let bytes: usize = texts.iter().map(|it| it.text.len()).sum();
        if texts.len() < TEXTS_MAX && bytes + text.text.len() <= TEXTS_BYTES_MAX {
            texts.push(text);
        }
    }

    fn texts(&self) -> MutexGuard<'_, Vec<Text>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn render(batch: &Batch, part: usize, filter: &Filter, place: &mut Place, home: impl Fn(&[u8]) -> Partition) -> Bytes {
    let mut text = String::new();
    for event in &batch.events {
        if event.offset < place.cursor.0[part] {
            continue;
        }
        place.cursor.0[part] = event.offset.next();
        if is_new(&mut place.judged[part], event) && filter.passes(event, batch.partition, &home) {
            let name = if matches!(event.head, Head::Verdict(_)) { "verdict" } else { "control" };
            block(&mut text, name, &place.cursor, &event.value);
        }
    }
    place.cursor.0[part] = place.cursor.0[part].max(batch.next);
    text.into()
}

fn is_new(judged: &mut Option<u64>, event: &Event) -> bool {
    let Head::Verdict(head) = &event.head else { return true };
    let new = judged.is_none_or(|judged| head.position.offset > judged);
    if new {
        *judged = Some(head.position.offset);
    }
    new
}

/// One event with its data.
pub(super) fn block(text: &mut String, name: &str, cursor: &Cursor, data: &[u8]) {
    let data = String::from_utf8_lossy(data);
    let _ = write!(text, "event: {name}\nid: {cursor}\ndata: ");
    // Our own JSON holds no line break; a record by other hands might.
    if data.bytes().any(|byte| matches!(byte, b'\n' | b'\r')) {
        text.push_str(&data.replace(['\n', '\r'], " "));
    } else {
        text.push_str(&data);
    }
    text.push_str("\n\n");
}
