//! What a script only writes to files, and URLs in comments: neither is sent.
//!
//! Read strictly, since it lets a call run, and as a POSIX shell reads it. A script of which every command is known to write,
//! print or look and to do nothing else sends nothing, whatever its words and heredocs say. In any other, what is written
//! counts, since the same script may run it, but for URLs in comments that have a line of their own. Whatever is not
//! understood counts as sending, as without this.

use std::mem;
use std::ops::Range;

/// Commands that write, print or look, whatever they are given, and that begin no sentence.
const QUIET: [&str; 17] = [
    "apply_patch",
    "cat",
    "cd",
    "chmod",
    "cp",
    "echo",
    "egrep",
    "fgrep",
    "grep",
    "ls",
    "mkdir",
    "mv",
    "printf",
    "pwd",
    "rm",
    "tee",
    "wc",
];
/// Those that are words of a sentence as well: with an option or a number behind.
const QUIET_PROSE: [&str; 4] = ["head", "set", "sleep", "tail"];
const QUIET_GIT: [&str; 7] = ["add", "apply", "commit", "diff", "log", "show", "status"];
/// Devices that a redirection may go to.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/stderr", "/dev/stdout", "/dev/tty"];
/// What begins a comment in languages other than the shell's. In a shell such a line runs nothing.
const MARKS: [&str; 4] = ["//", "--", "/*", "<!--"];
/// A script in a heredoc of a script is read, and none in that.
const DEPTH_MAX: u32 = 1;

/// The code without what it does not send; `None` where that is nothing.
pub(super) fn without(code: &str) -> Option<String> {
    let script = Reader::new(code, 0).read()?;
    if script.is_quiet {
        return Some(String::new());
    }
    if script.comments.is_empty() {
        return None;
    }
    let (mut out, mut from) = (String::with_capacity(code.len()), 0);
    for comment in script.comments {
        out.push_str(&code[from..comment.start]);
        // Programs in it still count: an interactive shell may not know comments.
        out.push_str(&code[comment.clone()].replace("://", ": "));
        from = comment.end;
    }
    out.push_str(&code[from..]);
    Some(out)
}

/// Whether a text is a patch. As an argument of what applies it nothing of it is run.
pub(super) fn is_patch(text: &str) -> bool {
    ["*** Begin Patch", "diff --git ", "--- "].iter().any(|it| text.starts_with(it))
}

struct Script {
    /// Whether none of its commands may send or run anything.
    is_quiet: bool,
    /// Lines that are comments and nothing else, ascending.
    comments: Vec<Range<usize>>,
}

enum Expects {
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

struct Reader<'c> {
    code: &'c str,
    at: usize,
    depth: u32,
    /// The command so far, without quotes.
    words: Vec<String>,
    word: Option<String>,
    expects: Expects,
    /// Whether some of the word is quoted.
    is_quoted: bool,
    /// Whether nothing stands before on the line.
    begins_line: bool,
    /// Whether a `#` within a word stands before on the line, where languages disagree about what follows.
    is_doubtful: bool,
    /// Those of the line, whose bodies follow.
    heredocs: Vec<Heredoc>,
    /// Whether it names what git runs: a hook, or a setting that it may write.
    git_may_run: bool,
    script: Script,
}

impl<'c> Reader<'c> {
    fn new(code: &'c str, depth: u32) -> Self {
        let (words, word, heredocs, is_quoted) = <(Vec<String>, _, Vec<Heredoc>, _)>::default();
        let script = Script { is_quiet: true, comments: Vec::new() };
        let (expects, begins_line, is_doubtful) = (Expects::Word, true, false);
        let is_inside = |(at, it): (usize, &str)| !code[at + it.len()..].starts_with(|it: char| it.is_alphanumeric());
        let git_may_run = ["hook", "-commit", "commit-", "gitconfig", "git/config"].iter().any(|it| code.contains(it))
            || code.match_indices(".git").any(is_inside);
        Self {
            code,
            at: 0,
            depth,
            words,
            word,
            expects,
            is_quoted,
            begins_line,
            is_doubtful,
            heredocs,
            git_may_run,
            script,
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
                // What follows `&>` is another command in some shells.
                '&' => self.end_command(1),
                '<' | '>' => self.redirection(),
                '(' | ')' => {
                    self.script.is_quiet = false;
                    self.end_command(1);
                }
                '`' => return None,
                '\'' | '"' => self.quoted(next)?,
                '\\' => self.escape()?,
                '$' => self.variable()?,
                '#' if self.word.is_none() => self.comment()?,
                _ => {
                    self.is_doubtful |= next == '#';
                    self.push(next);
                }
            }
            self.begins_line &= is_blank || next == '\n';
        }
        self.end_command(0);
        self.heredocs.is_empty().then_some(self.script)
    }

    fn push(&mut self, it: char) {
        self.word.get_or_insert_default().push(it);
        self.at += it.len_utf8();
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
        self.script.is_quiet &= !text.contains("\\\"") && (quote == '"' || !text.contains(['&', '|']));
        if quote == '"' {
            if text.contains('`') || text.contains("$(") {
                return None;
            }
            let mut rest = text;
            while let Some((_, behind)) = rest.split_once("${") {
                // A quote within it would not end the string.
                let (name, behind) = behind.split_once('}')?;
                self.script.is_quiet &= is_name(name);
                rest = behind;
            }
        }
        self.word.get_or_insert_default().push_str(text);
        self.is_quoted = true;
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.rest().chars().next() {
            _ if self.is_doubtful => return None,
            // The command goes on.
            Some('\n') => self.at += 1,
            Some(it) => {
                self.script.is_quiet &= !matches!(it, '"' | '\'');
                self.is_quoted = true;
                self.push(it);
            }
            None => {}
        }
        Some(())
    }

    fn variable(&mut self) -> Option<()> {
        let behind = &self.rest()[1..];
        if behind.starts_with(['\'', '"']) {
            return None;
        }
        if let Some(inner) = behind.strip_prefix('{') {
            let inner = &inner[..inner.find('}')?];
            if inner.contains(['\n', '"', '\'', '`', '\\']) {
                return None;
            }
            self.script.is_quiet &= is_name(inner);
            self.word.get_or_insert_default().push_str("${}");
            self.at += inner.len() + 3;
            return Some(());
        }
        self.script.is_quiet &= !behind.starts_with(['(', '[']);
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
        let has_line = self.begins_line && is_comment(text);
        if has_line {
            self.script.comments.push(self.at..self.at + text.len());
        }
        self.script.is_quiet &= has_line && text.starts_with('#') && !text.contains(['\'', '"', '\\']);
        self.at += text.len();
        Some(())
    }

    fn redirection(&mut self) {
        // `2>` is one of a number.
        if self.word.as_ref().is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit())) {
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
        let is_literal = mem::take(&mut self.is_quoted);
        match mem::replace(&mut self.expects, Expects::Word) {
            Expects::Word => self.words.push(word),
            Expects::Target => self.script.is_quiet &= is_file(&word),
            Expects::Data => {}
            Expects::Delimiter { is_indented } => {
                self.heredocs.push(Heredoc { delimiter: word, is_literal, is_indented });
            }
        }
    }

    fn end_command(&mut self, length: usize) {
        self.end_word();
        let expects = mem::replace(&mut self.expects, Expects::Word);
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        self.script.is_quiet &= matches!(expects, Expects::Word) && is_quiet(&words, self.git_may_run);
        self.words.clear();
        self.at += length;
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

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() < 64 && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

/// What ends a line in some languages.
fn is_line_break(it: char) -> bool {
    matches!(it, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a line is a comment and nothing else in the languages that have such a comment, and runs nothing in others.
fn is_comment(line: &str) -> bool {
    let line = line.trim_end_matches('\r');
    let has_quote = line.contains(['\'', '"', '\\']);
    let is_begun = match line.strip_prefix('#') {
        Some(text) => !has_quote || text.starts_with([' ', '\t', '#', '!']),
        None => !has_quote && MARKS.iter().any(|it| line.strip_prefix(it).is_some_and(|it| it.starts_with(' '))),
    };
    is_begun && !line.contains([';', '|', '&', '$', '`']) && !line.contains(is_line_break)
}

/// Comments in the lines of a patch, of which each has a sign before.
fn patch_comments(body: &str) -> Vec<Range<usize>> {
    let mut at = 0;
    let lines = body.split_inclusive('\n').map(|it| {
        at += it.len();
        (at - it.len(), it.trim_end_matches('\n'))
    });
    lines
        .filter(|(_, it)| it.starts_with(['+', '-', ' ']) && is_comment(it[1..].trim_start_matches([' ', '\t'])))
        .map(|(at, it)| at..at + it.len())
        .collect()
}

fn is_file(target: &str) -> bool {
    let target = target.strip_prefix("$HOME/").unwrap_or(target);
    DEVICES.contains(&target) || !target.contains("/dev/") && !target.contains('$')
}

/// Whether a command is known to send and run nothing.
fn is_quiet(words: &[&str], git_may_run: bool) -> bool {
    let is_number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let is_known = match *words {
        [] => true,
        ["git", command, ref behind @ ..] => {
            let runs = |it: &&str| ["--ext-diff", "--textconv", "--output"].iter().any(|option| it.starts_with(option));
            QUIET_GIT.contains(&command) && !git_may_run && !behind.iter().any(runs)
        }
        ["patch", ref options @ ..] => {
            // `-e` runs what it reads.
            options.iter().all(|it| !it.starts_with('-') || it.strip_prefix("-p").is_some_and(is_number))
        }
        // A script of its own behind may run commands.
        ["sed", "-n", lines, ref files @ ..] => {
            let prints = |it: &str| it.bytes().all(|it| it.is_ascii_digit() || matches!(it, b',' | b'$'));
            lines.strip_suffix('p').is_some_and(prints) && files.iter().all(|it| !it.starts_with('-'))
        }
        // `-v` evaluates the name of its variable.
        ["printf", format, ..] => !format.starts_with('-'),
        [command, behind, ..] if QUIET_PROSE.contains(&command) => behind.starts_with('-') || is_number(behind),
        [command, ..] => QUIET.contains(&command),
    };
    // In other languages that names a variable.
    let is_assigned = words.get(1).is_some_and(|it| it.starts_with(['=', '?']) || it.ends_with('='));
    is_known && !is_assigned && words.iter().all(|it| !it.contains("/dev/") || DEVICES.contains(it))
}
