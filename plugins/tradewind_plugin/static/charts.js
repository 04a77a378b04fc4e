// Charts by Plotly, which comes with this package: it is fetched from Airflow's own server, when the first chart is drawn.

import { address, Box, h, useEffect, useRef, useState } from "./ui.js";

let library;

function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address("tradewind/static/plotly.min.js");
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => reject(new Error("The chart library cannot be loaded"));
    document.head.append(script);
  });
  return library;
}

/** Counts up when Airflow's page turns dark or light. */
function useTheme() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const watch = new MutationObserver(() => setTurn((n) => n + 1));
    watch.observe(document.documentElement, { attributeFilter: ["class"] });
    return () => watch.disconnect();
  }, []);
  return turn;
}

/**
 * A chart. `label` says in words what it shows, for who does not see it; the pages have its figures beside it.
 *
 * traces, layout: Plotly's; colours of text and grid are Airflow's.
 */
export function Chart({ label, traces, layout = {}, height = 240 }) {
  const box = useRef(null);
  const theme = useTheme();
  useEffect(() => {
    let live = true;
    plotly().then((lib) => {
      if (!live || !box.current) return;
      const ink = getComputedStyle(box.current).color;
      const axis = { gridcolor: "rgba(128,128,128,0.25)", zerolinecolor: "rgba(128,128,128,0.4)", automargin: true };
      lib.react(box.current, traces, {
        height, margin: { t: 35, r: 10, b: 30, l: 45 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
        font: { color: ink, size: 12 }, showlegend: traces.length > 1, legend: { orientation: "h", y: -0.3 }, ...layout,
        xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
      }, { displayModeBar: false, responsive: true });
    }).catch((error) => { if (live && box.current) box.current.textContent = `${label}. (${error.message}.)`; });
    return () => { live = false; };
  }, [traces, layout, height, theme]);
  useEffect(() => () => { if (box.current) globalThis.Plotly?.purge(box.current); }, []);
  return h(Box, { ref: box, role: "img", "aria-label": label, minW: "280px", flex: "1 1 320px" });
}
