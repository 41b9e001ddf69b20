//! Artifacts an agent is shown.

use futures_util::StreamExt as _;

use crate::app::lease::{Session, key};
use crate::domain::id::JobId;
use crate::domain::prompt::Input;
use crate::domain::spec::artifact_source;
use crate::runner::Settings;
use crate::runner::logs::text::Decoder;
use crate::runner::process::Stream;
use crate::store::usage::Told;

/// Reads what an agent is to be shown, of each no more than it may be shown. What is not there is `None`.
pub(super) async fn read(
    settings: &Settings,
    session: &Session,
    job: JobId,
    told: &[Told],
    paths: Vec<String>,
) -> Vec<Input> {
    let mut inputs = Vec::with_capacity(paths.len());
    // Of those beyond the limit only the names are said.
    for (place, path) in paths.into_iter().enumerate() {
        let text = match place < settings.inputs.files {
            true => artifact(settings, session, job, &path).await,
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
    inputs
}

/// The beginning of an artifact, and how many characters all of it has.
async fn artifact(settings: &Settings, session: &Session, job: JobId, path: &str) -> Option<(String, usize)> {
    // What cannot be read now is missing, which the agent and the log are told.
    session.artifact(job, path).await.ok()??;
    let mut opened = settings.objects.open(&key(job, path), None).await.ok()??;
    let (mut decoder, mut text, mut kept, mut chars) = (Decoder::default(), String::new(), 0, 0);
    let mut take = |piece: &str| {
        chars += piece.chars().count();
        let room = settings.inputs.file_chars.saturating_sub(kept);
        text.extend(piece.chars().take(room));
        kept += piece.chars().count().min(room);
    };
    while let Some(piece) = opened.bytes.next().await {
        take(&decoder.decode(Stream::Stdout, &piece.ok()?));
    }
    let [(_, rest), _] = decoder.finish();
    take(&rest);
    Some((text, chars))
}

/// What a step said is in the tables too.
fn report(told: &[Told], path: &str) -> Option<String> {
    let step_id = artifact_source(path).filter(|_| path.ends_with("/report.md"))?;
    told.iter().find(|told| told.step_id == step_id)?.said.clone()
}
