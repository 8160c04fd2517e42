// The report: one configuration at a time, and every figure of the analyses in the reader's theme.
import { $, fill } from "./dom.js";
import { drawFigure, drawFrontier, drawSlopes } from "./charts.js";
import { rows } from "./links.js";
import { modelTable } from "./tables.js";

const report = JSON.parse($("#report-data").textContent);

function showBoard() {
  const { label, columns, summary } = report.boards[Number($("#board").value)];
  const points = rows(columns);
  $("#board-summary").textContent = summary;
  drawFrontier($("#board-frontier"), points, { cost: "frm", name: `FRM (${report.baseline} = 1)`, styles: report.styles });
  drawSlopes($("#board-slopes"), points, { styles: report.styles });
  modelTable($("#board-table"), points, { cost: "frm", name: report.metrics.frm, label });
}

// One figure a frame, so that the page can be read while it draws.
function drawAll() {
  const waiting = [...document.querySelectorAll("[data-figure]")];
  const next = () => {
    const element = waiting.shift();
    if (!element) {
      document.documentElement.dataset.drawn = "true";
      return;
    }
    drawFigure(element, report.figures[element.dataset.figure]);
    setTimeout(next);
  };
  next();
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("#theme").setAttribute("aria-pressed", String(dark));
  if (report.boards.length) showBoard();
  drawAll();
}

const isDark = () => document.documentElement.dataset.theme === "dark";

if (report.boards.length) {
  fill($("#board"), report.boards.map(({ label, columns }, value) => ({ value, label: `${label} (${columns.model.length})` })), "0");
  $("#board").addEventListener("change", showBoard);
} else $("#explore").hidden = true;
$("#theme").addEventListener("click", () => setTheme(!isDark()));
$("#print").addEventListener("click", () => print());
let darkBeforePrint = false;
addEventListener("beforeprint", () => {
  darkBeforePrint = isDark();
  if (darkBeforePrint) setTheme(false);
});
addEventListener("afterprint", () => darkBeforePrint && setTheme(true));
setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
