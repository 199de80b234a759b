// Start of the page: asks the server what it has, shows the views for it.

import { getJson, request } from "./api.js";
import { byId, el, show, errorBox } from "./dom.js";
import { DetectView } from "./detect.js";
import { CacheView } from "./cache.js";
import { RunsView } from "./runs.js";

const VIEWS = ["detect", "cache", "runs"];

// What a view without data says.
const EMPTY = {
  detect: ["No model is loaded", "Give one or two detectors to the server:", "logitcache serve MODEL.onnx"],
  cache: ["No cache is open", "Give a cache to the server:", "logitcache serve --cache CACHE"],
  runs: ["No run is open", "Give the folder of a training run to the server:", "logitcache serve --run RUN"],
};

function emptyView(name) {
  const [title, text, command] = EMPTY[name];
  return el("div", { class: "empty" }, el("h2", {}, title), el("p", {}, text), el("pre", {}, command));
}

function askToken() {
  show(byId("loading"), false);
  VIEWS.forEach((name) => show(byId(name), false));
  show(byId("token"), true);
  byId("token-value").focus();
}

// The server answers a right token with a cookie; the token itself stays out of the address and the history.
async function sendToken(event) {
  event.preventDefault();
  try {
    await request(`/?token=${encodeURIComponent(byId("token-value").value)}`);
    await getJson("/v1/models");
    location.reload();
  } catch (error) {
    byId("token-error").textContent = error.status === 401 ? "The server did not take this token." : error.message;
    show(byId("token-error"), true);
    byId("token-value").select();
  }
}

function route(views, firstChoice) {
  const asked = location.hash.slice(1).split("/")[0];
  if (asked === "main") return;
  const current = VIEWS.includes(asked) ? asked : firstChoice;
  for (const name of VIEWS) {
    show(byId(name), name === current);
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${current[0].toUpperCase()}${current.slice(1)} – logitcache`;
  views[current]?.shown?.();
}

async function start() {
  document.addEventListener("token-needed", askToken, { once: true });
  byId("token-form").addEventListener("submit", sendToken);
  let parts;
  try {
    parts = await Promise.all(["/v1/models", "/v1/caches", "/v1/runs", "/healthz"].map((path) => getJson(path)));
  } catch (error) {
    if (error.status !== 401) byId("loading").replaceWith(errorBox(error));
    return;
  }
  const [{ models }, { caches, sql, reviews }, { runs }, { version }] = parts;
  byId("version").textContent = version;
  const views = {
    detect: models.length ? new DetectView(byId("detect"), models) : null,
    cache: caches.length ? new CacheView(byId("cache"), caches, { sql, reviews }) : null,
    runs: runs.length ? new RunsView(byId("runs"), runs) : null,
  };
  VIEWS.filter((name) => !views[name]).forEach((name) => byId(name).append(emptyView(name)));
  show(byId("loading"), false);
  const firstChoice = VIEWS.find((name) => views[name]) ?? "detect";
  window.addEventListener("hashchange", () => route(views, firstChoice));
  route(views, firstChoice);
  document.documentElement.dataset.ready = "true";
}

start();
