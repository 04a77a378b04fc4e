// What one task left: figures, reports, the rows in quarantine; for a rollout, the rollout itself.

import { Rollout } from "./rollout.js";
import {
  address, ask, asVersion, Badge, Box, Button, Flex, h, Leads, Link, Nothing, number, ofDag, ofRun, Page, Pager, returned, Rows, seconds,
  Section, Seen, State, Text, To, Trouble, runPage, useLook, useState,
} from "./ui.js";

const PAGE = 25;
const NO_MANIFEST = { status: "success", metrics: {}, reports: [], tables: [], usage: {} }; // of a task that only returns something

export function Result({ dagId, runId, taskId, mapIndex }) {
  const index = Number(mapIndex ?? -1);
  const [pace, setPace] = useState(3000);
  const look = useLook(async (signal) => {
    const [results, { models, may_act: mayAct }] = await Promise.all([
      ask(`${ofRun(dagId, runId, "results")}?task_id=${encodeURIComponent(taskId)}`, { signal }),
      ask(ofDag(dagId, "serving"), { signal }).catch(() => ({ models: [] })), // the result is there without it
    ]);
    const left = results.find((each) => each.map_index === index);
    const value = await returned(dagId, runId, taskId, index, signal).catch((error) => {
      if (!left) throw error;
    });
    const result = (left || value) && { ...NO_MANIFEST, ...left, metrics: { ...left?.metrics, ...value } };
    const rollout = models.map((model) => model.rollout).find((each) => each?.run_id === runId && each.by.endsWith(` / ${taskId}`));
    setPace(rollout && !rollout.ended ? 1000 : result ? 10_000 : 3000);
    return { mayAct, result, rollout };
  }, [dagId, runId, taskId, index], pace);
  const place = { dagId, runId, taskId, index };
  return h(Page, null, h(Seen, { look }, ({ result, rollout, mayAct }) => h("div", null,
    !result && !rollout && h(Nothing, null, "This task has left no result yet."),
    rollout && h(Rollout, { dagId, rollout, mayAct, reload: look.reload }),
    result && h(Summary, { place, result }),
    result?.reports.length > 0 && h(Reports, { place, names: result.reports }),
    result?.tables.length > 0 && result.metrics.rows_quarantined > 0 && h(Quarantine, { place }),
    result && h(Figures, { metrics: result.metrics }))));
}

const Summary = ({ place, result }) =>
  h(Section, {
    title: "Result",
    aside: h(Flex, { gap: 2, align: "center" }, h(State, { state: result.status }), result.reused && h(Badge, { colorPalette: "blue" }, "reused"),
      h(To, { to: runPage(place.dagId, place.runId, "tradewind-chain") }, "Chain")),
  },
    h(Trouble, { error: result.error && `${result.error.type}: ${result.error.message}` }),
    h(Text, { mb: 2 }, result.headline || asVersion(result.metrics)),
    h(Box, { mb: 2 }, h(Leads, result)),
    (result.metrics.reasons ?? []).map((reason, i) => h(Text, { key: i, mb: 1, color: result.metrics.verdict === "INCONCLUSIVE" ? "fg.warning" : "fg.error" }, String(reason))),
    result.usage.seconds !== undefined && h(Text, { mb: 2, color: "fg.muted" },
      `${seconds(result.usage.seconds)}, ${seconds(result.usage.cpu_seconds)} of CPU, at most ${number(result.usage.peak_memory_mb)} MB of memory`));

function Figures({ metrics }) {
  const figures = Object.entries(metrics).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value) && value !== "");
  return h(Section, { title: "Figures" }, h(Rows, {
    label: "Figures", rows: figures, empty: "It has measured nothing.",
    columns: [["Figure", ([name]) => name.replaceAll("_", " ")], ["Value", ([, value]) => number(value)]],
  }));
}

function Quarantine({ place: { dagId, runId, taskId, index } }) {
  const [offset, setOffset] = useState(0);
  const rows = ofRun(dagId, runId, "tasks", taskId, index, "rows");
  const look = useLook((signal) => ask(`${rows}?offset=${offset}&limit=${PAGE}`, { signal }), [rows, offset]);
  const download = h(Button, { size: "xs", variant: "outline", asChild: true }, h("a", { href: address(`${rows}.csv`), download: "" }, "Download as CSV"));
  return h(Section, { title: "Rows in quarantine", aside: download }, h(Seen, { look }, (page) => {
    // A validation appends row, rules and reasons: why comes first, there may be many columns.
    const columns = page.columns.map((name, i) => [name, (row) => row[i] ?? h(Text, { color: "fg.muted" }, "null")]);
    return h("div", null,
      h(Rows, {
        label: "Rows in quarantine", rows: page.rows, empty: "There are none.",
        columns: [...columns.slice(-3), ...columns.slice(0, -3)],
      }),
      h(Pager, {
        label: "Pages of rows",
        back: offset > 0 && (() => setOffset(Math.max(0, offset - PAGE))),
        forth: offset + PAGE < page.total && (() => setOffset(offset + PAGE)),
      }, `${number(Math.min(offset + 1, page.total))} to ${number(Math.min(offset + PAGE, page.total))} of ${number(page.total)}`));
  }));
}

function Reports({ place: { dagId, runId, taskId, index }, names }) {
  const [name, setName] = useState(names.includes("report") ? "report" : names[0]);
  const url = address(`${ofRun(dagId, runId, "tasks", taskId, index, "report")}?name=${encodeURIComponent(name)}`);
  const tabs = names.map((each) =>
    h(Button, { key: each, size: "xs", variant: each === name ? "solid" : "outline", "aria-pressed": each === name, onClick: () => setName(each) }, each));
  return h(Section, { title: "Reports", aside: h(Flex, { gap: 2, align: "center" }, tabs, h(Link, { href: url, target: "_blank", rel: "noopener", color: "fg.info" }, "in a tab of its own")) },
    // No scripts, no origin: a report is made from data. On white, as reports are written for.
    h(Box, { as: "iframe", key: name, src: url, sandbox: "", title: `Report ${name} of ${taskId}`, w: "100%", h: "75vh", borderWidth: "1px", rounded: "md", bg: "white" }));
}
