// The front page's charts.
"use strict";
(() => {
  const { data, draw, plot, colour, dash, picked, watch, interval, withLegend, rows, number } = window.rnnae;
  const by = new Map(data.models.map((one) => [one.key, one]));
  const chosen = () => picked().map(({ key, place }) => ({ ...by.get(key), place }));

  function overall(width) {
    const known = chosen().filter((one) => one.overall);
    if (!known.length) return null;
    const order = known.map((one) => one.key);
    return plot(width, {
      height: 70 + 30 * known.length, marginLeft: Math.min(170, width * 0.35),
      x: { label: "score →", grid: true, domain: [Math.min(0, ...known.map((one) => one.overall[1] ?? one.overall[0])), Math.max(1, ...known.map((one) => one.overall[2] ?? one.overall[0]))] },
      y: { label: null, domain: order, tickFormat: (key) => { const { label } = by.get(key); return label.length > 22 ? `${label.slice(0, 21)}…` : label; } },
      marks: known.flatMap((one) => [
        ...(one.overall[1] === null ? [] : [Plot.link([one], { x1: (d) => d.overall[1], x2: (d) => d.overall[2], y1: "key", y2: "key", stroke: colour(one.place), strokeWidth: 3 })]),
        Plot.dot([one], { x: (d) => d.overall[0], y: "key", r: 5, fill: colour(one.place), title: (d) => `${d.label}: ${interval(d.overall)}`, tip: { fill: "var(--card)" } }),
      ]),
    });
  }

  function profiles(width) {
    const known = chosen().filter((one) => one.profile);
    if (!known.length) return null;
    const marks = known.flatMap(({ profile, place, label }) => {
      const points = rows(profile);
      return [
        Plot.areaY(points, { x: "x", y1: "low", y2: "high", fill: colour(place), fillOpacity: 0.13, curve: "step-after" }),
        Plot.line(points, { x: "x", y: "y", stroke: colour(place), strokeWidth: 1.8, strokeDasharray: dash(place), curve: "step-after" }),
        Plot.tip(points, Plot.pointer({ x: "x", y: "y", maxRadius: 14, fill: "var(--card)", title: (d) => `${label}\nabove ${number(d.x)}: ${number(d.y)} [${number(d.low)}, ${number(d.high)}]` })),
      ];
    });
    return withLegend(plot(width, { x: { label: "score τ →" }, y: { label: "↑ fraction of trials above τ", domain: [0, 1], grid: true }, marks }), known.map((one) => [one.label, one.place]));
  }

  watch((key) => {
    if (key !== null && key !== "show") return;
    draw("overall", overall);
    draw("profiles", profiles);
  });
})();
