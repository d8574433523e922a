// A task variant's charts, the matrix of comparisons, and two rows' gradients side by side.
"use strict";
(() => {
  const { data, draw, plot, rule, steps, colour, curveMarks, picked, watch, get, set, element, number, interval, bindSelects, heatmaps, withLegend } = window.rnnae;
  const { entries } = data;
  const by = new Map(entries.map((one, i) => [one.key, { ...one, index: i }]));
  const chosen = () => picked().map(({ key, place }) => ({ ...by.get(key), place }));
  const choice = (key, allowed) => (allowed.includes(get(key)) ? get(key) : allowed[0]);
  const named = (shown) => shown.map((one) => [one.label, one.place]);
  const better = data.direction === "maximize" ? "higher" : "lower";

  function learning(width) {
    const kind = choice("curve", ["learning", "loss"]);
    const shown = chosen().filter((one) => one[kind]);
    if (!shown.length) return null;
    const metric = kind === "learning";
    return withLegend(plot(width, {
      x: { ...steps(width) }, y: { label: metric ? `↑ validation ${data.metric} (${better} is better)` : "↑ training loss", grid: true, nice: true },
      marks: [
        ...(metric ? rule(data.floor, "floor") : []), ...(metric ? rule(data.solvedAt, "solved") : []),
        ...shown.flatMap((one) => curveMarks(one[kind], one.place, { label: one.label })),
      ],
    }), named(shown));
  }

  function solving(width) {
    const shown = chosen().filter((one) => one.solving);
    if (!shown.length) return null;
    return withLegend(plot(width, {
      x: { ...steps(width) }, y: { label: "↑ share of trials that had solved", grid: true, domain: [0, 1] },
      marks: shown.flatMap((one) => curveMarks(one.solving, one.place, { label: one.label, shape: "step-after" })),
    }), named(shown));
  }

  function threshold(width) {
    const unit = choice("until", ["steps", "seconds"]);
    const shown = chosen();
    const points = shown.flatMap((one) => one.solved.map(([seed, stepsTaken, seconds]) => ({ ...one, seed, x: unit === "steps" ? stepsTaken : seconds })).filter((point) => point.x !== null));
    if (!points.length) return null;
    return plot(width, {
      height: 70 + 30 * shown.length, marginLeft: Math.min(170, width * 0.35), marginRight: 70,
      x: { ...steps(Math.max(0, width - 240)), label: unit === "steps" ? "optimiser steps →" : "seconds →", grid: true, zero: true },
      y: { label: null, domain: shown.map((one) => one.key), tickFormat: (key) => { const { label } = by.get(key); return label.length > 22 ? `${label.slice(0, 21)}…` : label; } },
      marks: [
        Plot.dot(points, { x: "x", y: "key", r: 5, stroke: (d) => colour(d.place), strokeWidth: 2, title: (d) => `${d.label}, seed ${d.seed}: ${d.x.toLocaleString("en")} ${unit}`, tip: { fill: "var(--card)" } }),
        Plot.text(shown, { y: "key", frameAnchor: "right", textAnchor: "start", dx: 14, fill: "var(--quiet)", text: (one) => `${one.solved.filter(([, taken]) => taken !== null).length} of ${one.solved.length}` }),
      ],
      color: { type: "identity" },
    });
  }

  const COSTS = { parameters: ["parameters", "parameters", 1], stateSize: ["stateSize", "state size (numbers)", 1], seconds: ["seconds", "training seconds", 1], memory: ["memory", "peak memory (MB)", 1e6] };

  function cost(width) {
    const [field, label, unit] = COSTS[choice("cost", Object.keys(COSTS))];
    const drawn = new Map(picked().map(({ key, place }) => [key, place]));
    const known = entries.filter((one) => one[field] > 0 && one.score).map((one) => ({ ...one, x: one[field] / unit, place: drawn.get(one.key) }));
    if (!known.length) return null;
    const [front, others] = [known.filter((one) => one.place !== undefined), known.filter((one) => one.place === undefined)];
    const [low, high] = d3.extent(known, (one) => one.x);
    const ends = known.flatMap((one) => one.score).filter((end) => end !== null);
    const mark = (points, fill, r) => [
      Plot.ruleX(points.filter((one) => one.score[1] !== null), { x: "x", y1: (d) => d.score[1], y2: (d) => d.score[2], stroke: fill, strokeOpacity: 0.6 }),
      Plot.dot(points, { x: "x", y: (d) => d.score[0], r, fill }),
    ];
    return plot(width, {
      x: { label: `${label} →`, type: "log", domain: [low / 1.4, high * 1.4], ticks: Math.max(3, Math.floor(width / 130)), tickFormat: "~s" },
      y: { label: "↑ score", grid: true, domain: [Math.min(0, ...ends), Math.max(1, ...ends)] },
      color: { type: "identity" },
      marks: [
        ...mark(others, "var(--faint)", 3), ...mark(front, (d) => colour(d.place), 5),
        Plot.text(front, { x: "x", y: (d) => d.score[0], text: (d) => (d.label.length > 24 ? `${d.label.slice(0, 23)}…` : d.label), dx: 8, dy: -8, textAnchor: "start", fill: "var(--ink)", stroke: "var(--page)", strokeWidth: 3 }),
        Plot.tip(known, Plot.pointer({ x: "x", y: (d) => d.score[0], fill: "var(--card)", title: (d) => `${d.label}\nscore ${interval(d.score)}\n${label} ${number(d.x)}` })),
      ],
    });
  }

  function norm(width) {
    const shown = chosen().filter((one) => one.norm);
    if (!shown.length) return null;
    return withLegend(plot(width, {
      x: { ...steps(width) }, y: { label: "↑ gradient norm", type: "log", grid: true, ticks: 5, tickFormat: "~e" },
      marks: shown.flatMap((one) => curveMarks(one.norm, one.place, { label: one.label, log: true })),
    }), named(shown));
  }

  const pairs = new Map(data.comparisons.map(([i, j, ...others]) => [`${i} ${j}`, Object.fromEntries(data.fields.slice(2).map((name, k) => [name, others[k]]))]));

  /** The comparison of the first row with the second, whichever way it was written down. */
  function comparison(first, second) {
    const straight = pairs.get(`${first} ${second}`);
    if (straight) return straight;
    const other = pairs.get(`${second} ${first}`);
    if (!other) return null;
    const turn = (one, whole) => one && one.map((value) => (value === null ? null : whole - value)).map((value, i, all) => [value, all[2], all[1]][i]);
    return { ...other, verdict: { better: "worse", worse: "better" }[other.verdict] ?? other.verdict, difference: turn(other.difference, 0), superiority: turn(other.superiority, 1) };
  }

  function verdictOf(one) {
    if (one.more === null || one.verdict !== "tied") return one.verdict;
    return `tied; ${one.more} more seeds would probably tell`;
  }

  function matrix() {
    const shown = chosen();
    const table = document.getElementById("matrix");
    const caption = table.caption;
    if (shown.length < 2) {
      table.replaceChildren(caption, element("tbody", {}, element("tr", {}, element("td", {}, "Choose two rows or more in the table of ranks."))));
      return;
    }
    const head = element("tr", {}, element("td", {}), ...shown.map((one) => element("th", { scope: "col" }, one.label)));
    const body = shown.map((row) => element("tr", {}, element("th", { scope: "row" }, row.label), ...shown.map((column) => {
      if (row.key === column.key) return element("td", { class: "self", "aria-label": "the same row" }, "");
      const one = comparison(row.index, column.index);
      if (!one) return element("td", {}, "–");
      const many = one.superiority === null ? "" : `better in ${number(100 * one.superiority[0], 3)} % of pairs; `;
      const p = one.corrected === null ? "" : `corrected p ${one.corrected < 0.001 ? "< 0.001" : number(one.corrected, 2)}; `;
      return element("td", { class: `verdict ${one.verdict.replaceAll(" ", "-")}` },
        element("b", {}, verdictOf(one)), element("br"), interval(one.difference), element("br"), element("small", {}, `${many}${p}${one.seeds} seeds${one.unequal && `; ${one.unequal}`}`));
    })));
    table.replaceChildren(caption, element("thead", {}, head), element("tbody", {}, ...body));
  }

  const selects = Object.fromEntries(["a", "as", "b", "bs"].map((key) => [key, document.querySelector(`select[data-state="${key}"]`)]));

  function fillRows() {
    for (const key of ["a", "b"]) selects[key].replaceChildren(...entries.map((one) => element("option", { value: one.key }, one.label)));
    const measured = entries.filter((one) => one.states.length);
    const usual = { a: measured[0] ?? entries[0], b: measured.at(-1) ?? entries.at(-1) };
    for (const key of ["a", "b"]) selects[key].value = usual[key].key;
  }

  function fillStates() {
    for (const [row, state] of [["a", "as"], ["b", "bs"]]) {
      const { states } = by.get(selects[row].value);
      selects[state].replaceChildren(...states.map((one, i) => element("option", { value: String(i) }, one.title)));
      const asked = get(state);
      if (asked !== null && Number(asked) < states.length) selects[state].value = asked;
      selects[state].disabled = states.length < 2;
    }
  }

  function pair() {
    fillStates();
    const shown = [["a", "as"], ["b", "bs"]].map(([row, state]) => {
      const entry = by.get(selects[row].value);
      return [entry.label, entry.states[Number(selects[state].value)] ?? null];
    });
    heatmaps(document.getElementById("pair"), shown, choice("scale", ["relative", "absolute"]), data.neededLag);
  }

  fillRows();
  // The states' choices depend on the rows': they are filled by pair(), so bound here and not by bindSelects().
  for (const key of ["as", "bs"]) {
    selects[key].addEventListener("change", () => set(key, selects[key].value));
    selects[key].removeAttribute("data-state");
  }
  bindSelects();

  const charts = { learning: [learning, ["show", "curve"]], solving: [solving, ["show"]], threshold: [threshold, ["show", "until"]], cost: [cost, ["show", "cost"]], norm: [norm, ["show"]] };
  watch((key) => {
    for (const [id, [make, keys]] of Object.entries(charts)) if (key === null || keys.includes(key)) draw(id, make);
    if (key === null || key === "show") matrix();
    if (key === null || ["a", "b", "as", "bs", "scale"].includes(key)) pair();
  });

  let width = document.getElementById("pair").clientWidth;
  new ResizeObserver(([{ target }]) => { if (target.clientWidth !== width) { width = target.clientWidth; pair(); } }).observe(document.getElementById("pair"));
})();
