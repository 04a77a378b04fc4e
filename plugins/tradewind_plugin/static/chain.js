// A run as a picture: its tasks from left to right, each with what it left, how long it took, and whether it was reused.

import {
  airflow, ask, askAll, asVersion, Badge, Box, Flex, h, Heading, Leads, mappedPage, Nothing, ofRun, Page, returned, seconds, Seen, State,
  Text, To, taskPage, useLayoutEffect, useLook, useRef, useState,
} from "./ui.js";

const ENDED = ["success", "failed"];
const TELL_MORE = ["RegisterModelOperator", "SeldonRolloutOperator"]; // what these return is not all in a manifest
// Of a mapped task's instances the first of these is what its box says; what is not here comes before "success".
const WORST = ["failed", "upstream_failed", "up_for_retry", "awaiting_input", "running", "deferred", "queued", "scheduled"];
const WELL = ["success", "skipped", "removed"];

async function chain(dagId, runId, signal) {
  const path = airflow("dags", dagId, "dagRuns", runId);
  const [run, instances, results] = await Promise.all([
    ask(path, { signal }),
    askAll(`${path}/taskInstances`, "task_instances", { signal }), // a sweep has more than come at once
    ask(ofRun(dagId, runId, "results"), { signal }),
  ]);
  const told = instances.filter(({ operator, state, map_index }) => TELL_MORE.includes(operator) && state === "success" && map_index < 0);
  const [tasks, ...figures] = await Promise.all([
    structure(dagId, run, instances, signal),
    ...told.map(({ task_id }) => returned(dagId, runId, task_id, -1, signal).catch(() => null)),
  ]);
  const more = Object.fromEntries(told.map(({ task_id }, i) => [task_id, figures[i]]));
  return { state: run.state, tasks, instances, results, more };
}

/** By task, those right before it, as the Dag was in this run: tasks that a later version of it lacks are there, new ones are not. */
async function structure(dagId, run, instances, signal) {
  const versions = run.dag_versions.map(({ version_number }) => version_number);
  const asked = new URLSearchParams({ dag_id: dagId, ...(versions.length && { version_number: Math.max(...versions) }) });
  // What Airflow draws its own graph from; where that version is gone, or not for whoever looks, there are boxes without arrows.
  const { nodes, edges } = await ask(`ui/structure/structure_data?${asked}`, { signal }).catch(() => ({ nodes: [], edges: [] }));
  const leaves = (some) => some.flatMap((node) => (node.children ? leaves(node.children) : node));
  const before = new Map(leaves(nodes).map(({ id }) => [id, []]));
  for (const { source_id, target_id } of edges) before.get(target_id).push(source_id);
  const joins = new Set(leaves(nodes).filter(({ type }) => type === "join").map(({ id }) => id)); // of a group's edges, no tasks
  const tasks = (id) => before.get(id).flatMap((source) => (joins.has(source) ? tasks(source) : source));
  const found = new Map([...before.keys()].filter((id) => !joins.has(id)).map((id) => [id, [...new Set(tasks(id))]]));
  for (const { task_id } of instances) if (!found.has(task_id)) found.set(task_id, []); // of a version before, cleared since
  return found;
}

/** Tasks by how many others have to go before: the longest way to each. */
function inColumns(tasks) {
  const depths = new Map();
  const depth = (id) => {
    if (!depths.has(id)) depths.set(id, Math.max(0, ...tasks.get(id).map((before) => depth(before) + 1)));
    return depths.get(id);
  };
  const columns = [];
  for (const id of tasks.keys()) (columns[depth(id)] ??= []).push(id);
  return columns;
}

/** Pairs of tasks, one right before the other; what others say already, a before c where a is before b and b before c, is left out. */
function edgesOf(tasks) {
  const known = new Map();
  const all = (id) => {
    if (!known.has(id)) known.set(id, new Set(tasks.get(id).flatMap((before) => [before, ...all(before)])));
    return known.get(id);
  };
  return [...tasks].flatMap(([to, before]) =>
    before.filter((from) => !before.some((other) => all(other).has(from))).map((from) => [from, to]));
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
    h(Joined, { tasks: found.tasks },
      h(Flex, { as: "ol", "aria-label": "Steps", align: "stretch", wrap: "wrap", gap: 9, listStyleType: "none" },
        inColumns(found.tasks).map((ids, i) => h(Flex, { as: "li", key: i, direction: "column", gap: 4, justify: "center" },
          ids.map((id) => h(Step, { key: id, dagId, runId, id, found })))))),
    found.results.length === 0 && !ENDED.includes(found.state) && h(Nothing, null, "No step has left a result yet."))));
}

/** With an arrow from each task's box to those after it; drawn anew when one grows or moves. */
function Joined({ tasks, children }) {
  const all = useRef(null);
  useLayoutEffect(() => {
    const boxes = new Map([...all.current.querySelectorAll("[data-task]")].map((box) => [box.dataset.task, box]));
    const draw = () => {
      const { left, top } = all.current.getBoundingClientRect();
      for (const path of all.current.querySelectorAll("path[data-from]")) {
        const [from, to] = [path.dataset.from, path.dataset.to].map((id) => boxes.get(id).getBoundingClientRect());
        path.setAttribute("d", curve(from, to, left, top));
      }
    };
    const watch = new ResizeObserver(draw);
    for (const box of [all.current, ...boxes.values()]) watch.observe(box);
    return () => watch.disconnect();
  });
  const edges = edgesOf(tasks);
  return h(Box, { ref: all, position: "relative" },
    h(Box, { as: "svg", role: "img", "aria-label": edges.map((edge) => edge.join(" before ")).join(", "), position: "absolute", top: 0, left: 0, w: "100%", h: "100%", overflow: "visible", pointerEvents: "none", color: "fg.muted" },
      h("defs", null, h("marker", { id: "tradewind-arrow", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" },
        h("path", { d: "M0 0L8 4L0 8z", fill: "currentColor" }))),
      edges.map(([from, to]) => h("path", { key: `${from} ${to}`, "data-from": from, "data-to": to, fill: "none", stroke: "currentColor", markerEnd: "url(#tradewind-arrow)" }))),
    children);
}

/** From one box's right side to the other's left; to its top, where that stands in a row below. */
function curve(from, to, left, top) {
  if (to.left >= from.right) {
    const [x, y, toX, toY] = [from.right - left, (from.top + from.bottom) / 2 - top, to.left - left, (to.top + to.bottom) / 2 - top];
    return `M${x} ${y}C${(x + toX) / 2} ${y} ${(x + toX) / 2} ${toY} ${toX} ${toY}`;
  }
  const [x, y, toX, toY] = [(from.left + from.right) / 2 - left, from.bottom - top, (to.left + to.right) / 2 - left, to.top - top];
  return `M${x} ${y}C${x} ${(y + toY) / 2} ${toX} ${(y + toY) / 2} ${toX} ${toY}`;
}

function Step({ dagId, runId, id, found }) {
  const instances = found.instances.filter(({ task_id }) => task_id === id);
  const results = found.results.filter(({ task_id }) => task_id === id);
  const reused = results.filter((result) => result.reused).length;
  const duration = instances.reduce((most, { duration: d }) => Math.max(most, d ?? 0), 0);
  const states = instances.map(({ state }) => state ?? (ENDED.includes(found.state) ? "not run" : "waiting"));
  const counts = new Map(inOrder(states).map((state) => [state, states.filter((each) => each === state).length]));
  const many = instances.length > 1;
  const more = found.more[id];
  const said = (more && asVersion(more)) || (results.length > 1 ? `${results.length} results` : results[0]?.headline);
  const error = results.find((result) => result.error)?.error;
  return h(Box, { "data-task": id, position: "relative", borderWidth: "1px", rounded: "md", p: 3, w: "195px", bg: "bg.panel" },
    h(Flex, { justify: "space-between", gap: 2, mb: 1 },
      h(To, { to: many ? mappedPage(dagId, runId, id) : taskPage(dagId, runId, id, instances[0]?.map_index ?? -1) }, h("b", null, id)),
      h(State, { state: counts.keys().next().value ?? "waiting" })),
    h(Text, { fontSize: "xs", color: "fg.muted" }, instances[0]?.operator_name),
    many && h(Text, { fontSize: "sm", mt: 2 }, [...counts].map(([state, count]) => `${count} ${state.replaceAll("_", " ")}`).join(", ")),
    said && h(Text, { fontSize: "sm", mt: 2 }, said),
    error && h(Text, { fontSize: "sm", mt: 2, color: "fg.error" }, error.message.slice(0, 200)),
    h(Leads, { links: many ? {} : results[0]?.links, metrics: more ?? {} }),
    h(Flex, { gap: 2, mt: 2, align: "center" },
      duration > 0 && h(Text, { fontSize: "xs", color: "fg.muted" }, seconds(duration)),
      reused > 0 && h(Badge, { colorPalette: "blue" }, results.length > 1 ? `${reused} reused` : "reused")));
}

/** The states, each once, the worst first. */
function inOrder(states) {
  const rank = (state) => (WELL.includes(state) ? 100 + WELL.indexOf(state) : WORST.includes(state) ? WORST.indexOf(state) : 50);
  return [...new Set(states)].sort((a, b) => rank(a) - rank(b));
}
