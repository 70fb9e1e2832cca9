//! The store as its users see it: against a model, and against a writer that is killed.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

fn bytes(text: &str) -> impl FnOnce(Revision) -> Bytes + Send + 'static + use<> {
    let text = text.to_owned();
    move |revision| format!("{text}@{revision}").into()
}

#[tokio::test]
async fn writes_are_checked_and_survive_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::new("ns", "a");
    {
        let store = Store::open(dir.path()).unwrap();
        let made = store.put("things", &key, Expected::Absent, bytes("1")).await.unwrap();
        let again = store.put("things", &key, Expected::Absent, bytes("2")).await;
        assert!(matches!(again, Err(WriteError::Conflict(Some(there))) if there == made));
        let changed = store.put("things", &key, Expected::Revision(made.revision), bytes("2")).await.unwrap();
        let stale = store.put("things", &key, Expected::Revision(made.revision), bytes("3")).await;
        assert!(matches!(stale, Err(WriteError::Conflict(_))));
        assert_eq!(&*changed.bytes, format!("2@{}", changed.revision).as_bytes());
        let missing = store.delete("things", &Key::new("ns", "b"), Expected::Any, bytes("")).await;
        assert!(matches!(missing, Err(WriteError::Conflict(None))));
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.path().join("objects.redb")), 0o600);
    let store = reopened(dir.path());
    assert_eq!(&*store.get("things", &key).unwrap().bytes, b"2@3");
    assert_eq!(store.revision(), 3);
    assert_eq!(store.watch("things", None, 2).unwrap_err(), Expired { oldest: 3 });
}

/// The writer of a store that was dropped may hold the file a moment longer.
fn reopened(dir: &Path) -> Store {
    podbox_wait(|| Store::open(dir).ok())
}

fn podbox_wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let limit = crate::clock::instant() + std::time::Duration::from_secs(120);
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(crate::clock::instant() < limit, "it never came"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_is_no_store_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("objects.redb"), [7; 5000]).unwrap();
    let error = Store::open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(error.contains("objects.redb") && error.contains("backup"), "{error}");
}

#[tokio::test]
async fn watchers_see_each_change_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut all = store.watch("things", None, store.revision()).unwrap();
    let mut some = store.watch("things", Some("b"), store.revision()).unwrap();
    let writers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|namespace| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..100 {
                    let key = Key::new(namespace, &format!("n{}", number % 7));
                    store.put("things", &key, Expected::Any, bytes("x")).await.unwrap();
                    store.put("others", &key, Expected::Any, bytes("x")).await.unwrap();
                }
                store
                    .delete("things", &Key::new(namespace, "n0"), Expected::Any, bytes("gone"))
                    .await
                    .unwrap();
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 303 {
        seen.extend(all.next().await.unwrap().changes);
    }
    let mut of_b = Vec::new();
    while of_b.len() < 101 {
        of_b.extend(some.next().await.unwrap().changes);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(seen.is_sorted_by(|a, b| a.entry.revision < b.entry.revision));
    assert!(of_b.iter().all(|change| change.entry.key.namespace() == "b"));
    assert_eq!(of_b.last().unwrap().happened, Happened::Deleted);
    let rest = all.read().unwrap();
    assert!(rest.changes.is_empty() && rest.revision == store.revision());
}

#[tokio::test]
async fn one_who_falls_behind_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut slow = store.watch("things", None, store.revision()).unwrap();
    let large = "x".repeat(limits::HISTORY_BYTES / 8);
    for _ in 0..12 {
        store.put("things", &Key::new("", "a"), Expected::Any, bytes(&large)).await.unwrap();
    }
    let Expired { oldest } = slow.read().unwrap_err();
    assert!(oldest > 2 && store.watch("things", None, oldest).is_ok());
    assert!(store.list("things", None, None, 0, Some(2)).is_err());
}

#[tokio::test]
async fn a_write_decides_by_what_is_there_and_by_the_batch_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = Key::new("", "counter");
    let count = |store: Store, key: Key| async move {
        let add = |current: Option<&Arc<Entry>>, _| {
            let number =
                current.map_or(0, |entry| std::str::from_utf8(&entry.bytes).unwrap().parse().unwrap());
            if number == 50 { Err("enough") } else { Ok(Op::Put((number + 1).to_string().into())) }
        };
        store.write("things", &key, add).await.unwrap()
    };
    let counts = (0..60).map(|_| tokio::spawn(count(store.clone(), key.clone())));
    let mut refused = 0;
    for done in counts.collect::<Vec<_>>() {
        refused += usize::from(done.await.unwrap() == Err("enough"));
    }
    assert_eq!((refused, &*store.get("things", &key).unwrap().bytes, store.revision()), (10, &b"50"[..], 51));
    let keep = |_: Option<&Arc<Entry>>, _| Ok::<_, ()>(Op::Keep);
    let kept = store.write("things", &key, keep).await.unwrap().unwrap();
    assert_eq!((kept, store.revision()), (Written::Kept(store.get("things", &key)), 51));
    let delete = |_: Option<&Arc<Entry>>, _| Ok::<_, ()>(Op::Delete(Bytes::new()));
    assert!(matches!(store.write("things", &key, delete).await.unwrap(), Ok(Written::Deleted(_))));
    assert_eq!(store.write("things", &key, delete).await.unwrap(), Ok(Written::Kept(None)));
}

#[tokio::test]
async fn a_write_that_panics_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = Key::new("", "a");
    let panics = store.put("things", &key, Expected::Any, |_| panic!("a bug in a caller"));
    let fine = store.put("things", &key, Expected::Any, bytes("fine"));
    let (panicked, fine) = tokio::join!(panics, fine);
    assert!(matches!(panicked, Err(WriteError::Closed)));
    assert_eq!(&*fine.unwrap().bytes, b"fine@2");
}

#[tokio::test]
async fn a_closed_store_has_written_all_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = Key::new("", "a");
    let before = tokio::spawn({
        let (store, key) = (store.clone(), key.clone());
        async move { store.put("things", &key, Expected::Any, bytes("x")).await }
    });
    tokio::task::yield_now().await;
    store.close().await;
    assert!(before.await.unwrap().is_ok());
    assert!(matches!(store.put("things", &key, Expected::Any, bytes("y")).await, Err(WriteError::Closed)));
    // The file is free at once.
    assert_eq!(Store::open(dir.path()).unwrap().revision(), 2);
    assert!(store.get("things", &key).is_some(), "what is in memory can still be read");
}

#[tokio::test]
async fn a_watcher_of_one_namespace_is_not_lost_among_changes_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (page, mut watch) = store.list_and_watch("things", Some("b")).unwrap();
    assert!(page.entries.is_empty());
    for _ in 0..=limits::WATCH_BATCH {
        store.put("things", &Key::new("a", "x"), Expected::Any, bytes("x")).await.unwrap();
    }
    store.put("things", &Key::new("b", "x"), Expected::Any, bytes("x")).await.unwrap();
    let batch = watch.next().await.unwrap();
    assert_eq!((batch.changes.len(), batch.revision), (1, store.revision()));
    // What lies elsewhere is progress too.
    store.put("others", &Key::new("b", "x"), Expected::Any, bytes("x")).await.unwrap();
    assert!(watch.read().unwrap().changes.is_empty());
    assert_eq!(watch.revision(), store.revision());
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    /// Lists in pages of so many as of so many writes ago.
    List(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8).prop_map(Step::Put),
        2 => (0..12_u8).prop_map(Step::Delete),
        2 => (1..5_usize, 0..20_u64).prop_map(|(limit, ago)| Step::List(limit, ago)),
    ]
}

fn key(number: u8) -> Key {
    Key::new(["a", "a-b", "b"][usize::from(number % 3)], &format!("n{number}"))
}

proptest! {
    #[test]
    fn pages_are_what_there_was(steps in proptest::collection::vec(step(), 1..80)) {
        let mut state = State::new(state::FIRST, []);
        let mut then: BTreeMap<Revision, BTreeMap<Key, Revision>> = BTreeMap::new();
        let mut model: BTreeMap<Key, Revision> = BTreeMap::new();
        then.insert(state.revision(), model.clone());
        let collection: Arc<str> = "things".into();
        for step in steps {
            let revision = state.revision() + 1;
            let change = |number: u8, happened: Happened, state: &State| Change {
                happened,
                entry: Arc::new(Entry { key: key(number), revision, bytes: Bytes::new() }),
                previous: state.get("things", &key(number)).cloned(),
            };
            match step {
                Step::Put(number) => {
                    let happened = if model.contains_key(&key(number)) { Happened::Modified } else { Happened::Added };
                    let change = change(number, happened, &state);
                    state.publish(vec![(collection.clone(), change)]);
                    model.insert(key(number), revision);
                }
                Step::Delete(number) if model.contains_key(&key(number)) => {
                    let change = change(number, Happened::Deleted, &state);
                    state.publish(vec![(collection.clone(), change)]);
                    model.remove(&key(number));
                }
                Step::Delete(_) => {}
                Step::List(limit, ago) => {
                    let at = state.revision().saturating_sub(ago).max(state::FIRST);
                    for namespace in [None, Some("a"), Some("a-b")] {
                        let mut found = Vec::new();
                        let mut after: Option<Key> = None;
                        loop {
                            let page = state.list("things", namespace, after.as_ref(), limit, Some(at)).unwrap();
                            found.extend(page.entries.iter().map(|entry| (entry.key.clone(), entry.revision)));
                            after = page.entries.last().map(|entry| entry.key.clone());
                            if page.remaining == 0 {
                                break;
                            }
                        }
                        let expected: Vec<_> = then[&at]
                            .iter()
                            .filter(|(key, _)| namespace.is_none_or(|namespace| key.namespace() == namespace))
                            .map(|(key, revision)| (key.clone(), *revision))
                            .collect();
                        prop_assert_eq!(found, expected);
                    }
                }
            }
            then.insert(state.revision(), model.clone());
        }
    }
}
