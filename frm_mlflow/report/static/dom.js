// Elements and numbers. Text only ever becomes a text node, so that a name cannot become markup.

export const $ = (selector, root = document) => root.querySelector(selector);

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const whole = Math.abs(value) >= 10 ** digits;
  return value.toLocaleString("en", whole ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: digits });
}

// A name as it is shown: without characters that turn or hide the text around it, and not endless.
const LONGEST = 200;
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;
export const visible = (text) =>
  (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text).replace(HIDDEN, (it) => `\\u${it.charCodeAt(0).toString(16).padStart(4, "0")}`);

// plotly.js reads a few tags and entities in its texts.
export const plain = (text) => visible(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

export function warn(element, text) {
  element.hidden = !text;
  element.textContent = text;
}

export function fill(select, options, value) {
  const elements = options.map((option) => h("option", { value: option.value, textContent: option.label }));
  select.replaceChildren(...elements);
  select.value = value;
}
