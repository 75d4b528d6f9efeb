// Ties the page together. Every page works without this; with it, it is live and has keys.

import { listenToAccounts } from "./accounts.js";
import { drawCharts } from "./charts.js";
import { listenToDecisions, listenToUpkeep, personField } from "./decide.js";
import { listenToKeys } from "./keys.js";
import { goLive } from "./live.js";
import { drawMaps, listenToHeat } from "./maps.js";
import { drawRisks } from "./risk.js";
import { drawRuns } from "./runs.js";
import { drawControlCharts } from "./spc.js";
import { listenToSwitch } from "./switch.js";
import { drawTraces, unitOf } from "./traces.js";
import { drawVirtual } from "./virtual.js";

function hydrate(root) {
  drawMaps(root);
  drawCharts(root);
  drawTraces(root);
  drawControlCharts(root);
  drawRisks(root);
  drawRuns(root);
  drawVirtual(root);
  for (const one of root.querySelectorAll("[data-unit]")) one.textContent = unitOf(one.dataset.unit);
  for (const form of root.querySelectorAll("[data-filters]")) {
    form.addEventListener("change", () => form.requestSubmit());
    form.addEventListener("submit", () => {
      // Empty fields would only make the address longer.
      for (const field of form.elements) field.disabled = field.name && field.value === "";
    });
  }
}

function listenToTheme() {
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `fabpilot_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
    drawMaps(document, true);
  });
}

listenToTheme();
listenToHeat();
personField();
listenToDecisions();
listenToUpkeep();
listenToAccounts();
listenToSwitch();
listenToKeys();
hydrate(document);
goLive(hydrate);
document.body.dataset.ready = "yes";
