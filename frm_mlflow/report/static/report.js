// The report: one configuration at a time, and every figure of the analyses in the reader's theme.
import { $, fill, warn } from "./dom.js";
import { drawFigure, drawFrontier, drawSlopes } from "./charts.js";
import { rows } from "./links.js";
import { modelTable } from "./tables.js";

const report = JSON.parse($("#report-data").textContent);

// The figures and the table of the chosen configuration, each a step of drawing.
function boardSteps() {
  const { label, columns, summary, warning, common_baseline: common } = report.boards[Number($("#board").value)];
  const points = rows(columns);
  $("#board-summary").textContent = summary;
  warn($("#board-warning"), warning);
  return [
    () => drawFrontier($("#board-frontier"), points, { cost: "frm", name: `FRM (${report.baseline} = 1)`, styles: report.styles }),
    () => drawSlopes($("#board-slopes"), points, { styles: report.styles }),
    () => modelTable($("#board-table"), points, { cost: "frm", name: report.metrics.frm, label, common }),
  ];
}

const figures = () => [...document.querySelectorAll("[data-figure]")].map((element) => () => drawFigure(element, report.figures[element.dataset.figure]));

// A hidden tab has no frames.
const afterFrame = (act) => (document.hidden ? setTimeout(act) : requestAnimationFrame(() => setTimeout(act)));

// What is still to be drawn, one step a frame, so that the page can be read while it draws.
const left = { board: [], figures: [] };
let drawing = false;

function drawNext() {
  const step = left.board.shift() ?? left.figures.shift();
  drawing = false; // a step that fails must not keep later ones from being drawn
  if (step) step();
  else document.documentElement.dataset.drawn = "true";
  drawing = Boolean(step);
  return drawing;
}

function draw(steps) {
  Object.assign(left, steps);
  if (drawing) return;
  const next = () => drawNext() && afterFrame(next);
  next();
}

function drawTheRest() {
  while (drawNext());
}

const board = () => (report.boards.length ? boardSteps() : []);

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("#theme").setAttribute("aria-pressed", String(dark));
  draw({ board: board(), figures: figures() });
}

const isDark = () => document.documentElement.dataset.theme === "dark";

if (report.boards.length) {
  fill($("#board"), report.boards.map(({ label, columns }, value) => ({ value, label: `${label} (${columns.model.length})` })), "0");
  $("#board").addEventListener("change", () => draw({ board: board() }));
} else $("#explore").hidden = true;
$("#theme").addEventListener("click", () => setTheme(!isDark()));
$("#print").addEventListener("click", () => print());
let darkBeforePrint = false;
addEventListener("beforeprint", () => {
  darkBeforePrint = isDark();
  if (darkBeforePrint) setTheme(false);
  drawTheRest(); // what is printed is there when this handler ends
});
addEventListener("afterprint", () => darkBeforePrint && setTheme(true));
setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
