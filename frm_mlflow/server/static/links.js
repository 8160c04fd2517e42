// Links into MLflow's own UI, relative to the page so that a path prefix stays.

const quoted = (text) => {
  if (!text.includes("'")) return `'${text}'`;
  return text.includes('"') ? null : `"${text}"`;
};

export const run = (experiment, id) => `./#/experiments/${encodeURIComponent(experiment)}/runs/${encodeURIComponent(id)}`;

// All runs of a model; a name that MLflow's filter cannot quote leads to its newest run instead.
export function runs(experiment, model, id) {
  const name = quoted(model);
  if (name === null) return run(experiment, id);
  const filter = encodeURIComponent(`tags.\`frm.model\` = ${name}`);
  return `./#/experiments/${encodeURIComponent(experiment)}/runs?searchFilter=${filter}`;
}

export const rows = (columns) =>
  columns.model.map((_, index) => Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[index]])));
