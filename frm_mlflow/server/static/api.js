// Responses of the server: waits during the first read of the runs, and explains what went wrong.

export class Problem extends Error {}

const PAUSE_MS = 600;

const pause = (signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, PAUSE_MS);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

async function words(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text.slice(0, 300);
  }
}

async function once(path, query, signal) {
  try {
    return await fetch(`frm/api/${path}?${query}`, { signal, headers: { Accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is it running, and are you online?");
  }
}

export async function get(path, query, { signal, onWait } = {}) {
  for (;;) {
    const response = await once(path, query, signal);
    if (response.status === 202) {
      onWait?.(await response.json());
      await pause(signal);
      continue;
    }
    if (response.ok) return response.json();
    const message = await words(response);
    if (response.status === 401) throw new Problem("You are not logged in: reload the page.");
    if (response.status === 403) throw new Problem(`You may not read one of these experiments (${message}).`);
    if (response.status === 404) throw new Problem(`One of these experiments is gone (${message}).`);
    throw new Problem(`The server answered ${response.status}: ${message}`);
  }
}
