// What an integrator writes: a client made from the document alone creates a project, a token, a schedule and a job,
// and follows the job to its end. Run by tests/slow/client.rs, which makes schema.ts and checks the types first.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

declare const process: { argv: string[] };
const [, , baseUrl, adminToken, directory] = process.argv;
if (!baseUrl || !adminToken || !directory) throw new Error("usage: client.ts URL TOKEN DIRECTORY");

type Problem = components["schemas"]["Problem"];

function must<T>(answer: { data?: T; error?: Problem; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

const as = (token: string) =>
  createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } });

const admin = as(adminToken);

const project = must(
  await admin.POST("/api/v1/projects", { body: { alias: "shop", directory, max_running: 2 } }),
);
const token = must(
  await admin.POST("/api/v1/tokens", {
    body: { name: "shop", scopes: ["submit", "read", "operate"], projects: [project.alias] },
  }),
);
if (!token.secret) throw new Error("a new token has a secret");

const shop = as(token.secret);
const steps = [
  { step_id: "greet", argv: ["echo", "hello"] },
  { step_id: "leave", argv: ["echo", "good bye"] },
];
const schedule = must(
  await shop.POST("/api/v1/schedules", {
    body: {
      name: "nightly",
      expression: "30 2 * * *",
      zone: "Europe/Berlin",
      job: { goal: "Every night", project_id: project.alias, steps },
    },
  }),
);
const submitted = must(
  await shop.POST("/api/v1/jobs", {
    params: { header: { "Idempotency-Key": "client-1" } },
    body: { goal: "Say hello", project_id: project.alias, steps, tags: ["client"] },
  }),
);
const path = { id: submitted.id };

// The stream is read as it comes, until its event `end`.
const live = await shop.GET("/api/v1/jobs/{id}/logs", {
  params: { path },
  headers: { accept: "text/event-stream" },
  parseAs: "stream",
});
if (!live.response.ok || !live.data) throw new Error(`no stream: ${live.response.status}`);
let printed = "";
let end: { state: string } | undefined;
let unread = "";
const decoder = new TextDecoder();
for await (const chunk of live.data as unknown as AsyncIterable<Uint8Array>) {
  unread += decoder.decode(chunk, { stream: true });
  const blocks = unread.split("\n\n");
  unread = blocks.pop() ?? "";
  for (const block of blocks) {
    const field = (name: string) =>
      block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const data = field("data");
    if (field("event") === "log" && data) printed += JSON.parse(data).body;
    if (field("event") === "end" && data) end = JSON.parse(data);
  }
}

const job = must(await shop.GET("/api/v1/jobs/{id}", { params: { path } }));
const ran = must(await shop.GET("/api/v1/jobs/{id}/steps", { params: { path } }));
const found = must(await shop.GET("/api/v1/jobs", { params: { query: { tag: "client", limit: 10 } } }));
const again = must(
  await shop.POST("/api/v1/schedules/{id}/trigger", { params: { path: { id: schedule.id } } }),
);

// What is wrong is a problem with a type as well.
const refused = await shop.POST("/api/v1/jobs", {
  body: { goal: "", project_id: project.alias, steps },
});

console.log(
  JSON.stringify({
    project: project.alias,
    schedule: schedule.name,
    end: end?.state,
    printed,
    job: job.state,
    steps: ran.items.map((step) => `${step.step_id} ${step.status}`),
    found: found.items.map((item) => item.id === job.id),
    triggered: again.decision,
    refused: [refused.response.status, refused.error?.code, refused.error?.errors?.[0]?.path],
  }),
);
