// What a page shows is in its address, behind the #, so that a link shows the same: sort, filters, choices.
"use strict";
window.rnnae = (() => {
  const listeners = [];
  let state = read();

  function read() {
    const hash = location.hash.slice(1);
    return new URLSearchParams(hash.includes("=") ? hash : "");
  }

  /** The value of a key, or null. */
  const get = (key) => state.get(key);

  /** Change a key (null removes it) and tell everybody. */
  function set(key, value) {
    if (value === null || value === "") state.delete(key); else state.set(key, value);
    // location.replace, not history.replaceState: pages from disk may not do the latter in every browser.
    const hash = state.toString();
    try { history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search); }
    catch { location.replace(`#${hash}`); }
    listeners.forEach((listen) => listen(key));
  }

  /** Call a function now, and whenever a key has changed (all of them, where the address was edited: key null). */
  function watch(listen) { listeners.push(listen); listen(null); }

  addEventListener("hashchange", () => {
    const next = read();
    if (next.toString() === state.toString()) return;
    state = next;
    listeners.forEach((listen) => listen(null));
  });

  // Links within the page move the view and the focus, and leave the state alone.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    const target = link && document.getElementById(link.getAttribute("href").slice(1));
    if (!target) return;
    event.preventDefault();
    if (!target.hasAttribute("tabindex")) target.setAttribute("tabindex", "-1");
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  });

  const block = document.getElementById("data");
  const data = block ? JSON.parse(block.textContent) : null;

  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

  /** The numbers that the page has as base64 of little-endian float32. */
  function unpack(text) {
    const view = new DataView(bytes(text).buffer);
    return Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }

  /** An element with attributes and children; text is text. */
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /** Selects with data-state follow the address, and the address them. Call when their options are there. */
  function bindSelects() {
    for (const select of document.querySelectorAll("select[data-state]")) {
      const first = select.value;
      select.addEventListener("change", () => set(select.dataset.state, select.value));
      watch((key) => {
        if (key !== null && key !== select.dataset.state) return;
        select.value = get(select.dataset.state) ?? first;
        if (select.selectedIndex < 0) select.value = first;
      });
    }
  }

  return { get, set, watch, data, bytes, unpack, element, bindSelects };
})();
