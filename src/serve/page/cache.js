// The cache view: a grid of pictures with filters, the issues for review, SQL where the server has it.

import { getJson } from "./api.js";
import { announce, byId, el, errorBox, foldOnPhone, plural, sentence, settle, show } from "./dom.js";
import { Grid, factsOf } from "./grid.js";
import { ImageDialog } from "./image.js";
import { IssuesView } from "./issues.js";
import { SqlView } from "./sql.js";

const THUMBNAIL_PX = 320;

export class CacheView {
  constructor(root, caches, { sql, reviews }) {
    Object.assign(this, { root, caches, cache: caches[0] });
    this.pick = el(
      "select",
      { id: "cache-choice", onchange: () => this.choose(this.pick.value) },
      caches.map((c) => el("option", { value: c.id }, c.name)),
    );
    this.facts = el("p", { class: "quiet" });
    this.panels = {
      pictures: el("div", { id: "panel-pictures" }),
      issues: el("div", { id: "panel-issues" }),
      ...(sql ? { sql: el("div", { id: "panel-sql" }) } : {}),
    };
    const names = { pictures: "Pictures", issues: "Issues", sql: "SQL" };
    this.tabs = Object.keys(this.panels).map((name) =>
      el("button", { "data-panel": name, onclick: () => this.open(name) }, names[name]),
    );
    this.build();
    this.dialog = new ImageDialog(this);
    this.issues = new IssuesView(this.panels.issues, this, reviews);
    if (sql) this.sql = new SqlView(this.panels.sql, this);
    root.append(
      el(
        "div",
        { class: "bar" },
        caches.length > 1
          ? [el("label", { class: "unseen", for: "cache-choice" }, "Cache"), this.pick]
          : el("h2", {}, this.cache.name),
        this.facts,
        el("div", { class: "tabs", role: "group", "aria-label": "Parts of the cache" }, this.tabs),
      ),
      ...Object.values(this.panels),
    );
  }

  get address() {
    return `/v1/caches/${encodeURIComponent(this.cache.id)}`;
  }

  build() {
    const changed = settle(() => this.refresh(), 250);
    const field = (id, name, control) => el("div", { class: "field" }, el("label", { for: id }, name), control);
    const share = (id) =>
      el("input", { id, type: "number", min: 0, max: 1, step: 0.05, placeholder: "any", oninput: changed });
    this.filters = {
      class: el("select", { id: "filter-class", onchange: changed }),
      min_score: share("filter-score"),
      min_uncertainty: share("filter-uncertainty"),
      min_disagreement: share("filter-disagreement"),
      text: el("input", { id: "filter-text", type: "search", placeholder: "part of the path", oninput: changed }),
      sort: el("select", { id: "filter-sort", onchange: changed }),
    };
    this.disagreement = field(
      "filter-disagreement",
      "Disagreement with labels at least",
      this.filters.min_disagreement,
    );
    const settings = el(
      "details",
      { class: "settings card", open: true },
      el("summary", {}, "Filters"),
      el(
        "form",
        { class: "stack", onsubmit: (event) => event.preventDefault(), onreset: () => changed() },
        field("filter-text", "Path contains", this.filters.text),
        field("filter-class", "Class", this.filters.class),
        field("filter-score", "Score at least", this.filters.min_score),
        field("filter-uncertainty", "Uncertainty at least", this.filters.min_uncertainty),
        this.disagreement,
        field("filter-sort", "Order", this.filters.sort),
        el("button", { type: "reset" }, "Clear the filters"),
      ),
    );
    foldOnPhone(settings);
    this.found = el("p", { id: "found", class: "found" });
    this.problem = el("div");
    this.grid = new Grid({
      load: (offset, limit) => this.load(offset, limit),
      open: (position) => this.show(position),
      thumbnail: (index) => `${this.address}/images/${index}/thumbnail?size=${THUMBNAIL_PX}`,
      describe: (image) => factsOf(this.filters.sort.value)(image),
    });
    this.panels.pictures.append(
      el("div", { class: "split" }, settings, el("div", { class: "stack" }, this.found, this.problem, this.grid.root)),
    );
  }

  // Called when the view comes in sight; the first time it loads what it shows.
  shown() {
    if (!this.started) {
      this.started = true;
      this.choose(this.cache.id);
    }
    const [, panel, index] = location.hash.slice(1).split("/");
    this.open(this.panels[panel] ? panel : "pictures", false);
    if (panel === "pictures" && index) this.dialog.open(Number(index), null);
  }

  choose(id) {
    this.cache = this.caches.find((c) => c.id === id);
    const { images, classes, views, dataset, labels } = this.cache;
    this.facts.textContent = [
      dataset,
      plural(images, "picture"),
      plural(classes.length, "class", "classes"),
      views ? plural(views, "view") : null,
    ]
      .filter(Boolean)
      .join(" · ");
    this.filters.class.replaceChildren(
      el("option", { value: "" }, "any"),
      ...classes.map((name, i) => el("option", { value: i }, name)),
    );
    const orders = [
      ["index", "as in the data set"],
      ["uncertainty", "uncertainty, highest first"],
    ];
    if (labels) orders.push(["disagreement", "disagreement with labels, highest first"]);
    this.filters.sort.replaceChildren(...orders.map(([value, name]) => el("option", { value }, name)));
    show(this.disagreement, labels);
    this.issues.reset();
    this.refresh();
  }

  open(name, byHand = true) {
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", String(tab.dataset.panel === name));
    for (const [panel, element] of Object.entries(this.panels)) show(element, panel === name);
    if (byHand) history.replaceState(null, "", `#cache/${name}`);
    if (name === "issues") this.issues.shown();
  }

  load(offset, limit) {
    const query = new URLSearchParams({ offset, limit });
    for (const [name, control] of Object.entries(this.filters))
      if (control.value !== "") query.set(name, control.value);
    return getJson(`${this.address}/images?${query}`, {
      onWait: (message) => {
        this.found.textContent = `${sentence(message)} …`;
      },
    });
  }

  async refresh() {
    try {
      await this.grid.reset();
      this.problem.replaceChildren();
      const { total } = this.grid;
      const match = total < this.cache.images ? (total === 1 ? " matches" : " match") : "";
      this.found.textContent = plural(total, "picture") + match;
      announce(this.found.textContent);
    } catch (error) {
      this.problem.replaceChildren(errorBox(error));
    }
  }

  async show(position) {
    const image = await this.grid.at(position);
    if (image) this.dialog.open(image.index, position);
  }

  // The picture before or after, in the order of the grid.
  async step(position, by) {
    const next = position + by;
    if (position === null || next < 0 || next >= this.grid.total) return;
    this.grid.select(next);
    await this.show(next);
  }

  closed() {
    history.replaceState(null, "", "#cache/pictures");
    if (!byId("panel-pictures").hidden) this.grid.root.focus();
  }
}
