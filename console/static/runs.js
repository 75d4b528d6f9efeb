// Run-to-run: output against target, set point, disturbance and gain ratio, run by run.

import { say } from "./strings.js";
import { extent, frame, node, path, short, timeTicks } from "./svg.js";
import { labelOf } from "./traces.js";

const SIZE = { width: 520, height: 210, right: 70 };

// What each of the four charts shows: the level of a run, reference lines, the axis.
const CHARTS = {
  output: {
    value: (run) => run.measured, axis: (figure) => labelOf(figure.dataset.output),
    lines: (runs) => [["target", runs.at(-1).target]],
  },
  set_point: { value: (run) => run.set_point, axis: (figure) => labelOf(figure.dataset.parameter), lines: () => [] },
  disturbance: { value: (run) => run.disturbance, axis: (figure) => `${say("r2r.disturbance")} (${unit(figure)})`, lines: () => [["zero", 0]] },
  // An EWMA controller is stable while 0 < weight x gain ratio < 2.
  gain_ratio: {
    value: (run) => run.gain_ratio, axis: () => say("r2r.gain_ratio"),
    lines: (runs) => [["model", 1], ...(runs.at(-1).weight > 0 ? [["border", 2 / runs.at(-1).weight]] : [])],
  },
};

function unit(figure) {
  const label = labelOf(figure.dataset.output);
  return /\(([^)]*)\)$/.exec(label)?.[1] ?? label;
}

function draw(figure) {
  const runs = JSON.parse(figure.dataset.points);
  if (!runs.length) return;
  const clock = JSON.parse(figure.dataset.clock);
  const what = figure.dataset.runs;
  const chart = CHARTS[what];
  const lines = chart.lines(runs);
  const values = runs.map(chart.value);
  const wanted = [...values, ...(what === "set_point" ? [runs.at(-1).recommended] : [])];
  // The border of stability is shown where the ratio comes near it, and said in words otherwise.
  const high = Math.max(...values.filter((value) => value !== null), 1);
  const shown = lines.filter(([name, level]) => name !== "border" || level < 2.5 * high);
  const { svg, sx, sy } = frame({
    ...SIZE, x: [-0.5, Math.max(runs.length + 0.5, 9.5)], y: extent([...wanted, ...shown.map(([, level]) => level)]), xLabel: say("r2r.run"), yLabel: chart.axis(figure),
    label: say(`r2r.${what}`), xTicks: timeTicks(clock, 5),
  });
  let above = -Infinity;
  for (const [name, level] of [...shown].sort((one, other) => other[1] - one[1])) {
    svg.append(node("line", { class: name === "border" ? "limit" : "center", x1: sx(-0.5), x2: SIZE.width - SIZE.right, y1: sy(level), y2: sy(level) }));
    if (name === "zero") continue;
    const y = Math.max(sy(level) + 4, above + 11);
    above = y;
    svg.append(node("text", { x: SIZE.width - SIZE.right + 4, y, class: "strong" }, say(`r2r.${name}`, { value: short(level) })));
  }
  const spots = values.map((value, at) => [sx(at), sy(value)]);
  const held = spots.flatMap(([, y], at) => [[sx(at - 0.5), y], [sx(at + 0.5), y]]);
  svg.append(node("path", { class: "run", d: path(what === "set_point" ? held : spots) }));
  spots.forEach(([x, y], at) => {
    if (y === null) return;
    const run = runs[at];
    const odd = run.status === "stopped" || run.status === "limited";
    const dot = odd
      ? node("rect", { class: `dot ${run.status === "stopped" ? "odd" : "strong"}`, x: x - 3, y: y - 3, width: 6, height: 6 })
      : node("circle", { class: what === "output" && run.virtual ? "dot hollow" : "dot in", cx: x, cy: y, r: 2.8 });
    dot.append(node("title", {}, `${clock[at]}: ${short(values[at])} – ${say(`r2r.${run.status}`)}${run.virtual ? `, ${say("r2r.virtual")}` : ""}`));
    svg.append(dot);
  });
  if (what === "set_point") {
    const next = runs.at(-1).recommended;
    const [x, y] = [sx(runs.length), sy(next)];
    svg.append(node("path", { class: "dot hollow", d: `M${x} ${y - 5} ${x + 5} ${y} ${x} ${y + 5} ${x - 5} ${y}Z` }));
    svg.append(node("text", { x: x + 8, y: y + 4, class: "strong" }, say("r2r.next", { value: short(next) })));
  }
  figure.replaceChildren(svg);
}

export function drawRuns(root) {
  root.querySelectorAll("[data-runs]").forEach(draw);
}
