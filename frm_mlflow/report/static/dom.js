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

// plotly.js reads a few tags and entities in its texts.
export const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

export function fill(select, options, chosen) {
  const wanted = options.map(({ value, label }) => h("option", { value, textContent: label }));
  select.replaceChildren(...wanted);
  select.value = chosen;
}
