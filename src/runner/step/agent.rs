//! An agent's step: what it is told, how it is called, what it says.

use super::patiently::patiently;
use super::program::{self, Program};
use super::{Place, allowed, inputs};
use crate::app::lease::{Reserved, Session, Spent};
use crate::config;
use crate::domain::agent::{Definition, Invocation, Reader, Reading};
use crate::domain::attempt::{Failure, StepRecord};
use crate::domain::clock;
use crate::domain::job::Code;
use crate::domain::prompt::Briefing;
use crate::domain::spec::{ContextEntry, StepSpec};
use crate::domain::usage::Usage;
use crate::runner::held::Brake;
use crate::runner::logs::Log;
use crate::runner::process::{Chunk, Stream};
use crate::runner::redact::Secrets;
use crate::runner::sandbox::Access;
use crate::runner::{Settings, host};
use crate::store::budget::Held;
use crate::store::usage::Told;

/// Words in the names of variables whose values are nobody's business.
const SECRET: [&str; 4] = ["KEY", "TOKEN", "SECRET", "PASSWORD"];

/// Somebody is asked something.
pub(super) struct Asking<'a> {
    pub(super) settings: &'a Settings,
    pub(super) session: &'a Session,
    pub(super) step: &'a StepSpec,
    pub(super) place: &'a Place<'a>,
    pub(super) brake: &'a Brake,
}

impl Asking<'_> {
    /// Asks the step's agent, or says what it would have been asked. What must not be seen of it is
    /// added to `secrets`.
    pub(super) async fn ask(&self, record: &mut StepRecord, log: &mut Log<'_>, secrets: &mut Secrets) {
        if let Err(failure) = self.try_to_ask(record, log, secrets).await {
            record.failure = Some(failure);
            record.finished_at = clock::now();
        }
        if let Some(usage) = &mut record.usage {
            usage.report = secrets.redact(&usage.report).0;
        }
    }

    async fn try_to_ask(
        &self,
        record: &mut StepRecord,
        log: &mut Log<'_>,
        secrets: &mut Secrets,
    ) -> Result<(), Failure> {
        let definition = match self.step.is_agents() {
            true => Some(self.definition().await?),
            false => None,
        };
        let job = self.place.job.fence.job;
        let told = patiently(self.brake, || self.session.told(job)).await?;
        let prompt = self.brief(&told, log).await?;
        match definition {
            Some(definition) if self.settings.real_cli => {
                let call = self.prepare(&definition, &prompt).await?;
                let held = self.reserve().await?;
                let reading = self.call(&definition, call, record, log, secrets).await;
                self.correct(held, record, &reading).await;
                judge(&self.step.agent, record, &reading);
                record.usage = Some(Box::new(used(self.step, reading)));
            }
            definition => {
                let why = definition.map_or("", |_| "ENABLE_REAL_CLI is 0: ");
                let line = format!("{why}simulated, {} was not run", self.step.agent);
                log.say(self.place.position, &line).await;
                record.usage = Some(Box::new(simulated(self.step, &prompt)));
                record.finished_at = clock::now();
            }
        }
        Ok(())
    }

    /// How the agent is called, from its row.
    async fn definition(&self) -> Result<Definition, Failure> {
        let name = &self.step.agent;
        let refused = |why: String| Failure::new(Code::Specification, why);
        let agent = patiently(self.brake, || self.session.agent(name)).await?;
        let agent = agent.ok_or_else(|| {
            refused(format!(
                "There is no agent {name:?} any more; make it again, or submit the job with another."
            ))
        })?;
        serde_json::from_value(agent.definition).map_err(|error| {
            refused(format!(
                "The definition of agent {name:?} cannot be read by this version ({error}); set it again."
            ))
        })
    }

    /// Everything the agent is told. What is left out is said in the log.
    async fn brief(&self, told: &[Told], log: &mut Log<'_>) -> Result<String, Failure> {
        let spec = self.place.spec;
        let handoff = spec.artifact_handoff.unwrap_or(self.settings.handoff);
        let last = told.iter().rfind(|told| told.status == "succeeded");
        let (paths, _) = handoff.resolve(self.step, last.map(|told| told.step_id.as_str()));
        let mut context = spec.context_window.clone();
        context.extend(told.iter().map(entry));
        let job = self.place.job.fence.job;
        let inputs = inputs::read(self.settings, self.session, self.brake, job, told, paths).await?;
        let briefing = Briefing {
            goal: &spec.goal,
            task: self.step.prompt.as_deref().unwrap_or_default(),
            context: spec.context_strategy.apply(context),
            strategy: spec.context_strategy,
            inputs,
        };
        let (prompt, left_out) = briefing.write(self.settings.inputs);
        for sentence in left_out {
            log.say(self.place.position, &sentence).await;
        }
        Ok(prompt)
    }

    /// Checks that the agent's programs are here, and makes its arguments.
    async fn prepare(&self, definition: &Definition, prompt: &str) -> Result<Invocation, Failure> {
        let Self {
            settings,
            step,
            place,
            ..
        } = self;
        let sandboxed = settings
            .sandbox
            .confines(&place.spec.policy, place.job.without_sandbox);
        let mut call = definition
            .render(step.role.as_deref(), &step.allowed_tools, prompt, sandboxed)
            .map_err(|error| {
                let sentence = format!("Agent {:?} cannot be called so: {error}.", step.agent);
                Failure::new(Code::Policy, sentence)
            })?;
        let program = call.argv.first().cloned().unwrap_or_default();
        let binaries = allowed::binaries(settings, place, &program, &definition.binaries)?;
        settings
            .versions
            .all_fit(settings, &step.agent, &binaries)
            .await?;
        let needed = definition.binaries.iter().map(|binary| binary.name.as_str());
        for name in needed.filter(|name| *name != program) {
            allowed::program(settings, step, self.place, name)?;
        }
        if let (Some(file), Some(first)) = (
            allowed::program(settings, step, self.place, &program)?,
            call.argv.first_mut(),
        ) {
            *first = file.to_string_lossy().into_owned();
        }
        Ok(call)
    }

    /// Counts the call against the day's budgets.
    async fn reserve(&self) -> Result<Held, Failure> {
        let (job, settings) = (self.place.job.fence.job, self.settings);
        let host = host();
        let reserved = patiently(self.brake, || {
            self.session
                .reserve(job, &host, settings.budget, settings.usual_cost)
        });
        match reserved.await? {
            Reserved::Held(held) => Ok(held),
            Reserved::Refused(why) => Err(Failure::new(Code::BudgetExceeded, why)),
        }
    }

    /// Corrects what was counted to what the call did cost. What cannot be corrected stays counted.
    async fn correct(&self, held: Held, record: &StepRecord, reading: &Reading) {
        let not_begun = |failure: &Failure| matches!(failure.code, Code::Spawn | Code::Policy);
        let came_to = match record.failure.as_ref().is_some_and(not_begun) {
            true => Spent::Nothing,
            false => Spent::Call(reading.cost_micro_usd),
        };
        if let Err(failure) = patiently(self.brake, || self.session.correct(held, came_to)).await {
            tracing::warn!(job.id = %self.place.job.fence.job, why = %failure.message, "what is held for a call stays counted");
        }
    }

    async fn call(
        &self,
        definition: &Definition,
        call: Invocation,
        record: &mut StepRecord,
        log: &mut Log<'_>,
        secrets: &mut Secrets,
    ) -> Reading {
        let named = |name: &String| config::host_variable(name).map(|value| (name.clone(), value));
        let env: Vec<_> = definition.environment.iter().filter_map(named).collect();
        let is_secret = |name: &str| SECRET.iter().any(|word| name.to_ascii_uppercase().contains(word));
        let hidden = env.iter().filter(|(name, _)| is_secret(name));
        *secrets = secrets.and(hidden.map(|(_, value)| value.as_str()));
        log.begin(secrets.clone());
        let reads_only = definition.reads_only(self.step.role.as_deref());
        let program = Program {
            argv: call.argv,
            stdin: call.stdin.map(String::into_bytes),
            env,
            access: if reads_only { Access::Reads } else { Access::Writes },
            has_home: true,
        };
        let mut reader = Reader::new(&definition.output);
        let mut ear = |chunk: &Chunk| {
            if chunk.stream == Stream::Stdout {
                reader.feed(&chunk.bytes);
            }
        };
        let Self {
            settings,
            step,
            place,
            brake,
            ..
        } = self;
        program::run(settings, step, place, program, record, log, brake, Some(&mut ear)).await;
        reader.finish()
    }
}

/// What a step that ended adds to what was said before.
fn entry(told: &Told) -> ContextEntry {
    let said = told.said.as_deref().unwrap_or_default().trim();
    let why = told
        .message
        .as_deref()
        .map_or_else(String::new, |message| format!(": {message}"));
    ContextEntry {
        role: "assistant".to_owned(),
        content: format!("Step {} {}{why}\n\n{said}", told.step_id, told.status),
    }
}

/// The same words for the same step, every time.
fn simulated(step: &StepSpec, prompt: &str) -> Usage {
    let role = step.role.as_deref().unwrap_or("none");
    let report = format!(
        "# Step {}\n\n- agent: {}\n- role: {role}\n\n{prompt}\n## Output (simulated)\n\nNothing was run.\n",
        step.step_id, step.agent
    );
    Usage {
        agent: step.agent.clone(),
        simulated: true,
        report: report.replace('\0', "␀"),
        ..Usage::default()
    }
}

fn used(step: &StepSpec, reading: Reading) -> Usage {
    Usage {
        agent: step.agent.clone(),
        simulated: false,
        report: reading.text.unwrap_or_default(),
        session_id: reading.session_id,
        input_tokens: reading.input_tokens,
        output_tokens: reading.output_tokens,
        cached_tokens: reading.cached_tokens,
        cost_micro_usd: reading.cost_micro_usd,
    }
}

/// A program that ended well may still say that it failed, or say nothing that can be understood.
fn judge(agent: &str, record: &mut StepRecord, reading: &Reading) {
    match (&mut record.failure, &reading.error, &reading.unreadable) {
        (None, Some(error), _) => {
            let sentence = format!("Agent {agent:?} says that it failed: {error}");
            record.failure = Some(Failure::new(Code::AgentFailed, sentence));
        }
        (None, None, Some(why)) => {
            let sentence = format!(
                "The output of agent {agent:?} cannot be understood: {why}. The log has what it printed; compare it with `output` in the agent's definition."
            );
            record.failure = Some(Failure::new(Code::AgentOutput, sentence));
        }
        (Some(failure), Some(error), _) => {
            failure.message.push_str(" It says: ");
            failure.message.push_str(error);
        }
        _ => {}
    }
}
