// What the pages share. React, Chakra UI and the router are Airflow's own, so the pages look and move as the rest does,
// in light and dark; there is no build step, so elements are made by `h` instead of JSX.

const { React, ChakraUI, ReactRouterDOM } = globalThis;
export const h = React.createElement;
export const { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } = React;
export const { useSearchParams } = ReactRouterDOM;
export const { Alert, Badge, Box, Button, Dialog, Flex, Heading, Input, Link, Portal, Spinner, Table, Text, Textarea } = ChakraUI;

// -- addresses ---------------------------------------------------------------------------------------------------

const at = (parts) => parts.map(encodeURIComponent).join("/");
export const address = (path) => new URL(path, document.baseURI).href;
export const ofDag = (dagId, ...rest) => `tradewind/dags/${at([dagId, ...rest])}`;
export const ofRun = (dagId, runId, ...rest) => ofDag(dagId, "runs", runId, ...rest);
export const airflow = (...parts) => `api/v2/${at(parts)}`;

export const dagPage = (dagId) => `/dags/${at([dagId])}`;
export const runPage = (dagId, runId, route) => `/dags/${at([dagId, "runs", runId])}${route ? `/plugin/${route}` : ""}`;
export const taskPage = (dagId, runId, taskId, mapIndex) =>
  `/dags/${at([dagId, "runs", runId, "tasks", taskId])}${mapIndex >= 0 ? `/mapped/${mapIndex}` : ""}/plugin/tradewind-result`;
export const mappedPage = (dagId, runId, taskId) => `/dags/${at([dagId, "runs", runId, "tasks", taskId])}/mapped`;

// -- asking ------------------------------------------------------------------------------------------------------

async function said(response) {
  const text = await response.text();
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch {
    return text || `${response.status} ${response.statusText}`;
  }
}

/** The JSON answer to a GET, or to a POST where there is a body. Null where there is none of it and `missing` allows that. */
export async function ask(path, { body, missing = false, signal } = {}) {
  const sent = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(address(path), { ...sent, signal, headers: { "Content-Type": "application/json" } });
  if (missing && response.status === 404) return null;
  if (!response.ok) throw new Error(await said(response));
  return response.json();
}

/** All of a list of Airflow's, page by page: it gives at most `[api] maximum_page_limit` at once, whatever is asked for. */
export async function askAll(path, name, { signal } = {}) {
  const found = [];
  for (;;) {
    const page = await ask(`${path}?limit=100&offset=${found.length}`, { signal });
    found.push(...page[name]);
    if (page[name].length === 0 || found.length >= page.total_entries) return found;
  }
}

/** The figures that a task instance returned, as Airflow keeps them; null where it has returned nothing. */
export async function returned(dagId, runId, taskId, mapIndex, signal) {
  const path = airflow("dags", dagId, "dagRuns", runId, "taskInstances", taskId, "xcomEntries", "return_value");
  const found = await ask(`${path}?deserialize=true&map_index=${mapIndex}`, { signal, missing: true });
  if (!found) return null;
  return found.value?.metrics ?? (typeof found.value === "object" ? { ...found.value } : { returned: found.value });
}

/**
 * What `look(signal)` gives, again whenever `keys` change and every `every` milliseconds (0: never again). What was seen last
 * stays while the next look is under way, and beside the error where it fails.
 */
export function useLook(look, keys, every = 0) {
  const [seen, setSeen] = useState({ data: undefined, error: null });
  const [again, setAgain] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    let timer;
    const turn = async () => {
      try {
        const data = await look(control.signal);
        if (!control.signal.aborted) setSeen({ data, error: null });
      } catch (error) {
        if (!control.signal.aborted) setSeen((before) => ({ ...before, error: error.message }));
      }
      if (every && !control.signal.aborted) timer = setTimeout(turn, every);
    };
    turn();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [...keys, every, again]);
  return { ...seen, reload: () => setAgain((n) => n + 1) };
}

// -- words -------------------------------------------------------------------------------------------------------

export const when = (value) => (value ? new Date(value).toLocaleString(undefined, { hour12: false }) : "");
export const clock = (value) => new Date(value).toLocaleTimeString(undefined, { hour12: false });
export const percent = (share) => `${(100 * share).toFixed(2)}%`;

export function number(value) {
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
}

export function seconds(value) {
  if (value === null || value === undefined) return "";
  const whole = Math.round(value);
  return value < 59.95 ? `${value.toFixed(1)} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** What a registration returned, in words; nothing for any other figures. */
export const asVersion = ({ name, version, registered }) =>
  registered === undefined ? "" : `${name} version ${version}${registered ? "" : ", registered before"}`;

// -- parts -------------------------------------------------------------------------------------------------------

const STATES = {
  success: "green", PASSED: "green", STEADY: "green", DRIFTED: "red", done: "green", champion: "green", failed: "red", FAILED: "red", rolled_back: "red",
  roll_back: "red", upstream_failed: "orange", up_for_retry: "orange", awaiting_input: "orange", INCONCLUSIVE: "orange", held: "orange", skipped: "pink", running: "cyan",
  canary: "cyan", mirror: "cyan", switch: "cyan", deferred: "purple", queued: "gray", challenger: "blue",
};

export const State = ({ state }) =>
  state ? h(Badge, { colorPalette: STATES[state] ?? "gray", variant: "subtle" }, state.replaceAll("_", " ")) : null;

export const To = ({ to, children }) =>
  h(Link, { asChild: true, color: "fg.info" }, h(ReactRouterDOM.Link, { to }, children));

/** Where figures lead, out of Airflow; they come from data, so what is no web address is no link. */
export const Leads = ({ links = {}, metrics = {} }) => {
  const all = Object.entries({ ...links, "MLflow version": metrics.url, Endpoint: metrics.endpoint_url });
  const some = all.filter(([, url]) => typeof url === "string" && /^https?:/i.test(url));
  return some.length > 0 && h(Flex, { gap: 3, mt: 1, wrap: "wrap", fontSize: "xs" }, some.map(([name, url]) =>
    h(Link, { key: name, href: url, target: "_blank", rel: "noopener noreferrer", color: "fg.info" }, name)));
};

export const Section = ({ title, aside, children }) =>
  h(Box, { as: "section", "aria-label": title, mb: 8 },
    h(Flex, { align: "center", gap: 3, mb: 2, wrap: "wrap" }, h(Heading, { as: "h2", size: "md" }, title), aside),
    children);

export const Nothing = ({ children }) => h(Text, { color: "fg.muted" }, children);

export const Trouble = ({ error }) =>
  error
    ? h(Alert.Root, { status: "error", role: "alert", mb: 3 }, h(Alert.Indicator), h(Alert.Content, null, h(Alert.Description, null, error)))
    : null;

/** What was seen; until then a spinner, and nothing but the error where the first look failed. */
export const Seen = ({ look, children }) =>
  h(React.Fragment, null, h(Trouble, { error: look.error }),
    look.data === undefined ? (look.error ? null : h(Spinner, { size: "sm", "aria-label": "Loading" })) : children(look.data));

/** A table from `columns`, `[heading, row => cell]`, two of which may have one heading, with its own bar to scroll what is wide. */
export const Rows = ({ label, columns, rows, empty }) =>
  rows.length === 0
    ? h(Nothing, null, empty)
    : h(Table.ScrollArea, { borderWidth: "1px", rounded: "md" },
        h(Table.Root, { size: "sm", "aria-label": label },
          h(Table.Header, null,
            h(Table.Row, null, columns.map(([heading], i) => h(Table.ColumnHeader, { key: i, whiteSpace: "nowrap" }, heading)))),
          h(Table.Body, null,
            rows.map((row, i) =>
              h(Table.Row, { key: i }, columns.map(([, cell], j) => h(Table.Cell, { key: j }, cell(row, i))))))));

export const Pager = ({ label, back, forth, children }) =>
  h(Flex, { as: "nav", "aria-label": label, align: "center", gap: 3, mt: 2 },
    h(Button, { size: "xs", variant: "outline", disabled: !back, onClick: back ?? undefined }, "Previous"),
    h(Text, { fontSize: "sm", color: "fg.muted" }, children),
    h(Button, { size: "xs", variant: "outline", disabled: !forth, onClick: forth ?? undefined }, "Next"));

export const Page = ({ children }) => h(Box, { p: 4, height: "100%", overflowY: "auto" }, children);
