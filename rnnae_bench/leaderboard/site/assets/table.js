// Tables that were written by the server become sortable, filterable, and let rows be picked for the charts.
"use strict";
(() => {
  const { get, set, watch, element } = window.rnnae;
  const body = (table) => table.tBodies[0];
  const text = (cell) => cell.dataset.sort ?? cell.textContent;

  function compare(kind, direction) {
    const sign = direction === "ascending" ? 1 : -1;
    return (a, b) => {
      // What is unknown is last in either direction.
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (kind === "number" ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
    };
  }

  function makeSortable(table) {
    const key = `sort.${table.id}`;
    const heads = [...table.tHead.rows[0].cells];
    const original = [...body(table).rows];
    for (const head of heads.filter((one) => one.dataset.key)) {
      const button = element("button", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.dataset.first;
        const second = first === "ascending" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        // First direction, the other, the order that the page came with.
        set(key, now === null ? `${head.dataset.key}.${first}` : now === first ? `${head.dataset.key}.${second}` : null);
      });
    }
    watch((changed) => {
      if (changed !== null && changed !== key) return;
      const [name, direction] = (get(key) ?? "").split(".");
      const place = heads.findIndex((head) => head.dataset.key && head.dataset.key === name);
      const known = place >= 0 && ["ascending", "descending"].includes(direction);
      heads.forEach((head, i) => {
        if (known && i === place) head.setAttribute("aria-sort", direction); else head.removeAttribute("aria-sort");
      });
      const rows = [...original];
      if (known) {
        const order = compare(heads[place].dataset.kind, direction);
        rows.sort((a, b) => order(text(a.cells[place]), text(b.cells[place])));
      }
      body(table).append(...rows);
    });
  }

  function makeFilterable(input) {
    const table = document.getElementById(input.dataset.filter);
    const key = `filter.${table.id}`;
    const count = document.querySelector(`[data-count="${table.id}"]`);
    input.addEventListener("input", () => set(key, input.value));
    watch((changed) => {
      if (changed !== null && changed !== key) return;
      const wanted = get(key) ?? "";
      if (input.value !== wanted) input.value = wanted;
      const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...body(table).rows];
      for (const row of rows) {
        const said = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => said.includes(word));
      }
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
  }

  const PICKED = 6;
  const MOST = 10;

  /** A box in each row's head says whether the charts draw it; the first few are drawn at first. */
  function makePickable(table) {
    // A baseline has nothing to draw.
    const rows = [...body(table).rows].filter((row) => row.dataset.row);
    const keys = rows.map((row) => row.dataset.row);
    const boxes = rows.map((row) => {
      const name = row.cells[0].textContent.trim();
      const box = element("input", { type: "checkbox", "aria-label": `Draw ${name}` });
      const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
      row.cells[0].prepend(box, swatch);
      box.addEventListener("change", () => {
        let chosen = picked().filter((key) => key !== row.dataset.row);
        if (box.checked) chosen = [...chosen.slice(-(MOST - 1)), row.dataset.row];
        set("show", chosen.length ? chosen.join("~") : "-");
      });
      return box;
    });
    function picked() {
      const asked = get("show");
      if (asked === null) return keys.slice(0, PICKED);
      return asked.split("~").filter((key) => keys.includes(key)).slice(0, MOST);
    }
    // A row keeps its colour while it is drawn, whatever else is chosen.
    let colours = new Map();
    function assign(chosen) {
      const kept = new Map([...colours].filter(([key]) => chosen.includes(key)));
      for (const key of chosen) {
        if (kept.has(key)) continue;
        const used = new Set(kept.values());
        kept.set(key, [...Array(MOST).keys()].find((place) => !used.has(place)));
      }
      colours = kept;
    }
    watch((changed) => {
      if (changed !== null && changed !== "show") return;
      const chosen = picked();
      assign(chosen);
      rows.forEach((row, i) => {
        const place = colours.get(row.dataset.row);
        boxes[i].checked = place !== undefined;
        row.cells[0].querySelector(".swatch").style.background = place === undefined ? "" : `var(--c${place})`;
      });
    });
    /** The keys of the rows to draw, in the table's order, with their colours. */
    window.rnnae.picked = () => keys.filter((key) => colours.has(key)).map((key) => ({ key, place: colours.get(key) }));
  }

  document.querySelectorAll("table.pickable").forEach(makePickable);
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("input[data-filter]").forEach(makeFilterable);
})();
