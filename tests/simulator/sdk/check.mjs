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

const techniqueRuns = [];
for await (const run of client.techniques.runs.list({ limit: 10 })) techniqueRuns.push(run);

const ofOneTechnique = [];
const { technique_id } = techniqueRuns[0].technique;
for await (const run of client.techniques.runs.list({ technique_id, status: "completed" })) {
  ofOneTechnique.push(run.technique_run_id);
}

const assets = [];
for await (const asset of client.assets.list({ limit: 10 })) assets.push(asset);
const asset = await client.assets.retrieve(assets.find(({ asset_id }) => asset_id).asset_id);

const { workspaces } = await client.workspaces.list();
const projects = [];
for (const { workspace_id } of workspaces) {
  for await (const project of client.projects.list({ workspace_id })) projects.push(project.project_id);
}

const found = [];
const [{ workspace_id }] = workspaces;
for await (const one of client.assets.list({ workspace_id, query: "box" })) found.push(one.name);

const canvases = {};
for (const project of projects) {
  const nodes = [];
  for await (const node of client.projects.listNodes(project, { limit: 5 })) nodes.push(node);
  canvases[project] = { ...(await client.projects.canvas.retrieve(project)), nodes };
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
    techniqueRuns,
    ofOneTechnique,
    assets,
    asset,
    found,
    canvases,
    retrieved: await client.generations.retrieve(ids[3]),
    wrongKey: await errorOf(() => stranger.generations.list()),
    missing: await errorOf(() => client.generations.retrieve("run_nowhere")),
    missingAsset: await errorOf(() => client.assets.retrieve("asset_nowhere")),
    missingCanvas: await errorOf(() => client.projects.canvas.retrieve("prj_nowhere")),
    badTechnique: await errorOf(() => client.techniques.runs.list({ technique_id: "nowhere" })),
    tooMany: await errorOf(() => client.generations.list({ limit: 101 })),
  }),
);
