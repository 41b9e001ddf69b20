//! What steps print, in order of (attempt, seq).

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Executor, Result};
use crate::domain::attempt::Fence;
use crate::domain::id::{JobId, RunnerId};

/// A piece of output to be kept.
#[derive(Clone, Debug)]
pub struct NewLine {
    /// Its place within the attempt, from 0.
    pub seq: i32,
    /// The step that printed it.
    pub position: i16,
    /// `stdout`, `stderr` or `system`.
    pub stream: &'static str,
    /// When it was read.
    pub at: DateTime<Utc>,
    /// The text, without NUL characters.
    pub body: String,
}

/// Output of one attempt, to be kept.
#[derive(Clone, Debug)]
pub struct Output {
    /// The attempt.
    pub fence: Fence,
    /// What it printed.
    pub lines: Vec<NewLine>,
}

/// Keeps output of attempts `runner` still holds, and answers with those. Pieces that are already there
/// stay as they are, so writing again after a broken connection is safe.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away or refuses a piece; nothing is kept then.
pub async fn append(db: impl Executor<'_>, runner: RunnerId, outputs: &[Output]) -> Result<HashSet<Fence>> {
    let columns = Columns::of(outputs);
    let held = sqlx::query!(
        r#"
        with held as materialized (
            -- Shared with nobody who ends the attempt: output is either there before the end is, or not
            -- at all, so whoever follows the job and sees its end has seen everything it printed.
            -- In one order everywhere, as the settle.
            select job.id, job.attempt, asked.first, asked.last
              from (select * from unnest($2::uuid[], $3::int[], $4::int[], $5::int[])
                                  as asked (job_id, attempt, first, last) order by job_id) as asked
             cross join lateral (select id, attempt, runner_id from job
                                  where job.id = asked.job_id and job.attempt = asked.attempt
                                    for share) as job
             where job.runner_id = $1
        ), kept as (
            insert into log (job_id, attempt, seq, position, stream, at, body)
            select held.id, held.attempt, line.*
              from held
             cross join lateral unnest(($6::int[])[first:last], ($7::smallint[])[first:last], ($8::text[])[first:last],
                                       ($9::timestamptz[])[first:last], ($10::text[])[first:last]) as line
            on conflict do nothing
        )
        select id, attempt from held
        "#,
        runner.0,
        &columns.held,
        &columns.attempts,
        &columns.firsts,
        &columns.lasts,
        &columns.seqs,
        &columns.positions,
        &columns.streams as &[&str],
        &columns.times,
        &columns.bodies as &[&str],
    )
    .fetch_all(db)
    .await?;
    let fence = |job, attempt| Fence {
        job: JobId(job),
        attempt,
    };
    Ok(held.into_iter().map(|row| fence(row.id, row.attempt)).collect())
}

/// The attempts, each with where its pieces begin and end, and the pieces: column by column, as `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    held: Vec<Uuid>,
    attempts: Vec<i32>,
    firsts: Vec<i32>,
    lasts: Vec<i32>,
    seqs: Vec<i32>,
    positions: Vec<i16>,
    streams: Vec<&'a str>,
    times: Vec<DateTime<Utc>>,
    bodies: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(outputs: &'a [Output]) -> Self {
        let mut columns = Self::default();
        for Output { fence, lines } in outputs {
            columns.held.push(fence.job.0);
            columns.attempts.push(fence.attempt);
            columns.firsts.push(columns.pieces() + 1);
            for line in lines {
                columns.seqs.push(line.seq);
                columns.positions.push(line.position);
                columns.streams.push(line.stream);
                columns.times.push(line.at);
                columns.bodies.push(&line.body);
            }
            columns.lasts.push(columns.pieces());
        }
        columns
    }

    fn pieces(&self) -> i32 {
        i32::try_from(self.seqs.len()).unwrap_or(i32::MAX)
    }
}

/// A piece of output, as people see it.
#[derive(Clone, Debug)]
pub struct Line {
    /// The attempt that printed it.
    pub attempt: i32,
    /// Its place within the attempt.
    pub seq: i32,
    /// The step that printed it.
    pub position: i16,
    /// `stdout`, `stderr` or `system`.
    pub stream: String,
    /// When it was read.
    pub at: DateTime<Utc>,
    /// The text.
    pub body: String,
}

/// Where a reader of a log is: behind this piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The attempt of the last piece read.
    pub attempt: i32,
    /// Its place within the attempt.
    pub seq: i32,
}

impl Place {
    /// Before everything.
    pub const START: Self = Self { attempt: 0, seq: -1 };
}

/// Up to `limit` pieces of a job's output after `after`, in order.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn after(db: impl Executor<'_>, job: JobId, after: Place, limit: u32) -> Result<Vec<Line>> {
    let lines = sqlx::query_as!(
        Line,
        "select attempt, seq, position, stream, at, body from log
          where job_id = $1 and (attempt, seq) > ($2, $3)
          order by attempt, seq
          limit $4",
        job.0,
        after.attempt,
        after.seq,
        i64::from(limit),
    )
    .fetch_all(db)
    .await?;
    Ok(lines)
}

/// The last `most` characters or so that a step printed in an attempt.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn tail(db: impl Executor<'_>, fence: Fence, position: i16, most: i32) -> Result<Option<String>> {
    let tail = sqlx::query_scalar!(
        r#"
        select right(string_agg(body, '' order by seq), $4) as tail
          from (select seq, body from log
                 where job_id = $1 and attempt = $2 and position = $3 and stream <> 'system'
                 order by seq desc limit 64) as piece
        "#,
        fence.job.0,
        fence.attempt,
        position,
        most,
    )
    .fetch_one(db)
    .await?;
    Ok(tail)
}
