-- Kimi Code. https://moonshotai.github.io/kimi-code/en/guides/print.html: the last line of stream-json names the
-- session. /en/configuration/env-vars: of the environment only the KIMI_MODEL_ family is read for keys.
update agent
   set definition = definition || '{"environment": ["KIMI_MODEL_NAME", "KIMI_MODEL_API_KEY", "KIMI_MODEL_BASE_URL",
                                                    "KIMI_MODEL_PROVIDER_TYPE", "KIMI_MODEL_MAX_CONTEXT_SIZE"]}'
                               || jsonb_build_object('output', definition -> 'output' ||
                                  '{"session_id": {"at": ["/session_id"], "where": {"/type": "session.resume_hint"}}}')
 where name = 'kimi' and updated_at = created_at;

-- Codex makes a sandbox with namespaces for every command it runs, which none can do within ours: there it could run
-- nothing. https://developers.openai.com/codex/noninteractive: danger-full-access is for what is isolated already.
update agent
   set definition = definition || '{"sandboxed_argv": ["codex", "exec", "--json", "--skip-git-repo-check",
                                                       "--sandbox=danger-full-access", "-"]}'
 where name = 'codex' and updated_at = created_at;
