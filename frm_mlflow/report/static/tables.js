// Tables: the same figures as the charts, with links that a keyboard and a screen reader reach.
import { h, number, visible } from "./dom.js";

const FIRST = 30;

function head(columns) {
  const cells = columns.map(({ title, words }) => h("th", { scope: "col", className: words ?? "", textContent: title }));
  return h("thead", {}, h("tr", {}, ...cells));
}

function body(columns, rows) {
  const line = (row) => h("tr", { className: row.frontier ? "best" : "" }, ...columns.map(({ cell, words }) => h("td", { className: words ?? "" }, cell(row))));
  return h("tbody", {}, ...rows.map(line));
}

// Long tables start short: thousands of rows are one click away.
function show(element, caption, columns, rows) {
  const draw = (count) => {
    const table = h("table", {}, h("caption", { textContent: caption }), head(columns), body(columns, rows.slice(0, count)));
    element.replaceChildren(table);
    if (rows.length > count) {
      const more = h("button", { type: "button", textContent: `Show all ${rows.length} models` });
      more.addEventListener("click", () => draw(rows.length));
      element.append(h("p", {}, more));
    }
  };
  element.tabIndex = 0;
  element.setAttribute("role", "region");
  element.setAttribute("aria-label", caption);
  draw(FIRST);
}

// A name breaks after its underscores, not within a word.
const breakable = (text) => visible(text).split(/(?<=_)/).flatMap((part, index) => (index ? [h("wbr"), part] : [part]));

function link(href, text, label) {
  if (!href) return h("span", {}, ...breakable(text));
  return h("a", { href, target: "_blank", rel: "noopener", "aria-label": label }, ...breakable(text));
}

export function modelTable(element, points, { cost, name, label, common }) {
  const order = (a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity) || a.model.localeCompare(b.model);
  const figures = [
    ["frm", "FRM"],
    ...(common ? [["frm_common", `FRM (${common} = 1)`]] : []),
    ["latency_ms", "Latency ms"],
    ["memory_mib", "Memory MiB"],
    ["gmacs", "GMACs"],
    ["params_m", "Params M"],
    ["top1", "Top-1 %"],
  ].map(([key, title]) => ({ title, cell: (row) => number(row[key]) }));
  const flags = (row) => [row.frontier ? "frontier" : "", row.unstable ? `unstable: ${row.unstable}` : "", row.remarks].filter(Boolean).join(" · ");
  const columns = [
    { title: "Place", cell: (row) => number(row.rank) },
    { title: "Model", words: "name", cell: (row) => link(row.href, row.model, `${row.model}: its runs in MLflow`) },
    { title: "Family", words: "words", cell: (row) => row.family.replace("_", " ") },
    ...figures,
    { title: "Remarks", words: "words", cell: flags },
  ];
  if (points.some((row) => row.protocol)) columns.push({ title: "Protocol", words: "words", cell: (row) => row.protocol });
  if (points.some((row) => row.run_href)) {
    columns.push({ title: "Run", words: "words", cell: (row) => link(row.run_href, "open", `this benchmark of ${row.model} in MLflow`) });
  }
  show(element, `Models on ${label}, by ${name} (${cost === "frm" ? "baseline = 1, " : ""}lower is better)`, columns, points.toSorted(order));
}

export function comparisonTable(element, points, { labels, name, common }) {
  const shift = (row) => row.rank_second - row.rank_first;
  const signed = (value) => (value > 0 ? `+${number(value)}` : number(value));
  const columns = [
    { title: "Model", words: "name", cell: (row) => visible(row.model) },
    { title: "Place on the first", cell: (row) => number(row.rank_first) },
    { title: "Place on the second", cell: (row) => number(row.rank_second) },
    { title: "Change", cell: (row) => signed(shift(row)) },
    { title: `${name}, first`, cell: (row) => number(row.first) },
    { title: `${name}, second`, cell: (row) => number(row.second) },
    ...(common ? [["common_first", "first"], ["common_second", "second"]].map(([key, which]) => ({ title: `FRM (${common} = 1), ${which}`, cell: (row) => number(row[key]) })) : []),
  ];
  const order = (a, b) => Math.abs(shift(b)) - Math.abs(shift(a)) || a.rank_first - b.rank_first;
  show(element, `Places by ${name} on ${labels[0]} (first) and ${labels[1]} (second), largest change first`, columns, points.toSorted(order));
}

export function candidateTable(element, points, device) {
  const share = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
  const interval = (row) => (row.measured ? "measured" : `${number(row.latency_low_ms)} to ${number(row.latency_high_ms)}`);
  const columns = [
    { title: "Model", words: "name", cell: (row) => visible(row.model) },
    { title: "Top-1 %", cell: (row) => number(row.top1) },
    { title: "Latency ms", cell: (row) => number(row.latency_ms) },
    { title: "Interval ms", cell: interval },
    { title: "Fits with", cell: (row) => share(row.probability_fits) },
    { title: "GMACs", cell: (row) => number(row.gmacs) },
  ];
  show(element, `Candidates on ${device}, the pick first`, columns, points.map((row) => ({ ...row, frontier: row.picked })));
}
