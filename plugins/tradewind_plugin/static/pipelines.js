// The page in the navigation: pipelines, and one of them.

import { Pipeline } from "./pipeline.js";
import {
  airflow, ask, h, Heading, Input, Nothing, ofDag, Page, Pager, Rows, runPage, Seen, State, Text, To, useLook, useSearchParams, when,
} from "./ui.js";

const TAG = "tradewind"; // the templates' Dags have it, and so have their copies
const ROWS = 20;

export function Tradewind() {
  const [params] = useSearchParams();
  const dagId = params.get("dag");
  return h(Page, null, dagId ? h(Pipeline, { key: dagId, dagId }) : h(Pipelines));
}

async function pipelines(search, offset, signal) {
  const asked = new URLSearchParams({ tags: TAG, limit: ROWS, offset, order_by: "dag_id" });
  if (search) asked.set("dag_id_pattern", `%${search}%`);
  const { dags, total_entries } = await ask(`${airflow("dags")}?${asked}`, { signal });
  const rows = await Promise.all(dags.map(async (dag) => {
    const runs = ask(`${airflow("dags", dag.dag_id, "dagRuns")}?limit=1&order_by=-run_after`, { signal });
    // A pipeline whose serving cannot be read is still a pipeline.
    const serving = ask(ofDag(dag.dag_id, "serving"), { signal }).catch((error) => ({ models: [{ trouble: error.message, versions: [] }] }));
    return { dag, run: (await runs).dag_runs[0], models: (await serving).models };
  }));
  return { rows, total: total_entries };
}

function Pipelines() {
  const [params, setParams] = useSearchParams();
  const search = params.get("search") ?? "";
  const offset = Number(params.get("offset") ?? 0);
  const look = useLook((signal) => pipelines(search, offset, signal), [search, offset], 10_000);
  const go = (change) => setParams({ search, offset, ...change }, { replace: true });
  return h("div", null,
    h(Heading, { as: "h1", size: "xl", mb: 3 }, "Pipelines"),
    h(Input, {
      placeholder: "Search by name", "aria-label": "Search pipelines", defaultValue: search, maxW: "sm", mb: 3,
      onChange: (event) => go({ search: event.target.value.trim(), offset: 0 }),
    }),
    h(Seen, { look }, ({ rows, total }) => h("div", null,
      h(Rows, {
        label: "Pipelines",
        rows,
        columns: [
          ["Pipeline", ({ dag }) => h(To, { to: `/plugin/tradewind?dag=${encodeURIComponent(dag.dag_id)}` }, dag.dag_id)],
          ["What it does", ({ dag }) => dag.description ?? ""],
          ["Last run", ({ dag, run }) => (run ? h(To, { to: runPage(dag.dag_id, run.dag_run_id, "tradewind-chain") }, when(run.run_after)) : "never")],
          ["", ({ run }) => h(State, { state: run?.state })],
          ["Serves", ({ models }) => models.map(serves).join("; ") || "nothing"],
        ],
        empty: search
          ? `No pipeline has ${search} in its name.`
          : `There is no pipeline yet: a Dag with the tag ${TAG} is one. "tradewind init" makes one from a template.`,
      }),
      total > ROWS && h(Pager, {
        label: "Pages of pipelines",
        back: offset > 0 && (() => go({ offset: Math.max(0, offset - ROWS) })),
        forth: offset + ROWS < total && (() => go({ offset: offset + ROWS })),
      }, `${offset + 1} to ${Math.min(offset + ROWS, total)} of ${total}`))));
}

function serves({ versions, trouble }) {
  if (trouble) return "not to be seen";
  const shares = versions.filter((version) => version.weight);
  return shares.map(({ version, weight }) => (weight === 100 ? `version ${version}` : `version ${version} ${weight}%`)).join(", ");
}
