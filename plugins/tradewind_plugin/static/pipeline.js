// One pipeline: what serves, the rollout under way, the quality of its data over time, its versions, its releases.

import { Chart } from "./charts.js";
import { Rollout } from "./rollout.js";
import {
  airflow, ask, Box, dagPage, Flex, h, Heading, Input, Nothing, number, ofDag, Pager, percent, Rows, runPage, Section, Seen, State, Text,
  To, Trouble, useEffect, useLook, useMemo, useRef, useState, when,
} from "./ui.js";

const RUNS = 50;
const ROWS = 20;

export function Pipeline({ dagId }) {
  return h("div", null,
    h(Flex, { align: "baseline", gap: 4, mb: 4, wrap: "wrap" },
      h(Heading, { as: "h1", size: "xl" }, dagId),
      h(To, { to: dagPage(dagId) }, "Dag"),
      h(To, { to: "/plugin/tradewind" }, "All pipelines")),
    h(Serving, { dagId }),
    h(Quality, { dagId }),
    h(Versions, { dagId }),
    h(Releases, { dagId }));
}

function Serving({ dagId }) {
  const [pace, setPace] = useState(5000);
  const look = useLook((signal) => ask(ofDag(dagId, "serving"), { signal }).then((found) => {
    setPace(found.models.some(({ rollout }) => rollout && !rollout.ended) ? 1000 : 5000); // live while there is something to see
    return found;
  }), [dagId], pace);
  return h(Section, { title: "Serves now" }, h(Seen, { look }, ({ models, may_act: mayAct }) =>
    models.length === 0
      ? h(Nothing, null, "None of its runs has registered a model yet.")
      : models.map((model) => h(Model, { key: model.model, dagId, model, mayAct, reload: look.reload }))));
}

function Model({ dagId, model, mayAct, reload }) {
  return h(Box, { mb: 6 },
    h(Text, { mb: 1 }, h("b", null, model.model), model.champion ? `: the champion is version ${model.champion}` : ": no champion yet"),
    h(Trouble, { error: model.trouble }),
    model.endpoint_url && h(Text, { fontSize: "sm", color: "fg.muted", mb: 2 }, `${model.endpoint_url}/infer`),
    h(Rows, {
      label: `Versions of ${model.model} that serve`,
      rows: model.versions,
      columns: [
        ["Version", ({ version }) => version],
        ["Share", ({ weight, mirror }) => (mirror ? `copies of ${mirror}%` : `${weight}%`)],
        ["State", ({ ready, error }) => (ready ? "ready" : error ?? "not ready")],
        ["Requests", ({ requests }) => number(requests ?? 0)],
        ["Errors", ({ errors }) => number(errors ?? 0)],
        ["p50, p95, p99 (ms)", ({ latency_ms: ms }) => (ms?.["50"] === undefined ? "" : ["50", "95", "99"].map((q) => number(ms[q])).join(", "))],
        ["Restarts", ({ restarts }) => number(restarts)],
      ],
      empty: "Nothing serves.",
    }),
    model.rollout && h(Rollout, { dagId, rollout: model.rollout, mayAct, reload }));
}

async function quality(dagId, signal) {
  const [{ tasks }, { dag_runs: runs }] = await Promise.all([
    ask(airflow("dags", dagId, "tasks"), { signal }),
    ask(`${airflow("dags", dagId, "dagRuns")}?limit=${RUNS}&order_by=-run_after`, { signal }),
  ]);
  const asked = new URLSearchParams(runs.map((run) => ["run_id", run.dag_run_id]));
  const validations = tasks.filter((task) => task.class_ref?.class_name === "ValidateDataOperator");
  if (runs.length === 0) return [];
  return Promise.all(validations.map(async ({ task_id }) => ({
    task_id,
    runs: (await ask(`${ofDag(dagId, "tasks", task_id, "history")}?${asked}`, { signal })).reverse(),
  })));
}

function Quality({ dagId }) {
  const look = useLook((signal) => quality(dagId, signal), [dagId], 10_000);
  return h(Section, { title: "Data quality" }, h(Seen, { look }, (tasks) => {
    const some = tasks.filter(({ runs }) => runs.length);
    return some.length === 0
      ? h(Nothing, null, "No run has validated data yet.")
      : some.map(({ task_id, runs }) => h(Validation, { key: task_id, dagId, task_id, runs }));
  }));
}

function Validation({ dagId, task_id, runs }) {
  const [traces, layout] = useMemo(() => [
    [{
      x: runs.map((run) => when(run.ended_at)), y: runs.map((run) => run.metrics.quarantined_share ?? null), mode: "lines+markers",
      name: "share in quarantine", marker: { color: runs.map((run) => (run.metrics.verdict === "PASSED" ? "#0891b2" : "#dc2626")) },
      text: runs.map((run) => run.run_id), hovertemplate: "%{text}<br>%{y:.2%}<extra></extra>", line: { color: "#0891b2" },
    }],
    { title: { text: `${task_id}: share of rows in quarantine` }, yaxis: { tickformat: ".1%", rangemode: "tozero" }, xaxis: { type: "category", nticks: 5 } },
  ], [runs, task_id]);
  const last = runs.at(-1);
  const reasons = Object.entries(last.metrics.rules?.rows ?? {}).sort(([, a], [, b]) => b - a);
  return h(Flex, { gap: 6, wrap: "wrap", mb: 4 },
    h(Chart, { label: `Share of rows in quarantine over ${runs.length} runs, last ${percent(last.metrics.quarantined_share ?? 0)}`, traces, layout }),
    h(Box, { flex: "1 1 320px" },
      h(Text, { mb: 2 }, "Last: ", h(To, { to: runPage(dagId, last.run_id, "tradewind-chain") }, when(last.ended_at)), ", ", last.headline),
      h(Rows, {
        label: "Rules that rows of the last run broke", rows: reasons,
        columns: [["Rule", ([rule]) => rule], ["Rows", ([, rows]) => number(rows)]], empty: "No row broke a rule.",
      })));
}

function Versions({ dagId }) {
  const { look, pager, search, box } = useFound(dagId, "versions", "Search versions: number, alias, model or run");
  return h(Section, { title: "Versions", aside: box }, h(Seen, { look }, ({ versions }) => {
    const scores = scored(versions);
    return h("div", null,
      h(Rows, {
        label: "Model versions", rows: versions,
        empty: search ? `No version has ${search} as its number or alias, or in the name of its model or run.` : "None of its runs has registered a version yet.",
        columns: [
          ["Model", ({ model }) => model],
          ["Version", ({ version }) => version],
          ["", ({ aliases }) => h(Flex, { gap: 1 }, aliases.map((alias) => h(State, { key: alias, state: alias })))],
          ["Registered", ({ created }) => when(created)],
          ["Data until", ({ data_end }) => when(data_end)],
          ...scores.map((name) => [name, ({ metrics }) => (name in metrics ? number(metrics[name]) : "")]),
          ["Run", ({ run_id }) => (run_id ? h(To, { to: runPage(dagId, run_id, "tradewind-chain") }, run_id) : "")],
        ],
      }),
      pager);
  }));
}

/** A list of the Dag's that the server searches and pages: what was found, its box to search in and its pager. */
function useFound(dagId, what, label, every = 0) {
  const [{ search, pages }, setAsked] = useState({ search: "", pages: [""] });
  const page = pages.at(-1);
  const asked = new URLSearchParams({ limit: ROWS, page, search });
  const look = useLook((signal) => ask(`${ofDag(dagId, what)}?${asked}`, { signal }), [dagId, page, search], every);
  const typed = useRef();
  useEffect(() => () => clearTimeout(typed.current), []);
  const box = h(Input, {
    placeholder: label, "aria-label": label, type: "search", size: "xs", maxW: "sm", maxLength: 200,
    onChange: ({ target }) => { // not a question a letter
      clearTimeout(typed.current);
      typed.current = setTimeout(() => setAsked({ search: target.value.trim(), pages: [""] }), 250);
    },
  });
  const next = look.data?.next;
  const pager = (pages.length > 1 || next) && h(Pager, {
    label: `Pages of ${what}`,
    back: pages.length > 1 && (() => setAsked({ search, pages: pages.slice(0, -1) })),
    forth: next && (() => setAsked({ search, pages: [...pages, next] })),
  }, `Page ${pages.length}`);
  return { look, pager, search, box };
}

/** Up to five measurements that the newest version has. */
const scored = (versions) =>
  Object.entries(versions[0]?.metrics ?? {}).filter(([, value]) => typeof value === "number").map(([name]) => name).slice(0, 5);

function Releases({ dagId }) {
  const { look, pager, search, box } = useFound(dagId, "releases", "Search releases: version, who, why, outcome", 10_000);
  return h(Section, { title: "Releases", aside: box }, h(Seen, { look }, ({ releases }) => h("div", null,
    h(Rows, {
      label: "Releases", rows: releases, empty: search ? `No release has ${search} in its record.` : "Nothing was ever released.",
      columns: [
        ["When", ({ at }) => when(1000 * at)],
        ["Model", ({ model }) => model],
        ["", ({ outcome }) => h(State, { state: outcome === "released" ? "done" : "rolled_back" })],
        ["Version", ({ version }) => version],
        ["Serves", ({ serves }) => serves ?? "nothing"],
        ["Instead of", ({ before }) => before ?? "nothing"],
        ["By", ({ by }) => by],
        ["Why", ({ reason, why }) => reason || why],
      ],
    }),
    pager)));
}
