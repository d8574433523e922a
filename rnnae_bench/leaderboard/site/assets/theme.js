// The colour scheme: the system's, or the one that was chosen here and is remembered.
"use strict";
(() => {
  const KEY = "rnnae-bench-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  // Storage may be forbidden, for pages from disk too.
  const remembered = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem(KEY, theme); } catch { /* for this page only, then */ } };

  const chosen = remembered();
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;

  const current = () => document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => { button.textContent = current() === "dark" ? "Light colours" : "Dark colours"; };
    button.hidden = false;
    label();
    system.addEventListener("change", label);
    button.addEventListener("click", () => {
      const next = current() === "dark" ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      remember(next);
      label();
      document.dispatchEvent(new Event("themechange"));
    });
  });
})();
