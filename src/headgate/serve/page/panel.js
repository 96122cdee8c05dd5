// The life of a request that a form makes: busy, answered, refused or cancelled.
import { ask, curl, Failure, key } from "./api.js";
import { byId, h } from "./dom.js";

/**
 * What a tab brings.
 * @typedef {object} Job
 * @property {string} name of the tab, "rerank"
 * @property {string} path
 * @property {(form: HTMLFormElement) => any} body of the request; throws a Failure where a field makes no sense
 * @property {(reply: any, body: any, results: HTMLElement) => string} show fills the results, and sums them up in words
 */

/** @type {(() => void) | null} what to do once there is a key */
let again = null;

/** @param {Job} job */
export function panel(job) {
  const place = byId(`panel-${job.name}`);
  const form = /** @type {HTMLFormElement} */ (place.querySelector("form"));
  const cancel = /** @type {HTMLButtonElement} */ (place.querySelector("[data-cancel]"));
  /** @type {AbortController | null} */
  let running = null;

  const run = async () => {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    busy(place, true);
    await answered(job, form, place, mine.signal);
    if (running !== mine) return; // another request took over
    running = null;
    if (document.activeElement === cancel) form.querySelector("button")?.focus();
    busy(place, false);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    if (event.key === "Escape") running?.abort();
  });
  cancel.addEventListener("click", () => running?.abort());
  place.querySelector("[data-curl]")?.addEventListener("click", () => {
    if (form.reportValidity()) guarded(() => copy(curl(job.path, job.body(form))));
  });
}

/**
 * @param {Job} job
 * @param {HTMLFormElement} form
 * @param {HTMLElement} place
 * @param {AbortSignal} signal
 */
async function answered(job, form, place, signal) {
  const summary = /** @type {HTMLElement} */ (place.querySelector(".summary"));
  const results = /** @type {HTMLElement} */ (place.querySelector("[data-results]"));
  complain(null);
  try {
    const body = job.body(form);
    const began = performance.now();
    const reply = await ask(job.path, { body, signal });
    const took = performance.now() - began;
    results.replaceChildren();
    summary.replaceChildren(job.show(reply, body, results), " ", h("span.soft", {}, milliseconds(took)));
  } catch (error) {
    if (signal.aborted) summary.textContent = "Cancelled.";
    else failed(error, () => form.requestSubmit());
  }
}

/** @param {number} took */
const milliseconds = (took) => (took < 10 ? `${took.toFixed(1)} ms` : `${Math.round(took).toLocaleString("en")} ms`);

/**
 * @param {HTMLElement} place
 * @param {boolean} is
 */
function busy(place, is) {
  place.querySelector("[data-results]")?.setAttribute("aria-busy", `${is}`);
  /** @type {HTMLElement} */ (place.querySelector("[data-cancel]")).hidden = !is;
  if (is) /** @type {HTMLElement} */ (place.querySelector(".summary")).textContent = "Asking …";
}

/**
 * Tell what went wrong; where a key is missing, ask for one and try again with it.
 * @param {unknown} error
 * @param {() => void} retry
 */
export function failed(error, retry) {
  for (const summary of document.querySelectorAll(".summary")) {
    if (summary.textContent === "Asking …") summary.textContent = "";
  }
  if (!(error instanceof Failure)) {
    complain("This page failed to show the answer; the console says where.");
    throw error;
  }
  if (error.status !== 401) return complain(error.message);
  again = retry;
  byId("key-says").textContent = key() ? `The key was refused: ${error.message}` : "This server asks for an API key.";
  byId("key").hidden = false;
  byId("key-value").focus();
}

/** @returns {() => void} what waited for a key */
export function waiting() {
  const retry = again ?? (() => {});
  again = null;
  return retry;
}

/** @param {string | null} message null: all is well */
export function complain(message) {
  byId("error-says").textContent = message ?? "";
  byId("error").hidden = message === null;
}

/** @param {() => void} act */
function guarded(act) {
  try {
    act();
  } catch (error) {
    failed(error, () => {});
  }
}

/** @param {string} command */
async function copy(command) {
  try {
    await navigator.clipboard.writeText(command);
    toast("Copied.");
  } catch {
    // over plain HTTP, or refused: to be copied by hand
    byId("curl-text").value = command;
    byId("curl").showModal();
    byId("curl-text").select();
  }
}

/** @param {string} words */
function toast(words) {
  const place = byId("toast");
  place.textContent = words;
  setTimeout(() => place.textContent === words && place.replaceChildren(), 2500);
}
