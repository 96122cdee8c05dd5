// What `headgate serve` shows at /: its tasks, to be tried on texts of one's own.
import { ask, Failure, keepKey } from "./api.js";
import { certificates } from "./certificates.js";
import { byId, h } from "./dom.js";
import { ground } from "./ground.js";
import { guard } from "./guard.js";
import { complain, failed, panel, waiting } from "./panel.js";
import { counted, rerank } from "./rerank.js";
import { route } from "./route.js";
import { tabbed } from "./tabs.js";

/** @typedef {import("./certificates.js").Task} Task */

tabbed();
counted();
for (const job of [rerank, route, guard, ground]) panel(job);
for (const select of selects()) select.addEventListener("change", () => own(select));
byId("error-close").addEventListener("click", () => complain(null));
byId("key").addEventListener("submit", unlock);
byId("theme").addEventListener("click", turn);
named();
load();

/** Ask what is served, and offer it. */
async function load() {
  try {
    const { data } = await ask("v1/tasks");
    offer(data);
    certificates(data);
  } catch (error) {
    if (!(error instanceof Failure) || error.status !== 503) return failed(error, load);
    byId("served").textContent = "Models are being loaded …";
    setTimeout(load, 1000);
  }
}

/** @param {Task[]} tasks */
function offer(tasks) {
  for (const select of selects()) {
    const names = tasks.filter(({ kind }) => kind === select.dataset.kind).map(({ name }) => name);
    const options = names
      .sort((a, b) => Number(b === "default") - Number(a === "default"))
      .map((name) => option(name, name));
    if (select.dataset.own && tasks.some(({ kind }) => kind === "zero_shot"))
      options.push(option("", select.dataset.own));
    select.replaceChildren(...options);
    select.disabled = options.length < 2 && !select.value;
    own(select);
  }
  const models = new Set(tasks.map(({ model }) => model));
  byId("served").textContent = `${tasks.length} tasks on ${[...models].join(", ")}`;
}

/**
 * @param {string} value
 * @param {string} words
 */
const option = (value, words) => h("option", { value }, words);

/** @returns {HTMLSelectElement[]} */
function selects() {
  return [...document.querySelectorAll("select")];
}

/**
 * Routes and rules of one's own are asked for only where they are chosen.
 * @param {HTMLSelectElement} select
 */
function own(select) {
  const fields = /** @type {HTMLFieldSetElement | null | undefined} */ (
    select.form?.querySelector("[data-own-fields]")
  );
  if (!fields) return;
  fields.hidden = fields.disabled = select.value !== "";
}

/** @param {SubmitEvent} event */
async function unlock(event) {
  event.preventDefault();
  keepKey(byId("key-value").value);
  byId("key").hidden = true;
  byId("key-value").value = "";
  const retry = waiting();
  await load();
  if (retry !== load) retry();
}

/** From the system's theme to light, to dark, and back. */
function turn() {
  const { dataset } = document.documentElement;
  const next = { light: "dark", dark: "" }[dataset.theme ?? ""] ?? "light";
  if (next) dataset.theme = next;
  else delete dataset.theme;
  try {
    localStorage.setItem("headgate.theme", next);
  } catch {
    /* it lasts as long as the page then */
  }
  named();
}

/** The button says which theme is on. */
function named() {
  byId("theme").textContent = `Theme: ${document.documentElement.dataset.theme || "auto"}`;
}
