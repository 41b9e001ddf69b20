-- Agents: how a program that is asked in words is called, asked and understood. A new one needs no code.

create table agent (
    name        text primary key,
    kind        text not null default 'program',
    definition  jsonb not null default '{}',
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    constraint name_is_a_name check (name ~ '^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$'),
    constraint kind_is_known check (kind in ('built_in', 'program')),
    constraint definition_is_an_object check (jsonb_typeof(definition) = 'object')
);
comment on table agent is 'Who a step may name as its agent.';
comment on column agent.kind is 'built_in: this program does it itself; program: what the definition says is run.';
comment on column agent.definition is 'How it is called, asked and understood; see docs/JOBS.md.';
comment on column agent.updated_at is 'Moves with every change; the version of the agent.';

insert into agent (name, kind, definition) values
    ('command',  'built_in', '{"description": "Runs argv directly, never through a shell"}'),
    ('noop',     'built_in', '{"description": "Does nothing: for jobs that only join what they need"}'),
    ('simulate', 'built_in', '{"description": "Says what an agent would be asked, and runs nothing"}');

-- https://code.claude.com/docs/en/headless and /cli-reference: --print with the prompt on standard input,
-- one JSON document of type "result". --tools limits the tools there are, --allowedTools those that need no
-- approval, which nobody could give; --strict-mcp-config keeps a repository's MCP servers out.
insert into agent (name, definition) values ('claude', $$
{
  "description": "Claude Code, headless",
  "argv": ["claude", "--print", "--output-format=json", "--permission-mode=acceptEdits", "--strict-mcp-config",
           "--tools={tool_names}", "--allowedTools={tools}"],
  "prompt": "stdin",
  "output": {
    "format": "json",
    "text":          {"at": ["/result"], "where": {"/type": "result"}},
    "session_id":    {"at": ["/session_id"], "where": {"/type": "result"}},
    "input_tokens":  {"at": ["/usage/input_tokens"], "where": {"/type": "result"}},
    "output_tokens": {"at": ["/usage/output_tokens"], "where": {"/type": "result"}},
    "cached_tokens": {"at": ["/usage/cache_read_input_tokens"], "where": {"/type": "result"}},
    "cost_usd":      {"at": ["/total_cost_usd"], "where": {"/type": "result"}},
    "error":         {"at": ["/result", "/subtype"], "where": {"/type": "result", "/is_error": true}}
  },
  "binaries": [{"name": "claude", "minimum": "2.1.0", "version_argv": ["--version"], "version_pattern": "(\\d+\\.\\d+\\.\\d+)"}],
  "environment": ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "CLAUDE_CODE_OAUTH_TOKEN"],
  "tools": ["Read", "Glob", "Grep", "Edit", "Write", "Bash"],
  "roles": {
    "planner":  {"tools": ["Read", "Glob", "Grep"], "reads_only": true},
    "reviewer": {"tools": ["Read", "Glob", "Grep"], "reads_only": true}
  }
}
$$);

-- https://developers.openai.com/codex/noninteractive: exec with `-` reads the prompt from standard input, --json
-- prints an event a line; it never asks for approval, and what it may do is --sandbox.
insert into agent (name, definition) values ('codex', $$
{
  "description": "Codex CLI, headless",
  "argv": ["codex", "exec", "--json", "--skip-git-repo-check", "--sandbox=workspace-write", "-"],
  "prompt": "stdin",
  "output": {
    "format": "jsonl",
    "text":          {"at": ["/item/text"], "where": {"/type": "item.completed", "/item/type": "agent_message"}},
    "session_id":    {"at": ["/thread_id"], "where": {"/type": "thread.started"}},
    "input_tokens":  {"at": ["/usage/input_tokens"], "where": {"/type": "turn.completed"}},
    "output_tokens": {"at": ["/usage/output_tokens"], "where": {"/type": "turn.completed"}},
    "cached_tokens": {"at": ["/usage/cached_input_tokens"], "where": {"/type": "turn.completed"}},
    "error":         {"at": ["/error/message"], "where": {"/type": "turn.failed"}}
  },
  "binaries": [{"name": "codex", "minimum": "0.50.0", "version_argv": ["--version"], "version_pattern": "(\\d+\\.\\d+\\.\\d+)"}],
  "environment": ["CODEX_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"],
  "roles": {
    "planner":  {"argv": ["codex", "exec", "--json", "--skip-git-repo-check", "--sandbox=read-only", "-"], "reads_only": true},
    "reviewer": {"argv": ["codex", "exec", "--json", "--skip-git-repo-check", "--sandbox=read-only", "-"], "reads_only": true}
  }
}
$$);

-- https://opencode.ai/docs/cli and /docs/agents: run takes its message from standard input, --format=json prints an
-- event a line; the agent `plan` neither edits nor runs commands without being asked, and nobody answers.
insert into agent (name, definition) values ('opencode', $$
{
  "description": "OpenCode, headless",
  "argv": ["opencode", "run", "--format=json"],
  "prompt": "stdin",
  "output": {
    "format": "jsonl",
    "text":          {"at": ["/part/text"], "where": {"/type": "text"}},
    "session_id":    {"at": ["/sessionID"], "take": "first"},
    "input_tokens":  {"at": ["/part/tokens/input"], "where": {"/type": "step_finish"}},
    "output_tokens": {"at": ["/part/tokens/output"], "where": {"/type": "step_finish"}},
    "cached_tokens": {"at": ["/part/tokens/cache/read"], "where": {"/type": "step_finish"}},
    "cost_usd":      {"at": ["/part/cost"], "where": {"/type": "step_finish"}},
    "error":         {"at": ["/error/data/message", "/error/message", "/error/name"], "where": {"/type": "error"}}
  },
  "binaries": [{"name": "opencode", "minimum": "1.0.0", "version_argv": ["--version"], "version_pattern": "(\\d+\\.\\d+\\.\\d+)"}],
  "environment": ["OPENCODE_CONFIG_CONTENT", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY"],
  "roles": {
    "planner":  {"argv": ["opencode", "run", "--format=json", "--agent=plan"], "reads_only": true},
    "reviewer": {"argv": ["opencode", "run", "--format=json", "--agent=plan"], "reads_only": true}
  }
}
$$);

-- https://geminicli.com/docs/cli/headless and /docs/reference/configuration: headless where there is no terminal, the
-- prompt on standard input, one JSON document. A workspace nobody trusted is refused without --skip-trust. Not
-- --approval-mode=plan for those who only read: without a person it leaves the plan by itself and goes on to
-- write; in the default mode a tool that needs approval is not there.
insert into agent (name, definition) values ('gemini', $$
{
  "description": "Gemini CLI, headless",
  "argv": ["gemini", "--output-format=json", "--approval-mode=yolo", "--skip-trust"],
  "prompt": "stdin",
  "output": {
    "format": "json",
    "text":          {"at": ["/response"]},
    "session_id":    {"at": ["/session_id"]},
    "input_tokens":  {"at": ["/stats/models/*/tokens/prompt"]},
    "output_tokens": {"at": ["/stats/models/*/tokens/candidates"]},
    "cached_tokens": {"at": ["/stats/models/*/tokens/cached"]},
    "error":         {"at": ["/error/message"]}
  },
  "binaries": [{"name": "gemini", "minimum": "0.41.0", "version_argv": ["--version"], "version_pattern": "(\\d+\\.\\d+\\.\\d+)"}],
  "environment": ["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_GENAI_USE_VERTEXAI"],
  "roles": {
    "planner":  {"argv": ["gemini", "--output-format=json", "--approval-mode=default", "--skip-trust"], "reads_only": true},
    "reviewer": {"argv": ["gemini", "--output-format=json", "--approval-mode=default", "--skip-trust"], "reads_only": true}
  }
}
$$);

-- https://moonshotai.github.io/kimi-code/en/reference/kimi-command: --prompt runs one prompt without a terminal, with
-- stream-json a message a line. It has no option for reading only: there the sandbox alone holds it.
insert into agent (name, definition) values ('kimi', $$
{
  "description": "Kimi Code CLI, headless",
  "argv": ["kimi", "--output-format=stream-json", "--prompt={prompt}"],
  "prompt": "argument",
  "output": {
    "format": "jsonl",
    "text": {"at": ["/content", "/content/*/text"], "where": {"/role": "assistant"}}
  },
  "binaries": [{"name": "kimi", "version_argv": ["--version"], "version_pattern": "(\\d+\\.\\d+\\.\\d+)"}],
  "environment": ["KIMI_API_KEY", "KIMI_BASE_URL", "KIMI_MODEL_NAME"],
  "roles": {"planner": {"reads_only": true}, "reviewer": {"reads_only": true}}
}
$$);
