// Distributions as bars.

import { classColour } from "./boxes.js";
import { el, svg } from "./dom.js";

const SIDES = ["left", "top", "right", "bottom"];

// The teacher's probabilities of one box, highest first.
export function classBars(classes, names) {
  return el(
    "ul",
    { class: "bars" },
    classes.map(({ class_id: id, score }) => {
      const rect = svg("rect", { x: 0, y: 0, width: Math.max(score * 100, 0.5), height: 10 });
      rect.style.fill = classColour(id);
      return el(
        "li",
        {},
        el("span", { class: "bar-name" }, names[id] ?? String(id)),
        svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, rect),
        el("span", { class: "bar-value" }, score.toFixed(3)),
      );
    }),
  );
}

// Four distributions over the bins of the distance from the cell's centre to a side; the line is their mean.
export function dflBars(dfl, stridePx) {
  return el(
    "div",
    { class: "dfl" },
    dfl.map((bins, side) => {
      const mean = bins.reduce((sum, value, bin) => sum + value * bin, 0);
      const most = Math.max(...bins, 1e-9);
      const width = 100 / bins.length;
      const text = `${SIDES[side]} ${mean.toFixed(2)}` + (stridePx ? ` → ${(mean * stridePx).toFixed(1)} px` : "");
      const mark = (mean + 0.5) * width;
      return el(
        "figure",
        {},
        svg(
          "svg",
          {
            viewBox: "0 0 100 36",
            preserveAspectRatio: "none",
            role: "img",
            "aria-label": `Bins 0 to ${bins.length - 1}, mean: ${text}`,
          },
          bins.map((value, bin) =>
            svg("rect", {
              class: "dfl-bin",
              x: bin * width + 0.4,
              y: 36 - (value / most) * 34,
              width: width - 0.8,
              height: (value / most) * 34,
            }),
          ),
          svg("line", { class: "dfl-mean", x1: mark, x2: mark, y1: 0, y2: 36 }),
        ),
        el("figcaption", { "aria-hidden": "true" }, text),
      );
    }),
  );
}
