//! What steps print, in order of (attempt, seq).

use chrono::{DateTime, Utc};

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

/// Keeps output of an attempt `runner` still holds; answers whether it does. Pieces that are already
/// there stay as they are, so writing again after a broken connection is safe.
///
/// # Errors
///
/// [`super::Error`] when PostgreSQL is away.
pub async fn append(
    db: impl Executor<'_>,
    runner: RunnerId,
    fence: Fence,
    lines: &[NewLine],
) -> Result<bool> {
    let seqs: Vec<i32> = lines.iter().map(|line| line.seq).collect();
    let positions: Vec<i16> = lines.iter().map(|line| line.position).collect();
    let streams: Vec<&str> = lines.iter().map(|line| line.stream).collect();
    let times: Vec<DateTime<Utc>> = lines.iter().map(|line| line.at).collect();
    let bodies: Vec<&str> = lines.iter().map(|line| line.body.as_str()).collect();
    let held = sqlx::query_scalar!(
        r#"
        with held as (
            -- Shared with nobody who ends the attempt: output is either there before the end is, or not
            -- at all, so whoever follows the job and sees its end has seen everything it printed.
            select id, attempt from job where id = $1 and attempt = $2 and runner_id = $3 and state = 'running' for share
        ), kept as (
            insert into log (job_id, attempt, seq, position, stream, at, body)
            select held.id, held.attempt, line.*
              from held, unnest($4::int[], $5::smallint[], $6::text[], $7::timestamptz[], $8::text[])
                         as line (seq, position, stream, at, body)
            on conflict do nothing
        )
        select exists (select from held) as "held!"
        "#,
        fence.job.0,
        fence.attempt,
        runner.0,
        &seqs,
        &positions,
        &streams as &[&str],
        &times,
        &bodies as &[&str],
    )
    .fetch_one(db)
    .await?;
    Ok(held)
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
                 order by seq desc limit 4) as piece
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
