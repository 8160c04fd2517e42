// Runs before the page is drawn, so that it never flashes in the other theme.
"use strict";
{
  const kept = localStorage.getItem("frm-theme");
  const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
