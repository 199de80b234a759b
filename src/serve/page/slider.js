// A slider with its name and its value as a field to type in.

import { el } from "./dom.js";

export function slider(id, name, { min, max, value, step = 0.01 }, onChange) {
  const input = el("input", { type: "range", id, min, max, step, value });
  const field = el("input", {
    type: "number",
    min,
    max,
    step,
    value: value.toFixed(2),
    "aria-label": `${name}, value`,
  });
  input.addEventListener("input", () => {
    field.value = Number(input.value).toFixed(2);
    onChange(Number(input.value));
  });
  field.addEventListener("change", () => {
    const typed = Math.min(max, Math.max(min, Number(field.value) || min));
    input.value = typed;
    field.value = typed.toFixed(2);
    onChange(typed);
  });
  return { root: el("div", { class: "slider" }, el("label", { for: id }, name), field, input), input };
}
