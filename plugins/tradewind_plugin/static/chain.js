// A run as a picture: its tasks from left to right, each with what it left, how long it took, and whether it was reused.

import {
  airflow, ask, askAll, Badge, Box, Flex, h, Heading, Nothing, ofRun, Page, seconds, Seen, State, Text, To, taskPage, useLook, useState,
} from "./ui.js";

const ENDED = ["success", "failed"];

async function chain(dagId, runId, signal) {
  const run = airflow("dags", dagId, "dagRuns", runId);
  const [state, { tasks }, instances, results] = await Promise.all([
    ask(run, { signal }),
    ask(airflow("dags", dagId, "tasks"), { signal }),
    askAll(`${run}/taskInstances`, "task_instances", { signal }), // a sweep has more than come at once
    ask(ofRun(dagId, runId, "results"), { signal }),
  ]);
  const versions = {};
  await Promise.all(tasks.filter((task) => task.class_ref?.class_name === "RegisterModelOperator"
    && instances.some(({ task_id, state: done }) => task_id === task.task_id && done === "success")).map(async ({ task_id }) => {
    const found = await ask(`${run}/taskInstances/${encodeURIComponent(task_id)}/xcomEntries/return_value?deserialize=true`, { signal, missing: true });
    const metrics = found?.value?.metrics;
    if (metrics) versions[task_id] = `${metrics.name} version ${metrics.version}${metrics.registered ? "" : ", registered before"}`;
  }));
  return { state: state.state, columns: inColumns(tasks), instances, results, versions };
}

/** Tasks by how many others have to go before: the longest way to each. */
function inColumns(tasks) {
  const upstream = new Map(tasks.map((task) => [task.task_id, []]));
  for (const task of tasks) for (const next of task.downstream_task_ids ?? []) upstream.get(next)?.push(task.task_id);
  const depths = new Map();
  const depth = (id) => {
    if (!depths.has(id)) depths.set(id, Math.max(0, ...upstream.get(id).map((before) => depth(before) + 1)));
    return depths.get(id);
  };
  const columns = [];
  for (const task of tasks) (columns[depth(task.task_id)] ??= []).push(task);
  return columns;
}

export function Chain({ dagId, runId }) {
  const [pace, setPace] = useState(2000);
  const look = useLook((signal) => chain(dagId, runId, signal).then((found) => {
    setPace(ENDED.includes(found.state) ? 0 : 2000);
    return found;
  }), [dagId, runId], pace);
  return h(Page, null, h(Seen, { look }, (found) => h("div", null,
    h(Flex, { gap: 3, align: "center", mb: 4 }, h(Heading, { as: "h1", size: "lg" }, "Chain"), h(State, { state: found.state }),
      h(To, { to: `/plugin/tradewind?dag=${encodeURIComponent(dagId)}` }, "Pipeline")),
    h(Flex, { as: "ol", "aria-label": "Steps", align: "stretch", wrap: "wrap", rowGap: 4, listStyleType: "none" },
      found.columns.map((tasks, i) => h(Flex, { as: "li", key: i, align: "center" },
        i > 0 && h(Text, { "aria-hidden": true, px: 2, color: "fg.muted", fontSize: "xl" }, "→"),
        h(Flex, { direction: "column", gap: 3, justify: "center" },
          tasks.map((task) => h(Step, { key: task.task_id, dagId, runId, task, found })))))),
    found.results.length === 0 && h(Nothing, null, "No step has left a result yet."))));
}

function Step({ dagId, runId, task, found }) {
  const instances = found.instances.filter(({ task_id }) => task_id === task.task_id);
  const results = found.results.filter(({ task_id }) => task_id === task.task_id);
  const reused = results.filter((result) => result.reused).length;
  const first = instances[0];
  const duration = instances.reduce((most, { duration: d }) => Math.max(most, d ?? 0), 0);
  const said = found.versions[task.task_id] ?? (results.length > 1 ? `${results.length} results` : results[0]?.headline);
  return h(Box, { borderWidth: "1px", rounded: "md", p: 3, w: "195px", bg: "bg.panel" },
    h(Flex, { justify: "space-between", gap: 2, mb: 1 },
      h(To, { to: taskPage(dagId, runId, task.task_id, first?.map_index ?? -1) }, h("b", null, task.task_id)),
      h(State, { state: first?.state ?? "waiting" })),
    h(Text, { fontSize: "xs", color: "fg.muted" }, task.class_ref?.class_name ?? task.operator_name),
    said && h(Text, { fontSize: "sm", mt: 2 }, said),
    results[0]?.error && h(Text, { fontSize: "sm", mt: 2, color: "fg.error" }, results[0].error.message.slice(0, 200)),
    h(Flex, { gap: 2, mt: 2, align: "center" },
      duration > 0 && h(Text, { fontSize: "xs", color: "fg.muted" }, seconds(duration)),
      reused > 0 && h(Badge, { colorPalette: "blue" }, results.length > 1 ? `${reused} reused` : "reused")));
}
