// Risk after each step of the route: one line a wafer or pattern, those that matter named.

import { say } from "./strings.js";
import { frame, node, path } from "./svg.js";

const NAMED = 8;

function history(figure) {
  const lines = JSON.parse(figure.dataset.lines);
  const steps = JSON.parse(figure.dataset.steps);
  const half = Number(figure.dataset.half);
  const at = new Map(steps.map(([sequence], index) => [sequence, index]));
  const every = Math.max(Math.ceil(steps.length / 8), 1);
  const width = Number(figure.dataset.width);
  const { svg, sx, sy } = frame({
    width, height: 220, right: 74, x: [-0.2, Math.max(steps.length - 0.8, 1)], y: [0, 100], xLabel: say("risk.step"), yLabel: say("risk.percent"),
    label: say("risk.label"), xTicks: steps.map(([, step], index) => [index, step]).filter((_, index) => index % every === 0),
  });
  svg.append(node("line", { class: "half", x1: sx(-0.2), x2: width - 74, y1: sy(100 * half), y2: sy(100 * half) }));
  const ends = [];
  const ranked = [...lines].sort((one, other) => one.points.at(-1)[1] - other.points.at(-1)[1]);
  for (const { name, points } of ranked) {
    const high = Math.max(...points.map(([, risk]) => risk)) >= half;
    const spots = points.map(([sequence, risk]) => [sx(at.get(sequence)), sy(100 * risk)]);
    const kind = high ? "risk high" : "risk";
    svg.append(node("path", { class: kind, d: path(spots) }));
    spots.forEach(([x, y], index) => {
      const [sequence, risk] = points[index];
      const mark = risk >= half ? node("rect", { class: "dot odd", x: x - 3, y: y - 3, width: 6, height: 6 }) : node("circle", { class: "dot", cx: x, cy: y, r: 2 });
      mark.append(node("title", {}, `${name}, ${steps[at.get(sequence)][1]}: ${(100 * risk).toFixed(1)} %`));
      svg.append(mark);
    });
    ends.push({ name, high, x: spots.at(-1)[0], y: spots.at(-1)[1] });
  }
  // Names at the ends of the lines, from the top, none over another.
  const few = lines.length <= NAMED;
  const named = ends.filter((one) => one.high || few).sort((one, other) => one.y - other.y).slice(0, NAMED);
  let above = -Infinity;
  for (const end of named) above = end.at = Math.max(end.y + 4, above + 11);
  let below = sy(0) + 3;
  for (const end of [...named].reverse()) { end.at = Math.min(end.at, below); below = end.at - 11; }
  for (const end of named) {
    const y = end.at;
    svg.append(node("text", { x: end.x + 7, y, class: "strong" }, figure.dataset.names === "slot" ? say("risk.slot", { n: end.name }) : end.name));
  }
  figure.replaceChildren(svg);
}

export function drawRisks(root) {
  root.querySelectorAll("[data-risk]").forEach(history);
}
