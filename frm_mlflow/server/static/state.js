// What is chosen lives in the URL, and nowhere else: a link is the whole state.

export const VIEWS = ["frontier", "compare", "recommend"];

export const read = () => new URLSearchParams(location.search);

export function write(query, { replace = false } = {}) {
  const clean = new URLSearchParams([...query].filter(([, value]) => value !== ""));
  const url = `${location.pathname}${clean.size ? `?${clean}` : ""}`;
  if (url === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
}

export function change(changes) {
  const query = read();
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const each of [value].flat()) query.append(name, each);
  }
  return query;
}

export const view = (query) => (VIEWS.includes(query.get("view")) ? query.get("view") : "frontier");
