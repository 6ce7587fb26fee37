//! One table by itself: appends that are repeated, compaction, folders of other versions.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use martingale_platform::log::Partition;

use super::{Mark, Move, Store, maintain};
use crate::history::Error;
use crate::history::location::Location;
use crate::history::place::Place;
use crate::tables::Table;

async fn place(folder: &tempfile::TempDir) -> Place {
    let location = Location::from(folder.path().to_owned());
    Place::open(&location, &Default::default(), tokio::runtime::Handle::current()).await.expect("a folder")
}

const P0: Partition = Partition(0);

fn control(id: &str) -> RecordBatch {
    let schema = Arc::new(Table::ControlEvents.description().schema());
    let column = |name: &str| -> ArrayRef {
        match name {
            "control_id" => Arc::new(StringArray::from(vec![id])),
            "time" => Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC")),
            other => {
                let field = schema.field_with_name(other).expect("a column");
                new_null_array(field.data_type(), 1)
            }
        }
    };
    let columns = schema.fields().iter().map(|it| column(it.name())).collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).expect("fits")
}

const fn at(next: u64) -> Mark {
    Mark { next, next_step: 0 }
}

const fn to(from: Mark, to: Mark) -> Move {
    Move { partition: P0, from, to }
}

fn files(store: &Store) -> (usize, usize) {
    let state = store.table.snapshot().expect("open");
    let files: Vec<_> = state.log_data().iter().map(|it| it.num_records().unwrap_or(0)).collect();
    (files.len(), files.iter().sum())
}

#[tokio::test]
async fn an_append_that_is_repeated_adds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens");
    assert_eq!(store.mark(P0).await.expect("reads"), Mark::default());
    let mark = Mark { next: 7, next_step: 3 };
    for _ in 0..2 {
        store.append(&[control("a"), control("b")], &[to(Mark::default(), mark)]).await.expect("appends");
    }
    assert_eq!(files(&store), (1, 2));
    let mut store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens again");
    assert_eq!(store.mark(P0).await.expect("reads"), mark);
    assert_eq!(store.mark(Partition(1)).await.expect("reads"), Mark::default());
    // Nothing new in this table, but the position moved on.
    store.append(&[], &[to(mark, Mark { next: 9, ..mark })]).await.expect("appends");
    assert_eq!((files(&store), store.mark(P0).await.expect("reads").next), ((1, 2), 9));
}

/// Two processes that both believe a partition is theirs: rows of one of them are written, and the other is told.
#[tokio::test]
async fn what_another_has_written_is_not_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens");
    let mut second = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens");
    first.append(&[control("a"), control("b")], &[to(at(0), at(2))]).await.expect("appends");
    for _ in 0..2 {
        let error = second.append(&[control("a")], &[to(at(0), at(1))]).await.expect_err("overtaken");
        assert!(matches!(error, Error::Overtaken { .. }), "{error:?}");
    }
    // The same rows of both are written once.
    second.append(&[control("a"), control("b")], &[to(at(0), at(2))]).await.expect("is there");
    second.append(&[control("c")], &[to(at(2), at(3))]).await.expect("goes on");
    first.append(&[control("c")], &[to(at(2), at(3))]).await.expect("is there");
    assert_eq!((files(&first), files(&second)), ((2, 3), (2, 3)));
    let other = Move { partition: Partition(1), ..to(at(0), at(1)) };
    first.append(&[control("d")], &[other]).await.expect("another partition");
    second.append(&[control("e")], &[to(at(3), at(4))]).await.expect("beside it");
    assert_eq!(files(&second), (4, 5));
}

#[tokio::test]
async fn compaction_merges_files_and_keeps_rows_and_marks() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens");
    for n in 1..=9 {
        store.append(&[control(&format!("c{n}"))], &[to(at(n - 1), at(n))]).await.expect("appends");
    }
    assert_eq!((files(&store), store.commits), ((9, 9), 9));
    maintain(store.handle(), Table::ControlEvents).await.expect("compacts");
    // The store that went on appending takes the compaction over with its next commit.
    store.append(&[control("late")], &[to(at(9), at(10))]).await.expect("appends");
    assert_eq!(files(&store), (2, 10));
    let store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens from the checkpoint");
    assert_eq!((files(&store), store.mark(P0).await.expect("reads").next), ((2, 10), 10));
}

#[tokio::test]
async fn a_folder_of_another_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    Store::open(&place(&folder).await, Table::Verdicts).await.expect("creates");
    std::fs::rename(folder.path().join("verdicts"), folder.path().join("findings")).expect("moves");
    match Store::open(&place(&folder).await, Table::Findings).await {
        Err(Error::OtherVersion { table: "findings", columns }) => {
            assert!(columns.contains("severity") && columns.contains("scores"), "{columns}");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn commits_of_processes_that_lived_shortly_add_up() {
    let folder = tempfile::tempdir().expect("a folder");
    for n in 1..=5 {
        let mut store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens");
        assert_eq!(store.commits, n - 1);
        store.append(&[control("a")], &[to(at(n - 1), at(n))]).await.expect("appends");
    }
    let store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens");
    maintain(store.handle(), Table::ControlEvents).await.expect("compacts");
    let mut store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens from the checkpoint");
    assert_eq!((store.commits, files(&store)), (0, (1, 5)));
    store.append(&[control("b")], &[to(at(5), at(6))]).await.expect("appends");
    let store = Store::open(&place(&folder).await, Table::ControlEvents).await.expect("opens again");
    assert_eq!(store.commits, 1);
}

/// Tables of before `gated` and `changed` were kept: their rows have no value for it, and new rows do.
#[tokio::test]
async fn columns_that_a_table_lacks_are_added_when_it_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/history/v1");
    copy(&old, folder.path());
    let of_steps = ("step_id", "gated");
    for (table, names) in
        [(Table::Steps, of_steps), (Table::Verdicts, of_steps), (Table::ControlEvents, ("control_id", "changed"))]
    {
        let mut store = Store::open(&place(&folder).await, table).await.expect("opens");
        let mark = store.mark(P0).await.expect("reads");
        let before = store.table.version().expect("made");
        let row = one(table, names, "new");
        let step = Move { partition: P0, from: mark, to: Mark { next: mark.next + 1, ..mark } };
        store.append(&[row], &[step]).await.expect("appends");
        // Opening it again adds nothing.
        let store = Store::open(&place(&folder).await, table).await.expect("opens again");
        assert_eq!(store.table.version(), Some(before + 1), "given a column before, and written");
        maintain(store.handle(), table).await.expect("compacts rows of both kinds");
        let store = Store::open(&place(&folder).await, table).await.expect("opens from the checkpoint");
        let rows = flags(&store, names).await;
        assert_eq!(rows.last(), Some(&("new".to_owned(), Some(true))), "{table:?}");
        let old: Vec<_> = rows[..rows.len() - 1].iter().map(|(id, flag)| (id.as_str(), *flag)).collect();
        let copies = if table == Table::ControlEvents { CONTROL_ROWS } else { 1 };
        let expected: Vec<_> = ["1", "2"].into_iter().flat_map(|it| vec![(it, None); copies]).collect();
        assert_eq!(old, expected, "{table:?}");
    }
}

/// The request and the answers of four partitions.
const CONTROL_ROWS: usize = 5;

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            std::fs::create_dir(&target).expect("made");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// A row with an id, a flag and nothing else.
fn one(table: Table, (id, flag): (&str, &str), value: &str) -> RecordBatch {
    let schema = Arc::new(table.description().schema());
    let column = |name: &str| -> ArrayRef {
        match name {
            name if name == id => Arc::new(StringArray::from(vec![value])),
            name if name == flag => Arc::new(BooleanArray::from(vec![true])),
            other => new_null_array(schema.field_with_name(other).expect("a column").data_type(), 1),
        }
    };
    let columns = schema.fields().iter().map(|it| column(it.name())).collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).expect("fits")
}

async fn flags(store: &Store, (id, flag): (&str, &str)) -> Vec<(String, Option<bool>)> {
    let session = datafusion::prelude::SessionContext::new();
    let stored = store.stored().expect("open");
    let provider = deltalake::delta_datafusion::DeltaScanNext::builder()
        .with_eager_snapshot(stored.snapshot)
        .with_log_store(stored.log_store)
        .with_session(Arc::new(session.state()))
        .build()
        .await
        .expect("can be read");
    session.register_table("t", Arc::new(provider)).expect("registers");
    let sql = format!("SELECT CAST({id} AS VARCHAR), {flag} FROM t ORDER BY 1");
    let batches = session.sql(&sql).await.expect("plans").collect().await.expect("reads");
    let mut rows = Vec::new();
    for batch in batches {
        let ids = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).expect("text");
        let flags = batch.column(1).as_boolean();
        rows.extend(ids.as_string::<i32>().iter().zip(flags).map(|(id, it)| (id.unwrap_or_default().to_owned(), it)));
    }
    rows
}
