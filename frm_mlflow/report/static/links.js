// Links into MLflow's own UI, relative to the page so that a path prefix stays.

const quoted = (text) => {
  if (!text.includes("'")) return `'${text}'`;
  return text.includes('"') ? null : `"${text}"`;
};

const runOf = (experiment, id) => `./#/experiments/${encodeURIComponent(experiment)}/runs/${encodeURIComponent(id)}`;

// All runs of a model; a name that MLflow's filter cannot quote leads to its newest run instead.
function runsOf(experiment, model, id) {
  const name = quoted(model);
  if (name === null) return runOf(experiment, id);
  const filter = encodeURIComponent(`tags.\`frm.model\` = ${name}`);
  return `./#/experiments/${encodeURIComponent(experiment)}/runs?searchFilter=${filter}`;
}

// The columns of an answer as rows, each with its links.
export function rows(columns) {
  const row = (index) => Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[index]]));
  return columns.model.map((model, index) => row(index));
}

export const linked = (points) =>
  points.map((p) => ({ ...p, href: runsOf(p.experiment_id, p.model, p.run_id), run_href: runOf(p.experiment_id, p.run_id) }));
