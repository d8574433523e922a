// Charts with Observable Plot. Colours are CSS variables, so that the scheme changes without drawing again.
"use strict";
(() => {
  const { unpack } = window.rnnae;
  const DASHES = [null, "6 3", "2 2", "8 3 2 3", "12 3", null, "6 3", "2 2", "8 3 2 3", "12 3"];
  const WIDEST = 1250;
  const colour = (place) => `var(--c${place % DASHES.length})`;
  const drawings = new Map();

  /** Draw into the figure of that id, and again when its width changes; make(width) gives a node, or null for none. */
  function draw(id, make, summary) {
    const place = document.querySelector(`#${id} .drawing`);
    if (!place) return;
    drawings.set(place, { make, summary: summary ?? document.getElementById(id).dataset.caption, width: 0 });
    redraw(place);
  }

  function redraw(place) {
    const one = drawings.get(place);
    // A figure that is not laid out yet is drawn when it is.
    const width = Math.min(place.clientWidth, WIDEST);
    if (!width) return;
    one.width = width;
    const node = one.make(width);
    if (!node) {
      place.removeAttribute("role");
      place.removeAttribute("aria-label");
      place.replaceChildren(window.rnnae.element("p", { class: "quiet" }, "Nothing to draw: not measured, or no row is chosen."));
      return;
    }
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", one.summary);
    node.setAttribute("aria-hidden", "true");
    place.replaceChildren(node);
  }

  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const width = Math.min(target.clientWidth, WIDEST);
      if (drawings.has(target) && width !== drawings.get(target).width) redraw(target);
    }
  });
  document.querySelectorAll(".chart .drawing").forEach((place) => observer.observe(place));

  /** The points {x, y, low, high} of a curve; those that are not finite are left out. */
  function rows(curve) {
    const [x, middle, low, high] = ["steps", "middle", "low", "high"].map((name) => (curve[name] ? unpack(curve[name]) : null));
    return x.map((one, i) => ({ x: one, y: middle[i], low: low?.[i], high: high?.[i] })).filter((one) => Number.isFinite(one.y));
  }

  /** Marks of a curve: its band, its line, and its points where there are few; shape "step-after" holds each value until the next. */
  function curveMarks(curve, place, { label, log = false, points = 40, shape = "linear" } = {}) {
    const known = rows(curve).filter((one) => !log || one.y > 0);
    const marks = [];
    if (curve.low) {
      // A logarithmic axis has no zero: what is not positive is drawn at the smallest value that is.
      const positive = log ? Math.min(...known.flatMap((one) => [one.y, one.low]).filter((value) => value > 0)) : null;
      marks.push(Plot.areaY(known, { x: "x", y1: (d) => (log ? Math.max(d.low, positive) : d.low), y2: "high", curve: shape, fill: colour(place), fillOpacity: 0.15 }));
    }
    marks.push(Plot.line(known, { x: "x", y: "y", curve: shape, stroke: colour(place), strokeWidth: 1.8, strokeDasharray: DASHES[place] }));
    if (known.length <= points) marks.push(Plot.dot(known, { x: "x", y: "y", fill: colour(place), r: 2 }));
    marks.push(Plot.tip(known, Plot.pointer({ x: "x", y: "y", title: (d) => `${label}\n${d.x.toLocaleString("en")}: ${number(d.y)}${!Number.isFinite(d.low) ? "" : ` [${number(d.low)}, ${number(d.high)}]`}`, maxRadius: 14, fill: "var(--card)", stroke: "var(--line)" })));
    return marks;
  }

  const rule = (value, text) => value === null || value === undefined ? [] : [
    Plot.ruleY([value], { stroke: "var(--quiet)", strokeDasharray: "3 3" }),
    Plot.text([value], { y: (d) => d, text: () => text, frameAnchor: "right", dx: -4, dy: 9, fill: "var(--quiet)", stroke: "var(--page)", strokeWidth: 3 }),
  ];

  /** A plot in the site's style. */
  function plot(width, options) {
    const { marks, ...others } = options;
    const narrow = width < 520;
    return Plot.plot({
      width, height: Math.round(Math.max(260, Math.min(400, width * 0.5))), marginTop: 34, marginLeft: narrow ? 48 : 60, marginRight: 16, marginBottom: 40,
      style: { fontSize: "13px", background: "transparent", color: "var(--ink)", fontFamily: "inherit", overflow: "visible" },
      ...others,
      marks,
    });
  }

  /** An axis of optimiser steps, with as many ticks as fit. */
  const steps = (width) => ({ label: "optimiser step →", ticks: Math.max(2, Math.floor(width / 110)), tickFormat: (d) => d.toLocaleString("en") });

  const number = (value, digits = 4) => value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
  /** With so many decimal places; what rounds to zero has no sign. */
  const fixed = (value, places) => value.toFixed(places).replace(/^-(0(\.0*)?)$/, "$1");
  /** A value with its interval, to the digits that the interval leaves a meaning; as the tables have it. */
  function interval(one) {
    if (one === null || one[1] === null) return number(one?.[0]);
    const width = one[2] - one[1];
    if (width <= 1e-12 * Math.abs(one[0])) return `${number(one[0])} [all equal]`;
    const places = Math.max(0, 1 - Math.floor(Math.log10(width / 2)));
    const [value, low, high] = one.map((end) => places < 8 ? fixed(end, places) : number(end, 6));
    return `${value} [${low}, ${high}]`;
  }

  /** A legend of lines, as a list. */
  const legend = (named) => window.rnnae.element("ul", { class: "legend" }, ...named.map(([label, place]) => {
    const swatch = window.rnnae.element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colour(place);
    return window.rnnae.element("li", {}, swatch, label);
  }));

  /** A plot with its legend above. */
  const withLegend = (node, named) => window.rnnae.element("div", {}, legend(named), node);

  Object.assign(window.rnnae, { draw, rows, curveMarks, colour, plot, rule, steps, number, interval, withLegend, dash: (place) => DASHES[place % DASHES.length] });
})();
