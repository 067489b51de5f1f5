//! Calls with a detection that is there, behind, or gone.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::*;

struct World {
    outcomes: Outcomes,
    batches: mpsc::Receiver<Batch>,
    endpoint: Endpoint,
}

impl World {
    fn new(kept: &BTreeMap<String, Vec<u8>>) -> Self {
        Self::patient(kept, Duration::from_secs(3_600))
    }

    fn patient(kept: &BTreeMap<String, Vec<u8>>, patience: Duration) -> Self {
        let (intake, batches) = Intake::new();
        let outcomes = Outcomes::patient(Clock::new(), EventFeed::new(10, 0), patience);
        outcomes.open(intake, PseudonymKey::new(1, 2), kept);
        Self {
            outcomes,
            batches,
            endpoint: Endpoint {
                name: "app".to_owned(),
                listen: Listen::Unix(PathBuf::from("/run/app.sock"), 0o660),
                profile: Profile::Signals,
                service: "login".to_owned(),
                peer: Profile::Signals.peer(),
                resolved: false,
                user_header: None,
            },
        }
    }

    async fn call(&self, body: &str) -> Answer {
        let call = Call {
            endpoint: &self.endpoint,
            service: &|name| ["shop", "login"].iter().position(|known| *known == name),
            client: &|| Err("`client` is missing".to_owned()),
        };
        self.outcomes.take(&call, body.as_bytes()).await
    }

    /// The call, with a detection that writes its batch down.
    async fn written(&mut self, body: &str) -> (Answer, Batch) {
        let outcomes = self.outcomes.clone();
        let endpoint = self.endpoint.clone();
        let body = body.to_owned();
        let calling = tokio::spawn(async move {
            let call = Call {
                endpoint: &endpoint,
                service: &|name| ["shop", "login"].iter().position(|known| *known == name),
                client: &|| Err("`client` is missing".to_owned()),
            };
            outcomes.take(&call, body.as_bytes()).await
        });
        let mut batch = self.batches.recv().await.unwrap();
        batch.taken.take().unwrap().send(()).unwrap();
        (calling.await.unwrap(), batch)
    }

    fn row(&self) -> SignalRow {
        self.outcomes
            .rows(std::slice::from_ref(&self.endpoint))
            .remove(0)
    }
}

fn signal(id: &str) -> String {
    format!(r#"{{"id":"{id}","client":"192.0.2.1","outcome":"failure","user":"bob"}}"#)
}

fn done(accepted: usize, duplicates: usize) -> Answer {
    Answer::Done(Dealt {
        accepted,
        duplicates,
        rejected: Vec::new(),
    })
}

#[tokio::test]
async fn a_repeated_id_counts_once_also_over_a_restart() {
    let mut world = World::new(&BTreeMap::new());
    let body = format!("[{},{},{}]", signal("a"), signal("b"), signal("a"));
    let (answer, batch) = world.written(&body).await;
    assert_eq!(answer, done(2, 1));
    assert_eq!(batch.signals.len(), 2);
    assert_eq!(batch.signals[0].service, 1, "the endpoint's own");
    assert_eq!(world.call(&body).await, done(0, 3));
    assert!(world.batches.try_recv().is_err());
    let position = batch.position.unwrap();
    let kept = BTreeMap::from([(position.source.to_string(), position.cursor)]);
    let mut world = World::new(&kept);
    assert_eq!(world.call(&signal("b")).await, done(0, 1));
    let (answer, _) = world
        .written(&format!("{}\n{}", signal("b"), signal("c")))
        .await;
    assert_eq!(answer, done(1, 1));
    let row = world.row();
    assert_eq!((row.signals, row.duplicates), (1, 2));
}

#[tokio::test]
async fn signals_without_an_id_count_each_time() {
    let mut world = World::new(&BTreeMap::new());
    let body = r#"{"client":"192.0.2.1","outcome":"success"}"#;
    for _ in 0..2 {
        let (answer, batch) = world.written(body).await;
        assert_eq!(answer, done(1, 0));
        assert!(batch.position.is_none());
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_does_not_touch_the_others() {
    let mut world = World::new(&BTreeMap::new());
    let body = format!(
        r#"[{},{{"outcome":"success"}},{{"client":"192.0.2.1","outcome":"success","service":"none"}},7]"#,
        signal("a")
    );
    let (answer, _) = world.written(&body).await;
    let Answer::Done(dealt) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(dealt.accepted, 1);
    let rejected: Vec<&str> = dealt.rejected.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(
        rejected,
        [
            "`client` is missing",
            "there is no such service (\"none\")",
            "is no JSON object"
        ]
    );
    assert_eq!(dealt.rejected[0].0, 1);
    assert_eq!(world.row().rejected.values().sum::<u64>(), 3);
    world.endpoint.service = String::new();
    let Answer::Done(dealt) = world.call(&signal("x")).await else {
        panic!("it can be read");
    };
    assert!(dealt.rejected[0].1.starts_with("`service` is missing"));
    assert!(matches!(
        world.call("nonsense").await,
        Answer::Unreadable(_)
    ));
}

#[tokio::test]
async fn a_detection_that_is_behind_turns_calls_away_and_keeps_none_of_their_ids() {
    let world = World::new(&BTreeMap::new());
    let fill = |number: u64| Batch {
        signals: Vec::new(),
        position: Some(Position {
            source: Arc::from("x"),
            cursor: number.to_le_bytes().to_vec(),
        }),
        taken: None,
    };
    let open = world.outcomes.0.open.get().unwrap();
    while open.intake.try_put(fill(1)).is_ok() {}
    assert_eq!(world.call(&signal("a")).await, Answer::Busy);
    assert_eq!(world.row().turned_away, 1);
    let mut world = world;
    while world.batches.try_recv().is_ok() {}
    let (answer, _) = world.written(&signal("a")).await;
    assert_eq!(answer, done(1, 0), "it is new when it comes again");
}

#[tokio::test]
async fn what_is_not_on_disk_yet_is_not_acknowledged() {
    let mut world = World::patient(&BTreeMap::new(), Duration::from_millis(20));
    assert_eq!(
        world.call(&signal("a")).await,
        Answer::Busy,
        "the disk hangs"
    );
    assert_eq!(
        world.call(&signal("a")).await,
        Answer::Busy,
        "and still does"
    );
    let mut batch = world.batches.recv().await.unwrap();
    batch.taken.take().unwrap().send(()).unwrap();
    // The task that waits for it has its turn.
    while world.call(&signal("a")).await == Answer::Busy {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.call(&signal("a")).await, done(0, 1));
    assert!(world.batches.try_recv().is_err(), "it was taken once");
}

#[tokio::test]
async fn nothing_is_taken_before_detection_is_there() {
    let outcomes = Outcomes::new(Clock::new(), EventFeed::new(10, 0));
    let world = World::new(&BTreeMap::new());
    let call = Call {
        endpoint: &world.endpoint,
        service: &|_| Some(0),
        client: &|| Err(String::new()),
    };
    let answer = outcomes.take(&call, signal("a").as_bytes()).await;
    assert_eq!(answer, Answer::Busy);
}
