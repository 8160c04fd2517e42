// Runs before the page is drawn, so that it never flashes in the other theme.
"use strict";
{
  const saved = localStorage.getItem("frm-theme");
  const dark = saved ? saved === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
