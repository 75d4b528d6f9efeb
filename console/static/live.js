// Live without reloading: the server says what changed, the page asks for itself again, and the
// sections that differ are replaced piece by piece, so that focus, typing and canvases stay.

import { signIn } from "./decide.js";
import { age } from "./strings.js";

// Changes come in bursts; a page that redraws more often than this is not read any faster. It is
// counted from the first change of a burst: a fab that never pauses must not keep the page old.
// What it never stops telling may wait longer; two seconds are also more than a page is kept for
// (console/page_cache.py), so that what was told is in it.
const SETTLE_MS = 400;
const SLOW_MS = 2000;
// Two hundred pages that all hear of an alert need not all ask in the same instant.
const SPREAD_MS = 300;
const SLOW = new Set(["wafers", "equipment", "risks", "charts"]);

let pending = new Set();
let timer = 0;
let due = 0;
let busy = false;
let receivedAt = performance.now();

function source(element) {
  element.liveSource ??= element.outerHTML;
  return element.liveSource;
}

function remember(root) {
  for (const section of root.querySelectorAll("[data-live]")) {
    source(section);
    for (const part of section.querySelectorAll("[data-key]")) source(part);
  }
}

// A section somebody is typing in is left alone until they are done.
function inUse(section) {
  const active = document.activeElement;
  return active && section.contains(active) && active.matches("textarea, input, select") && active.value;
}

function replace(old, fresh) {
  const chosen = old.querySelector(".selected")?.dataset.key;
  const focused = old.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
  const kept = new Map([...old.querySelectorAll("[data-key]")].map((part) => [part.dataset.key, part]));
  fresh.liveSource = fresh.outerHTML;
  for (const part of fresh.querySelectorAll("[data-key]")) {
    part.liveSource = part.outerHTML;
    const before = kept.get(part.dataset.key);
    if (before && before.liveSource === part.liveSource) part.replaceWith(before);
    else if (before) part.classList.add("changed");
  }
  const open = [...old.querySelectorAll("details")].map((one) => one.open);
  old.replaceWith(fresh);
  fresh.querySelectorAll("details").forEach((one, at) => { one.open = open[at] ?? false; });
  const again = (key) => key && fresh.querySelector(`[data-key="${CSS.escape(key)}"]`);
  again(chosen)?.classList.add("selected");
  const target = again(focused);
  (target?.matches("a") ? target : target?.querySelector("a"))?.focus({ preventScroll: true });
}

async function refresh(hydrate) {
  timer = 0;
  if (busy || !pending.size) return;
  busy = true;
  const topics = pending;
  pending = new Set();
  const wanted = [...document.querySelectorAll("[data-live]")].filter((section) =>
    topics.has("all") || section.dataset.live.split(" ").some((topic) => topics.has(topic)));
  try {
    const answer = wanted.length ? await fetch(location.href, { headers: { accept: "text/html", "x-fabpilot-live": "1" } }) : null;
    if (answer?.redirected && new URL(answer.url).pathname === "/login") return signIn();
    if (answer?.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const section of wanted) {
        const fresh = page.getElementById(section.id);
        if (!fresh || source(section) === fresh.outerHTML) continue;
        if (inUse(section)) { for (const topic of topics) pending.add(topic); continue; }
        replace(section, document.adoptNode(fresh));
        hydrate(fresh);
      }
      receivedAt = performance.now();
    }
  } catch {
    for (const topic of topics) pending.add(topic); // the connection is down; the stream says so
  }
  busy = false;
  if (pending.size) schedule(hydrate, 2000);
}

function schedule(hydrate, after = SETTLE_MS) {
  after += Math.random() * SPREAD_MS;
  const then = performance.now() + after;
  if (timer && due <= then) return;
  clearTimeout(timer);
  due = then;
  timer = setTimeout(() => refresh(hydrate), after);
}

function tick() {
  const shown = document.getElementById("last-wafer");
  if (!shown || shown.dataset.seconds === "") return;
  const seconds = Number(shown.dataset.seconds) + (performance.now() - receivedAt) / 1000;
  shown.textContent = age(seconds);
  shown.closest("div").classList.toggle("abnormal", seconds > 120);
}

export function goLive(hydrate) {
  remember(document);
  const lost = document.getElementById("connection");
  const stream = new EventSource(`/api/v1/events?after=${document.body.dataset.change}`);
  const changed = (topic) => { pending.add(topic); if (!busy) schedule(hydrate, SLOW.has(topic) ? SLOW_MS : SETTLE_MS); };
  for (const topic of ["alerts", "actions", "wafers", "equipment", "risks", "charts", "labels", "health"]) {
    stream.addEventListener(topic, () => changed(topic));
  }
  stream.addEventListener("reset", () => changed("all"));
  stream.addEventListener("beat", (event) => {
    const strip = JSON.parse(event.data);
    const shown = document.getElementById("last-wafer");
    if (shown && strip.last_wafer_s !== null) shown.dataset.seconds = strip.last_wafer_s;
    receivedAt = performance.now();
    document.body.dataset.beat = "yes";
  });
  stream.onopen = () => { lost.hidden = true; };
  stream.onerror = () => { lost.hidden = false; };
  document.addEventListener("fabpilot:changed", () => changed("all"));
  window.addEventListener("pagehide", () => stream.close());
  setInterval(tick, 1000);
}
