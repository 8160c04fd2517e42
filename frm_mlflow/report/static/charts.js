// The two charts. Colours come from the style sheet, so that both themes are one drawing.
/* global Plotly */
import { number, plain } from "./dom.js";

export const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const MOST_LABELS = 14;
const MARGIN = { l: 64, r: 16, t: 12, b: 52 };
const LEGEND = 30;
const NARROW = 600;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function axis(title, extra = {}) {
  return {
    title: { text: title },
    gridcolor: colour("grid"),
    linecolor: colour("line"),
    zeroline: false,
    exponentformat: "none",
    ...extra,
  };
}

// Ticks at 1, 2 and 5, or at whole powers of ten where those would crowd.
function logAxis(title, values, { roomLeft = 0.04 } = {}) {
  const positive = values.filter((value) => value > 0);
  const [low, high] = positive.length ? [Math.log10(Math.min(...positive)), Math.log10(Math.max(...positive))] : [0, 1];
  const span = Math.max(high - low, 0.1);
  const range = [low - roomLeft * span, high + 0.04 * span];
  return axis(title, { type: "log", range, ...logTicks(range) });
}

function logTicks(range) {
  const steps = range[1] - range[0] > 3 ? [1] : [1, 2, 5];
  const tickvals = [];
  for (let power = Math.floor(range[0]); power <= range[1]; power++) tickvals.push(...steps.map((step) => step * 10 ** power));
  return { tickvals, ticktext: tickvals.map((value) => number(value)) };
}

function layout(x, y, extra = {}) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    margin: MARGIN,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hoverlabel: { align: "left" },
    hovermode: "closest",
    xaxis: x,
    yaxis: y,
    ...extra,
  };
}

const LABEL = { character: 6.6, height: 15, gap: 6 };

// Position of a name of that many characters: above and left of its point, or below and right of the frontier.
function places(at, characters) {
  const width = characters * LABEL.character;
  return [
    ["top left", { left: at.x - LABEL.gap - width, right: at.x - LABEL.gap, top: at.y - LABEL.gap - LABEL.height, bottom: at.y - LABEL.gap }],
    ["bottom right", { left: at.x + LABEL.gap, right: at.x + LABEL.gap + width, top: at.y + LABEL.gap, bottom: at.y + LABEL.gap + LABEL.height }],
  ];
}

const apart = (a, b) => a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top;

// Names as many points as stay readable: the first ones first, then those whose name covers no other name and no edge.
function labelled(points, { x, y, room }) {
  const scale = (values, size, margin) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (value) => margin + ((value - low) / (high - low || 1)) * (size - margin - 12);
  };
  const across = scale(room.costs.map(Math.log), room.width, room.left * room.width);
  const up = scale(room.tops, room.height, 12);
  const labels = new Map();
  for (const index of points.keys()) {
    const at = { x: across(Math.log(points[index][x])), y: room.height - up(points[index][y]) };
    const free = places(at, points[index].model.length).find(
      ([, box]) => box.left > 0 && box.right < room.width && [...labels.values()].every(([, other]) => apart(box, other)),
    );
    if (free && labels.size < MOST_LABELS) labels.set(index, free);
  }
  // Room for the point, which would cover the letter next to it.
  const written = { "top left": (name) => `${name}\u00a0\u00a0`, "bottom right": (name) => `\u00a0\u00a0${name}` };
  return {
    text: points.map((p, index) => (labels.has(index) ? written[labels.get(index)[0]](plain(p.model)) : "")),
    textposition: points.map((p, index) => labels.get(index)?.[0] ?? "top left"),
  };
}

function hover(point, cost, name) {
  const interval = point.low === null ? "" : ` (${number(point.low)} to ${number(point.high)})`;
  const flag = [["unstable", point.unstable], ["remark", point.remarks]].map(([word, text]) => (text ? `<br>${word}: ${plain(text)}` : "")).join("");
  return `<b>${plain(point.model)}</b><br>${plain(name)} ${number(point[cost])}${interval}<br>top-1 ${number(point.top1)} %<br>${plain(point.family)}${flag}`;
}

function errors(points, cost) {
  const hasIntervals = points.some((p) => p.low !== null);
  if (!hasIntervals) return undefined;
  const reach = (end, sign) => points.map((p) => (p[end] === null ? 0 : sign * (p[end] - p[cost])));
  return { type: "data", symmetric: false, array: reach("high", 1), arrayminus: reach("low", -1), thickness: 1, width: 2 };
}

function familyTrace(points, family, style, cost, name) {
  return {
    type: "scatter",
    mode: "markers",
    name: family.replace("_", " "),
    x: points.map((p) => p[cost]),
    y: points.map((p) => p.top1),
    error_x: errors(points, cost),
    hovertext: points.map((p) => hover(p, cost, name)),
    hoverinfo: "text",
    customdata: points.map((p) => p.href ?? null),
    marker: {
      color: style.colour,
      symbol: style.symbol,
      size: points.map((p) => (p.frontier ? 10 : 8)),
      opacity: points.map((p) => (p.frontier ? 1 : 0.5)),
    },
  };
}

function frontierTrace(points, cost) {
  const best = points.filter((p) => p.frontier).sort((a, b) => a[cost] - b[cost]);
  return {
    type: "scatter",
    mode: "lines",
    name: "frontier",
    x: best.map((p) => p[cost]),
    y: best.map((p) => p.top1),
    line: { shape: "hv", color: colour("ink"), width: 1.5 },
    hoverinfo: "skip",
  };
}

// Names the points of the frontier and, if there are few points, the others after them.
function nameTrace(points, cost, room) {
  const best = points.filter((p) => p.frontier).sort((a, b) => a[cost] - b[cost]);
  const ends = best.length > 1 ? [best[0], best.at(-1), ...best.slice(1, -1)] : best;
  const named = points.length <= MOST_LABELS ? [...ends, ...points.filter((p) => !p.frontier)] : ends;
  return {
    type: "scatter",
    mode: "text",
    name: "names",
    x: named.map((p) => p[cost]),
    y: named.map((p) => p.top1),
    ...labelled(named, { x: cost, y: "top1", room }),
    textfont: { size: 12, color: named.map((p) => colour(p.frontier ? "ink" : "quiet")) },
    hoverinfo: "skip",
    showlegend: false,
  };
}

// Between the frontier at the lower and at the upper ends of the intervals.
function bandTrace(points, cost) {
  const best = points.filter((p) => p.frontier && p.low !== null).sort((a, b) => a[cost] - b[cost]);
  const corners = (end) => best.flatMap((p, i) => [[p[end], p.top1], ...(i + 1 < best.length ? [[best[i + 1][end], p.top1]] : [])]);
  const outline = [...corners("low"), ...corners("high").reverse()];
  return {
    type: "scatter",
    mode: "lines",
    fill: "toself",
    name: "95 % interval",
    x: outline.map(([x]) => x),
    y: outline.map(([, y]) => y),
    line: { width: 0 },
    fillcolor: "rgba(127, 140, 155, 0.3)",
    hoverinfo: "skip",
    visible: best.length > 0,
    showlegend: best.length > 0,
  };
}

export function drawFrontier(element, points, { cost, name, styles }) {
  const placed = points.filter((p) => p[cost] !== null && p.top1 !== null);
  const families = Object.keys(styles).filter((family) => placed.some((p) => p.family === family));
  const traces = families.map((family) => {
    const members = placed.filter((p) => p.family === family);
    return familyTrace(members, family, styles[family], cost, name);
  });
  const roomLeft = 0.16;
  const costs = placed.map((p) => p[cost]);
  const room = {
    costs: costs.filter((value) => value > 0),
    tops: placed.map((p) => p.top1),
    left: roomLeft / (1.04 + roomLeft),
    width: element.clientWidth - MARGIN.l - MARGIN.r,
    height: element.clientHeight - MARGIN.t - MARGIN.b - LEGEND,
  };
  traces.unshift(bandTrace(placed, cost), frontierTrace(placed, cost), nameTrace(placed, cost, room));
  const figure = layout(logAxis(name, costs, { roomLeft }), axis("Top-1 accuracy (%)"));
  Plotly.react(element, traces, figure, CONFIG);
  element.removeAllListeners?.("plotly_click");
  element.on("plotly_click", ({ points: [point] }) => {
    if (point.customdata) window.open(point.customdata, "_blank", "noopener");
  });
}

export function drawComparison(element, points, { name, styles }) {
  const ends = [points.flatMap((p) => [p.first, p.second])].flatMap((all) => [Math.min(...all), Math.max(...all)]);
  const diagonal = {
    type: "scatter",
    mode: "lines",
    name: "equal",
    x: ends,
    y: ends,
    line: { dash: "dot", color: colour("quiet"), width: 1 },
    hoverinfo: "skip",
  };
  const families = Object.keys(styles).filter((family) => points.some((p) => p.family === family));
  const traces = families.map((family) => {
    const members = points.filter((p) => p.family === family);
    const text = (p) => `<b>${plain(p.model)}</b><br>${number(p.first)}, place ${p.rank_first}<br>${number(p.second)}, place ${p.rank_second}`;
    return {
      type: "scatter",
      mode: "markers",
      name: family.replace("_", " "),
      x: members.map((p) => p.first),
      y: members.map((p) => p.second),
      hovertext: members.map(text),
      hoverinfo: "text",
      marker: { color: styles[family].colour, symbol: styles[family].symbol, size: 9, opacity: 0.8 },
    };
  });
  const titles = ["first", "second"].map((which) => `${name}, ${which}`);
  const values = (end) => points.map((p) => p[end]);
  const figure = layout(logAxis(titles[0], values("first")), logAxis(titles[1], values("second")));
  Plotly.react(element, [diagonal, ...traces], figure, CONFIG);
}

const SLOPES = [
  ["gmacs", "FLOPs"],
  ["frm", "FRM"],
  ["latency_ms", "Latency"],
];

const MOST_SLOPES = 120;
const movement = (p) => Math.max(Math.abs(p.rank_frm - p.rank_gmacs), Math.abs(p.rank_latency_ms - p.rank_frm));

// Each model's place by FLOPs, by FRM and by latency; those that move are dark. Of many models, the ones that move most.
export function drawSlopes(element, points, { styles, threshold = 2 }) {
  const all = points.filter((p) => p.rank_frm !== null);
  const moved = all.length > MOST_SLOPES ? [...all].sort((a, b) => movement(b) - movement(a)).slice(0, MOST_SLOPES) : all;
  const title = moved.length < all.length ? { title: { text: `the ${moved.length} of ${all.length} models that move most`, font: { size: 13 } } } : {};
  const places = Object.fromEntries(SLOPES.map(([key]) => [key, moved.map((p) => p[`rank_${key}`])]));
  const traces = moved.map((point, index) => {
    const y = SLOPES.map(([key]) => places[key][index]);
    const moves = movement(point) >= threshold;
    return {
      type: "scatter",
      mode: "lines+markers+text",
      x: SLOPES.map(([, title]) => title),
      y,
      text: [plain(point.model), "", ""],
      textposition: "middle left",
      textfont: { size: 11, color: colour(moves ? "ink" : "quiet") },
      hovertext: y.map((place, at) => `<b>${plain(point.model)}</b><br>place ${place} by ${SLOPES[at][1]}`),
      hoverinfo: "text",
      opacity: moves ? 1 : 0.35,
      line: { color: styles[point.family].colour, width: moves ? 2 : 1 },
      marker: { symbol: styles[point.family].symbol, size: 7 },
    };
  });
  const place = axis("Place (1 is the cheapest)", { autorange: "reversed", rangemode: "tozero" });
  const figure = layout(axis("", { range: [element.clientWidth < NARROW ? -1.9 : -0.7, 2.2] }), place, { showlegend: false, height: Math.max(420, 17 * moved.length), ...title, ...(title.title && { margin: { ...MARGIN, t: 40 } }) });
  Plotly.react(element, traces, figure, CONFIG);
}

const LONGEST_LABEL = 46;
const ROW = 15;
// The end of a configuration's name distinguishes it as much as the start.
const shortened = (text) => (text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL - 19)}…${text.slice(-18)}` : text);

// A grid names every row and every column.
function gridAxes({ x, y }) {
  const small = { tickfont: { size: 11 }, title: { text: "" } };
  return { xaxis: { ...small, tickvals: x, ticktext: x.map(shortened), tickangle: 90 }, yaxis: { ...small, tickvals: y, ticktext: y.map(shortened) } };
}

const TYPED = { f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, i1: Int8Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };

// A trace's numbers: a list, or plotly's packed form of one.
function unpacked(values) {
  if (!values?.bdata) return [...(values ?? [])];
  const bytes = Uint8Array.from(atob(values.bdata), (character) => character.charCodeAt(0));
  return [...new TYPED[values.dtype](bytes.buffer)];
}

function figureAxes(data, given, key) {
  const shared = { ...given[key], gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true };
  if (given[key]?.type !== "log") return shared;
  const logs = data.flatMap((trace) => unpacked(trace[key[0]])).filter((value) => value > 0).map(Math.log10);
  return logs.length ? { ...shared, ...logTicks([Math.min(...logs), Math.max(...logs) + 0.1]) } : shared;
}

// A figure that was drawn elsewhere, in this page's colours.
export function drawFigure(element, { data, layout: given }) {
  const themed = layout({}, {});
  const keys = Object.keys({ xaxis: 0, yaxis: 0, ...given }).filter((key) => /^[xy]axis/.test(key));
  const axes = Object.fromEntries(keys.map((key) => [key, figureAxes(data, given, key)]));
  const grid = data[0]?.type === "heatmap";
  if (grid) for (const [key, more] of Object.entries(gridAxes({ x: unpacked(data[0].x), y: unpacked(data[0].y) }))) Object.assign(axes[key], more);
  const height = grid ? 220 + ROW * unpacked(data[0].y).length : given.height;
  const frame = { paper_bgcolor: themed.paper_bgcolor, plot_bgcolor: themed.plot_bgcolor, font: { ...given.font, ...themed.font } };
  Plotly.react(element, data, { ...given, ...frame, ...axes, height, title: null, margin: { l: 70, r: 20, t: 20, b: 60 } }, CONFIG);
}
