// Drives FLORA's official SDK against the API that FLORA_BASE_URL and FLORA_API_KEY name, and prints what it
// saw as one JSON object. Takes nothing from floradl: it is the independent witness.
import Flora, { AuthenticationError, BadRequestError, NotFoundError } from "@flora-ai/flora";

const client = new Flora();

const ids = [];
for await (const generation of client.generations.list()) ids.push(generation.run_id);

const completed = [];
for await (const generation of client.generations.list({ status: "completed", limit: 100 })) {
  completed.push(generation);
}

const { workspaces } = await client.workspaces.list();
const projects = [];
for (const { workspace_id } of workspaces) {
  for await (const project of client.projects.list({ workspace_id })) projects.push(project.project_id);
}

const errorOf = async (call) => {
  try {
    await call();
  } catch (error) {
    return {
      authentication: error instanceof AuthenticationError,
      notFound: error instanceof NotFoundError,
      badRequest: error instanceof BadRequestError,
      status: error.status,
      code: error.error?.error?.code,
      requestId: error.headers?.get("request-id"),
    };
  }
  return null;
};

const stranger = new Flora({ apiKey: "sk_live_wrong" });
console.log(
  JSON.stringify({
    ids,
    completed,
    projects,
    retrieved: await client.generations.retrieve(ids[3]),
    wrongKey: await errorOf(() => stranger.generations.list()),
    missing: await errorOf(() => client.generations.retrieve("run_nowhere")),
    tooMany: await errorOf(() => client.generations.list({ limit: 101 })),
  }),
);
