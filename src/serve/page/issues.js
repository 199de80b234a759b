// Suspicious labels, one after the other: accept or reject by button or key.

import { getJson, postJson } from "./api.js";
import { announce, el, errorBox, plural, score, sentence, show } from "./dom.js";
import { stage } from "./image.js";

const LIMIT = 100;
const KINDS = ["missing", "location", "class", "spurious", "duplicate"];
const VERDICTS = { accept: ["accepted", "good"], reject: ["rejected", "bad"] };

export class IssuesView {
  constructor(root, view, reviews) {
    Object.assign(this, { root, view, reviews, offset: 0, current: -1, issues: [] });
    this.kind = el(
      "select",
      {
        id: "issue-kind",
        onchange: () => {
          this.offset = 0;
          this.load();
        },
      },
      el("option", { value: "" }, "all kinds"),
      KINDS.map((kind) => el("option", { value: kind }, kind)),
    );
    this.range = el("p", { class: "quiet", id: "issue-range" });
    this.earlier = el("button", { onclick: () => this.turn(-LIMIT) }, "Earlier");
    this.later = el("button", { onclick: () => this.turn(LIMIT) }, "Later");
    this.list = el("div", { class: "issue-list", role: "listbox", tabindex: 0, "aria-label": "Issues" });
    this.list.addEventListener("keydown", (event) => this.onKey(event));
    this.problem = el("div");
    this.detail = el("div", { class: "card stack issue-detail" });
    this.content = el(
      "div",
      { class: "split issues" },
      el(
        "div",
        { class: "stack" },
        el("div", { class: "field" }, el("label", { for: "issue-kind" }, "Kind"), this.kind),
        this.list,
        el("div", { class: "buttons" }, this.earlier, this.later),
        this.range,
      ),
      el("div", { class: "stack" }, this.problem, this.detail),
    );
    this.root.append(this.content);
  }

  reset() {
    this.loaded = false;
    this.offset = 0;
    if (!this.root.hidden) this.shown();
  }

  shown() {
    if (!this.loaded) this.load();
  }

  turn(by) {
    this.offset = Math.max(0, this.offset + by);
    this.load();
  }

  async load() {
    this.loaded = true;
    const asked = (this.asked = Symbol("list"));
    const query = new URLSearchParams({ offset: this.offset, limit: LIMIT });
    if (this.kind.value) query.set("kind", this.kind.value);
    try {
      const { total, issues } = await getJson(`${this.view.address}/issues?${query}`, {
        onWait: (message) => {
          this.range.textContent = `${sentence(message)} …`;
        },
      });
      if (asked !== this.asked) return;
      Object.assign(this, { total, issues, current: -1 });
    } catch (error) {
      this.loaded = false;
      this.problem.replaceChildren(errorBox(error));
      show(this.detail, false);
      return;
    }
    this.problem.replaceChildren();
    this.options = this.issues.map((issue, i) => this.option(issue, i));
    this.list.replaceChildren(...this.options);
    this.range.textContent = this.total
      ? `${this.offset + 1} to ${this.offset + this.issues.length} of ${plural(this.total, "issue")}, ` +
        "most suspicious first"
      : "No issues of this kind.";
    this.earlier.disabled = this.offset === 0;
    this.later.disabled = this.offset + LIMIT >= this.total;
    show(this.list, this.total > 0);
    show(this.detail, this.total > 0);
    if (this.total) this.select(0);
  }

  option(issue, i) {
    const option = el("div", {
      role: "option",
      id: `issue-${i}`,
      class: "issue",
      "aria-selected": "false",
      onclick: () => this.select(i),
    });
    this.write(option, issue);
    return option;
  }

  write(option, issue) {
    const [verdict, look] = VERDICTS[issue.verdict] ?? [];
    option.replaceChildren(
      el("span", { class: "issue-kind" }, issue.kind, ` ${score(issue.score)}`),
      verdict ? el("span", { class: `badge ${look}` }, verdict) : "",
      el("span", { class: "quiet issue-path" }, issue.path ?? `picture ${issue.image}`),
    );
  }

  async select(i) {
    this.current = i;
    this.options.forEach((option, k) => option.setAttribute("aria-selected", String(k === i)));
    this.list.setAttribute("aria-activedescendant", `issue-${i}`);
    this.options[i].scrollIntoView({ block: "nearest" });
    const issue = this.issues[i];
    this.buttons = {
      accept: el("button", { onclick: () => this.judge("accept") }, "Accept: the label is wrong"),
      reject: el("button", { onclick: () => this.judge("reject") }, "Reject: the label is right"),
    };
    const other = issue.suggested_class !== issue.class && issue.suggested_class;
    const change = other ? `${issue.class ?? "no label"} → ${other}` : issue.class;
    const picture = el("div");
    this.verdict = el("p", { class: "quiet" });
    this.detail.replaceChildren(
      el(
        "div",
        { class: "issue-head" },
        el("h2", {}, `${issue.kind}${change ? `: ${change}` : ""}`),
        el("span", { class: "badge" }, `suspicion ${score(issue.score)}`),
      ),
      el("p", {}, sentence(issue.reason)),
      el("div", { class: "buttons" }, this.buttons.accept, this.buttons.reject, this.verdict),
      picture,
      el(
        "p",
        { class: "note" },
        "Keys while the list has the focus: arrows move, A accepts, R rejects, U takes a verdict back.",
      ),
    );
    this.showVerdict();
    await this.showPicture(issue, picture);
  }

  async showPicture(issue, place) {
    try {
      const image = await getJson(`${this.view.address}/images/${issue.image}`);
      if (this.issues[this.current] !== issue) return;
      const drawn = stage(`${this.view.address}/images/${issue.image}/picture`, {
        widthPx: image.width_px,
        heightPx: image.height_px,
        name: `${issue.kind} on ${image.path}`,
        most: "55vh",
      });
      const names = this.view.cache.classes;
      const classId = Math.max(0, names.indexOf(issue.suggested_class ?? issue.class));
      const labels = (image.labels ?? []).map((label) => ({ ...label, label: `label: ${label.name}`, dashed: true }));
      drawn.boxes.setBoxes([
        {
          class_id: classId,
          box_xyxy_px: issue.box_xyxy_px,
          label: issue.suggested_class ?? issue.class ?? issue.kind,
        },
        ...labels,
      ]);
      place.replaceChildren(drawn.root, el("p", { class: "quiet" }, image.path));
    } catch (error) {
      place.replaceChildren(errorBox(error));
    }
  }

  showVerdict() {
    const issue = this.issues[this.current];
    for (const [verdict, button] of Object.entries(this.buttons)) {
      button.setAttribute("aria-pressed", String(issue.verdict === verdict));
      button.disabled = !this.reviews;
    }
    this.verdict.textContent = this.reviews ? "" : "To keep verdicts, start the server with --reviews FILE.";
  }

  async judge(verdict, moveOn = false) {
    if (!this.reviews) return;
    const [i, issue] = [this.current, this.issues[this.current]];
    try {
      await postJson(`${this.view.address}/issues/${encodeURIComponent(issue.id)}`, { verdict });
    } catch (error) {
      this.problem.replaceChildren(errorBox(error));
      return;
    }
    this.problem.replaceChildren();
    issue.verdict = verdict;
    this.write(this.options[i], issue);
    announce(verdict ? VERDICTS[verdict][0] : "no verdict");
    if (i !== this.current) return;
    this.showVerdict();
    if (moveOn && i + 1 < this.issues.length) this.select(i + 1);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.issues.length) return;
    const last = this.issues.length - 1;
    const to = { ArrowDown: this.current + 1, ArrowUp: this.current - 1, Home: 0, End: last }[event.key];
    if (to !== undefined) this.select(Math.max(0, Math.min(last, to)));
    else if (event.key === "a") this.judge("accept", true);
    else if (event.key === "r") this.judge("reject", true);
    else if (event.key === "u") this.judge(null);
    else return;
    event.preventDefault();
  }
}
