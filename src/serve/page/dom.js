// Small helpers for elements. Text always goes in as text: nothing of a picture or a model is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

export function show(element, visible) {
  element.hidden = !visible;
}

// Said by a screen reader once it has nothing else to say.
let pending = 0;
export function announce(text) {
  clearTimeout(pending);
  pending = setTimeout(() => {
    byId("announcer").textContent = text;
  }, 150);
}

export function errorBox(error) {
  return el(
    "p",
    { class: "error", role: "alert" },
    el("strong", {}, sentence(error.message) + (/[.!?]$/.test(error.message) ? "" : ".")),
    error.remedy ? el("span", {}, ` ${error.remedy}`) : null,
  );
}

export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

export const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

// The server's messages begin small; a file's name stays as it is.
export const sentence = (text) => text.replace(/^[a-z]+(?=[ ,])/, (word) => word[0].toUpperCase() + word.slice(1));

export const score = (value) => value.toFixed(2);

export const plural = (count, word, many = `${word}s`) => `${number(count)} ${count === 1 ? word : many}`;

// Calls `action` once, after the last of a quick row of calls.
export function settle(action, waitMs = 150) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), waitMs);
  };
}

// A table whose first column heads its rows.
export function table(caption, heads, rows) {
  return el(
    "table",
    {},
    el("caption", {}, caption),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        heads.map((head) => el("th", { scope: "col" }, head)),
      ),
    ),
    el(
      "tbody",
      {},
      rows.map((row) =>
        el(
          "tr",
          {},
          row.map((cell, i) => (i ? el("td", {}, cell) : el("th", { scope: "row" }, cell))),
        ),
      ),
    ),
  );
}

// Settings stand beside the content on a wide screen and are folded above it on a narrow one.
export function foldOnPhone(details) {
  const narrow = window.matchMedia("(max-width: 820px)");
  const fit = () => {
    details.open = !narrow.matches;
  };
  narrow.addEventListener("change", fit);
  fit();
}
