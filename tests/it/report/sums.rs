//! Sums are those of the rows: each end once, through late commits, several schedulers and broken batches.

#![expect(
    clippy::disallowed_methods,
    reason = "a test holds locks by a transaction of its own"
)]

use std::time::Duration;

use orchestrator::app::hint::Hints;
use orchestrator::app::roll_up::roll_up;
use orchestrator::app::{control, maintain};
use orchestrator::domain::attempt::{Ending, Failure};
use orchestrator::domain::id::{ProjectId, RunnerId};
use orchestrator::domain::job::Code;
use orchestrator::domain::usage::Usage;
use orchestrator::store::settle::{Settlement, settle};
use orchestrator::store::{Pool, claim, project, runner, usage};

use super::roll_up_all;
use crate::support::{ask, database, tell, until};

const SUMMED: &str =
    "select coalesce(string_agg(what || ' ' || code || ' ' || jobs, ', ' order by what, code), '') from
    (select what, code, sum(jobs) as jobs from rollup_job group by what, code) as summed";
const ATTEMPTS: &str = "select string_agg(measure || ' ' || attempts, ', ' order by measure) from
    (select measure, sum(attempts) as attempts from rollup_time group by measure) as summed";

pub(super) async fn session(pool: &Pool) -> RunnerId {
    let id = RunnerId::generate();
    let queues = ["default".to_owned()];
    let new = runner::NewSession {
        id,
        instance: "one",
        host: "here",
        pid: 1,
        slots: 10,
        queues: &queues,
        labels: &[],
        lease: Duration::from_secs(3600),
    };
    runner::open(pool, &new).await.unwrap();
    id
}

async fn put_in(pool: &Pool, project: ProjectId, count: usize) {
    let statement = format!(
        "with made as (insert into job (id, project_id, queue, state, priority, run_at, max_attempts)
                       select gen_random_uuid(), '{}', 'default', 'available', 0, now(), 1 from generate_series(1, {count}) returning id, project_id),
              said as (insert into event (project_id, job_id, kind, actor) select project_id, id, 'job.submitted', 'token:t' from made)
         insert into job_spec select id, '{{}}', sha256('') from made",
        project.0
    );
    tell(pool, &statement).await;
}

pub(super) async fn end(pool: &Pool, runner: RunnerId, count: u32, ending: impl Fn() -> Ending) {
    let claimed = claim::claim(pool, runner, "default", &[], count).await.unwrap();
    let batch: Vec<Settlement> = claimed
        .into_iter()
        .map(|claimed| Settlement {
            fence: claimed.fence,
            ending: ending(),
            step: None,
        })
        .collect();
    assert_eq!(settle(pool, runner, &batch).await.unwrap().len(), count as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_counted_once_whichever_way_it_came() {
    let database = database().await;
    let pool = database.pool();
    let demo = project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    let runner = session(&pool).await;
    put_in(&pool, demo, 30).await;
    end(&pool, runner, 10, || Ending::Succeeded).await;
    roll_up_all(&pool).await;
    end(&pool, runner, 5, || {
        Ending::Failed(Failure::new(Code::ExitNonzero, "it did"))
    })
    .await;
    end(&pool, runner, 3, || {
        Ending::Cancelled(Failure::new(Code::Cancelled, "asked"))
    })
    .await;
    end(&pool, runner, 2, || Ending::HandedBack).await;
    end(&pool, runner, 2, || {
        Ending::Retried(Failure::new(Code::ExitNonzero, "again"), Duration::from_secs(60))
    })
    .await;
    // Four more vanish with their runner, which each may only once; three wait and are cancelled.
    claim::claim(&pool, runner, "default", &[], 4).await.unwrap();
    tell(
        &pool,
        "update runner set lease_expires_at = now() - interval '1 second'",
    )
    .await;
    maintain::expire(&pool, &Hints::default(), None).await.unwrap();
    let waiting = ask(&pool, "select string_agg(id::text, ' ') from (select id from job where state = 'available' order by id limit 3) as waiting").await;
    for id in waiting.split(' ') {
        control::cancel(&pool, &Hints::default(), &operator(), id.parse().unwrap())
            .await
            .unwrap();
    }
    // Any number of schedulers at once, and once more when all is done.
    let (one, other, third) = tokio::join!(roll_up(&pool), roll_up(&pool), roll_up(&pool));
    one.and(other).and(third).unwrap();
    roll_up_all(&pool).await;
    roll_up_all(&pool).await;
    assert_eq!(
        ask(&pool, SUMMED).await,
        "cancelled cancelled 6, failed exit_nonzero 5, failed lost 4, submitted  30, succeeded  10"
    );
    assert_eq!(ask(&pool, ATTEMPTS).await, "run 26, wait 26");
    assert_eq!(ask(&pool, "select sum(attempts) from rollup_runner").await, "26");
    assert_eq!(ask(&pool, "select count(*) from attempt").await, "26");
    assert_eq!(
        ask(&pool, "select done = (select max(id) from event) from rollup").await,
        "true"
    );
}

#[tokio::test]
async fn what_an_agent_cost_is_summed_once_also_when_its_runner_vanished_before_its_step_was_written() {
    let database = database().await;
    let pool = database.pool();
    let demo = project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    let runner = session(&pool).await;
    put_in(&pool, demo, 2).await;
    let claimed = claim::claim(&pool, runner, "default", &[], 2).await.unwrap();
    for (claimed, cost_micro_usd) in claimed.iter().zip([1_250_000, 250_000]) {
        let usage = Usage {
            agent: "claude".to_owned(),
            input_tokens: Some(1000),
            output_tokens: Some(100),
            cost_micro_usd: Some(cost_micro_usd),
            ..Usage::default()
        };
        assert!(
            usage::record(&pool, runner, claimed.fence, 0, &usage)
                .await
                .unwrap()
        );
    }
    let batch = [Settlement {
        fence: claimed[0].fence,
        ending: Ending::Succeeded,
        step: None,
    }];
    settle(&pool, runner, &batch).await.unwrap();
    roll_up_all(&pool).await;
    let cost = "select cost_usd || ' ' || input_tokens + output_tokens from report.cost_by_agent_day";
    assert_eq!(ask(&pool, cost).await, "1.250000 1100");
    tell(
        &pool,
        "update runner set lease_expires_at = now() - interval '1 second'",
    )
    .await;
    maintain::expire(&pool, &Hints::default(), None).await.unwrap();
    roll_up_all(&pool).await;
    assert_eq!(ask(&pool, cost).await, "1.500000 2200");
}

fn operator() -> orchestrator::app::authenticate::Caller {
    orchestrator::app::authenticate::Caller::operator("cli")
}

#[tokio::test]
async fn an_event_that_is_committed_late_is_waited_for_and_counted() {
    let database = database().await;
    let pool = database.pool();
    let demo = project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    let mut late = pool.begin().await.unwrap();
    sqlx::query("insert into event (project_id, job_id, kind, actor) values ($1, gen_random_uuid(), 'job.submitted', 'late')")
        .bind(demo.0)
        .execute(&mut *late)
        .await
        .unwrap();
    // It has the first id, and the others are seen before it.
    put_in(&pool, demo, 5).await;
    roll_up_all(&pool).await;
    roll_up_all(&pool).await;
    assert_eq!(
        ask(&pool, SUMMED).await,
        "",
        "nothing is counted while a smaller id may appear"
    );
    late.commit().await.unwrap();
    put_in(&pool, demo, 1).await;
    roll_up_all(&pool).await;
    roll_up_all(&pool).await;
    assert_eq!(ask(&pool, SUMMED).await, "submitted  7");
}

#[tokio::test]
async fn a_batch_that_is_broken_off_adds_nothing_and_is_added_by_the_next() {
    let database = database().await;
    let pool = database.pool();
    let demo = project::put(&pool, "demo", "/srv/demo", "administrator")
        .await
        .unwrap();
    put_in(&pool, demo, 7).await;
    // The database refuses the second half of the batch.
    tell(&pool, "alter table rollup add constraint broken check (done = 0)").await;
    until(async || roll_up(&pool).await.err()).await;
    assert_eq!(ask(&pool, SUMMED).await, "");
    tell(&pool, "alter table rollup drop constraint broken").await;
    roll_up_all(&pool).await;
    assert_eq!(ask(&pool, SUMMED).await, "submitted  7");
}
