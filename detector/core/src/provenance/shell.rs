//! A script as a POSIX shell reads it, for what lets a call run: its commands, the words that they run with, and comments.
//!
//! Read strictly: a script that is not understood has none. Which words send is looked for apart from this, in code of any language.

mod comment;

use std::mem;
use std::ops::Range;

pub(super) use comment::is_patch;
use comment::{is_comment, is_line_break, patch_comments};

/// A script in a heredoc of a script is read, and none in that.
const DEPTH_MAX: u32 = 1;

/// What a script says.
pub(super) struct Script {
    pub(super) commands: Vec<Command>,
    /// Lines that are comments and nothing else, ascending.
    pub(super) comments: Vec<Range<usize>>,
    /// Whether other shells and languages find the same commands in it, and none is run by what is expanded.
    pub(super) is_plain: bool,
}

/// A simple command, in any list, loop or group.
pub(super) struct Command {
    /// Where it stands, with its redirections and without heredocs.
    pub(super) at: Range<usize>,
    /// Without quotes.
    pub(super) words: Vec<Word>,
    /// What it reads from and writes to.
    pub(super) files: Vec<String>,
    /// Whether it runs with these words: no variable may become several of them, and nothing is run to get them.
    pub(super) is_literal: bool,
}

pub(super) struct Word {
    pub(super) text: String,
    /// Where something begins in it that may make several words of it, each with what stands before: names of files, a list in braces.
    pub(super) expands_from: Option<usize>,
}

/// Reads a script; `None` where it is not understood.
pub(super) fn read(code: &str) -> Option<Script> {
    Reader::new(code, 0).read()
}

#[derive(Default)]
enum Expects {
    #[default]
    Word,
    /// Where a redirection goes.
    Target,
    /// A here-string.
    Data,
    Delimiter {
        /// Whether tabs before its lines are left out.
        is_indented: bool,
    },
}

struct Heredoc {
    delimiter: String,
    /// Whether nothing in it is expanded.
    is_literal: bool,
    is_indented: bool,
}

/// The word that is being read.
#[derive(Default)]
struct Open {
    text: String,
    /// Whether some of it is quoted.
    is_quoted: bool,
    /// Where a pattern of names begins.
    pattern: Option<usize>,
    /// Where a brace does, outside quotes.
    brace: Option<usize>,
}

impl Open {
    fn close(self) -> Word {
        let is_list = |at: &usize| self.text[*at..].contains(',') || self.text[*at..].contains("..");
        let expands_from = self.brace.filter(is_list).into_iter().chain(self.pattern).min();
        Word { text: self.text, expands_from }
    }
}

struct Reader<'c> {
    code: &'c str,
    at: usize,
    depth: u32,
    /// Where the command begins.
    from: usize,
    /// The command so far.
    words: Vec<Word>,
    files: Vec<String>,
    is_literal: bool,
    /// Whether it stands behind `&>`, where it goes on with the one before in some shells.
    is_joined: bool,
    word: Option<Open>,
    expects: Expects,
    /// Whether nothing stands before on the line.
    begins_line: bool,
    /// Whether a `#` within a word stands before on the line, where languages disagree about what follows.
    is_doubtful: bool,
    /// Those of the line, whose bodies follow.
    heredocs: Vec<Heredoc>,
    script: Script,
}

impl<'c> Reader<'c> {
    fn new(code: &'c str, depth: u32) -> Self {
        Self {
            code,
            at: 0,
            depth,
            from: 0,
            words: Vec::new(),
            files: Vec::new(),
            is_literal: true,
            is_joined: false,
            word: None,
            expects: Expects::Word,
            begins_line: true,
            is_doubtful: false,
            heredocs: Vec::new(),
            script: Script { commands: Vec::new(), comments: Vec::new(), is_plain: true },
        }
    }

    fn rest(&self) -> &'c str {
        &self.code[self.at..]
    }

    fn read(mut self) -> Option<Script> {
        while let Some(next) = self.rest().chars().next() {
            let is_blank = matches!(next, ' ' | '\t');
            if self.begins_line && !is_blank && next != '#' && is_comment(line(self.rest())) {
                self.comment()?;
                continue;
            }
            match next {
                ' ' | '\t' => {
                    self.end_word();
                    self.at += 1;
                }
                '\n' => self.end_line()?,
                ';' | '|' => self.end_command(1),
                '&' => {
                    self.end_command(1);
                    self.is_joined = self.rest().starts_with('>');
                }
                '<' | '>' => self.redirection(),
                '(' | ')' => {
                    self.script.is_plain = false;
                    // What runs in it gives words in some shells, and in other languages it is data.
                    let begins = self.words.is_empty() && self.word.is_none();
                    let is_data = next == '(' && !begins && !self.code[..self.at].ends_with('$');
                    self.is_literal &= next == ')' || begins;
                    self.end_command(1);
                    self.is_literal &= !is_data;
                }
                '`' => return None,
                '\'' | '"' => self.quoted(next)?,
                '\\' => self.escape()?,
                '$' => self.variable()?,
                '#' if self.word.is_none() => self.comment()?,
                _ => self.bare(next),
            }
            self.begins_line &= is_blank || next == '\n';
        }
        self.end_command(0);
        self.heredocs.is_empty().then_some(self.script)
    }

    fn push(&mut self, it: char) {
        self.word.get_or_insert_default().text.push(it);
        self.at += it.len_utf8();
    }

    /// What stands outside quotes.
    fn bare(&mut self, it: char) {
        let word = self.word.get_or_insert_default();
        let at = word.text.len();
        match it {
            // An address, but for who has files whose names are one character.
            '[' if self.code[self.at..].starts_with("[::1]") => {}
            '*' | '?' | '[' => word.pattern = word.pattern.or(Some(at)),
            '{' => word.brace = word.brace.or(Some(at)),
            '#' => self.is_doubtful = true,
            _ => {}
        }
        self.push(it);
    }

    fn quoted(&mut self, quote: char) -> Option<()> {
        let mut text = self.rest().get(1..)?;
        let triple = if quote == '"' { "\"\"\"" } else { "'''" };
        if self.rest().starts_with(triple) {
            // Only where it makes no difference whether that is one quote or three, and what a backslash does.
            text = &self.rest()[3..];
            text = &text[..text.find(triple)?];
            if text.contains([quote, '\\']) {
                return None;
            }
            self.at += 6 + text.len();
        } else {
            text = &text[..end_of_quoted(text, quote)?];
            self.at += 2 + text.len();
        }
        // Other languages, and other shells, end it elsewhere.
        if self.is_doubtful || quote == '\'' && text.ends_with('\\') {
            return None;
        }
        self.script.is_plain &= !text.contains("\\\"") && (quote == '"' || !text.contains(['&', '|']));
        if quote == '"' {
            self.expansions(text)?;
        }
        let word = self.word.get_or_insert_default();
        word.text.push_str(text);
        word.is_quoted = true;
        Some(())
    }

    /// What is expanded within quotes.
    fn expansions(&mut self, text: &str) -> Option<()> {
        if text.contains('`') {
            return None;
        }
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            let behind = &rest[at + 1..];
            rest = match (rest.as_bytes()[at], behind.chars().next()) {
                (b'\\', escaped) => &behind[escaped.map_or(0, char::len_utf8)..],
                // A quote within would not end the string.
                (_, Some('{')) => {
                    let (name, behind) = behind[1..].split_once('}')?;
                    self.script.is_plain &= is_name(name);
                    self.is_literal &= names_variable(name);
                    behind
                }
                (_, Some('(')) => {
                    let (inner, behind) = behind[1..].split_once(')')?;
                    (self.script.is_plain, self.is_literal) = (false, false);
                    if inner.contains(['(', '\'', '\\', '#']) {
                        return None;
                    }
                    behind
                }
                // `"$@"` is as many words as there are arguments.
                _ => {
                    self.is_literal &= names_variable(behind.get(..1).unwrap_or_default());
                    behind
                }
            };
        }
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.rest().chars().next() {
            _ if self.is_doubtful => return None,
            // The command goes on.
            Some('\n') => self.at += 1,
            Some(it) => {
                self.script.is_plain &= !matches!(it, '"' | '\'');
                self.push(it);
                self.word.get_or_insert_default().is_quoted = true;
            }
            None => {}
        }
        Some(())
    }

    fn variable(&mut self) -> Option<()> {
        let behind = &self.rest()[1..];
        self.is_literal = false;
        if behind.starts_with(['\'', '"']) {
            return None;
        }
        if let Some(inner) = behind.strip_prefix('{') {
            let inner = &inner[..inner.find('}')?];
            if inner.contains(['\n', '"', '\'', '`', '\\']) {
                return None;
            }
            self.script.is_plain &= is_name(inner);
            self.word.get_or_insert_default().text.push_str("${}");
            self.at += inner.len() + 3;
            return Some(());
        }
        self.script.is_plain &= !behind.starts_with(['(', '[']);
        self.push('$');
        if let Some(special) = behind.chars().next().filter(|it| "#?*@!-$".contains(*it)) {
            self.push(special);
        }
        Some(())
    }

    /// The rest of the line.
    fn comment(&mut self) -> Option<()> {
        let text = line(self.rest());
        if text.trim_end_matches('\r').contains(is_line_break) {
            return None;
        }
        // An interactive shell may not know comments: then these are words of the command.
        self.is_literal &= self.words.is_empty() || !text.contains(['.', ':']);
        self.end_command(0);
        let has_line = self.begins_line && is_comment(text);
        if has_line {
            self.script.comments.push(self.at..self.at + text.len());
        }
        self.script.is_plain &= has_line && text.starts_with('#') && !text.contains(['\'', '"', '\\']);
        self.at += text.len();
        Some(())
    }

    fn redirection(&mut self) {
        // `2>` is one of a number.
        if self.word.as_ref().is_some_and(|it| !it.is_quoted && it.text.bytes().all(|it| it.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        let rest = self.rest();
        let is = |it: &&str| rest.starts_with(*it);
        let (length, expects) = if is(&"<<<") {
            (3, Expects::Data)
        } else if is(&"<<-") {
            (3, Expects::Delimiter { is_indented: true })
        } else if is(&"<<") {
            (2, Expects::Delimiter { is_indented: false })
        } else {
            let operator = [">>", ">|", ">&", "<&", "<>"].into_iter().find(is);
            (operator.map_or(1, str::len), Expects::Target)
        };
        self.at += length;
        self.expects = expects;
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        match mem::take(&mut self.expects) {
            Expects::Word => self.words.push(word.close()),
            Expects::Target => self.files.push(word.text),
            Expects::Data => {}
            Expects::Delimiter { is_indented } => {
                self.heredocs.push(Heredoc { delimiter: word.text, is_literal: word.is_quoted, is_indented });
            }
        }
    }

    fn end_command(&mut self, length: usize) {
        self.end_word();
        let is_whole = matches!(mem::take(&mut self.expects), Expects::Word);
        self.script.is_plain &= is_whole;
        let (words, files) = (mem::take(&mut self.words), mem::take(&mut self.files));
        let is_literal = mem::replace(&mut self.is_literal, true) && is_whole;
        if mem::take(&mut self.is_joined)
            && !words.is_empty()
            && let Some(before) = self.script.commands.last_mut()
        {
            before.is_literal = false;
        }
        if !words.is_empty() || !files.is_empty() {
            self.script.commands.push(Command { at: self.from..self.at, words, files, is_literal });
        }
        self.at += length;
        self.from = self.at;
    }

    fn end_line(&mut self) -> Option<()> {
        self.end_command(1);
        (self.begins_line, self.is_doubtful) = (true, false);
        for heredoc in mem::take(&mut self.heredocs) {
            let begin = self.at;
            if heredoc.delimiter.contains(['\\', '$']) {
                return None;
            }
            loop {
                let (line, from) = (line(self.rest()), self.at);
                self.at += line.len() + 1;
                let bare = if heredoc.is_indented { line.trim_start_matches('\t') } else { line };
                if bare == heredoc.delimiter {
                    self.at = self.at.min(self.code.len());
                    self.from = self.at;
                    self.body(begin..from, heredoc.is_literal)?;
                    break;
                }
                if self.at >= self.code.len() {
                    return None;
                }
            }
        }
        Some(())
    }

    fn body(&mut self, at: Range<usize>, is_literal: bool) -> Option<()> {
        let body = &self.code[at.clone()];
        if !is_literal {
            // What it expands is run, and a line that goes on may hide its end.
            let runs = |(at, _)| {
                let behind = &body[at + 1..];
                behind.starts_with(['(', '['])
                    || behind.strip_prefix('{').is_some_and(|it| !it.split_once('}').is_some_and(|it| is_name(it.0)))
            };
            if body.contains('`') || body.contains("\\\n") || body.match_indices('$').any(runs) {
                return None;
            }
        }
        let comments = if is_patch(body) {
            patch_comments(body)
        } else if self.depth < DEPTH_MAX {
            Reader::new(body, self.depth + 1).read().map_or_else(Vec::new, |it| it.comments)
        } else {
            Vec::new()
        };
        self.script.comments.extend(comments.into_iter().map(|it| it.start + at.start..it.end + at.start));
        Some(())
    }
}

fn line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// Where a quote ends that begins before.
fn end_of_quoted(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    let mut ends = text.char_indices().filter(|(_, it)| {
        let is_end = *it == quote && !is_escaped;
        is_escaped = quote == '"' && *it == '\\' && !is_escaped;
        is_end
    });
    ends.next().map(|it| it.0)
}

/// Whether `$` and these characters, or all within `${}`, are the value of a variable in quotes: one word.
fn names_variable(text: &str) -> bool {
    is_name(text) && !text.starts_with(|it: char| it.is_ascii_digit())
}

/// Whether a text is a name, or the number of an argument.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() < 64 && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}
