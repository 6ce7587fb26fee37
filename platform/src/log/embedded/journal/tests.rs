use super::*;
use crate::log::embedded::space::Space;

fn journal(dir: &Path) -> Journal {
    Journal::new(dir.to_owned(), vec!["meta".to_owned(), "state".to_owned()])
}

fn write(value: &str) -> Vec<Write> {
    vec![Write {
        space: Space(1),
        key: Bytes::from_static(b"k"),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }]
}

/// The groups after `applied` by their values, and the last number.
fn replayed(dir: &Path, applied: u64) -> (Vec<String>, u64) {
    let mut values = Vec::new();
    let last = journal(dir).replay(applied, |names, group| {
        assert_eq!(names, ["meta", "state"]);
        let value = group.writes.into_iter().next().and_then(|write| write.value).expect("value");
        values.push(String::from_utf8(value.to_vec()).expect("text"));
        Ok(())
    });
    (values, last.expect("replay"))
}

fn files(dir: &Path) -> Vec<u64> {
    list(dir).expect("files").into_iter().map(|(number, _)| number).collect()
}

/// A journal whose current file counts as full after each append.
fn filled(dir: &Path, values: &[&str]) -> Journal {
    let journal = journal(dir);
    journal.restart(0).expect("first file");
    for value in values {
        journal.append(&write(value), false).expect("append");
        lock(&journal.files).current.as_mut().expect("current").bytes = FILE_BYTES;
    }
    journal
}

#[test]
fn groups_are_replayed_from_where_the_store_is() {
    let dir = tempfile::tempdir().expect("folder");
    let journal = journal(dir.path());
    journal.restart(4).expect("first file");
    for (number, value) in (5..).zip(["a", "b", "c"]) {
        assert_eq!(journal.append(&write(value), number == 6).expect("append"), number);
    }
    drop(journal);
    let text = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    assert_eq!(replayed(dir.path(), 4), (text(&["a", "b", "c"]), 7));
    assert_eq!(replayed(dir.path(), 6), (text(&["c"]), 7));
    assert_eq!(replayed(dir.path(), 9), (text(&[]), 9), "the store is ahead: a disk that broke its word");
    assert_eq!(replayed(dir.path(), 2), (text(&[]), 2), "what lies between is lost");
}

/// Wherever the file is cut, and whichever byte is another one, what lies before is replayed and nothing else.
#[test]
fn a_file_ends_where_a_frame_is_not_whole() {
    let dir = tempfile::tempdir().expect("folder");
    drop(filled(dir.path(), &["first", "second"]));
    let paths: Vec<_> = list(dir.path()).expect("files").into_iter().map(|(_, path)| path).collect();
    let whole = fs::read(&paths[1]).expect("second file");
    for n in 0..whole.len() {
        fs::write(&paths[1], &whole[..n]).expect("cut");
        assert_eq!(replayed(dir.path(), 0), (vec!["first".to_owned()], 1), "cut to {n}");
        let mut damaged = whole.clone();
        damaged[n] ^= 0x40;
        fs::write(&paths[1], damaged).expect("damage");
        assert_eq!(replayed(dir.path(), 0), (vec!["first".to_owned()], 1), "byte {n}");
    }
}

/// A power cut may keep a later file and not an earlier one: nothing after the gap is seen.
#[test]
fn nothing_is_replayed_after_a_gap() {
    let dir = tempfile::tempdir().expect("folder");
    drop(filled(dir.path(), &["a", "b", "c"]));
    let (_, second) = list(dir.path()).expect("files").swap_remove(1);
    let bytes = fs::read(&second).expect("file");
    fs::write(&second, &bytes[..bytes.len() - 1]).expect("cut");
    assert_eq!(replayed(dir.path(), 0), (vec!["a".to_owned()], 1));
    fs::remove_file(second).expect("remove");
    assert_eq!(replayed(dir.path(), 0), (vec!["a".to_owned()], 1));
}

#[test]
fn files_are_made_beforehand_and_leave_when_the_store_has_them() {
    let dir = tempfile::tempdir().expect("folder");
    let journal = filled(dir.path(), &["a", "b"]);
    assert_eq!(files(dir.path()), [1, 2]);
    journal.prepare().expect("spare");
    journal.prepare().expect("one is enough");
    assert_eq!(files(dir.path()), [1, 2, 3]);
    journal.append(&write("c"), false).expect("append");
    assert_eq!(files(dir.path()), [1, 2, 3], "into the one that was made");
    journal.sync().expect("sync");
    assert!(lock(&journal.files).sealed.iter().all(|it| it.unsynced.is_none()));
    assert!(!journal.has_superfluous(0) && journal.has_superfluous(1));
    journal.remove(1).expect("remove");
    assert_eq!(files(dir.path()), [2, 3]);
    assert_eq!(replayed(dir.path(), 1), (vec!["b".to_owned(), "c".to_owned()], 3));
    journal.clear().expect("clear");
    assert_eq!(files(dir.path()), [0; 0]);
    journal.append(&write("d"), false).expect_err("closed");
}

/// After a failed append nothing follows what may stand at the end of the file, until it was replayed.
#[test]
fn after_a_failure_it_starts_anew() {
    let dir = tempfile::tempdir().expect("folder");
    let journal = filled(dir.path(), &["a"]);
    fs::remove_dir_all(dir.path()).expect("no folder");
    journal.append(&write("b"), false).expect_err("no file can be made");
    fs::create_dir(dir.path()).expect("folder");
    journal.restart(1).expect("restart");
    assert_eq!(journal.append(&write("b"), true).expect("append"), 2);
    assert_eq!(replayed(dir.path(), 1), (vec!["b".to_owned()], 2));
}
