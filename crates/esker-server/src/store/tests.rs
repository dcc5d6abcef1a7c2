//! The queue's and the deliveries' promises.

use esker_engine::event::Conclusion;

use super::*;

async fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_sqlite(&folder.path().join("a file?.db")).await.unwrap();
    (folder, store)
}

fn push(id: &str, commit: &str) -> NewDelivery {
    let wish = Wish::Check {
        project: "github/acme/hello".parse().unwrap(),
        commit: commit.into(),
        reference: "refs/heads/main".into(),
    };
    NewDelivery { forge: "github".into(), id: id.into(), event: "push".into(), wish }
}

fn id(number: i64) -> EvaluationId {
    EvaluationId { project: "github/acme/hello".into(), number }
}

#[tokio::test]
async fn a_delivery_counts_once_and_a_commit_is_evaluated_once() {
    let (folder, store) = open().await;
    assert_eq!(store.accept(&push("1", "aa"), 5).await.unwrap(), Accepted::Queued(id(1)));
    assert_eq!(store.accept(&push("1", "aa"), 6).await.unwrap(), Accepted::Duplicate);
    assert_eq!(store.accept(&push("1", "bb"), 6).await.unwrap(), Accepted::Duplicate);
    assert_eq!(store.accept(&push("2", "aa"), 7).await.unwrap(), Accepted::Known(id(1)));
    assert_eq!(store.accept(&push("3", "bb"), 8).await.unwrap(), Accepted::Queued(id(2)));
    // Also after it was closed and opened again.
    store.close().await;
    let store = Store::open_sqlite(&folder.path().join("a file?.db")).await.unwrap();
    assert_eq!(store.accept(&push("3", "bb"), 9).await.unwrap(), Accepted::Duplicate);
    assert_eq!(store.evaluations("github/acme/hello", None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_lapsed_lease_is_anybodys_and_its_former_holder_writes_nothing() {
    let (_folder, store) = open().await;
    store.accept(&push("1", "aa"), 5).await.unwrap();
    let first = store.claim("a", 10, 20).await.unwrap().unwrap();
    assert_eq!((first.commit.as_str(), first.lease.attempt), ("aa", 1));
    assert_eq!(store.claim("b", 19, 30).await.unwrap(), None, "it is held");
    store.write(&first.lease, 25, &[Change::Evaluated]).await.unwrap();
    assert_eq!(store.claim("b", 24, 30).await.unwrap(), None, "it was renewed by writing");
    let second = store.claim("b", 26, 40).await.unwrap().unwrap();
    assert_eq!(second.lease.attempt, 2);
    let lost = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::LeaseLost)));
    lost(store.renew(&first.lease, 50).await);
    lost(store.write(&first.lease, 50, &[Change::Evaluated]).await);
    lost(store.finish(&first.lease, Conclusion::Passed, None, None, 27).await);
    lost(store.hand_back(&first.lease, 0).await);
    let row = store.evaluation(&id(1)).await.unwrap().unwrap();
    assert_eq!((row.word(), row.evaluated), ("evaluating", false));
    store.finish(&second.lease, Conclusion::Failed, None, None, 30).await.unwrap();
    assert_eq!(store.claim("c", 1000, 2000).await.unwrap(), None);
    assert_eq!(store.evaluation(&id(1)).await.unwrap().unwrap().word(), "failed");
}

#[tokio::test]
async fn what_is_handed_back_rests_and_begins_afresh() {
    let (_folder, store) = open().await;
    store.accept(&push("1", "aa"), 5).await.unwrap();
    let first = store.claim("a", 10, 20).await.unwrap().unwrap();
    let job = Change::Job { job: "x".into(), attr: "checks.x".into(), state: "waiting", drv: None };
    store.write(&first.lease, 20, &[job]).await.unwrap();
    assert_eq!(store.jobs(&id(1)).await.unwrap().len(), 1);
    store.hand_back(&first.lease, 15).await.unwrap();
    assert_eq!(store.claim("a", 14, 20).await.unwrap(), None);
    assert!(store.claim("a", 15, 20).await.unwrap().is_some());
    assert!(store.jobs(&id(1)).await.unwrap().is_empty());
    assert_eq!(store.end_all_leases().await.unwrap(), 1);
    assert_eq!(store.claim("a", 16, 20).await.unwrap().unwrap().lease.attempt, 3);
}

#[tokio::test]
async fn the_oldest_is_first() {
    let (_folder, store) = open().await;
    store.accept(&push("2", "bb"), 6).await.unwrap();
    store.accept(&push("1", "aa"), 5).await.unwrap();
    assert_eq!(store.claim("a", 10, 20).await.unwrap().unwrap().commit, "aa");
    assert_eq!(store.claim("a", 10, 20).await.unwrap().unwrap().commit, "bb");
}

#[tokio::test]
async fn a_status_is_told_until_its_last_word() {
    let (_folder, store) = open().await;
    store.accept(&push("1", "aa"), 5).await.unwrap();
    let untold = store.untold(6).await.unwrap();
    assert_eq!((untold.len(), untold[0].name.as_str(), &untold[0].told), (1, "esker", &None));
    store.tell_later(&untold[0], 100).await.unwrap();
    assert!(store.untold(99).await.unwrap().is_empty());
    assert_eq!(store.next_telling(99).await.unwrap(), Some(100));
    let untold = store.untold(100).await.unwrap();
    assert_eq!(untold[0].failures, 1);
    store.told(&untold[0], "waiting", false).await.unwrap();
    let untold = store.untold(0).await.unwrap();
    assert_eq!((untold[0].told.as_deref(), untold[0].failures), (Some("waiting"), 0));
    store.told(&untold[0], "passed", true).await.unwrap();
    assert!(store.untold(1000).await.unwrap().is_empty());
    assert_eq!(store.next_telling(0).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_not_the_codes_fault_is_tried_again_with_the_next_push() {
    let (_folder, store) = open().await;
    store.accept(&push("1", "aa"), 5).await.unwrap();
    let claimed = store.claim("a", 10, 20).await.unwrap().unwrap();
    store.finish(&claimed.lease, Conclusion::Broken, None, Some("no disk"), 11).await.unwrap();
    assert_eq!(store.accept(&push("2", "aa"), 12).await.unwrap(), Accepted::Queued(id(2)));
    assert_eq!(store.accept(&push("3", "aa"), 13).await.unwrap(), Accepted::Known(id(2)));
    let older = store.evaluation(&id(1)).await.unwrap().unwrap();
    assert!(!store.is_newest(&older).await.unwrap());
}
