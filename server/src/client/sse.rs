//! Server-sent events, as far as the server sends them: `id`, `event`, `data`, comments.

use anyhow::{Result, bail};

/// Largest event that is taken; a verdict is far smaller.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) data: String,
}

/// Puts events together from the pieces in which they arrive.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    event: Event,
    bytes: usize,
    after_cr: bool,
    last_id: Option<String>,
}

impl Parser {
    /// Where to take the stream up again. An event without data moves it as well.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Takes a piece and hands out the events it completes.
    ///
    /// # Errors
    /// When one event is larger than any the server sends.
    pub(crate) fn push(&mut self, piece: &[u8], mut on: impl FnMut(Event) -> Result<()>) -> Result<()> {
        for &byte in piece {
            let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => {
                    if let Some(event) = self.end_line() {
                        on(event)?;
                    }
                }
                _ => {
                    self.bytes += 1;
                    if self.bytes > EVENT_BYTES_MAX {
                        bail!("an event is larger than {EVENT_BYTES_MAX} bytes");
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if line.is_empty() {
            self.bytes = 0;
            let event = std::mem::take(&mut self.event);
            if event.id.is_some() {
                self.last_id.clone_from(&event.id);
            }
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.name = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES_MAX, Event, Parser};

    fn event(id: Option<&str>, name: Option<&str>, data: &str) -> Event {
        Event { id: id.map(Into::into), name: name.map(Into::into), data: data.into() }
    }

    #[test]
    fn events_survive_any_cutting() {
        let stream =
            ": hello\n\nid: 1.2\nevent: verdict\ndata: {\"a\":1}\n\ndata:x\r\ndata: y\r\n\r\nretry: 3\n\ndata: z";
        let expected = [event(Some("1.2"), Some("verdict"), "{\"a\":1}"), event(None, None, "x\ny")];
        for size in 1..stream.len() {
            let (mut parser, mut seen) = (Parser::default(), Vec::new());
            parser.push(b"id: 0.0\n\n", |_| panic!("no data")).expect("small");
            assert_eq!(parser.last_id(), Some("0.0"), "an event without data moves the place");
            for piece in stream.as_bytes().chunks(size) {
                parser
                    .push(piece, |event| {
                        seen.push(event);
                        Ok(())
                    })
                    .expect("small");
            }
            assert_eq!((&seen[..], parser.last_id()), (&expected[..], Some("1.2")), "in pieces of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        assert!(parser.push(&vec![b'x'; EVENT_BYTES_MAX + 1], |_| Ok(())).is_err());
    }
}
