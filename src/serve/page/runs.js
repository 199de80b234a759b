// The runs view: curves of the chosen runs, live while they train, and the settings in which they differ.

import { getJson } from "./api.js";
import { lineChart } from "./chart.js";
import { announce, el, errorBox, settle, show, table } from "./dom.js";

// What is no curve: the horizontal axis, and times of the machine.
const NOT_DRAWN = new Set(["epoch", "time"]);
// Scores first: they are what runs are compared by.
const rank = (name) =>
  name.startsWith("metrics/mAP50-95") ? 0 : name.startsWith("metrics/") ? 1 : name.includes("loss") ? 2 : 3;
// A digest is told apart by its beginning.
const value = (v) => (/^[0-9a-f]{64}$/.test(v) ? `${v.slice(0, 12)}…` : plain(v));
const plain = (v) => (v === null || v === undefined ? "–" : typeof v === "object" ? JSON.stringify(v) : String(v));
// {"settings": {"lr": 1}} as {"settings.lr": 1}: one line of the table for each.
const flat = (config, before = "") =>
  Object.assign(
    {},
    ...Object.entries(config ?? {}).map(([key, own]) =>
      own && typeof own === "object" && !Array.isArray(own) ? flat(own, `${before}${key}.`) : { [before + key]: own },
    ),
  );
const short = (v) => (typeof v === "number" ? String(Number(v.toPrecision(4))) : "–");

export class RunsView {
  constructor(root, runs) {
    Object.assign(this, { root, chosen: new Set(runs.slice(0, 6).map((run) => run.id)) });
    // A run keeps its number, and so its colour, whatever else is chosen.
    this.runs = runs.map((run, number) => ({ ...run, number, columns: [], rows: [], config: {} }));
    this.redrawSoon = settle(() => this.draw(), 100);
    this.picks = el(
      "div",
      { class: "classes" },
      this.runs.map((run) => this.pick(run)),
    );
    this.problem = el("div");
    this.charts = el("div", { class: "charts" });
    this.settings = el("div", {
      class: "scroll",
      tabindex: 0,
      role: "region",
      "aria-label": "Settings in which the runs differ",
    });
    this.values = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Last values" });
    root.append(
      el(
        "div",
        { class: "split" },
        el("div", { class: "settings card" }, el("fieldset", {}, el("legend", {}, "Runs"), this.picks)),
        el(
          "div",
          { class: "stack" },
          this.problem,
          this.charts,
          el("section", { class: "card" }, this.values),
          (this.differences = el("section", { class: "card" }, this.settings)),
        ),
      ),
    );
  }

  pick(run) {
    run.status = el("span", { class: "quiet" });
    return el(
      "label",
      { class: "check" },
      el("input", {
        type: "checkbox",
        checked: this.chosen.has(run.id),
        onchange: (event) => this.toggle(run, event.target.checked),
      }),
      el("i", { class: `swatch run-${run.number % 6}`, "aria-hidden": "true" }),
      el("span", {}, run.name),
      run.status,
    );
  }

  shown() {
    for (const run of this.runs) if (this.chosen.has(run.id)) this.follow(run);
  }

  toggle(run, on) {
    if (on) this.chosen.add(run.id);
    else this.chosen.delete(run.id);
    if (on) this.follow(run);
    this.draw();
  }

  // Loads a run once; one that still trains sends its rows as they come.
  async follow(run) {
    if (run.loaded) return;
    run.loaded = true;
    try {
      const { config, columns, rows } = await getJson(`/v1/runs/${encodeURIComponent(run.id)}`);
      Object.assign(run, { config: flat(config), columns, rows });
      this.tell(run);
      this.draw();
    } catch (error) {
      run.loaded = false;
      this.problem.append(errorBox(error));
      return;
    }
    if (!run.finished) this.listen(run);
  }

  listen(run) {
    const events = new EventSource(`/v1/runs/${encodeURIComponent(run.id)}/events`);
    events.addEventListener("row", ({ data }) => {
      const row = JSON.parse(data);
      // The stream begins with the first row, again after each reconnection: a row takes the place of its epoch.
      const at = run.rows.findIndex(([epoch]) => epoch === row[0]);
      if (at < 0) run.rows.push(row);
      else run.rows[at] = row;
      this.tell(run);
      this.redrawSoon();
    });
    events.addEventListener("finished", () => {
      events.close();
      run.finished = true;
      this.tell(run);
      announce(`Run ${run.name} is finished.`);
    });
  }

  tell(run) {
    const epoch = run.rows.at(-1)?.[0] ?? 0;
    run.status.textContent = run.finished ? `epoch ${epoch}` : `live, ${epoch}${run.epochs ? ` of ${run.epochs}` : ""}`;
  }

  draw() {
    const runs = this.runs.filter((run) => this.chosen.has(run.id) && run.columns.length);
    const names = [...new Set(runs.flatMap((run) => run.columns))].filter((name) => !NOT_DRAWN.has(name));
    names.sort((a, b) => rank(a) - rank(b));
    const lines = (name) =>
      runs
        .map((run) => ({
          name: run.name,
          number: run.number,
          points: run.rows
            .map((row) => [row[0], row[run.columns.indexOf(name)]])
            .filter(([, y]) => typeof y === "number"),
        }))
        .filter(({ points }) => points.length);
    const charts = names.map((name) => ({ name, lines: lines(name) })).filter((chart) => chart.lines.length);
    this.charts.replaceChildren(
      ...charts.map((chart) =>
        el("figure", { class: "card chart" }, el("figcaption", {}, chart.name), lineChart(chart.name, chart.lines)),
      ),
    );
    show(this.values.parentElement, charts.length > 0);
    this.values.replaceChildren(
      table(
        "Last values",
        ["Column", ...runs.map((run) => run.name)],
        charts.map(({ name }) => [
          name,
          ...runs.map((run) =>
            short(
              run.rows
                .map((row) => row[run.columns.indexOf(name)])
                .filter((y) => typeof y === "number")
                .at(-1),
            ),
          ),
        ]),
      ),
    );
    this.drawSettings(runs);
  }

  drawSettings(runs) {
    const keys = [...new Set(runs.flatMap((run) => Object.keys(run.config)))];
    const differ = keys.filter((key) => new Set(runs.map((run) => plain(run.config[key]))).size > 1);
    show(this.differences, runs.length > 1);
    this.settings.replaceChildren(
      differ.length
        ? table(
            "Settings in which the runs differ",
            ["Setting", ...runs.map((run) => run.name)],
            differ.map((key) => [key, ...runs.map((run) => value(run.config[key]))]),
          )
        : el("p", { class: "quiet" }, "These runs have the same settings."),
    );
  }
}
