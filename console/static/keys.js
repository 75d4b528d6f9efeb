// Everything by keyboard: j and k move, Enter opens, a acknowledges, / searches, ? helps.

import { decide } from "./decide.js";
import { focusSwitch } from "./switch.js";

const PLACES = { n: "/", w: "/wafers", e: "/equipment", m: "/models", a: "/actions", h: "/health", l: "/lots", c: "/charts", v: "/virtual", r: "/run-to-run" };

function rows() {
  return [...document.querySelectorAll("[data-rows] [data-row], [data-rows] > .tile")];
}

function selected() {
  return document.querySelector("[data-row].selected, .tile.selected");
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const now = all.indexOf(selected());
  const next = all[Math.min(Math.max(now + step, 0), all.length - 1)];
  for (const one of all) one.classList.toggle("selected", one === next);
  (next.matches("a") ? next : next.querySelector("a") ?? next).focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function open() {
  const row = selected();
  const link = row?.matches("a") ? row : row?.querySelector("a");
  if (link) location.href = link.href;
}

function acknowledge() {
  const button = document.querySelector("[data-key-a]");
  if (button) return button.click();
  const row = selected();
  if (row?.dataset.alert) decide(`/api/v1/alerts/${encodeURI(row.dataset.alert)}/decisions`, { decision: "acknowledge" });
}

export function listenToKeys() {
  const help = document.getElementById("help");
  document.getElementById("show-help").addEventListener("click", () => help.showModal());
  let going = -Infinity; // when g was pressed
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else if (!help.open && document.querySelector(".crumbs a")) location.href = document.querySelector(".crumbs a").href;
      return;
    }
    if (typing || help.open) return;
    if (performance.now() - going < 1200 && PLACES[event.key]) {
      going = -Infinity;
      location.href = PLACES[event.key];
      return;
    }
    const actions = {
      j: () => move(1),
      k: () => move(-1),
      Enter: () => { if (!event.target.closest("a, button, summary")) open(); },
      a: acknowledge,
      h: () => document.querySelector("[data-heat]")?.click(),
      o: focusSwitch,
      t: () => document.getElementById("theme").click(),
      g: () => { going = performance.now(); },
      "/": () => document.querySelector("[data-search]")?.focus(),
      "?": () => help.showModal(),
    };
    document.querySelector(`[data-digit="${/^[1-9]$/.test(event.key) ? event.key : ""}"]`)?.click();
    if (!actions[event.key]) return;
    if (event.key === "/") event.preventDefault();
    actions[event.key]();
  });
  document.addEventListener("click", (event) => {
    const row = event.target.closest("[data-row]");
    if (!row || event.target.closest("a, button, input")) return;
    const link = row.querySelector("a");
    if (link) location.href = link.href;
  });
}
