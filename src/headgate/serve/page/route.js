// A choice among routes and "none of these", as bars.
import { bar, read } from "./bars.js";
import { count, h } from "./dom.js";
import { described } from "./text.js";

/**
 * @typedef {object} Decision
 * @property {string | null} choice
 * @property {string[]} choices
 * @property {Record<string, number>} probabilities
 * @property {number} none
 * @property {number | null} threshold
 * @property {string} reason
 * @property {string | null} runner_up
 * @property {number} unknown
 * @property {any} coverage
 * @property {string | null} certificate
 * @property {{threshold: number | Record<string, number> | null, multi: boolean}} [cut]
 */

/** @type {import("./panel.js").Job} */
export const route = { name: "route", path: "v1/route", body, show };

/** @param {HTMLFormElement} form */
function body(form) {
  const data = new FormData(form);
  const input = data.get("input");
  if (data.get("router")) return { input, router: data.get("router") };
  const threshold = data.get("threshold");
  return {
    input,
    routes: described(`${data.get("routes")}`),
    threshold: threshold ? Number(threshold) : undefined,
    multi: data.has("multi") || undefined,
  };
}

/**
 * @param {{results: Decision[]}} reply
 * @param {any} asked
 * @param {HTMLElement} results
 */
function show(reply, asked, results) {
  const decision = reply.results[0];
  const ranked = Object.entries(decision.probabilities).sort((a, b) => b[1] - a[1]);
  const bars = ranked.map(([name, p]) => {
    const chosen = decision.choices.includes(name);
    return h(
      "li",
      {},
      bar({ name, p, least: least(decision, name), badge: chosen ? "✓ chosen" : "", look: chosen ? "chosen" : "" }),
    );
  });
  const none = {
    name: "none of these",
    p: decision.none,
    badge: decision.choice === null ? "✓ chosen" : "",
    look: "none",
  };
  results.append(
    h(
      `div.verdict.${decision.choice === null ? "open" : "good"}`,
      {},
      h("strong", {}, headline(decision)),
      h("p", {}, because(decision)),
    ),
    h("ul.bars.card", { "aria-label": "Probabilities" }, ...bars, h("li", {}, bar(none))),
    read(decision.coverage, decision.unknown) ?? "",
  );
  const n = decision.choices.length;
  return `${n || "None"} of ${count(ranked.length, "route")} chosen${n ? `: ${decision.choices.join(", ")}` : ""}.`;
}

/** @param {Decision} decision */
const headline = (decision) => (decision.choices.length ? `→ ${decision.choices.join(", ")}` : "→ none of these");

/**
 * What a route must reach: a threshold of its own or of all; without one, more than "none".
 * @param {Decision} decision
 * @param {string} name
 */
function least({ cut, threshold, none }, name) {
  const own = cut ? cut.threshold : threshold;
  if (own && typeof own === "object") return own[name] ?? null;
  return own ?? (cut?.multi ? 0.5 : none);
}

/** @param {Decision} decision */
function because({ reason, runner_up, threshold, cut }) {
  const bar = threshold === null ? (cut?.multi ? "0.5" : "“none of these”") : "its threshold";
  const words = {
    chosen: cut?.multi
      ? `Every route that reaches ${bar} is chosen.`
      : `It is the most probable route, and beats ${bar}.`,
    none: cut?.multi ? `No route reaches ${bar}.` : `The most probable route does not beat ${bar}.`,
    ambiguous: `Two routes are too close: the runner-up is ${runner_up}.`,
    empty: "The text holds nothing but white space.",
  };
  return words[/** @type {keyof typeof words} */ (reason)] ?? reason;
}
