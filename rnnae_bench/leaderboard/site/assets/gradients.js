// Heatmaps of gradients through sequence time: lag over training step, on one colour scale for all that are shown.
"use strict";
(() => {
  const { element, number, bytes } = window.rnnae;
  const DECADES = 6;

  /** log10 of g by column and row; NaN where nothing was measured. */
  function decode(state) {
    const span = state.high - state.low;
    const values = Float64Array.from(bytes(state.bytes), (one) => (one === 0 ? NaN : state.low + ((one - 1) / 254) * span));
    return { values, columns: state.steps.length, rows: state.rows };
  }

  const relativeTo = ({ values, columns, rows }) => Float64Array.from(values, (value, i) => value - values[Math.floor(i / rows) * rows]);

  /** The domain and scheme that serve all states together. */
  function scaleOf(states, kind) {
    const known = states.filter(Boolean);
    // Blue is faded, red has grown: the same six decades on every page.
    if (kind === "relative") return { domain: [-DECADES, DECADES], interpolate: (t) => d3.interpolateRdBu(1 - t), label: "log10 of the gradient norm relative to lag 0", clamp: true };
    const low = Math.min(...known.map((one) => one.low)), high = Math.max(...known.map((one) => one.high));
    return { domain: [low, high > low ? high : low + 1], interpolate: d3.interpolateViridis, label: "log10 of the gradient norm", clamp: true };
  }

  function picture(state, scale, kind, width, needed) {
    const map = decode(state);
    const values = kind === "relative" ? relativeTo(map) : map.values;
    const { columns, rows } = map;
    // Plot's rasters go row by row.
    const cells = Array.from({ length: columns * rows }, (_, i) => values[(i % columns) * rows + Math.floor(i / columns)]);
    const ticks = d3.range(0, columns, Math.max(1, Math.ceil(columns / Math.max(2, Math.floor(width / 75)))));
    const horizon = state.horizon.flatMap((lag, i) => (lag === null ? [] : [{ x: i, y: lag + 1 }, { x: i + 1, y: lag + 1 }]));
    return Plot.plot({
      width, height: 290, marginTop: 28, marginLeft: 46, marginRight: 12, marginBottom: 40,
      style: { fontSize: "13px", background: "transparent", color: "var(--ink)", fontFamily: "inherit" },
      x: { domain: [0, columns], ticks: ticks.map((i) => i + 0.5), tickFormat: (d) => state.steps[Math.floor(d)].toLocaleString("en"), label: "optimiser step →", labelAnchor: "right" },
      y: { domain: [0, state.lags], label: "↑ lag (time steps back)", tickFormat: (d) => String(d) },
      color: { type: "linear", ...scale },
      marks: [
        Plot.frame({ fill: "var(--unknown)", stroke: "none" }),
        Plot.raster(cells, { width: columns, height: rows, x1: 0, y1: 0, x2: columns, y2: state.lags, imageRendering: "pixelated", fill: Plot.identity }),
        Plot.line(horizon, { x: "x", y: "y", stroke: "#fff", strokeWidth: 4 }),
        Plot.line(horizon, { x: "x", y: "y", stroke: "#000", strokeWidth: 1.6 }),
        ...neededRule(needed, state.lags),
        Plot.frame({ stroke: "var(--line)" }),
      ],
    });
  }

  /** A line at the lag that the task needs, where the profiles reach it. */
  function neededRule(needed, lags) {
    if (needed === null || needed >= lags) return [];
    return [
      Plot.ruleY([needed + 0.5], { stroke: "#fff", strokeWidth: 4 }),
      Plot.ruleY([needed + 0.5], { stroke: "#0a7a33", strokeWidth: 2, strokeDasharray: "6 4" }),
      Plot.text([needed + 0.5], { y: (d) => d, text: () => `needed: ${needed}`, frameAnchor: "right", dx: -4, dy: -8, fill: "#0a7a33", stroke: "#fff", strokeWidth: 4 }),
    ];
  }

  function reach(state) {
    const { effective_horizon: horizon } = state.final;
    if (horizon === null) return "no gradient was measured at lag 0";
    return horizon >= state.lags - 1 ? `it reaches all ${state.lags} lags` : `it is lost beyond lag ${horizon} of ${state.lags - 1}`;
  }

  /** In one sentence: what a state's gradient does at the end of training. */
  function sentence(state) {
    const { decay_rate: rate, time_constant: constant } = state.final;
    const way = rate === null ? "" : rate < -0.005 ? `, falling to 1/e every ${number(constant, 3)} steps back` : rate > 0.005 ? ", growing on the way back" : ", neither growing nor falling";
    const alive = state.final.least_alive;
    const gone = alive === null || alive === 1 ? "" : ` At some lag only ${number(100 * alive, 2)} % of the sequences have a gradient; that of the others is zero or not finite.`;
    return `At the end of training ${reach(state)}${way}.${gone}`;
  }

  const QUANTITIES = [["decay_rate", "decay rate (ln g per step back)"], ["time_constant", "time constant (steps)"], ["effective_horizon", "effective horizon (lag)"], ["log10_vanish_ratio", "log10 of g at the first step over lag 0"], ["least_alive", "share of sequences with a gradient, at the lag with fewest"]];

  function numbers(state, label) {
    const rows = QUANTITIES.map(([key, name]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, number(state.initial[key], 3)), element("td", {}, number(state.final[key], 3))));
    return element("table", { class: "numbers" }, element("caption", {}, `${label}: gradients through time`),
      element("thead", {}, element("tr", {}, element("th", { scope: "col", class: "text" }, "quantity"), element("th", { scope: "col" }, "at first"), element("th", { scope: "col" }, "at last"))),
      element("tbody", {}, ...rows));
  }

  /** Heatmaps of [label, state or null] side by side, with the numbers below and the scale above; `needed` is the task's lag or null. */
  function heatmaps(place, shown, kind, needed) {
    const states = shown.map(([, state]) => state);
    if (!place.clientWidth) return;
    if (!states.some(Boolean)) {
      place.replaceChildren(element("p", { class: "quiet" }, "No gradients through time were measured."));
      return;
    }
    const scale = scaleOf(states, kind);
    const across = shown.length > 1 && place.clientWidth >= 700 ? 2 : 1;
    const width = Math.min(Math.floor((place.clientWidth - (across - 1) * 16) / across), 620);
    const legend = Plot.legend({ color: { type: "linear", ...scale }, width: Math.min(320, place.clientWidth), style: { background: "transparent", color: "var(--ink)", fontSize: "12px" } });
    legend.setAttribute("aria-hidden", "true");
    const figures = shown.map(([label, state]) => {
      if (!state) return element("div", { class: "state" }, element("h4", {}, label), element("p", { class: "quiet" }, "No gradients through time were measured."));
      const drawing = element("div", { class: "drawing", role: "img", "aria-label": `Heatmap for ${label}, ${state.title}: ${sentence(state)}` });
      const node = picture(state, scale, kind, width, needed);
      node.setAttribute("aria-hidden", "true");
      drawing.append(node);
      const means = state.trials > 1 ? ` Geometric mean over ${state.trials} seeds.` : "";
      return element("div", { class: "state" }, element("h4", {}, label, element("small", {}, label === state.title ? "" : ` ${state.title}`)), drawing,
        element("p", {}, sentence(state), means), numbers(state, label));
    });
    place.replaceChildren(element("div", { class: "scale" }, legend), element("div", { class: across > 1 ? "pair" : "" }, ...figures));
  }

  Object.assign(window.rnnae, { heatmaps });
})();
