// Questions to the Parquet files of a cache, read-only.

import { postJson } from "./api.js";
import { announce, el, errorBox, plural, table } from "./dom.js";

const EXAMPLE = "SELECT * FROM images LIMIT 10";

export class SqlView {
  constructor(root, view) {
    this.view = view;
    this.query = el("textarea", { id: "sql-query", rows: 5, spellcheck: "false", autocapitalize: "none" });
    this.query.value = EXAMPLE;
    this.query.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.run();
      }
    });
    this.result = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Answer" });
    root.append(
      el(
        "div",
        { class: "card stack" },
        el(
          "div",
          { class: "field" },
          el("label", { for: "sql-query" }, "SQL over the tables images and predictions"),
          this.query,
        ),
        el(
          "div",
          { class: "buttons" },
          el("button", { class: "primary", onclick: () => this.run() }, "Run"),
          el("span", { class: "quiet" }, "or Ctrl+Enter; queries only read"),
        ),
        this.result,
      ),
    );
  }

  async run() {
    const asked = (this.asked = Symbol("query"));
    this.result.replaceChildren(el("p", { class: "quiet" }, "Running …"));
    let shown;
    try {
      const { columns, rows, truncated } = await postJson("/v1/sql", {
        cache: this.view.cache.id,
        query: this.query.value,
      });
      const caption = `${plural(rows.length, "row")}${truncated ? ", the rest was cut" : ""}`;
      shown = table(
        caption,
        columns,
        rows.map((row) => row.map((value) => this.text(value))),
      );
      announce(caption);
    } catch (error) {
      shown = errorBox(error);
    }
    if (asked === this.asked) this.result.replaceChildren(shown);
  }

  text(value) {
    if (value === null) return el("span", { class: "quiet" }, "null");
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }
}
