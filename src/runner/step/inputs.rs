//! Artifacts an agent is shown.

use std::io;

use futures_util::StreamExt as _;

use super::patiently::patiently;
use crate::app::backoff::Backoff;
use crate::app::lease::{Session, key};
use crate::domain::attempt::Failure;
use crate::domain::id::JobId;
use crate::domain::job::Code;
use crate::domain::prompt::Input;
use crate::domain::spec::artifact_source;
use crate::runner::Settings;
use crate::runner::artifacts::PATIENCE;
use crate::runner::held::Brake;
use crate::runner::logs::text::Decoder;
use crate::runner::process::Stream;
use crate::store::usage::Told;

/// Reads what an agent is to be shown, of each no more than it may be shown. What is not there is `None`.
///
/// # Errors
///
/// When what is there could not be read: an agent that does not know it would be called, and paid, for something else.
pub(super) async fn read(
    settings: &Settings,
    session: &Session,
    brake: &Brake,
    job: JobId,
    told: &[Told],
    paths: Vec<String>,
) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::with_capacity(paths.len());
    // Of those beyond the limit only the names are said.
    for (place, path) in paths.into_iter().enumerate() {
        let text = match place < settings.inputs.files {
            true => artifact(settings, session, brake, job, &path).await?,
            false => None,
        };
        let (text, chars) = match text {
            Some((text, chars)) => (Some(text), chars),
            None => {
                let said = report(told, &path);
                let chars = said.as_deref().map_or(0, |said| said.chars().count());
                (said, chars)
            }
        };
        inputs.push(Input { path, text, chars });
    }
    Ok(inputs)
}

/// The beginning of an artifact, and how many characters all of it has.
async fn artifact(
    settings: &Settings,
    session: &Session,
    brake: &Brake,
    job: JobId,
    path: &str,
) -> Result<Option<(String, usize)>, Failure> {
    if patiently(brake, || session.artifact(job, path)).await?.is_none() {
        return Ok(None);
    }
    let begun = tokio::time::Instant::now();
    let mut pause = Backoff::default();
    loop {
        match beginning(settings, &key(job, path)).await {
            Ok(found) => return Ok(found),
            Err(error) if begun.elapsed() < PATIENCE && brake.reason().is_none() => {
                tracing::warn!(job.id = %job, path, error = %error, "an artifact could not be read; trying again");
                pause.wait(brake.token()).await;
            }
            Err(error) => {
                let sentence = format!(
                    "{path}, which the agent is to be shown, could not be read: {error}. See to where artifacts are kept, and retry the job."
                );
                return Err(Failure::new(Code::Artifacts, sentence));
            }
        }
    }
}

async fn beginning(settings: &Settings, key: &str) -> io::Result<Option<(String, usize)>> {
    let Some(mut opened) = settings.objects.open(key, None).await? else {
        return Ok(None);
    };
    let (mut decoder, mut text, mut kept, mut chars) = (Decoder::default(), String::new(), 0, 0);
    let mut take = |piece: &str| {
        chars += piece.chars().count();
        let room = settings.inputs.file_chars.saturating_sub(kept);
        text.extend(piece.chars().take(room));
        kept += piece.chars().count().min(room);
    };
    while let Some(piece) = opened.bytes.next().await {
        take(&decoder.decode(Stream::Stdout, &piece?));
    }
    let [(_, rest), _] = decoder.finish();
    take(&rest);
    Ok(Some((text, chars)))
}

/// What a step said is in the tables too.
fn report(told: &[Told], path: &str) -> Option<String> {
    let step_id = artifact_source(path).filter(|_| path.ends_with("/report.md"))?;
    told.iter().find(|told| told.step_id == step_id)?.said.clone()
}
