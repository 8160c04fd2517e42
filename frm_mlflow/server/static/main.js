// Joins the parts: URL -> questions to the server -> controls, charts and tables.
import { $, fill, h, warn } from "./dom.js";
import { Problem, get } from "./api.js";
import { drawComparison, drawFrontier } from "./charts.js";
import { linked, rows } from "./links.js";
import * as state from "./state.js";
import { candidateTable, comparisonTable, modelTable } from "./tables.js";

const FILTERS = ["tier", "device", "runtime", "precision", "batch_size"];
const LIMITS = ["target", "max_latency_ms", "max_memory_mib", "min_top1", "confidence", "measured"];
const SLOW_MS = 8000;
const MOST_LISTED = 30; // a longer list of devices is searched by typing
let experiments = [];
let shown = null;
let running = null;

function say(text, { problem = false, progress = false, retry = false } = {}) {
  const box = $("#message");
  box.className = problem ? "problem" : "";
  const parts = text ? [h("p", { textContent: text })] : [];
  if (progress) parts.push(h("progress", { "aria-label": text }));
  if (retry) {
    const button = h("button", { type: "button", textContent: "Try again" });
    button.addEventListener("click", update);
    parts.push(button);
  }
  box.replaceChildren(...parts);
}

function waiting({ reading }) {
  if (reading === undefined) say("Predicting from the benchmarks; this takes a few seconds …", { progress: true });
  else say(`Reading the runs for the first time${reading ? `: ${reading} so far` : ""} … Next time they come from the cache.`, { progress: true });
}

function hideAll() {
  for (const section of document.querySelectorAll("main > section")) section.hidden = true;
}

function chosenExperiments(query) {
  const ids = query.getAll("experiment");
  if (ids.length) return ids;
  const usual = experiments.find(({ name }) => name === "frm") ?? experiments.find(({ name }) => name !== "Default") ?? experiments[0];
  return usual ? [usual.id] : [];
}

function showExperiments(chosen) {
  const names = experiments.filter(({ id }) => chosen.includes(id)).map(({ name }) => name);
  $("#experiment-names").textContent = names.join(", ") || "none";
  const boxes = experiments.map(({ id, name }) =>
    h("label", {}, h("input", { type: "checkbox", name: "experiment", value: id, checked: chosen.includes(id) }), name),
  );
  $("#experiments fieldset").replaceChildren(h("legend", { className: "hidden", textContent: "Experiments" }), ...boxes);
}

// The control of a filter: a list, or a text field with suggestions if there are many values.
function control(name, many) {
  const present = $(`#choice [name=${name}]`);
  if ((present.tagName === "INPUT") === many) return present;
  const search = { list: `${name}-names`, placeholder: "any (type to search)", autocomplete: "off" };
  const other = h(many ? "input" : "select", { id: name, name, ...(many ? search : {}) });
  present.replaceWith(other);
  return other;
}

function showFilter(name, options, chosen) {
  const many = name === "device" && options.length > MOST_LISTED;
  const element = control(name, many);
  if (!many) return fill(element, [{ value: "", label: "any" }, ...options], chosen);
  $(`#${name}-names`).replaceChildren(...options.map(({ value, label }) => h("option", { value, label })));
  element.value = chosen;
}

function showChoice(answer) {
  const { choice } = answer;
  for (const name of FILTERS) {
    const options = answer.options[name].map(({ value, configurations }) => ({ value, label: `${value} (${configurations})` }));
    if (choice[name] && !options.some(({ value }) => value === choice[name])) options.push({ value: choice[name], label: `${choice[name]} (0)` });
    showFilter(name, options, choice[name]);
  }
  const entry = ({ key, label, models }) => ({ value: key, label: `${label} (${models})` });
  fill($("#choice [name=configuration]"), answer.configurations.map(entry), choice.configuration);
  fill($("#choice [name=metric]"), Object.entries(answer.metrics).map(([value, label]) => ({ value, label })), choice.metric);
  fill($("#choice [name=baseline]"), answer.baselines.map((value) => ({ value, label: value })), choice.baseline);
  fill($("#compare [name=other]"), [{ value: "", label: "choose…" }, ...answer.others.map(entry)], choice.other);
  $("#data").textContent = answer.data;
  showLeftOut(answer.left_out);
}

function showLeftOut(items) {
  const box = $("#left-out");
  const total = items.reduce((sum, { rows: count }) => sum + count, 0);
  box.hidden = total === 0;
  $("summary", box).textContent = `Left out: ${total} run${total === 1 ? "" : "s"}`;
  $("ul", box).replaceChildren(...items.map(({ reason, rows: count, detail }) => h("li", { textContent: `${count}: ${reason} (${detail})` })));
}

function showFrontier(answer) {
  const { label, columns, summary, warning, common_baseline: common } = answer.shown;
  const cost = answer.choice.metric;
  const name = answer.metrics[cost];
  const points = linked(rows(columns));
  $("#frontier").hidden = false;
  $("#frontier h1").textContent = label;
  $("#frontier .summary").textContent = summary;
  warn($("#frontier .warning"), warning);
  const plot = $("#frontier .plot");
  plot.setAttribute("aria-label", `Accuracy against ${name} on ${label}. ${summary}`);
  const named = cost === "frm" ? `FRM (${answer.choice.baseline} = 1)` : name;
  drawFrontier(plot, points, { cost, name: named, styles: answer.styles });
  modelTable($("#frontier .table"), points, { cost, name, label, common });
}

function showComparison(answer, compared) {
  $("#compare").hidden = false;
  $("#first-label").textContent = answer.shown.label;
  const empty = !compared;
  $("#compare .plot").hidden = empty;
  $("#compare .table").hidden = empty;
  $("#compare .summary").textContent = empty ? "Choose a second configuration." : compared.summary;
  if (empty) return;
  const name = answer.metrics[answer.choice.metric];
  const points = rows(compared.columns);
  $("#compare .plot").setAttribute("aria-label", `${name} on the two configurations. ${compared.summary}`);
  drawComparison($("#compare .plot"), points, { name, styles: answer.styles });
  comparisonTable($("#compare .table"), points, { labels: compared.labels, name, common: compared.common_baseline });
}

function showQuestion(answer, query) {
  $("#recommend").hidden = false;
  for (const name of LIMITS) if (query.has(name)) $(`#recommend-choice [name=${name}]`).value = query.get(name);
  $("#devices").replaceChildren(...answer.options.device.map(({ value }) => h("option", { value })));
  $("#target").placeholder = answer.shown.label;
}

async function showAdvice(answer, query, signal) {
  const table = $("#recommend .table");
  table.hidden = true;
  $("#answer").replaceChildren();
  if (!LIMITS.some((name) => query.has(name))) return;
  const asked = new URLSearchParams(query);
  asked.set("configuration", answer.choice.configuration);
  const { target, near, sentences, columns } = await get("recommend", asked, { signal, onWait: waiting });
  say("");
  const [first, ...rest] = sentences;
  const pick = h("div", { className: "pick" }, h("p", { className: "name", textContent: first }));
  $("#answer").replaceChildren(...(near ? [h("p", { className: "warning", textContent: near })] : []), pick, h("ul", {}, ...rest.map((textContent) => h("li", { textContent }))));
  table.hidden = false;
  candidateTable(table, rows(columns), target.device);
}

async function show(query, signal) {
  const answer = await get("view", query, { signal, onWait: waiting });
  shown = answer;
  showChoice(answer);
  say("");
  hideAll();
  if (!answer.shown) {
    const empty = answer.benchmarks === 0;
    say(empty ? "These experiments have no finished benchmark yet. Measure some with `frm-mlflow bench`, or import some with `frm-mlflow ingest`." : [answer.near, "No configuration passes all filters: reset one of them."].filter(Boolean).join(" "));
    return;
  }
  const view = state.view(query);
  if (view === "frontier") showFrontier(answer);
  if (view === "recommend") {
    showQuestion(answer, query);
    await showAdvice(answer, query, signal);
  }
  if (view === "compare") {
    const { configuration, other } = answer.choice;
    const pair = new URLSearchParams(query);
    pair.set("configuration", configuration);
    showComparison(answer, other ? await get("compare", pair, { signal }) : null);
  }
}

function showView(query) {
  for (const link of document.querySelectorAll("[data-view]")) {
    const target = state.change({ view: link.dataset.view });
    link.href = `?${target}`;
    if (link.dataset.view === state.view(query)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function update() {
  running?.abort();
  const request = new AbortController();
  running = request;
  const query = state.read();
  const chosen = chosenExperiments(query);
  query.delete("experiment");
  for (const id of chosen) query.append("experiment", id);
  showView(query);
  $("main").setAttribute("aria-busy", "true");
  const slow = setTimeout(() => say("The server is slow to answer; still waiting …", { progress: true }), SLOW_MS);
  try {
    if (!experiments.length) experiments = (await get("experiments", "", { signal: request.signal })).experiments;
    if (!experiments.length) {
      hideAll();
      say("There is no experiment that you may read.");
      return;
    }
    if (!chosen.length) for (const id of chosenExperiments(query)) query.append("experiment", id);
    showExperiments(query.getAll("experiment"));
    await show(query, request.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) console.error(error);
    if (state.view(query) !== "recommend" || !shown) hideAll();
    say(error.message, { problem: true, retry: true });
  } finally {
    clearTimeout(slow);
    if (running === request) $("main").removeAttribute("aria-busy");
  }
}

function go(changes) {
  state.write(state.change(changes));
  update();
}

function onChoice({ target }) {
  if (target.name === "experiment") {
    const chosen = [...document.querySelectorAll("[name=experiment]:checked")].map(({ value }) => value);
    if (chosen.length) go({ experiment: chosen, configuration: "", other: "" });
    else target.checked = true;
  } else if (FILTERS.includes(target.name)) go({ [target.name]: target.value, configuration: "" });
  else go({ [target.name]: target.value });
}

async function copyLink({ target }) {
  const query = state.change({ experiment: [...document.querySelectorAll("[name=experiment]:checked")].map(({ value }) => value) });
  if (shown) query.set("configuration", shown.choice.configuration);
  state.write(query, { replace: true });
  try {
    await navigator.clipboard.writeText(location.href);
    target.textContent = "Copied";
  } catch {
    target.textContent = "It is in the address bar";
  }
  setTimeout(() => (target.textContent = "Copy link"), 2000);
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  localStorage.setItem("frm-theme", dark ? "dark" : "light");
  $("#theme").setAttribute("aria-pressed", String(dark));
  update();
}

// On a phone the filters are folded, and opened by whoever needs them.
const phone = matchMedia("(max-width: 820px)");
const foldFilters = () => ($("#filters").open = !phone.matches);
phone.addEventListener("change", foldFilters);
foldFilters();
$("#theme").setAttribute("aria-pressed", String(document.documentElement.dataset.theme === "dark"));
$("#theme").addEventListener("click", toggleTheme);
$("#share").addEventListener("click", copyLink);
$("#reset").addEventListener("click", () => go(Object.fromEntries([...FILTERS, "configuration"].map((name) => [name, ""]))));
$("#choice").addEventListener("change", onChoice);
$("#compare-choice").addEventListener("change", onChoice);
$("#recommend-choice").addEventListener("submit", () => go(Object.fromEntries(new FormData($("#recommend-choice")))));
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ view: link.dataset.view });
});
addEventListener("popstate", update);
update();
