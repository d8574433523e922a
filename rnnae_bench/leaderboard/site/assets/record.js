// One trial's curves and heatmaps.
"use strict";
(() => {
  const { data, draw, plot, rule, steps, curveMarks, watch, get, heatmaps, bindSelects, withLegend } = window.rnnae;
  const { curves } = data;

  function chart(names, label, log, rules = []) {
    const shown = names.filter((name) => curves[name]).slice(0, 10);
    if (!shown.length) return () => null;
    const titles = shown.map((name, place) => [name.split("/").slice(1).join("/") || name.replaceAll("_", " "), place]);
    return (width) => withLegend(plot(width, {
      x: { ...steps(width) }, y: { label: `↑ ${label}`, grid: true, nice: !log, ...(log ? { type: "log", ticks: 5, tickFormat: "~e" } : {}) },
      marks: [...rules.flatMap(([value, text]) => rule(value, text)), ...shown.flatMap((name, place) => curveMarks(curves[name], place, { label: titles[place][0], log }))],
    }), titles);
  }

  const metric = `validation/${data.metric}`;
  const looks = Object.keys(curves).filter((name) => name.startsWith("validation/"));
  const layers = Object.keys(curves).filter((name) => name.startsWith("gradient_norm/"));
  draw("loss", chart(["loss"], "training loss", false));
  draw("looks", chart(curves[metric] ? [metric] : looks, data.metric, false, [[data.floor, "floor"], [data.solvedAt, "solved"]]));
  draw("norms", chart(["gradient_norm", ...layers], "gradient norm", true));

  if (!data.states.length) return;
  bindSelects();
  const place = document.getElementById("states");
  const states = () => heatmaps(place, data.states.map((state) => [state.title, state]), get("scale") === "absolute" ? "absolute" : "relative", data.neededLag);
  watch((key) => { if (key === null || key === "scale") states(); });
  let width = place.clientWidth;
  new ResizeObserver(() => { if (place.clientWidth !== width) { width = place.clientWidth; states(); } }).observe(place);
})();
