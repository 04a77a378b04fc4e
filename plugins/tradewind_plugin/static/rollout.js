// A rollout, live: shares, requests, errors, latency, the evidence against its limit, and a person's word on it.

import { Chart } from "./charts.js";
import {
  ask, Box, Button, clock, Dialog, Flex, h, Heading, number, ofDag, percent, Portal, Rows, runPage, State, Text, Textarea, To, Trouble,
  useMemo, useState, when,
} from "./ui.js";

const NEW = "#0891b2";
const OLD = "#94a3b8";

const ORDERS = [
  { do: "hold", label: "Hold", says: "It stays where it is, until somebody decides.", phases: ["mirror", "canary", "switch"] },
  { do: "resume", label: "Resume", says: "It goes on from where it was held.", phases: ["held"] },
  { do: "promote", label: "Promote now", says: "It gets all requests now, without waiting for more of them.", phases: ["replay", "mirror", "canary", "held", "switch"] },
  { do: "roll_back", label: "Roll back", says: "It gets no requests any more; what served before serves again.", phases: ["load", "smoke", "replay", "mirror", "canary", "held", "switch"] },
];

export function Rollout({ dagId, rollout, mayAct, reload }) {
  const title = rollout.ended ? "Last rollout" : "Rollout";
  return h(Box, { borderWidth: "1px", rounded: "md", p: 4, mt: 3, as: "section", "aria-label": title },
    h(Flex, { align: "center", gap: 3, wrap: "wrap", mb: 2 },
      h(Heading, { as: "h3", size: "sm" }, `${title}: version ${rollout.version} ${rollout.stable ? `instead of ${rollout.stable}` : "as the first"}`),
      h(State, { state: rollout.phase }),
      h(Text, { fontSize: "sm", color: "fg.muted" }, `began ${when(1000 * rollout.started_at)}, by `,
        rollout.run_id ? h(To, { to: runPage(dagId, rollout.run_id, "tradewind-chain") }, rollout.run_id) : rollout.by)),
    rollout.reason && h(Text, { mb: 2 }, rollout.reason),
    rollout.phase === "canary" && h(Text, { mb: 2 },
      `Step ${rollout.step + 1} of ${rollout.steps.length}, ${rollout.steps[rollout.step]}% of the requests: `
      + `${number(rollout.step_requests)} answered in this step, at least ${rollout.min_requests} are needed to conclude.`),
    !rollout.ended && mayAct && h(Orders, { dagId, rollout, reload }),
    rollout.stable && h(Evidence, { rollout }),
    h(Events, { rollout }));
}

function Evidence({ rollout }) {
  const [requests, evidence, shared, latency] = useMemo(() => {
    const x = rollout.samples.map(({ at }) => new Date(1000 * at));
    const line = (name, color, y, more = {}) => ({ x, y, name, mode: "lines", line: { color, ...more } });
    return [
      [
        line(`version ${rollout.version}`, NEW, rollout.samples.map(({ canary }) => canary[0])),
        line(`version ${rollout.stable}`, OLD, rollout.samples.map(({ stable }) => stable[0])),
        line(`errors of ${rollout.version}`, "#dc2626", rollout.samples.map(({ canary }) => canary[1])),
        line(`errors of ${rollout.stable}`, "#f59e0b", rollout.samples.map(({ stable }) => stable[1])),
      ],
      [
        line("evidence", NEW, rollout.samples.map((sample) => Math.max(sample.evidence, 1e-3))),
        line("limit", "#dc2626", x.map(() => rollout.limit), { dash: "dash" }),
      ],
      [{ ...line("share", NEW, rollout.samples.map(({ weight }) => weight / 100), { shape: "hv" }), fill: "tozeroy" }],
      // A rollout that an older version of this package began has samples without it.
      [rollout.version, rollout.stable].map((version, i) => line(`version ${version}`, [NEW, OLD][i], rollout.samples.map(({ p95 }) => p95?.[i] ?? null))),
    ];
  }, [rollout.samples, rollout.version, rollout.stable, rollout.limit]);
  const versions = Object.entries(rollout.traffic);
  return h("div", null,
    rollout.samples.length > 0 && h(Flex, { gap: 4, wrap: "wrap" },
      h(Chart, { label: `Share of version ${rollout.version}, last ${rollout.samples.at(-1).weight}%`, traces: shared, layout: SHARE }),
      h(Chart, { label: `Latency of both versions in this step, 95 of 100 requests: ${latencies(rollout.samples.at(-1))}`, traces: latency, layout: LATENCY }),
      h(Chart, { label: "Requests and errors of both versions since the canary began; the table below has the figures", traces: requests, layout: COUNTS }),
      h(Chart, { label: `Evidence that it fails more often: ${number(rollout.evidence)}, limit ${number(rollout.limit)}`, traces: evidence, layout: EVIDENCE })),
    h(Rows, {
      label: "What the versions did with the requests", rows: versions, empty: "",
      columns: [
        ["Version", ([version]) => version],
        ["Requests", ([, traffic]) => number(traffic.requests)],
        ["Errors", ([, traffic]) => `${number(traffic.errors)}${traffic.requests ? ` (${percent(traffic.errors / traffic.requests)})` : ""}`],
        ["p50, p90, p99 of this step (ms)", ([, { p50, p90, p99 }]) => (p50 === null ? "" : [p50, p90, p99].map(number).join(", "))],
        ["Evidence against it", ([version]) => (version === rollout.version ? `${number(rollout.evidence)} of ${number(rollout.limit)}` : "")],
      ],
    }));
}

const latencies = ({ p95 = [] }) => p95.map((value) => (value === null ? "none yet" : `${number(value)} s`)).join(", ");
// Level: else the labels run into the legend.
const TIME = { type: "date", nticks: 4, tickangle: 0 };
const LATENCY = { title: { text: "latency (p95, s)" }, yaxis: { rangemode: "tozero" }, xaxis: TIME };
const SHARE = { title: { text: "share of the requests" }, yaxis: { tickformat: ".0%", range: [0, 1.05] }, xaxis: TIME };
const COUNTS = { title: { text: "requests, errors" }, yaxis: { rangemode: "tozero" }, xaxis: TIME };
const EVIDENCE = { title: { text: "evidence that it is worse" }, yaxis: { type: "log" }, xaxis: TIME };

const Events = ({ rollout }) =>
  h(Box, { mt: 3 }, h(Rows, {
    label: "What happened", rows: rollout.events, empty: "It has just begun.",
    columns: [["When", ({ at }) => clock(1000 * at)], ["Phase", ({ phase }) => h(State, { state: phase })], ["What happened", ({ what }) => what]],
  }));

function Orders({ dagId, rollout, reload }) {
  const [order, setOrder] = useState(null);
  return h(Flex, { gap: 2, mb: 3, align: "center" },
    ORDERS.filter(({ phases }) => phases.includes(rollout.phase)).map((each) =>
      h(Button, { key: each.do, size: "sm", variant: "outline", colorPalette: each.do === "roll_back" ? "red" : undefined, onClick: () => setOrder(each) }, each.label)),
    rollout.order && h(Text, { color: "fg.muted" }, `${rollout.order.do.replaceAll("_", " ")} was asked by ${rollout.order.by}`),
    order && h(Confirm, { dagId, rollout, order, close: () => { setOrder(null); reload(); } }));
}

function Confirm({ dagId, rollout, order, close }) {
  const [why, setWhy] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const send = async () => {
    setBusy(true);
    try {
      await ask(ofDag(dagId, "rollout"), { body: { model: rollout.target, rollout: rollout.id, do: order.do, why } });
      close();
    } catch (failed) {
      setError(failed.message);
      setBusy(false);
    }
  };
  return h(Dialog.Root, { open: true, onOpenChange: ({ open }) => { if (!open && !busy) close(); }, role: "alertdialog" },
    h(Portal, null, h(Dialog.Backdrop), h(Dialog.Positioner, null,
      h(Dialog.Content, null,
        h(Dialog.Header, null, h(Dialog.Title, null, `${order.label}: ${rollout.target} version ${rollout.version}`)),
        h(Dialog.Body, null,
          h(Text, { mb: 3 }, order.says),
          h(Textarea, { placeholder: "Why? It stays in the release record.", "aria-label": "Reason", value: why, onChange: (event) => setWhy(event.target.value) }),
          h(Trouble, { error })),
        h(Dialog.Footer, null,
          h(Button, { variant: "outline", onClick: close, disabled: busy }, "Cancel"),
          h(Button, { colorPalette: order.do === "roll_back" ? "red" : "blue", onClick: send, disabled: busy || !why.trim(), loading: busy }, order.label))))));
}
