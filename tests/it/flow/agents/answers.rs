//! What agents are documented to print, whole, broken and cut, printed by programs of the test.

use serde_json::json;

use crate::flow::Ground;

/// As `claude --print --output-format=json` answers: <https://code.claude.com/docs/en/headless>.
pub(super) const CLAUDE: &str = r#"{"type":"result","subtype":"success","is_error":false,"duration_ms":2814,"num_turns":3,"result":"All tests pass.\nNothing is missing.","session_id":"75e2167f","total_cost_usd":0.003421,"usage":{"input_tokens":12,"cache_creation_input_tokens":100,"cache_read_input_tokens":2048,"output_tokens":77}}"#;
/// As `codex exec --json` does: <https://developers.openai.com/codex/noninteractive>.
pub(super) const CODEX: &str = r#"{"type":"thread.started","thread_id":"0199a213-81c0"}
{"type":"turn.started"}
{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"bash -lc ls","status":"in_progress"}}
{"type":"item.completed","item":{"id":"item_2","type":"agent_message","text":"I look around first."}}
{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"Repo contains docs, sdk, and examples directories."}}
{"type":"turn.completed","usage":{"input_tokens":24763,"cached_input_tokens":24448,"output_tokens":122}}"#;
/// As `opencode run --format=json` does: <https://opencode.ai/docs/cli>.
pub(super) const OPENCODE: &str = r#"{"type":"step_start","timestamp":1,"sessionID":"ses_1","part":{"type":"step-start"}}
{"type":"tool_use","timestamp":2,"sessionID":"ses_1","part":{"type":"tool","tool":"read","state":{"status":"completed"}}}
{"type":"step_finish","timestamp":3,"sessionID":"ses_1","part":{"type":"step-finish","reason":"tool-calls","cost":0.001,"tokens":{"input":100,"output":5,"reasoning":0,"cache":{"read":10,"write":0}}}}
{"type":"text","timestamp":4,"sessionID":"ses_1","part":{"type":"text","text":"The plan: change one file."}}
{"type":"step_finish","timestamp":5,"sessionID":"ses_1","part":{"type":"step-finish","reason":"stop","cost":0.002,"tokens":{"input":200,"output":7,"reasoning":0,"cache":{"read":20,"write":0}}}}"#;
/// As `gemini --output-format=json` does: <https://geminicli.com/docs/cli/headless>.
pub(super) const GEMINI: &str = r#"Loaded cached credentials.
{
  "session_id": "gem-1",
  "response": "The capital of France is Paris.",
  "stats": {"models": {
    "gemini-2.5-pro": {"api": {"totalRequests": 2}, "tokens": {"prompt": 24939, "candidates": 20, "total": 25113, "cached": 21263, "thoughts": 154, "tool": 0}},
    "gemini-2.5-flash": {"api": {"totalRequests": 1}, "tokens": {"prompt": 8965, "candidates": 10, "total": 9033, "cached": 0, "thoughts": 30, "tool": 28}}
  }}
}"#;
/// As `kimi --output-format=stream-json` does: <https://moonshotai.github.io/kimi-code/en/reference/kimi-command>.
pub(super) const KIMI: &str = r#"{"role":"assistant","content":"Let me look at the directory.","tool_calls":[{"type":"function","id":"tc_1","function":{"name":"Shell","arguments":"{\"command\":\"ls\"}"}}]}
{"role":"tool","tool_call_id":"tc_1","content":"file1.py\nfile2.py"}
{"role":"assistant","content":[{"type":"text","text":"There are two "},{"type":"text","text":"Python files."}]}
{"role":"meta","type":"session.resume_hint","session_id":"session_01k2","command":"kimi -r session_01k2","content":"To resume this session: kimi -r session_01k2"}"#;

#[tokio::test]
async fn every_agent_is_understood_as_it_is_documented() {
    for (agent, version, answer, used) in [
        (
            "claude",
            "2.1.44 (Claude Code)",
            CLAUDE,
            "75e2167f 12 77 2048 0.003421 | All tests pass.\nNothing is missing.",
        ),
        (
            "codex",
            "codex-cli 0.99.0",
            CODEX,
            "0199a213-81c0 24763 122 24448 | Repo contains docs, sdk, and examples directories.",
        ),
        (
            "opencode",
            "1.18.31",
            OPENCODE,
            "ses_1 300 12 30 0.003000 | The plan: change one file.",
        ),
        (
            "gemini",
            "0.64.0",
            GEMINI,
            "gem-1 33904 30 21263 | The capital of France is Paris.",
        ),
        (
            "kimi",
            "kimi, version 1.2.3",
            KIMI,
            "session_01k2 | There are two Python files.",
        ),
    ] {
        let ground = Ground::new().await;
        ground.install(agent, version, answer, "");
        let job = ground.asks_agent(agent, json!({})).await;
        let _runner = ground.real(&[]);
        ground.reaches(job, "succeeded").await;
        assert_eq!(ground.used().await, used, "{agent}");
        assert!(
            ground.log().await.contains("working"),
            "{agent}: what it says is in the log"
        );
        let asked = match agent {
            "kimi" => ground.given(agent, "argv"),
            _ => ground.given(agent, "stdin"),
        };
        assert!(asked.contains("## Task\n\nDo it."), "{agent}: {asked}");
    }
}

#[tokio::test]
async fn what_an_agent_says_of_its_failure_is_the_steps_failure() {
    let failed = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"result":"Credit balance is too low","session_id":"s"}"#;
    let turn = "{\"type\":\"thread.started\",\"thread_id\":\"t\"}\n{\"type\":\"turn.failed\",\"error\":{\"message\":\"usage limit reached\"}}";
    for (agent, answer, end, state, words) in [
        (
            "claude",
            failed,
            "",
            "failed agent_failed",
            "says that it failed: Credit balance is too low",
        ),
        (
            "claude",
            failed,
            "exit 1",
            "failed exit_nonzero",
            "It says: Credit balance is too low",
        ),
        (
            "codex",
            turn,
            "exit 1",
            "failed exit_nonzero",
            "It says: usage limit reached",
        ),
        ("claude", "", "", "failed agent_output", "it printed nothing"),
        (
            "claude",
            "Invalid API key",
            "",
            "failed agent_output",
            "it printed something else",
        ),
        (
            "claude",
            &CLAUDE[..CLAUDE.len() / 2],
            "",
            "failed agent_output",
            "it printed something else",
        ),
        (
            "claude",
            r#"{"type":"result","subtype":"success"}"#,
            "",
            "failed agent_output",
            "without an answer",
        ),
        (
            "codex",
            &CODEX[..200],
            "",
            "failed agent_output",
            "without an answer",
        ),
        (
            "codex",
            &CODEX[..200],
            "kill -9 $$",
            "failed signalled",
            "was ended by signal 9",
        ),
        (
            "codex",
            "\u{0}\u{1}not json\n[]\n",
            "",
            "failed agent_output",
            "it printed something else",
        ),
    ] {
        let ground = Ground::new().await;
        let version = if agent == "claude" { "2.1.44" } else { "0.99.0" };
        ground.install(agent, version, answer, end);
        let job = ground.asks_agent(agent, json!({})).await;
        let _runner = ground.real(&[]);
        ground.reaches(job, state).await;
        let message = ground.message(job).await;
        assert!(message.contains(words), "{agent}, {answer:?}: {message}");
    }
}

#[tokio::test]
async fn partial_output_still_says_what_was_used() {
    let ground = Ground::new().await;
    let half = &OPENCODE[..OPENCODE.rfind("{\"type\":\"text\"").unwrap()];
    ground.install("opencode", "1.18.31", half, "sleep 600");
    let job = ground.asks_agent("opencode", json!({ "timeout_sec": 1 })).await;
    let _runner = ground.real(&[]);
    ground.reaches(job, "failed timeout").await;
    assert_eq!(ground.used().await, "ses_1 100 5 10 0.001000 | ");
}
