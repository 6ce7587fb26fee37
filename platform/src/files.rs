//! Small files that are there whole or not at all, also after the machine has lost its power.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts a file of this name and content into a folder, in the place of one that is there, on the disk when this returns.
/// The text is written beside it as `name.new`, brought to the disk and renamed. Who dies in between leaves the old file and a
/// draft, which the next call writes over.
///
/// # Errors
/// When the folder cannot be written. The file is then the old one or, where the disk failed last, the new one.
pub fn replace(dir: &Path, name: &str, content: &str) -> io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    let mut file = File::create(&draft)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, dir.join(name))?;
    // The name is in the folder, which is a file of its own.
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_draft() {
        let dir = tempfile::tempdir().expect("folder");
        // A longer draft of somebody who died is written over.
        fs::write(dir.path().join("NOTE.new"), "a draft that is longer than what comes").expect("draft");
        for content in ["first\n", "", "a second one, and a longer one\n"] {
            replace(dir.path(), "NOTE", content).expect("replaced");
            assert_eq!(fs::read_to_string(dir.path().join("NOTE")).expect("there"), content);
            assert_eq!(fs::read_dir(dir.path()).expect("folder").count(), 1, "{content}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("NOTE"), "old").expect("written");
        fs::create_dir(dir.path().join("NOTE.new")).expect("in the way");
        assert!(replace(dir.path(), "NOTE", "new").is_err());
        assert_eq!(fs::read_to_string(dir.path().join("NOTE")).expect("there"), "old");
        assert!(replace(&dir.path().join("nowhere"), "NOTE", "new").is_err());
    }
}
