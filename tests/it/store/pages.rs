//! Pages of jobs against a list that is filtered by hand.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use orchestrator::domain::id::ProjectId;
use orchestrator::domain::job::{Code, JobState};
use orchestrator::store::Pool;
use orchestrator::store::job::{Filter, page};
use uuid::Uuid;

use crate::support::{database, tell};

/// 2,600 jobs of three projects, a millisecond apart, so that filters look at more than a window of them. The tags of
/// one in a thousand are no words, as only somebody's own SQL writes it, and every third is written by who does not say
/// the project beside the specification.
const FILL: &str = r#"
    insert into project (id, alias, directory) select gen_random_uuid(), 'p' || n, '/srv' from generate_series(0, 2) as n;
    insert into job (id, project_id, queue, state, priority, run_at, max_attempts, attempt, created_at, started_at, finished_at, code)
    select (lpad(to_hex(1893456000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, project.id,
           'q' || n / 2 % 2, (case when n % 7 = 0 then 'failed' when n % 5 = 0 then 'available' else 'succeeded' end)::job_state,
           0, now(), 3, case when n % 7 > 0 and n % 5 = 0 then 0 else 1 end, to_timestamp((1893456000000 + n) / 1000.0),
           case when n % 7 > 0 and n % 5 = 0 then null else now() end, case when n % 7 > 0 and n % 5 = 0 then null else now() end,
           case when n % 14 = 0 then 'timeout' when n % 7 = 0 then 'exit_nonzero' end
      from generate_series(0, 2599) as n join project on alias = 'p' || case when n % 40 = 0 then 2 else n % 2 end;
    insert into job_spec (job_id, of_project, spec, request_hash)
    select id, case when n % 3 > 0 then project_id end, jsonb_build_object('goal', 'g', 'queue', queue, 'tags',
               case when n % 1000 = 1 then '[7]' when n % 3 = 0 then '["t"]' when n % 1300 = 7 then '["rare"]' else '[]' end::jsonb), sha256('')
      from (select id, project_id, queue, row_number() over (order by id) - 1 as n from job) as job;
    analyze;"#;

/// What is known of a job without the statements that are looked at.
struct Known {
    id: Uuid,
    project: ProjectId,
    queue: String,
    state: String,
    code: Option<String>,
    tags: serde_json::Value,
    at: DateTime<Utc>,
}

type Row = (
    Uuid,
    Uuid,
    String,
    String,
    Option<String>,
    serde_json::Value,
    DateTime<Utc>,
);

async fn known(pool: &Pool) -> Vec<Known> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, project_id, queue, state::text, code, spec -> 'tags', created_at
           from job join job_spec on job_id = id order by id desc",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let known = |(id, project, queue, state, code, tags, at)| Known {
        id,
        project: ProjectId(project),
        queue,
        state,
        code,
        tags,
        at,
    };
    rows.into_iter().map(known).collect()
}

fn is_asked_for(job: &Known, filter: &Filter<'_>) -> bool {
    let has = |tag: &str| job.tags.as_array().is_some_and(|tags| tags.contains(&tag.into()));
    filter
        .projects
        .is_none_or(|projects| projects.contains(&job.project))
        && filter.state.is_none_or(|state| state.as_str() == job.state)
        && filter.queue.is_none_or(|queue| queue == job.queue)
        && filter.tag.is_none_or(has)
        && filter
            .code
            .is_none_or(|code| Some(code.as_str()) == job.code.as_deref())
        && filter.created_after.is_none_or(|after| job.at >= after)
        && filter.created_before.is_none_or(|before| job.at < before)
}

async fn walked(pool: &Pool, filter: Filter<'_>, limit: u16) -> Vec<Uuid> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = page(pool, filter, after, limit).await.unwrap();
        assert!(page.items.len() <= usize::from(limit));
        ids.extend(page.items.iter().map(|job| job.id.0));
        match page.next {
            None => return ids,
            next => after = next,
        }
    }
}

#[tokio::test]
async fn pages_hold_every_job_that_is_asked_for_once_and_in_order_whatever_the_filter() {
    let database = database().await;
    let pool = database.pool();
    tell(&pool, FILL).await;
    let jobs = known(&pool).await;
    assert_eq!(jobs.len(), 2600);
    let mut count = BTreeMap::new();
    jobs.iter()
        .for_each(|job| *count.entry(job.project.0).or_insert(0) += 1);
    let mut projects: Vec<ProjectId> = count.keys().map(|id| ProjectId(*id)).collect();
    projects.sort_by_key(|project| count[&project.0]);
    let middle = Some(jobs[1300].at);
    for reach in [
        None,
        Some(&projects[..0]),
        Some(&projects[..1]),
        Some(&projects[..2]),
    ] {
        for state in [
            None,
            Some(JobState::Failed),
            Some(JobState::Running),
            Some(JobState::Succeeded),
        ] {
            for queue in [None, Some("q1")] {
                for tag in [None, Some("t"), Some("rare")] {
                    for code in [None, Some(Code::Timeout)] {
                        for (created_after, created_before) in [(None, None), (middle, None), (None, middle)]
                        {
                            let filter = Filter {
                                projects: reach,
                                state,
                                queue,
                                tag,
                                code,
                                created_after,
                                created_before,
                            };
                            let asked: Vec<_> = jobs
                                .iter()
                                .filter(|job| is_asked_for(job, &filter))
                                .map(|job| job.id)
                                .collect();
                            assert_eq!(walked(&pool, filter, 500).await, asked, "{filter:?}");
                        }
                    }
                }
            }
        }
    }
    for limit in [1, 7, 499] {
        let filter = Filter {
            tag: Some("rare"),
            ..Filter::default()
        };
        assert_eq!(walked(&pool, filter, limit).await.len(), 2);
        let filter = Filter {
            projects: Some(&projects[..1]),
            code: Some(Code::Timeout),
            ..Filter::default()
        };
        let asked = jobs.iter().filter(|job| is_asked_for(job, &filter)).count();
        assert_eq!(walked(&pool, filter, limit).await.len(), asked);
    }
}
