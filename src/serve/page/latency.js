// The time of one answer as a bar of its parts.

import { el, svg } from "./dom.js";

const PARTS = ["queue", "decode", "preprocess", "inference", "nms"];
const NAMES = {
  queue: "waiting",
  decode: "decode",
  preprocess: "preprocess",
  inference: "inference",
  nms: "NMS",
  other: "other",
};

const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

export function latencyBar(latency, reused) {
  const parts = PARTS.filter((part) => latency[part] > 0).map((part) => ({ part, value: latency[part] }));
  const other = latency.total - parts.reduce((sum, { value }) => sum + value, 0);
  if (other > 0.05) parts.push({ part: "other", value: other });
  const whole = parts.reduce((sum, { value }) => sum + value, 0) || 1;
  let x = 0;
  const bar = svg(
    "svg",
    { class: "latency-bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    parts.map(({ part, value }) => {
      const width = (value / whole) * 100;
      const rect = svg("rect", { class: `part-${part}`, x, y: 0, width, height: 8 });
      x += width;
      return rect;
    }),
  );
  return el(
    "div",
    { class: "latency" },
    el("span", { class: "latency-total" }, ms(latency.total)),
    bar,
    el(
      "ul",
      { class: "legend", "aria-label": "Parts of the latency" },
      parts.map(({ part, value }) =>
        el("li", {}, el("i", { class: `swatch part-${part}`, "aria-hidden": "true" }), `${NAMES[part]} ${ms(value)}`),
      ),
    ),
    reused ? el("span", { class: "badge" }, "answer reused") : null,
  );
}
